//! May this caller make this request: the allow graph, at the callee's sidecar, by proven identity.

use weft_model::code::Code;

use crate::connection::{Conn, Entry};
use crate::head::Head;
use crate::metrics::{NameId, Names};
use crate::rescue::Ended;
use crate::worker::Active;

/// Service part of the gateway's identity; the allow graph names it as [`crate::compiled::GATEWAY`].
pub(crate) const GATEWAY_IDENTITY: &str = "weft-gateway";

/// The caller's name in the allow graph and in metrics.
pub(crate) fn caller(conn: &Conn) -> &str {
    match &conn.identity {
        Some(identity) if identity.id.service() == GATEWAY_IDENTITY => crate::compiled::GATEWAY,
        Some(identity) => identity.id.service(),
        None => "outside",
    }
}

/// Its number, found out once for a connection.
pub(crate) fn caller_id(conn: &Conn, names: &Names) -> NameId {
    *conn.caller.get_or_init(|| names.intern(caller(conn)))
}

/// Refuses what the allow graph does not hold. Only inbound exchanges are decided here: what leaves a service is decided
/// where it arrives, by the identity that it proves there.
///
/// # Errors
/// The caller proved no identity, or may not call this endpoint.
pub(crate) fn authorize(conn: &Conn, active: &Active, head: &Head) -> Result<(), Ended> {
    if conn.entry != Entry::Inbound {
        return Ok(());
    }
    let Some((plan, sidecar)) = active.compiled.sidecar() else { return Err(Code::NotReady.into()) };
    if conn.identity.is_none() {
        return Err(Code::NoIdentity.into());
    }
    let caller = caller(conn);
    if sidecar.allowed(plan, caller, head).is_some() {
        return Ok(());
    }
    let lines: Vec<_> = plan.inbound.allow.iter().filter(|line| line.caller == caller).collect();
    let request = format!("{} {}", head.method_str(), head.path());
    match lines.first() {
        None => {
            let detail = format!("`{caller}` declares no call to `{}` (asked: {request})", plan.service);
            Err(Ended::new(Code::NotAllowed, detail))
        }
        Some(line) => {
            let detail =
                format!("`{caller}` may call only the listed endpoints of `{}`, not {request}", plan.service);
            Err(Ended::new(Code::NotAllowed, detail).by(&line.origin))
        }
    }
}
