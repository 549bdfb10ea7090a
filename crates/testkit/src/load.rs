//! Steady requests while something is broken, and what came of each.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::{Client, Request, Response};
use crate::tls::Tls;

/// Between two requests of one connection: enough load to hit any gap, and time for the machine to do the rest.
const PAUSE: Duration = Duration::from_millis(2);

/// How often each outcome came: `200`, `503 W3004`, or what kind of failure the connection had.
pub type Outcomes = BTreeMap<String, u64>;

/// Requests on several connections, kept alive between requests, until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Outcomes>>,
}

impl Load {
    /// Starts `connections` of them.
    pub fn start(to: SocketAddr, connections: usize, request: &Request) -> Self {
        Self::start_with(to, connections, request, None)
    }

    /// The same with TLS, where there is some.
    pub fn start_with(to: SocketAddr, connections: usize, request: &Request, tls: Option<&Tls>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let worker = |_| {
            let (stop, answered, request) = (Arc::clone(&stop), Arc::clone(&answered), request.clone());
            let whom = Whom { to, tls: tls.cloned() };
            std::thread::spawn(move || work(&whom, &request, &stop, &answered))
        };
        let workers = (0..connections).map(worker).collect();
        Self { stop, answered, workers }
    }

    /// Returns once `more` further requests have been answered, in whatever way.
    pub fn wait_for(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        crate::until("answers under load", || {
            std::thread::park_timeout(PAUSE);
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    /// Ends it.
    pub fn stop(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcomes::new();
        for outcomes in self.workers.into_iter().filter_map(|worker| worker.join().ok()) {
            for (outcome, count) in outcomes {
                *all.entry(outcome).or_default() += count;
            }
        }
        all
    }
}

/// Whom to ask, and how.
struct Whom {
    to: SocketAddr,
    tls: Option<Tls>,
}

fn work(whom: &Whom, request: &Request, stop: &AtomicBool, answered: &AtomicU64) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let outcome = match exchange(whom, request, &mut kept) {
            Ok(response) => response.outcome(),
            Err(error) => format!("failed: {:?}", error.kind()),
        };
        *outcomes.entry(outcome).or_default() += 1;
        answered.fetch_add(1, Ordering::Relaxed);
        std::thread::park_timeout(PAUSE);
    }
    outcomes
}

/// As a good client does it: a kept connection that was closed without a byte of an answer is replaced, and an idempotent
/// request is sent once more (RFC 9112, section 9.3.1).
fn exchange(whom: &Whom, request: &Request, kept: &mut Option<Client>) -> io::Result<Response> {
    if let Some(mut client) = kept.take() {
        match client.send(request) {
            Ok(response) => return Ok(keep(client, response, kept)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted && request.method == "GET" => {}
            Err(error) => return Err(error),
        }
    }
    let mut client = Client::connect_with(whom.to, whom.tls.as_ref())?;
    let response = client.send(request)?;
    Ok(keep(client, response, kept))
}

fn keep(client: Client, response: Response, kept: &mut Option<Client>) -> Response {
    let close = response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    *kept = (!close).then_some(client);
    response
}
