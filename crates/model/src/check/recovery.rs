//! Recovery and rollout: time limits that fit into each other, retries that can be, versions that exist.

use std::time::Duration;

use weft_stdx::units::show_duration;

use crate::check::{Report, note};
use crate::code::Code;
use crate::defaults;
use crate::finding::did_you_mean;
use crate::manifest::{Balance, Resilience, Retry, Rollout, Spanned};
use crate::model::{Model, Service};
use crate::plan::Protocol;
use crate::resolve::list;

pub(super) fn check(model: &Model, report: &mut Report) {
    for service in &model.services {
        if let Some(said) = &service.resilience {
            limits(said, report);
            retry(service, said, report);
            breaker(said, report);
            tcp(service, said, report);
            grpc(service, said, report);
        }
        rollout(service, report);
    }
    if let Some(traces) = &model.observe.traces
        && let crate::manifest::Traces::Otlp { sample: Some(sample), .. } = &traces.value
    {
        report.share(sample, 100, "0.01%");
    }
    if let Some(log) = &model.observe.access_log
        && let crate::manifest::AccessLog::Sampled(share) = log.value
    {
        report.share(&Spanned::new(share, log.span), 100, "0.01%");
    }
}

/// Connecting is part of a try, a try is part of the exchange.
fn limits(said: &Resilience, report: &mut Report) {
    let default = Duration::from_millis(defaults::TIMEOUT_MS);
    let whole = said.timeout.as_ref();
    let outer = whole.map_or(default, |timeout| timeout.value);
    if let Some(per_try) = &said.per_try_timeout {
        inner(per_try, "a try", outer, whole, "timeout", report);
    }
    if let Some(connect) = &said.connect_timeout {
        match &said.per_try_timeout {
            Some(per_try) => {
                inner(connect, "connecting", per_try.value, Some(per_try), "per_try_timeout", report);
            }
            None => inner(connect, "connecting", outer, whole, "timeout", report),
        }
    }
}

fn inner(
    limit: &Spanned<Duration>,
    what: &str,
    outer: Duration,
    said: Option<&Spanned<Duration>>,
    key: &str,
    report: &mut Report,
) {
    if limit.value <= outer {
        return;
    }
    let message = format!(
        "{what} may take {}, longer than the whole of {}",
        show_duration(limit.value),
        show_duration(outer)
    );
    let remedy = format!("lower it, or raise `{key}`");
    let finding = report.error(Code::TimeoutOrder, limit.span, message, remedy);
    match said {
        Some(said) => note(finding, said.span, "the limit around it"),
        None => finding.label = format!("`{key}` is {} where nothing is said", show_duration(outer)),
    }
}

/// A retry that is asked for can happen: something may be repeated.
fn retry(service: &Service, said: &Resilience, report: &mut Report) {
    let Some(retry) = &said.retry else { return };
    let Retry::Some { attempts, budget, .. } = &retry.value else { return };
    if let Some(budget) = budget {
        report.share(budget, 10_000, "1%");
    }
    if attempts.as_ref().is_some_and(|attempts| attempts.value == 0) {
        return;
    }
    let Some(api) = &service.api else { return };
    if !api.has_idempotent() {
        let message =
            format!("a retry toward `{}`, and none of its operations is idempotent", service.name());
        let remedy = "write `retry: none`, or declare in its API what may be repeated (`x-idempotent: true`, \
                      `option idempotency_level = IDEMPOTENT`)";
        let finding = report.error(Code::RetryNotIdempotent, retry.span, message, remedy);
        if let Some(file) = &service.said.api {
            note(finding, file.span, "its API");
        }
    }
}

fn breaker(said: &Resilience, report: &mut Report) {
    if let Some(success) = said.breaker.as_ref().and_then(|breaker| breaker.success.as_ref()) {
        report.share(success, 10_000, "1%");
    }
}

