//! Probes of the local service: eager until it is well for the first time, then at the plan's pace.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
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
    let mut course = Course::default();
    loop {
        let Some((active, plan)) = plan_of(&worker) else {
            worker.timer.sleep(Duration::from_millis(EAGER_MS.0)).await;
            continue;
        };
        let well = probe(&worker, &active, &plan, address).await;
        let pause_ms = course.probed(well, plan.interval_ms);
        let next = course.health;
        tell.send_if_modified(|state| std::mem::replace(state, next) != next);
        let until = worker.timer.now() + Duration::from_millis(pause_ms);
        if worker.timer.limit(until, pin!(worker.shared.service_started.notified())).await.is_some() {
            course.begin_anew();
        }
    }
}

/// What the probes came to so far, and when the next one is due. Pure.
struct Course {
    health: Health,
    failures: u32,
    eager_ms: u64,
}

impl Default for Course {
    fn default() -> Self {
        Course { health: Health::Starting, failures: 0, eager_ms: EAGER_MS.0 }
    }
}

impl Course {
    /// Takes the outcome of a probe; gives the pause until the next one, milliseconds.
    fn probed(&mut self, well: bool, interval_ms: u64) -> u64 {
        self.failures = if well { 0 } else { self.failures + 1 };
        self.health = match self.health {
            _ if well => Health::Ready,
            Health::Ready if self.failures >= FAILURES => Health::Unhealthy,
            same => same,
        };
        match self.health {
            Health::Ready => {
                self.eager_ms = EAGER_MS.0;
                // A first failure is looked into at once: three in a row must not take three long intervals.
                if well { interval_ms } else { interval_ms.min(EAGER_MS.1) }
            }
            Health::Starting | Health::Unhealthy => {
                let pause = self.eager_ms.min(interval_ms.max(EAGER_MS.0));
                self.eager_ms = (self.eager_ms * 3 / 2).min(EAGER_MS.1);
                pause
            }
        }
    }

    /// A new process of the service was started: it may be well in a moment.
    fn begin_anew(&mut self) {
        self.eager_ms = EAGER_MS.0;
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
    let endpoint =
        Rc::new(Endpoint::new(worker.names().intern("probe"), "probe".into(), address, Target::Plain));
    let service = active.compiled.sidecar().map_or("", |(sidecar, _)| &sidecar.service);
    let asked = async {
        match &plan.probe {
            Probe::Tcp => connect::connect(worker, &endpoint, connect::HTTP1, timeout).await.is_ok(),
            Probe::Http { path } => http(worker, &endpoint, service, path, timeout).await.unwrap_or(false),
            Probe::Grpc => grpc(worker, &endpoint, service, timeout).await.unwrap_or(false),
        }
    };
    worker.timer.limit(until, pin!(asked)).await.unwrap_or(false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_nobody_is_well_and_are_short_again_once_the_service_was_started() {
        let mut course = Course::default();
        let waited: Vec<u64> = (0..12).map(|_| course.probed(false, 5000)).collect();
        assert_eq!((waited[0], waited[11]), EAGER_MS);
        assert!(waited.is_sorted(), "{waited:?}");
        assert_eq!(course.health, Health::Starting);
        course.begin_anew();
        assert_eq!(course.probed(false, 5000), EAGER_MS.0);
        assert_eq!((course.probed(true, 5000), course.health), (5000, Health::Ready));
    }

    #[test]
    fn only_three_failures_in_a_row_make_a_well_service_ill() {
        let mut course = Course::default();
        course.probed(true, 5000);
        for _ in 1..FAILURES {
            assert_eq!((course.probed(false, 5000), course.health), (EAGER_MS.1, Health::Ready));
        }
        course.probed(true, 5000);
        for _ in 0..FAILURES {
            course.probed(false, 5000);
        }
        assert_eq!(course.health, Health::Unhealthy);
        assert!(
            course.probed(false, 5) <= EAGER_MS.0 * 2,
            "an interval shorter than the eager pauses is kept"
        );
    }
}
