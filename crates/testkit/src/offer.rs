//! Load that does not wait: requests begin when they are due, whether or not those before them were answered (an open
//! system; Schroeder, Wierman, Harchol-Balter, "Open Versus Closed", 2006). So a system that is too slow is asked no less.
//!
//! HTTP/1.1 on connections that are kept, HTTP/2 and gRPC on some that are shared. Each request has an end: an answer, a
//! failure, or the client's patience. What was unusual is kept with its times, so that a test can say whether it was allowed.

mod client;
mod times;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

pub use self::times::Times;

/// Between two looks at what is due.
const STEP: Duration = Duration::from_millis(1);
/// Unusual ends that are kept.
const UNUSUAL_MAX: usize = 100_000;

/// What a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, one request at a time on each connection.
    Http1,
    /// HTTP/2 without TLS, many on each connection.
    Http2,
    /// A unary call of gRPC; status 0 counts as `200`, others as `grpc N`.
    Grpc,
}

/// One kind of request.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name in what comes of it.
    pub name: &'static str,
    /// What it speaks.
    pub speaks: Speaks,
    /// Method.
    pub method: &'static str,
    /// Path.
    pub path: String,
}

impl Kind {
    /// A `GET` over HTTP/1.1.
    pub fn get(name: &'static str, path: &str) -> Self {
        Self { name, speaks: Speaks::Http1, method: "GET", path: path.to_owned() }
    }
}

/// What is offered, and how.
#[derive(Clone, Debug)]
pub struct Offer {
    /// To whom.
    pub to: SocketAddr,
    /// The kinds take turns.
    pub kinds: Vec<Kind>,
    /// Requests in a second, of all kinds together.
    pub per_second: u64,
    /// Requests that may be open at once, and so connections of HTTP/1.1, each kind as many as another; what is due then is not
    /// sent, but counted.
    pub open_max: usize,
    /// After so long the client gives up.
    pub patience: Duration,
}

/// How a request ended that was not answered with 200.
#[derive(Clone, Debug)]
pub struct Unusual {
    /// Its kind.
    pub kind: &'static str,
    /// Status and code, or what kind of failure the connection had.
    pub outcome: String,
    /// When it was sent.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Since when its connection was there; absent if there was none.
    pub connected: Option<Instant>,
    /// Whether a refusal says when to come again.
    pub retry_after: bool,
}

