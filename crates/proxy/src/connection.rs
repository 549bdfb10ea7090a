//! Connections: what turns bytes of an accepted socket into exchanges, one module for each protocol.

pub(crate) mod api;
pub(crate) mod http1;
pub(crate) mod http1_io;
pub(crate) mod http1_server;
pub(crate) mod http2_guard;
pub(crate) mod http2_io;
pub(crate) mod http2_server;
pub(crate) mod tcp;

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_trust::identity::Identity;

use crate::connection::http1::HeadLimits;
use crate::metrics::NameId;

/// Where a connection came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// From outside, at the gateway.
    Edge,
    /// From the mesh, toward the local service.
    Inbound,
    /// From the local service, toward this callee.
    Outbound(Arc<str>),
    /// From the local service, toward whom the request names.
    Forward,
    /// From the local service, to the sidecar itself.
    Api,
}

impl Entry {
    /// The listener's name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Entry::Edge => "edge",
            Entry::Inbound => "inbound",
            Entry::Outbound(_) => "outbound",
            Entry::Forward => "proxy",
            Entry::Api => "api",
        }
    }

    /// How large a head may be that comes in here.
    pub(crate) fn head_limits(&self) -> &'static HeadLimits {
        match self {
            Entry::Edge => &HeadLimits::EDGE,
            Entry::Inbound => &HeadLimits::HOP,
            Entry::Outbound(_) | Entry::Forward | Entry::Api => &HeadLimits::MESH,
        }
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) entry: Entry,
    pub(crate) peer: SocketAddr,
    /// Proven by the peer's certificate.
    pub(crate) identity: Option<Identity>,
    pub(crate) tls: bool,
    /// Who that is in metrics, once it was asked.
    pub(crate) caller: OnceCell<NameId>,
    /// The peer as `forwarded` tells of it to the next hop (RFC 7239, 4), and as `x-forwarded-for` does.
    pub(crate) forwarded: ForwardedPeer,
}

impl Conn {
    /// What is known of a connection from `peer`.
    pub(crate) fn new(entry: Entry, peer: SocketAddr, identity: Option<Identity>, tls: bool) -> Self {
        let forwarded = match entry {
            Entry::Edge => ForwardedPeer::of(peer.ip(), tls),
            _ => ForwardedPeer::default(),
        };
        Conn { entry, peer, identity, tls, caller: OnceCell::new(), forwarded }
    }
}

/// What every request of a connection says about its client.
#[derive(Debug, Default)]
pub(crate) struct ForwardedPeer {
    pub(crate) element: Box<str>,
    pub(crate) address: Box<str>,
}

impl ForwardedPeer {
    fn of(client: IpAddr, tls: bool) -> Self {
        let proto = if tls { "https" } else { "http" };
        let node = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
        ForwardedPeer {
            element: format!("for={node};proto={proto}").into(),
            address: client.to_string().into(),
        }
    }
}
