//! Probes of the local service: eager until it is well for the first time, then at the plan's pace.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use weft_model::plan::{HealthPlan, Probe};

use crate::body::{BodyLength, Piece, Reader};
use crate::connection::http1::{BodyFraming, RequestWire, ResponseTo, write_request};
use crate::connection::http1_io::Http1Reply;
use crate::connection::http2_io::{self, Http2Reader};
use crate::head::{Head, HeadError, Known, Method, Scheme, Version};
use crate::upstream::connect;
use crate::upstream::pool::{Endpoint, Target};
use crate::worker::{Active, Worker};

/// State of the local service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not yet well.
    Starting,
    /// Takes requests.
    Ready,
    /// Was well, failed its probes.
    Unhealthy,
}

/// So many probes in a row must fail before a service that was well is not.
const FAILURES: u32 = 3;
/// Pause between probes while the service starts: at first, and at most.
const EAGER_MS: (u64, u64) = (20, 500);
/// An answer to a probe is read so far.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Probes the local service for as long as the worker lives, and tells each change.
pub(crate) async fn watch(worker: Rc<Worker>, tell: watch::Sender<Health>) {
    let Some(port) = worker.shared.service_port else { return };
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let mut failures = 0;
    let mut eager_ms = EAGER_MS.0;
    loop {
        let Some((active, plan)) = plan_of(&worker) else {
            worker.timer.sleep(Duration::from_millis(EAGER_MS.0)).await;
            continue;
        };
        let well = probe(&worker, &active, &plan, address).await;
        let now = *tell.borrow();
        failures = if well { 0 } else { failures + 1 };
        let next = match now {
            _ if well => Health::Ready,
            Health::Ready if failures >= FAILURES => Health::Unhealthy,
            same => same,
        };
        tell.send_if_modified(|state| std::mem::replace(state, next) != next);
        let pause = match next {
            Health::Ready => {
                eager_ms = EAGER_MS.0;
                // A first failure is looked into at once: three in a row must not take three long intervals.
                if well { plan.interval_ms } else { plan.interval_ms.min(EAGER_MS.1) }
            }
            Health::Starting | Health::Unhealthy => {
                eager_ms = (eager_ms * 3 / 2).min(EAGER_MS.1);
                eager_ms.min(plan.interval_ms.max(EAGER_MS.0))
            }
        };
        worker.timer.sleep(Duration::from_millis(pause)).await;
    }
}

fn plan_of(worker: &Worker) -> Option<(Rc<Active>, HealthPlan)> {
    let active = worker.active()?;
    let plan = active.compiled.sidecar()?.0.inbound.health.clone();
    Some((active, plan))
}

async fn probe(worker: &Rc<Worker>, active: &Active, plan: &HealthPlan, address: SocketAddr) -> bool {
    let timeout = Duration::from_millis(plan.timeout_ms.max(1));
    let until = worker.timer.now() + timeout;
    let endpoint = Rc::new(Endpoint::new("probe".into(), address, Target::Plain));
    let service = active.compiled.sidecar().map_or("", |(sidecar, _)| &sidecar.service);
    let asked = async {
        match &plan.probe {
            Probe::Tcp => connect::connect(worker, &endpoint, connect::HTTP1, timeout).await.is_ok(),
            Probe::Http { path } => http(worker, &endpoint, service, path, timeout).await.unwrap_or(false),
            Probe::Grpc => grpc(worker, &endpoint, service, timeout).await.unwrap_or(false),
        }
    };
    worker.timer.limit(until, asked).await.unwrap_or(false)
}

fn request(method: &[u8], service: &str, path: &str) -> Result<Head, HeadError> {
    let mut head = Head::new();
    head.start_request(method, Version::Http11)?;
    head.set_authority(service.as_bytes())?;
    head.set_target(path.as_bytes())?;
    head.push_known(Known::UserAgent, b"weft-probe")?;
    Ok(head)
}

/// Whether `GET path` is answered with 2xx or 3xx.
async fn http(
    worker: &Worker,
    endpoint: &Endpoint,
    service: &str,
    path: &str,
    timeout: Duration,
) -> Option<bool> {
    let head = request(b"GET", service, path).ok()?;
    let mut client = endpoint.fresh_http1(worker, timeout).await.ok()?;
    let wire = RequestWire { framing: BodyFraming::None, upgrade: false, close: true };
    write_request(&head, &wire, &mut client.out);
    client.stream.write_both(&client.out, b"").await.ok()?;
    let to = ResponseTo { method: Method::Get, upgrade: false };
    let mut reply = Http1Reply::new(&client.stream, &mut client.buf, to);
    let mut answer = Head::new();
    loop {
        let parsed = reply.head(&mut answer).await.ok()?;
        if !parsed.interim {
            return Some((200..400).contains(&parsed.status));
        }
    }
}

/// Whether `grpc.health.v1.Health/Check` of the whole server answers SERVING.
async fn grpc(
    worker: &Rc<Worker>,
    endpoint: &Rc<Endpoint>,
    service: &str,
    timeout: Duration,
) -> Option<bool> {
    let mut head = request(b"POST", service, "/grpc.health.v1.Health/Check").ok()?;
    head.push_known(Known::ContentType, b"application/grpc").ok()?;
    head.push_known(Known::Te, b"trailers").ok()?;
    let mut send = connect::http2(worker, endpoint, timeout).await.ok()?.ready().await.ok()?;
    let message = http2_io::write_request(&head, BodyLength::Unknown, Scheme::Http)?;
    let (response, mut stream) = send.send_request(message, false).ok()?;
    // An empty HealthCheckRequest: no compression, no bytes.
    stream.send_data(Bytes::from_static(&[0; 5]), true).ok()?;
    let (parts, recv) = response.await.ok()?.into_parts();
    let mut reader = Reader::Http2(Http2Reader::new(recv, BodyLength::Unknown));
    let mut body = Vec::new();
    loop {
        match reader.next().await.ok()? {
            Piece::End => break,
            piece => body.extend_from_slice(piece.bytes()),
        }
        if body.len() > ANSWER_BYTES_MAX {
            return Some(false);
        }
    }
    let status = reader.trailers().and_then(|trailers| trailers.get(Known::GrpcStatus).map(<[u8]>::to_vec));
    let status = status.or_else(|| parts.headers.get("grpc-status").map(|value| value.as_bytes().to_vec()));
    // HealthCheckResponse { ServingStatus status = 1 } with SERVING = 1.
    Some(parts.status.is_success() && status.as_deref() == Some(b"0") && body.get(5..) == Some(&[0x08, 0x01]))
}
