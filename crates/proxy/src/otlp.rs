//! Traces leave: finished spans are gathered into batches and sent to an OpenTelemetry receiver (OTLP 1.x).
//!
//! The exporter runs beside the workers, never on them: they hand over a span without waiting, and the bounded queue
//! between the two is the only one there is. While the receiver is away spans wait in it; when it is full the workers
//! count what they drop. One batch is under way at a time, so memory is bounded by the queue and two batches.

mod message;
mod tally;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weft_model::plan::TracesPlan;
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;

use crate::trace::Span;
use tally::{Notice, Tally};
use wire::Wire;

/// Spans that wait to be sent, at most.
const QUEUE_SPANS_MAX: usize = 4096;
/// Spans of one batch, at most.
const BATCH_SPANS_MAX: usize = 512;
/// A span waits so long for others to come along.
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Pause before another attempt: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A receiver that asks for a longer pause gets this one.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Who exports, in the words of OpenTelemetry's resource attributes.
#[derive(Debug, Clone)]
pub struct Resource {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Version of the executable: of the scope, not of the service.
    pub build: String,
}

/// Tells a running [`Export`] what to do. Cheap to clone; usable on any thread.
#[derive(Debug, Clone)]
pub struct Exporter {
    wanted: watch::Sender<Wanted>,
}

#[derive(Debug, Clone, Default)]
struct Wanted {
    plan: Option<TracesPlan>,
    finish: bool,
}

impl Exporter {
    /// An exporter that drops spans until it is told where to. The sender is for
    /// [`Config::spans`](crate::Config::spans); [`Export::run`] does the work.
    pub fn new(resource: Resource, clock: Clock) -> (Exporter, mpsc::Sender<Span>, Export) {
        let (sender, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let (wanted, seen) = watch::channel(Wanted::default());
        let export = Export {
            queue: Queue { spans, wanted: seen, plan: None, batch: Vec::new() },
            resource,
            tally: Tally::default(),
            rng: Rng::from_process(),
            clock,
        };
        (Exporter { wanted }, sender, export)
    }

    /// Where spans go from now on; `None`: nowhere. What waits goes there too.
    pub fn set(&self, plan: Option<TracesPlan>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.plan != plan;
            wanted.plan = plan;
            changed
        });
    }

    /// Sends what waits, each batch once, and ends [`Export::run`]. The caller decides how long it waits for that.
    pub fn finish(&self) {
        self.wanted.send_modify(|wanted| wanted.finish = true);
    }
}

/// How a batch was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Accepted {
    /// Spans of it that the receiver refused.
    rejected: u64,
    /// Its reason or its warning.
    message: String,
}

/// Why a batch was not received.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// It may be sent again, not before the pause that the receiver asked for.
    Later { why: String, pause: Option<Duration> },
    /// It would be refused again.
    Never { why: String },
}

/// All that is not a decision: the network and the passing of time.
trait Outside {
    /// Sends an encoded `ExportTraceServiceRequest`. May be given up at any await.
    async fn deliver(&mut self, to: &TracesPlan, batch: Bytes) -> Result<Accepted, Failed>;

    async fn sleep(&self, time: Duration);
}

/// The exporter's work.
pub struct Export {
    queue: Queue,
    resource: Resource,
    tally: Tally,
    rng: Rng,
    clock: Clock,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// There is a batch.
    Batch,
    /// Something else is wanted.
    Changed,
}

impl Export {
    /// Sends spans until [`Exporter::finish`], or until no worker and no [`Exporter`] is left. Needs a `LocalSet`.
    pub async fn run(self) {
        let wire = Wire::new(self.clock.clone());
        self.run_over(wire).await;
    }

    async fn run_over(mut self, mut outside: impl Outside) {
        loop {
            let wanted = self.queue.wanted();
            match (wanted.plan, wanted.finish) {
                (Some(plan), false) => self.export(&plan, &mut outside).await,
                (None, false) => self.queue.discard().await,
                (Some(plan), true) => return self.send_rest(&plan, &mut outside).await,
                (None, true) => return,
            }
        }
    }

    /// Sends batch after batch until something else is wanted.
    async fn export(&mut self, plan: &TracesPlan, outside: &mut impl Outside) {
        while self.queue.gather(outside).await == Woken::Batch {
            let body = message::encode(&self.resource, &self.queue.batch);
            let mut step = 0;
            loop {
                // The end waits for an attempt that is under way: its spans would be sent twice.
                let sent = tokio::select! {
                    biased;
                    () = self.queue.replaced() => return,
                    sent = outside.deliver(plan, body.clone()) => sent,
                };
                let Some(pause) = self.settle(plan, sent, step) else { break };
                tokio::select! {
                    biased;
                    () = self.queue.changed() => return,
                    () = outside.sleep(pause) => {}
                }
                step += 1;
            }
        }
    }

