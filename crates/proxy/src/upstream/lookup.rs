//! Addresses of services elsewhere: A and AAAA by the system's resolver, SRV by DNS where the `url` names no port.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use rustls::pki_types::ServerName;

use super::pool::Target;
use super::{Listed, Upstream};
use crate::worker::{Worker, single};

/// How soon after a failure. What was found before stays in use.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Addresses of one name that are used at most.
const ADDRESSES_MAX: usize = 64;

/// What to look up.
pub(crate) struct Name {
    tls: bool,
    host: String,
    port: Option<u16>,
}

impl Name {
    /// `port` absent: by SRV.
    pub(crate) fn new(tls: bool, host: &str, port: Option<u16>) -> Self {
        Name { tls, host: host.to_owned(), port }
    }

    fn target(&self, host: &str) -> Option<Target> {
        if !self.tls {
            return Some(Target::Plain);
        }
        ServerName::try_from(host.trim_end_matches('.').to_owned()).ok().map(Target::Tls)
    }
}

/// Keeps the endpoints of an upstream what DNS says they are.
pub(crate) async fn keep_listed(worker: Rc<Worker>, upstream: Rc<Upstream>, name: Name) {
    let literal = name.host.trim_matches(['[', ']']).parse::<IpAddr>();
    if let (Ok(address), Some(port)) = (literal, name.port) {
        if let Some(target) = name.target(name.host.trim_matches(['[', ']'])) {
            upstream
                .update(&[single(&name.host, SocketAddr::new(address, port), target)], worker.timer.now());
        }
        return;
    }
    loop {
        let found = match name.port {
            Some(port) => by_address(&name, port).await,
            None => by_service(&name).await,
        };
        let again = match found {
            Some(listed) if !listed.is_empty() => {
                upstream.update(&listed, worker.timer.now());
                worker.limits().lookup_again
            }
            _ => {
                tracing::warn!(host = name.host, "the host of an upstream cannot be found");
                if !upstream.known.get() {
                    // So that callers are told at once instead of waiting for a name that is not there.
                    upstream.update(&[], worker.timer.now());
                }
                AGAIN_AFTER_FAILURE
            }
        };
        worker.timer.sleep(again).await;
    }
}

async fn by_address(name: &Name, port: u16) -> Option<Vec<Listed>> {
    let target = name.target(&name.host)?;
    let found = tokio::net::lookup_host((name.host.as_str(), port)).await.ok()?;
    let listed =
        found.take(ADDRESSES_MAX).map(|address| single(&address.to_string(), address, target.clone()));
    Some(listed.collect())
}

async fn by_service(name: &Name) -> Option<Vec<Listed>> {
    let resolver = TokioResolver::builder_tokio().ok()?.build().ok()?;
    let found = resolver.srv_lookup(name.host.as_str()).await.ok()?;
    let mut listed = Vec::new();
    for record in found.answers() {
        let RData::SRV(service) = &record.data else { continue };
        let host = service.target.to_utf8();
        let Some(target) = name.target(&host) else { continue };
        let Ok(addresses) = tokio::net::lookup_host((host.as_str(), service.port)).await else { continue };
        for address in addresses.take(ADDRESSES_MAX - listed.len()) {
            listed.push(single(&address.to_string(), address, target.clone()));
        }
    }
    Some(listed)
}
