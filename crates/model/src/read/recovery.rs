//! Recovery toward services, shares of versions, and what is recorded.

use weft_stdx::units::Percent;

use crate::code::Code;
use crate::finding::Spanned;
use crate::grammar::lexical;
use crate::grammar::variables::fill;
use crate::manifest::{Balance, Breaker, Limit, Observe, Resilience, Retry, Rollout, RolloutVersion, Traces};
use crate::yaml::{Entry, Node};

use super::gateway::show_ppm;
use super::{Reader, entries, field, field_match, name, number, scalar, value};

impl Reader<'_> {
    pub(super) fn resilience(&mut self, entry: &Entry) -> Option<Resilience> {
        let node = &entry.value;
        Some(Resilience {
            service: name(&entry.key, lexical::name)?,
            timeout: scalar(node, "timeout", lexical::duration),
            per_try_timeout: scalar(node, "per_try_timeout", lexical::duration),
            connect_timeout: scalar(node, "connect_timeout", lexical::duration),
            retry: field(node, "retry").and_then(retry),
            breaker: field(node, "breaker").map(|node| Breaker {
                failures: scalar(node, "failures", number(1, 1_000)),
                success: scalar(node, "success", lexical::percent),
            }),
            limit: field(node, "limit").map(|node| Limit {
                open: scalar(node, "open", number(1, 1_000_000)),
                queued: scalar(node, "queued", number(0, 1_000_000)),
            }),
            fallback: field(node, "fallback").and_then(|node| self.answer(node)),
            balance: field(node, "balance").and_then(balance),
        })
    }

    pub(super) fn rollout(&mut self, entry: &Entry) -> Option<Rollout> {
        let service = name(&entry.key, lexical::name)?;
        let said = entry.value.entries();
        let versions: Vec<RolloutVersion> =
            said.iter().filter_map(|entry| self.rollout_version(entry)).collect();
        let base = versions.iter().find(|version| version.version.value == "v1" && version.weight.is_some());
        let sum: u64 = versions
            .iter()
            .filter_map(|version| version.weight.as_ref())
            .map(|share| u64::from(share.as_ppm()))
            .sum();
        let sum = u32::try_from(sum).unwrap_or(u32::MAX);
        if versions.len() == said.len() && base.is_some() {
            self.shares(entry.value.span, sum, "the shares of the versions");
        } else if sum > Percent::ALL.as_ppm() {
            let message = format!("the shares of the versions add up to {}", show_ppm(sum));
            self.error(
                Code::BadShares,
                entry.value.span,
                message,
                "give at most 100%; what is left goes to `v1`",
            );
        }
        Some(Rollout { service, versions })
    }

    fn rollout_version(&mut self, entry: &Entry) -> Option<RolloutVersion> {
        let version = name(&entry.key, lexical::name)?;
        let node = &entry.value;
        if node.scalar().is_some_and(|scalar| !scalar.is_null()) {
            return Some(RolloutVersion {
                version,
                weight: Some(value(node, lexical::percent)?),
                header: None,
            });
        }
        let headers = entries(node, "header");
        if let Some(second) = headers.get(1) {
            let message = "`header` takes one header, and this is a second one";
            self.error(Code::BadValue, second.key.span, message, "keep one of them");
        }
        if field(node, "weight").is_none() && field(node, "header").is_none() {
            let message = format!("the version `{}` gets nothing", version.value);
            self.error(
                Code::KeysExclude,
                entry.key.span,
                message,
                "write a share such as `5%`, or `header: { NAME: VALUE }`",
            );
        }
        let header = headers.first().and_then(|entry| field_match(entry, lexical::field_name));
        Some(RolloutVersion { version, weight: scalar(node, "weight", lexical::percent), header })
    }

    pub(super) fn observe(&mut self, node: &Node) -> Observe {
        Observe {
            metrics: scalar(node, "metrics", lexical::metrics),
            istio_names: scalar(node, "istio_names", lexical::boolean),
            istio_durations: scalar(node, "istio_durations", lexical::boolean),
            traces: field(node, "traces").and_then(|node| self.traces(node)),
            access_log: scalar(node, "access_log", lexical::access_log),
        }
    }

    fn traces(&mut self, node: &Node) -> Option<Spanned<Traces>> {
        let traces = if let Some(scalar) = node.scalar() {
            let filled = fill(&scalar.text, self.environment).ok()?;
            match lexical::traces(&filled).ok()? {
                None => Traces::None,
                Some(url) => Traces::Otlp { url: Spanned::new(url, node.span), over: None, sample: None },
            }
        } else {
            let otlp = field(node, "otlp")?;
            let filled = fill(&otlp.scalar()?.text, self.environment).ok()?;
            Traces::Otlp {
                url: Spanned::new(lexical::otlp_url(&filled).ok()?, otlp.span),
                over: scalar(node, "over", lexical::traces_over),
                sample: scalar(node, "sample", lexical::percent),
            }
        };
        Some(Spanned::new(traces, node.span))
    }
}

fn retry(node: &Node) -> Option<Spanned<Retry>> {
    if node.scalar().is_some() {
        return value(node, lexical::no_retry).map(|said| said.map(|()| Retry::None));
    }
    let retry = Retry::Some {
        attempts: scalar(node, "attempts", number(0, 10)),
        backoff: scalar(node, "backoff", lexical::duration_range),
        budget: scalar(node, "budget", lexical::percent),
        floor: scalar(node, "floor", lexical::rate),
    };
    Some(Spanned::new(retry, node.span))
}

fn balance(node: &Node) -> Option<Spanned<Balance>> {
    if node.scalar().is_some() {
        return value(node, lexical::balance);
    }
    scalar(node, "ring", lexical::ring).map(|ring| ring.map(Balance::Ring))
}
