//! Fields that say who is calling, through whom, in which trace: stripped where they cannot be believed, set where we
//! know better. And the edits that a route asks for.

use weft_model::pattern::EndpointPattern;
use weft_model::plan::{ActionPlan, FieldEdits, RoutePlan};
use weft_model::target;

use crate::connection::{Conn, Entry};
use crate::head::{Head, HeadError, Known};
use crate::worker::{Callee, CalleeKind};
use weft_model::plan::Reach;

/// Fields of identity and of the mesh that nobody outside may set (threat 7).
const INSIDE_ONLY: [Known; 8] = [
    Known::WeftCaller,
    Known::WeftPrincipal,
    Known::WeftAttempt,
    Known::WeftDeadline,
    Known::WeftConversation,
    Known::WeftPosition,
    Known::XForwardedClientCert,
    Known::ProxyStatus,
];

/// Fields about earlier proxies, believed only from those that the manifest trusts.
const FORWARDING: [Known; 6] = [
    Known::Forwarded,
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XRealIp,
];

/// Makes the request's fields ours, before anything is decided on them.
///
/// # Errors
/// The head has no room for another field.
pub(crate) fn arrive(conn: &Conn, trusted: bool, head: &mut Head) -> Result<(), HeadError> {
    match conn.entry {
        Entry::Edge => {
            for known in INSIDE_ONLY {
                head.remove(known);
            }
            head.remove_prefix(b"weft-");
            forwarding(conn, trusted, head)
        }
        // A service says nothing about who it is or how often it was asked.
        Entry::Outbound(_) | Entry::Forward => {
            for known in
                [Known::WeftCaller, Known::WeftPrincipal, Known::XForwardedClientCert, Known::WeftAttempt]
            {
                head.remove(known);
            }
            Ok(())
        }
        Entry::Inbound => {
            head.remove(Known::XForwardedClientCert);
            match &conn.identity {
                Some(identity) => head.set_known(Known::WeftCaller, identity.id.as_str().as_bytes()),
                None => {
                    head.remove(Known::WeftCaller);
                    Ok(())
                }
            }
        }
        Entry::Api => Ok(()),
    }
}

fn forwarding(conn: &Conn, trusted: bool, head: &mut Head) -> Result<(), HeadError> {
    if !trusted {
        for known in FORWARDING {
            head.remove(known);
        }
    }
    append(head, Known::XForwardedFor, &conn.forwarded.address)?;
    if !head.has(Known::XForwardedProto) {
        let proto: &[u8] = if conn.tls { b"https" } else { b"http" };
        head.push_known(Known::XForwardedProto, proto)?;
    }
    if !head.has(Known::XForwardedHost) {
        head.push_authority_as(Known::XForwardedHost)?;
    }
    append(head, Known::Forwarded, &conn.forwarded.element)
}

/// Adds an element to the end of a list that earlier proxies began.
fn append(head: &mut Head, list: Known, element: &str) -> Result<(), HeadError> {
    match head.get_str(list) {
        Some(earlier) => {
            let longer = format!("{earlier}, {element}");
            head.set_known(list, longer.as_bytes())
        }
        None => head.set_known(list, element.as_bytes()),
    }
}

/// The request as the callee gets it, behind [`retarget`]: its own name as authority, the route's edits.
///
/// # Errors
/// The result is no valid head: an edit that does not fit.
pub(crate) fn depart(route: Option<&RoutePlan>, callee: &Callee, head: &mut Head) -> Result<(), HeadError> {
    if let Some(route) = route {
        edit(&route.request_headers, head)?;
    }
    match (&callee.plan.reach, callee.kind) {
        (Reach::Url { prefix, .. }, CalleeKind::Url) => {
            head.set_authority(callee.authority.as_bytes())?;
            if !prefix.is_empty() {
                let path = format!("{prefix}{}", head.path());
                head.set_path(path.as_bytes())?;
            }
        }
        // The edge's own host tells a service how it is reached from outside, so it stays; between services the callee's
        // name stands, not the loopback address that the caller connected to.
        (_, CalleeKind::Mesh) if route.is_none() => head.set_authority(callee.plan.name.as_bytes())?,
        _ => {}
    }
    if head.authority_bytes().is_empty() {
        head.set_authority(callee.plan.name.as_bytes())?;
    }
    Ok(())
}

/// Makes the method and the path of a request those that the route's target is asked for.
///
/// # Errors
/// The result is no valid head: a rewrite that leads out of the root.
pub(crate) fn retarget(route: &RoutePlan, head: &mut Head) -> Result<(), HeadError> {
    let ActionPlan::Forward { rewrite, replace, .. } = &route.action else { return Ok(()) };
    if let Some(prefix) = rewrite {
        let path = target::rewritten(prefix, &route.path, head.path());
        head.set_path(path.as_bytes())?;
    }
    match replace {
        Some(EndpointPattern::Http { method, path, query }) => {
            let target = target::replaced(path, query.as_deref(), &route.path, head.path(), head.query());
            if let Some(method) = method {
                head.set_method(method.as_bytes())?;
            }
            head.set_target(target.as_bytes())
        }
        Some(EndpointPattern::Grpc { service, method }) => {
            head.set_method(b"POST")?;
            head.set_target(format!("/{service}/{method}").as_bytes())
        }
        None => Ok(()),
    }
}

/// Applies a route's edits: what is removed first, then what is set.
///
/// # Errors
/// The head has no room.
pub(crate) fn edit(edits: &FieldEdits, head: &mut Head) -> Result<(), HeadError> {
    for name in &edits.remove {
        head.remove_name(name.as_bytes());
    }
    for (name, value) in &edits.set {
        head.set(name.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}
