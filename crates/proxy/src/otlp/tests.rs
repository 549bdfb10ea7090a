//! The loop in a world of its own: time is a number that the test moves, the receiver a script.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use weft_model::plan::TracesOver;
use weft_stdx::clock::Hand;

use super::*;
use crate::trace::TraceContext;

fn span(number: usize) -> Span {
    Span {
        context: TraceContext { trace_id: [1; 16], span_id: [2; 8], parent_id: [0; 8], sampled: true },
        server: true,
        name: format!("/{number}"),
        source: "outside".to_owned(),
        destination: "orders".to_owned(),
        method: "GET",
        status: 200,
        grpc: None,
        code: None,
        start: UNIX_EPOCH,
        duration_us: 1,
        attempts: 1,
    }
}

fn plan(url: &str) -> Option<TracesPlan> {
    Some(TracesPlan { url: url.to_owned(), over: TracesOver::Grpc, sample_bp: 10_000 })
}

/// What the receiver does with the next batch.
#[derive(Debug, Clone)]
enum Does {
    Answers(Result<Accepted, Failed>),
    Hangs,
}

const AWAY: fn() -> Does = || Does::Answers(Err(Failed::Later { why: "away".to_owned(), pause: None }));
const REFUSES: fn() -> Does = || Does::Answers(Err(Failed::Never { why: "bad".to_owned() }));

struct Attempt {
    url: String,
    names: Vec<String>,
    /// The exporter is to forget the batch, for good or ill.
    settled: bool,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Does>,
    seen: Vec<Attempt>,
}

/// The receiver and the time, as the exporter sees them.
struct Fake {
    script: Rc<RefCell<Script>>,
    time: watch::Receiver<Duration>,
}

impl Outside for Fake {
    async fn deliver(&mut self, to: &TracesPlan, batch: Bytes) -> Result<Accepted, Failed> {
        let does = {
            let mut script = self.script.borrow_mut();
            let does = script.next.pop_front();
            let settled = matches!(&does, None | Some(Does::Answers(Ok(_) | Err(Failed::Never { .. }))));
            script.seen.push(Attempt { url: to.url.clone(), names: message::names(&batch), settled });
            does
        };
        match does {
            None => Ok(Accepted::default()),
            Some(Does::Answers(answer)) => answer,
            Some(Does::Hangs) => std::future::pending().await,
        }
    }

    async fn sleep(&self, time: Duration) {
        let mut now = self.time.clone();
        let until = *now.borrow() + time;
        now.wait_for(|now| *now >= until).await.unwrap();
    }
}

/// A running exporter.
struct World {
    exporter: Option<Exporter>,
    spans: Option<mpsc::Sender<Span>>,
    script: Rc<RefCell<Script>>,
    time: watch::Sender<Duration>,
    hand: Hand,
    running: tokio::task::JoinHandle<()>,
    sent: usize,
}

impl World {
    fn start(seed: u64) -> World {
        let (clock, hand) = Clock::manual(UNIX_EPOCH);
        let resource =
            Resource { service: "orders".to_owned(), instance: "orders-1".to_owned(), build: "0".to_owned() };
        let (exporter, spans, mut export) = Exporter::new(resource, clock);
        export.rng = Rng::seeded(seed);
        let script = Rc::new(RefCell::new(Script::default()));
        let (time, seen) = watch::channel(Duration::ZERO);
        let fake = Fake { script: Rc::clone(&script), time: seen };
        let running = tokio::task::spawn_local(export.run_over(fake));
        World { exporter: Some(exporter), spans: Some(spans), script, time, hand, running, sent: 0 }
    }

    fn exporter(&self) -> &Exporter {
        self.exporter.as_ref().unwrap()
    }

    /// Hands over so many spans; returns how many found no room.
    fn hand_over(&mut self, count: usize) -> usize {
        let spans = self.spans.as_ref().unwrap();
        let numbers = self.sent..self.sent + count;
        self.sent += count;
        numbers.filter(|number| spans.try_send(span(*number)).is_err()).count()
    }

    async fn passes(&self, time: Duration) {
        self.hand.advance(time);
        self.time.send_modify(|now| *now += time);
        settle().await;
    }

    /// Spans of each attempt since the last question.
    fn attempts(&self) -> Vec<usize> {
        self.script.borrow_mut().seen.drain(..).map(|attempt| attempt.names.len()).collect()
    }
}