/// Connections are not requests: they have no end that a time could limit, no fields, no answer that could be replaced.
fn tcp(service: &Service, said: &Resilience, report: &mut Report) {
    if service.protocol != Protocol::Tcp {
        return;
    }
    let asked =
        said.retry.as_ref().filter(|retry| retry.value != Retry::None).map(|retry| ("retry", retry.span));
    let fixed = said.fallback.as_ref().map(|fallback| ("fallback", fallback.span));
    let tries = said.per_try_timeout.as_ref().map(|timeout| ("per_try_timeout", timeout.span));
    let whole = said.timeout.as_ref().map(|timeout| ("timeout", timeout.span));
    let limit = said.limit.as_ref();
    let limit = limit.and_then(|limit| limit.open.as_ref().or(limit.queued.as_ref()));
    let limit = limit.map(|limit| ("limit", limit.span));
    let ring = said.balance.as_ref().filter(|balance| matches!(balance.value, Balance::Ring(_)));
    let ring = ring.map(|ring| ("balance: { ring }", ring.span));
    for (key, span) in [asked, fixed, tries, whole, limit, ring].into_iter().flatten() {
        let message = format!("`{}` speaks TCP, so `{key}` would do nothing", service.name());
        report.error(Code::ProtocolMismatch, span, message, format!("remove `{key}`"));
    }
}

/// A fixed answer is one of HTTP: who calls by gRPC would not understand it.
fn grpc(service: &Service, said: &Resilience, report: &mut Report) {
    if let Some(fallback) = said.fallback.as_ref().filter(|_| service.protocol == Protocol::Grpc) {
        let message = format!("`{}` speaks gRPC, and a fixed answer is HTTP", service.name());
        let remedy = "remove `fallback`: callers are given the status of the fault";
        report.error(Code::ProtocolMismatch, fallback.span, message, remedy);
    }
}

/// Versions that get requests, each by a share or a header of its own.
fn used(service: &Service, rollout: Option<&Rollout>, report: &mut Report) {
    let said = rollout.map_or(&[][..], |rollout| &rollout.versions);
    for version in &service.said.versions {
        let known =
            |name: &str| name == defaults::BASE_VERSION || said.iter().any(|said| said.version.value == name);
        if !known(&version.name.value) {
            let message = format!("no request goes to `{}` of `{}`", version.name.value, service.name());
            let remedy = format!(
                "write for example `rollout: {{ {}: {{ {}: 5% }} }}`",
                service.name(),
                version.name.value
            );
            report.warning(Code::NotReachable, version.name.span, message, remedy);
        }
    }
    let with_header = said.iter().filter_map(|said| Some((said, said.header.as_ref()?)));
    let with_header: Vec<_> = with_header.collect();
    for (index, (second, header)) in with_header.iter().enumerate() {
        let same = |(_, other): &&(_, &crate::manifest::FieldMatch)| {
            other.name.value == header.name.value && other.value.value == header.value.value
        };
        if let Some((first, at)) = with_header[..index].iter().find(same) {
            let message = format!(
                "this header leads to `{}` already, and never to `{}`",
                first.version.value, second.version.value
            );
            let finding =
                report.error(Code::BadValue, header.name.span, message, "give each version another value");
            note(finding, at.name.span, "the other one");
        }
    }
}

fn rollout(service: &Service, report: &mut Report) {
    used(service, service.rollout.as_ref(), report);
    let Some(rollout) = &service.rollout else { return };
    if service.said.url.is_some() {
        let message = format!("`{}` runs elsewhere: its versions are not known here", service.name());
        report.error(
            Code::RunsElsewhere,
            rollout.service.span,
            message,
            "remove it, or route by weight to several services",
        );
        return;
    }
    let known: Vec<&str> = service.said.versions.iter().map(|version| version.name.value.as_str()).collect();
    for said in &rollout.versions {
        let name = said.version.value.as_str();
        if name != defaults::BASE_VERSION && !known.contains(&name) {
            let message = format!("`{}` has no version `{name}`", service.name());
            let remedy = match did_you_mean(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => {
                    format!("declare it under `services.{}.versions`", service.name())
                }
                None => format!("it has `v1`, {}", list(&known)),
            };
            report.error(Code::UnknownVersion, said.version.span, message, remedy);
        }
        if name == defaults::BASE_VERSION
            && let Some(header) = &said.header
        {
            let message = "the base version gets all that goes nowhere else; a field for it would do nothing";
            report.error(
                Code::BadShares,
                header.name.span,
                message,
                "remove `header`, or give one to the other version",
            );
        }
        if let Some(weight) = &said.weight {
            report.share(weight, 100, "0.01%");
        }
        if service.protocol == Protocol::Tcp
            && let Some(header) = &said.header
        {
            let message = format!("`{}` speaks TCP: there is no field to look at", service.name());
            report.error(Code::ProtocolMismatch, header.name.span, message, "remove `header`");
        }
    }
}