/// What came of an offer.
#[derive(Debug, Default)]
pub struct Offered {
    /// How long each outcome of each kind took.
    pub outcomes: BTreeMap<(&'static str, String), Times>,
    /// All that was not answered with 200, as far as there is room.
    pub unusual: Vec<Unusual>,
    /// Requests that were due while as many were open as may be.
    pub held_back: u64,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Offered {
    /// Requests of all kinds with this outcome.
    pub fn of(&self, outcome: &str) -> Times {
        let mut sum = Times::default();
        for (_, times) in self.outcomes.iter().filter(|((_, there), _)| there == outcome) {
            sum.add_all(times);
        }
        sum
    }

    /// Answers with 200 in a second.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
    pub fn good_per_second(&self) -> f64 {
        self.of("200").count() as f64 / self.took.as_secs_f64()
    }

    /// For a person: every outcome, how often, and how long.
    pub fn table(&self) -> String {
        let lines = self.outcomes.iter().map(|((kind, outcome), times)| {
            let (p50, p99, most) = (times.at(50.0), times.at(99.0), times.longest());
            format!(
                "  {kind:<12} {outcome:<28} {:>9}   p50 {p50:>8.1?}  p99 {p99:>8.1?}  most {most:>8.1?}\n",
                times.count()
            )
        });
        let mut table: String = lines.collect();
        if self.held_back > 0 {
            table.push_str(&format!("  not sent, because too many were open: {}\n", self.held_back));
        }
        table
    }
}

/// Load that runs until it is stopped, on a thread of its own.
pub struct Running {
    controls: Arc<Controls>,
    thread: JoinHandle<Offered>,
}

/// What its thread and whoever started it tell each other.
struct Controls {
    stop: AtomicBool,
    per_second: AtomicU64,
    answered: AtomicU64,
}

impl Running {
    /// Starts it.
    pub fn start(offer: Offer) -> Self {
        let per_second = AtomicU64::new(offer.per_second);
        let controls = Arc::new(Controls { stop: false.into(), per_second, answered: 0.into() });
        let of_thread = Arc::clone(&controls);
        let thread = std::thread::spawn(move || run(&offer, &of_thread));
        Self { controls, thread }
    }

    /// Offers so many requests in a second from now on, from the same clients.
    pub fn change(&self, per_second: u64) {
        self.controls.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Requests that have ended so far.
    pub fn answered(&self) -> u64 {
        self.controls.answered.load(Ordering::Relaxed)
    }

    /// Ends it, once what is open has ended.
    ///
    /// # Panics
    /// The generator itself fails.
    #[expect(clippy::expect_used, reason = "a harness ends the test")]
    pub fn stop(self) -> Offered {
        self.controls.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the generator runs to its end")
    }
}

#[expect(clippy::expect_used, reason = "a harness ends the test")]
fn run(offer: &Offer, controls: &Controls) -> Offered {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(async {
        let desk = Rc::new(Desk {
            client: client::Client::new(offer.to),
            offered: RefCell::default(),
            open: vec![Cell::new(0); offer.kinds.len()],
        });
        let began = Instant::now();
        let (mut sent, mut due) = (0, Due::from(began));
        while !controls.stop.load(Ordering::Relaxed) {
            let due = due.until(Instant::now(), controls.per_second.load(Ordering::Relaxed));
            while sent < due {
                desk.send(offer, sent);
                sent += 1;
            }
            desk.publish(&controls.answered);
            tokio::time::sleep(STEP).await;
        }
        while desk.open.iter().any(|open| open.get() > 0) {
            tokio::time::sleep(STEP).await;
        }
        desk.publish(&controls.answered);
        let mut offered = desk.offered.take();
        offered.took = began.elapsed();
        offered
    }))
}

/// How many requests are due, at a rate that may change.
struct Due {
    told: Instant,
    /// Millionths of a request.
    millionths: u64,
}

impl Due {
    fn from(began: Instant) -> Self {
        Self { told: began, millionths: 0 }
    }

    /// Requests from the beginning until `now`, so many in a second since this was asked last.
    fn until(&mut self, now: Instant, per_second: u64) -> u64 {
        let passed_us = u64::try_from((now - self.told).as_micros()).unwrap_or(u64::MAX);
        // What is left of a microsecond counts the next time.
        self.told += Duration::from_micros(passed_us);
        self.millionths = self.millionths.saturating_add(per_second.saturating_mul(passed_us));
        self.millionths / 1_000_000
    }
}

struct Desk {
    client: Rc<client::Client>,
    offered: RefCell<Offered>,
    /// Requests of each kind.
    open: Vec<Cell<usize>>,
}

impl Desk {
    fn send(self: &Rc<Self>, offer: &Offer, number: u64) {
        let kinds = offer.kinds.len();
        let turn = usize::try_from(number % kinds as u64).unwrap_or(0);
        // A kind that is slower takes no place of another.
        if self.open[turn].get() >= offer.open_max.div_ceil(kinds) {
            self.offered.borrow_mut().held_back += 1;
            return;
        }
        let (kind, patience) = (offer.kinds[turn].clone(), offer.patience);
        self.open[turn].update(|open| open + 1);
        let desk = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let began = Instant::now();
            let said = tokio::time::timeout(patience, desk.client.ask(&kind)).await;
            let said = said.unwrap_or_else(|_| client::Said::failed("no end"));
            desk.note(&kind, said, began);
            desk.open[turn].update(|open| open - 1);
        });
    }

    fn note(&self, kind: &Kind, said: client::Said, began: Instant) {
        let ended = Instant::now();
        let mut offered = self.offered.borrow_mut();
        if said.outcome != "200" && offered.unusual.len() < UNUSUAL_MAX {
            let client::Said { retry_after, connected, .. } = said;
            let (kind, outcome) = (kind.name, said.outcome.clone());
            offered.unusual.push(Unusual { kind, outcome, began, ended, connected, retry_after });
        }
        offered.outcomes.entry((kind.name, said.outcome)).or_default().add(ended - began);
    }

    fn publish(&self, answered: &AtomicU64) {
        let ended = self.offered.borrow().outcomes.values().map(Times::count).sum();
        answered.store(ended, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{bench, ports, until};

    #[test]
    fn what_is_due_grows_with_time() {
        let began = Instant::now();
        let after = |us| began + Duration::from_micros(us);
        let mut due = Due::from(began);
        assert_eq!(due.until(after(1_000), 3_000), 3);
        assert_eq!(due.until(after(500_000), 1), 3);
        assert_eq!(due.until(after(1_001_000), 1), 4);
        assert_eq!(due.until(after(1_001_000), u64::MAX), 4);
        assert_eq!(due.until(after(1_002_000), 100_000), 104);
    }

    #[test]
    fn every_kind_is_answered_and_counted() {
        let port = ports::free();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(bench::upstream(port))
        });
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("it listens", || std::net::TcpStream::connect(to).ok());
        let kind = |name, speaks| Kind { name, speaks, method: "GET", path: "/".to_owned() };
        let kinds = vec![kind("1", Speaks::Http1), kind("2", Speaks::Http2), kind("grpc", Speaks::Grpc)];
        let offer = Offer { to, kinds, per_second: 600, open_max: 64, patience: crate::LIMIT };
        let running = Running::start(offer);
        until("answers", || (running.answered() >= 60).then_some(()));
        let offered = running.stop();
        let names: Vec<_> = offered.outcomes.keys().map(|(kind, said)| (*kind, said.as_str())).collect();
        assert_eq!(names, [("1", "200"), ("2", "200"), ("grpc", "200")], "{}", offered.table());
    }
}