/// Lets the exporter do all that it can do without time passing.
async fn settle() {
    for _ in 0..60 {
        tokio::task::yield_now().await;
    }
}

fn in_world<T>(test: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test())
}

#[test]
fn a_full_batch_leaves_at_once_and_a_small_one_after_a_second() {
    in_world(async || {
        let mut world = World::start(1);
        world.exporter().set(plan("http://a:1"));
        settle().await;
        world.hand_over(BATCH_SPANS_MAX + 10);
        settle().await;
        assert_eq!(world.attempts(), [BATCH_SPANS_MAX]);
        world.passes(BATCH_AGE / 2).await;
        world.hand_over(1);
        settle().await;
        assert_eq!(world.attempts(), [0; 0]);
        world.passes(BATCH_AGE / 2).await;
        assert_eq!(world.attempts(), [11]);
    });
}

#[test]
fn a_receiver_that_is_away_gets_the_same_batch_later_and_the_queue_has_a_limit() {
    in_world(async || {
        let mut world = World::start(2);
        world.exporter().set(plan("http://a:1"));
        world.script.borrow_mut().next.extend([AWAY(), AWAY(), AWAY()]);
        settle().await;
        world.hand_over(BATCH_SPANS_MAX);
        settle().await;
        assert_eq!(world.attempts(), [BATCH_SPANS_MAX]);
        // Meanwhile the workers go on, and are told when there is no more room.
        assert_eq!(world.hand_over(QUEUE_SPANS_MAX + 7), 7);
        world.passes(BACKOFF.0 - Duration::from_millis(1)).await;
        assert_eq!(world.attempts(), [0; 0], "not before the shortest pause");
        world.passes(Duration::from_secs(2)).await;
        assert_eq!(world.attempts(), [BATCH_SPANS_MAX], "twice the shortest pause at most");
        world.passes(Duration::from_secs(4)).await;
        world.passes(Duration::from_secs(8)).await;
        let all = 2 + QUEUE_SPANS_MAX / BATCH_SPANS_MAX;
        assert_eq!(world.attempts(), vec![BATCH_SPANS_MAX; all], "then it is back, and gets all that waited");
    });
}

#[test]
fn a_pause_that_the_receiver_asks_for_is_kept_within_reason() {
    in_world(async || {
        for (asked, kept) in [(7, 7), (3600, 300), (0, 1)] {
            let mut world = World::start(3);
            world.exporter().set(plan("http://a:1"));
            let pause = Some(Duration::from_secs(asked));
            world
                .script
                .borrow_mut()
                .next
                .push_back(Does::Answers(Err(Failed::Later { why: "busy".to_owned(), pause })));
            world.hand_over(BATCH_SPANS_MAX);
            settle().await;
            assert_eq!(world.attempts().len(), 1);
            world.passes(Duration::from_millis(kept * 1000 - 1)).await;
            assert_eq!(world.attempts().len(), 0, "{asked} s");
            world.passes(Duration::from_millis(1)).await;
            assert_eq!(world.attempts().len(), 1, "{asked} s");
        }
    });
}

#[test]
fn what_is_refused_for_good_is_not_sent_again() {
    in_world(async || {
        let mut world = World::start(4);
        world.exporter().set(plan("http://a:1"));
        world.script.borrow_mut().next.push_back(REFUSES());
        world.hand_over(2 * BATCH_SPANS_MAX);
        settle().await;
        let seen = std::mem::take(&mut world.script.borrow_mut().seen);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].names[0], format!("GET /{BATCH_SPANS_MAX}"), "the second batch is another one");
    });
}

#[test]
fn a_new_plan_takes_the_batch_along_whatever_the_old_receiver_does() {
    in_world(async || {
        for does in [AWAY(), Does::Hangs] {
            let mut world = World::start(5);
            world.exporter().set(plan("http://wrong:1"));
            world.script.borrow_mut().next.push_back(does);
            world.hand_over(BATCH_SPANS_MAX);
            settle().await;
            world.exporter().set(plan("http://right:1"));
            settle().await;
            let seen = std::mem::take(&mut world.script.borrow_mut().seen);
            let urls: Vec<&str> = seen.iter().map(|attempt| attempt.url.as_str()).collect();
            assert_eq!(urls, ["http://wrong:1", "http://right:1"]);
            assert_eq!(seen[0].names, seen[1].names);
            // The same plan again is no change.
            world.exporter().set(plan("http://right:1"));
            settle().await;
            assert_eq!(world.attempts(), [0; 0]);
        }
    });
}

