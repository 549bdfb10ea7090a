//! Addresses of services elsewhere: A and AAAA by the system's resolver, SRV (RFC 2782) where the `url` names a service
//! (`http://_http._tcp.users.internal`) instead of a host.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use rustls::pki_types::ServerName;

use super::pool::Target;
use super::{Listed, Upstream};
use crate::worker::{Worker, single};

/// How soon after a failure, doubling, and at most. What was found before stays in use.
const AGAIN_AFTER_FAILURE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Addresses of one name that are used at most.
const ADDRESSES_MAX: usize = 64;

/// What to look up.
pub(crate) struct Name {
    tls: bool,
    host: String,
    port: Option<u16>,
}

impl Name {
    /// `port` absent: by SRV if the host is the name of a service, else the scheme's.
    pub(crate) fn new(tls: bool, host: &str, port: Option<u16>) -> Self {
        Name { tls, host: host.to_owned(), port }
    }

    fn is_service(&self) -> bool {
        self.port.is_none() && self.host.starts_with('_')
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Whoever answers must prove the name that the manifest says. The hosts that DNS names in its place prove nothing:
    /// its answers are not signed (RFC 6125, 6.5.1).
    fn target(&self) -> Option<Target> {
        if !self.tls {
            return Some(Target::Plain);
        }
        ServerName::try_from(domain_of(&self.host).to_owned()).ok().map(Target::Tls)
    }
}

/// The domain of a service's name: `users.internal` of `_http._tcp.users.internal`. Other names are their own.
pub(crate) fn domain_of(host: &str) -> &str {
    let mut rest = host;
    while rest.starts_with('_')
        && let Some((_, domain)) = rest.split_once('.')
    {
        rest = domain;
    }
    rest.trim_end_matches('.').trim_matches(['[', ']'])
}

/// Keeps the endpoints of an upstream what DNS says they are.
pub(crate) async fn keep_listed(worker: Rc<Worker>, upstream: Rc<Upstream>, name: Name) {
    if let Ok(address) = name.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        if let Some(target) = name.target() {
            let address = SocketAddr::new(address, name.port());
            upstream.update(&[single(&name.host, address, target)], worker.timer.now());
        }
        return;
    }
    let mut course = Course::default();
    loop {
        let found = match name.is_service() {
            true => by_service(&worker, &name).await,
            false => by_address(&worker, &name).await,
        };
        let again = match found {
            Some(mut listed) if !listed.is_empty() => {
                // Name servers change the order with each answer.
                listed.sort_by_key(|one| one.address);
                upstream.update(&listed, worker.timer.now());
                if course.found() {
                    tracing::info!(host = name.host, "the host of an upstream is found again");
                }
                worker.limits().lookup_again
            }
            _ => {
                let (pause, first) = course.failed();
                if first {
                    tracing::warn!(host = name.host, "the host of an upstream cannot be found");
                }
                if !upstream.known.get() {
                    // So that callers are told at once instead of waiting for a name that is not there.
                    upstream.update(&[], worker.timer.now());
                }
                pause.min(worker.limits().lookup_again)
            }
        };
        worker.timer.sleep(again).await;
    }
}

/// How the lookups of a name went. Pure.
#[derive(Default)]
struct Course {
    failures: u32,
}

impl Course {
    /// The pause until the next lookup, and whether this is the first failure: a name that is not there for hours is one line
    /// in the log.
    fn failed(&mut self) -> (Duration, bool) {
        let (least, most) = AGAIN_AFTER_FAILURE;
        let pause = least.saturating_mul(2_u32.saturating_pow(self.failures)).min(most);
        self.failures = self.failures.saturating_add(1);
        (pause, self.failures == 1)
    }

    /// Whether it could not be found before.
    fn found(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

async fn by_address(worker: &Worker, name: &Name) -> Option<Vec<Listed>> {
    let target = name.target()?;
    let found = addresses(worker, &name.host, name.port()).await?;
    Some(found.into_iter().map(|address| single(&address.to_string(), address, target.clone())).collect())
}

/// The hosts of the most preferred group of which one at least is found; by their weights.
async fn by_service(worker: &Worker, name: &Name) -> Option<Vec<Listed>> {
    let target = name.target()?;
    let found = resolver(worker)?.srv_lookup(name.host.as_str()).await.ok()?;
    let mut groups: BTreeMap<u16, Vec<&SRV>> = BTreeMap::new();
    for record in found.answers() {
        // The root as target says that there is no such service.
        if let RData::SRV(service) = &record.data
            && !service.target.is_root()
        {
            groups.entry(service.priority).or_default().push(service);
        }
    }
    let mut listed = Vec::new();
    for group in groups.into_values() {
        for service in group.into_iter().take(ADDRESSES_MAX) {
            let host = service.target.to_utf8();
            for address in addresses(worker, &host, service.port).await.unwrap_or_default() {
                let one = single(&address.to_string(), address, target.clone());
                listed.push(Listed { weight: u32::from(service.weight.max(1)), ..one });
            }
        }
        if !listed.is_empty() {
            break;
        }
    }
    listed.truncate(ADDRESSES_MAX);
    Some(listed)
}

async fn addresses(worker: &Worker, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if worker.shared.name_server.is_none() {
        // As every other program of the machine does it: hosts file, local services and all.
        return Some(tokio::net::lookup_host((host, port)).await.ok()?.take(ADDRESSES_MAX).collect());
    }
    let found = resolver(worker)?.lookup_ip(host).await.ok()?;
    Some(found.iter().take(ADDRESSES_MAX).map(|address| SocketAddr::new(address, port)).collect())
}

/// A resolver without memory: how often a name is looked up is decided here.
fn resolver(worker: &Worker) -> Option<TokioResolver> {
    let mut builder = match worker.shared.name_server {
        None => TokioResolver::builder_tokio().ok()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let mut config = ResolverConfig::default();
            config.name_servers = vec![NameServerConfig::new(server.ip(), true, connections.into())];
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    builder.options_mut().cache_size = 0;
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_asked_for_less_and_less_and_said_once() {
        let mut course = Course::default();
        let failures: Vec<(u64, bool)> =
            (0..40).map(|_| course.failed()).map(|(pause, first)| (pause.as_secs(), first)).collect();
        assert_eq!(failures[..6], [(1, true), (2, false), (4, false), (8, false), (8, false), (8, false)]);
        assert!(failures[6..].iter().all(|failure| *failure == (8, false)));
        assert!(course.found() && !course.found());
        assert_eq!(course.failed(), (Duration::from_secs(1), true));
    }
}