    /// Notes how an attempt ended; returns how long to wait for another one of the same batch.
    fn settle(&mut self, plan: &TracesPlan, sent: Result<Accepted, Failed>, step: u32) -> Option<Duration> {
        let now = self.clock.now();
        let spans = self.queue.batch.len() as u64;
        let (notice, pause) = match sent {
            Ok(accepted) => (self.tally.delivered(now, accepted), None),
            Err(Failed::Never { why }) => (self.tally.refused(now, spans, &why), None),
            Err(Failed::Later { why, pause }) => {
                let backoff = self.rng.backoff(BACKOFF.0, BACKOFF.1, step);
                let pause = pause.map_or(backoff, |pause| pause.clamp(BACKOFF.0, PAUSE_MAX));
                (self.tally.delayed(now, &why), Some(pause))
            }
        };
        self.say(plan, notice);
        if pause.is_none() {
            self.queue.batch.clear();
        }
        pause
    }

    /// At the end: each batch once, and what fails is lost.
    async fn send_rest(&mut self, plan: &TracesPlan, outside: &mut impl Outside) {
        while self.queue.take_rest() {
            let body = message::encode(&self.resource, &self.queue.batch);
            let spans = self.queue.batch.len() as u64;
            let now = self.clock.now();
            let notice = match outside.deliver(plan, body).await {
                Ok(accepted) => self.tally.delivered(now, accepted),
                Err(Failed::Later { why, .. } | Failed::Never { why }) => {
                    self.tally.refused(now, spans, &why)
                }
            };
            self.say(plan, notice);
            self.queue.batch.clear();
        }
        let notice = self.tally.rest();
        self.say(plan, notice);
    }

    fn say(&self, plan: &TracesPlan, notice: Option<Notice>) {
        let url = plan.url.as_str();
        match notice {
            None => {}
            Some(Notice::Delayed { why }) => tracing::warn!(
                url,
                why,
                spans_waiting = self.queue.spans.len() + self.queue.batch.len(),
                spans_waiting_max = QUEUE_SPANS_MAX,
                "spans cannot be delivered and wait; beyond the limit new ones are dropped"
            ),
            Some(Notice::Dropped { spans, why }) => {
                tracing::warn!(url, why, spans, "spans were dropped: the receiver does not take them");
            }
            Some(Notice::Warned { why }) => {
                tracing::warn!(url, why, "the receiver took the spans with a warning");
            }
            Some(Notice::Again) => tracing::info!(url, "spans are delivered again"),
        }
    }
}

/// What comes in.
struct Queue {
    spans: mpsc::Receiver<Span>,
    wanted: watch::Receiver<Wanted>,
    /// What is in force here.
    plan: Option<TracesPlan>,
    /// Taken out of the queue, not yet received by the other side.
    batch: Vec<Span>,
}

impl Queue {
    /// Puts in force what is wanted.
    fn wanted(&mut self) -> Wanted {
        // Without a handle nobody can say anything any more: it is over.
        let over = self.wanted.has_changed().is_err() || self.spans.is_closed();
        let mut wanted = self.wanted.borrow().clone();
        wanted.finish |= over;
        self.plan.clone_from(&wanted.plan);
        wanted
    }

    /// Completes when something else is wanted than what is in force, the end included.
    async fn changed(&mut self) {
        let Queue { wanted, plan, .. } = self;
        // An error says that no handle is left, which is a change, too.
        let _ = wanted.wait_for(|wanted| wanted.finish || wanted.plan != *plan).await;
    }

    /// Completes when spans are to go elsewhere.
    async fn replaced(&mut self) {
        let Queue { wanted, plan, .. } = self;
        if wanted.wait_for(|wanted| wanted.plan != *plan).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for spans; false when something else is wanted, or nobody is left who hands spans over.
    async fn receive(&mut self) -> bool {
        let room = BATCH_SPANS_MAX - self.batch.len();
        let Queue { spans, wanted, plan, batch } = self;
        tokio::select! {
            biased;
            _ = wanted.wait_for(|wanted| wanted.finish || wanted.plan != *plan) => false,
            count = spans.recv_many(batch, room) => count > 0,
        }
    }

    /// Drops spans: they belong to callers who record, here nobody does.
    async fn discard(&mut self) {
        self.batch.clear();
        while self.receive().await {
            self.batch.clear();
        }
    }

    /// Waits for a full batch, or for the first span of one to be old enough.
    async fn gather(&mut self, outside: &impl Outside) -> Woken {
        if self.batch.is_empty() && !self.receive().await {
            return Woken::Changed;
        }
        let mut old = std::pin::pin!(outside.sleep(BATCH_AGE));
        while self.batch.len() < BATCH_SPANS_MAX {
            tokio::select! {
                biased;
                more = self.receive() => {
                    if !more {
                        return Woken::Changed;
                    }
                }
                () = &mut old => return Woken::Batch,
            }
        }
        Woken::Batch
    }

    /// Fills the batch with what is there; false when nothing is.
    fn take_rest(&mut self) -> bool {
        while self.batch.len() < BATCH_SPANS_MAX {
            let Ok(span) = self.spans.try_recv() else { break };
            self.batch.push(span);
        }
        !self.batch.is_empty()
    }
}

#[cfg(test)]
mod tests;
