//! A tunnel to a declared outside host.

use std::rc::Rc;
use std::time::Duration;

use weft_model::code::Code;
use weft_stdx::clock::Tick;

use crate::access::Record;
use crate::body::{BodyLength, Responder};
use crate::exchange::{Fate, TimeLimits, date};
use crate::head::{Head, Version};
use crate::rescue::Ended;
use crate::upstream::InFlight;
use crate::upstream::balance::Ask;
use crate::upstream::presence::Patience;
use crate::worker::{Callee, Worker};

/// Opens a tunnel to a declared outside host (CONNECT; RFC 9110, 9.3.6).
///
/// # Errors
/// The host cannot be reached.
pub(crate) async fn tunnel(
    worker: &Rc<Worker>,
    callee: &Rc<Callee>,
    limits: &TimeLimits,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Result<Fate, Ended> {
    if !matches!(responder, Responder::Http1(_)) {
        let detail = "a tunnel takes a whole connection: ask for it by HTTP/1.1";
        return Err(Ended::new(Code::MethodNotSupported, detail));
    }
    let (came, deadline) = (worker.timer.recent(), limits.head.at());
    let patience = Patience { came, until: Tick::NEVER, deadline };
    // The name of the host may still have to be looked up.
    let let_go = callee.upstream.until_present(&worker.timer, patience).await;
    let flight = callee.upstream.pick(worker.timer.now(), &mut worker.rng.borrow_mut(), &Ask::default());
    let endpoint = flight.as_ref().and_then(InFlight::endpoint).cloned();
    let endpoint = endpoint.ok_or_else(|| Ended::new(Code::NameNotFound, callee.plan.name.clone()))?;
    let timeout = Duration::from_millis(callee.plan.resilience.connect_timeout_ms);
    let client = endpoint.fresh_http1(worker, timeout).await;
    let client = client.map_err(|_| Ended::new(Code::ExternalFailed, callee.plan.name.clone()))?;
    if let Some(let_go) = let_go {
        let_go.answered();
    }
    let mut head = Head::new();
    head.start_response(200, Version::Http11);
    date(worker, &mut head);
    record.status = 200;
    record.head_sent = true;
    let mut writer =
        responder.start(&head, BodyLength::None, None).map_err(|_| Ended::from(Code::DownstreamGone))?;
    writer.end(None).await.map_err(|_| Ended::from(Code::DownstreamGone))?;
    Ok(Fate::Tunnel(client.stream, Vec::new()))
}