#[test]
fn without_a_plan_spans_go_nowhere_and_never_fill_the_queue() {
    in_world(async || {
        let mut world = World::start(6);
        for _ in 0..3 {
            assert_eq!(world.hand_over(QUEUE_SPANS_MAX), 0);
            settle().await;
        }
        world.exporter().set(plan("http://a:1"));
        settle().await;
        world.hand_over(1);
        world.passes(BATCH_AGE).await;
        world.passes(BATCH_AGE).await;
        assert_eq!(world.attempts(), [1]);
    });
}

#[test]
fn finishing_sends_what_waits_once_and_ends() {
    in_world(async || {
        for does in [None, Some(AWAY()), Some(REFUSES())] {
            let mut world = World::start(7);
            world.exporter().set(plan("http://a:1"));
            settle().await;
            world.hand_over(BATCH_SPANS_MAX - 1);
            settle().await;
            world.script.borrow_mut().next.extend(does);
            world.hand_over(3);
            world.exporter().finish();
            settle().await;
            let names: usize = world.attempts().iter().sum();
            assert_eq!(names, BATCH_SPANS_MAX + 2, "each once");
            assert!(world.running.is_finished());
        }
    });
}

#[test]
fn finishing_waits_for_the_attempt_that_is_under_way() {
    in_world(async || {
        let mut world = World::start(10);
        world.exporter().set(plan("http://a:1"));
        world.script.borrow_mut().next.push_back(Does::Hangs);
        world.hand_over(BATCH_SPANS_MAX);
        settle().await;
        world.exporter().finish();
        settle().await;
        assert_eq!(world.attempts(), [BATCH_SPANS_MAX], "not a second time");
        assert!(!world.running.is_finished());
    });
}

#[test]
fn an_exporter_that_nobody_holds_ends() {
    in_world(async || {
        for traced in [false, true] {
            let mut world = World::start(8);
            world.exporter().set(if traced { plan("http://a:1") } else { None });
            settle().await;
            world.exporter = None;
            settle().await;
            assert!(world.running.is_finished(), "without a handle");

            let mut world = World::start(9);
            world.exporter().set(if traced { plan("http://a:1") } else { None });
            settle().await;
            world.hand_over(3);
            world.spans = None;
            settle().await;
            assert!(world.running.is_finished(), "without a worker");
            assert_eq!(world.attempts(), if traced { vec![3] } else { vec![] });
        }
    });
}

/// Whatever the receiver does: each span is settled with it exactly once, or was counted as dropped.
#[test]
fn no_span_is_lost_or_doubled_in_silence() {
    for seed in 0..30 {
        in_world(async || {
            let mut rng = Rng::seeded(seed);
            let mut world = World::start(seed);
            world.exporter().set(plan("http://a:1"));
            let mut dropped = 0;
            for _ in 0..60 {
                match rng.below(6) {
                    0 => world.script.borrow_mut().next.push_back(AWAY()),
                    1 => world.script.borrow_mut().next.push_back(REFUSES()),
                    2 => world.exporter().set(plan(&format!("http://{}:1", rng.below(2)))),
                    3 => world.passes(Duration::from_millis(rng.between(1, 5000))).await,
                    _ => dropped += world.hand_over(rng.below(700)),
                }
                settle().await;
            }
            while !world.script.borrow().next.is_empty() {
                dropped += world.hand_over(1);
                world.passes(BACKOFF.1).await;
            }
            world.exporter().finish();
            settle().await;
            assert!(world.running.is_finished(), "seed {seed}");
            let seen = std::mem::take(&mut world.script.borrow_mut().seen);
            let settled = seen.into_iter().filter(|attempt| attempt.settled);
            let mut names: Vec<String> = settled.flat_map(|attempt| attempt.names).collect();
            assert_eq!(names.len() + dropped, world.sent, "seed {seed}");
            names.sort();
            names.dedup();
            assert_eq!(names.len() + dropped, world.sent, "seed {seed}: a span was settled twice");
        });
    }
}
