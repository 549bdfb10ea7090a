//! The stream to control: opened again and again, each time from what is in force.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use weft_model::wire::{Ack, Down, DownKind, Endpoints, Hello, Nack, PlanDown, Trust, Up, UpKind};
use weft_trust::mesh::MeshTrust;

use super::kept::Keepsakes;
use super::{
    BACKOFF_MAX, BACKOFF_MIN, DataPlane, Link, PLAN_WAIT, REPORT_INTERVAL, Says, connect, is_final, plans,
    replace_trust,
};
use crate::grpc::client::Upward;
use crate::grpc::{Code, Messages, Status};

/// Answers that wait to be sent; each is one plan that was taken or not.
const ANSWERS_QUEUE: usize = 4;
/// A stream that held this long was a good one: the next try begins with the shortest pause again.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// A certificate that control gave and then does not take is not asked for again within this time.
const ASK_INTERVAL: Duration = Duration::from_secs(60);
/// A plan that was refused is tried again so often: what it lacked may be a file that is there in a moment.
const REFUSED_INTERVAL: Duration = Duration::from_secs(2);
/// How long the last words may take on a stop.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// Keeps a stream open until told to stop.
pub(super) async fn run(link: &mut Link, plane: Arc<dyn DataPlane>, mut says: Says) {
    let told = Told {
        plane,
        trust: Arc::clone(link.tls.trust()),
        keepsakes: Arc::clone(&link.keepsakes),
        data_dir: link.settings.data_dir.clone(),
        instance: link.instance.clone(),
        in_force: Mutex::default(),
        refused: Mutex::default(),
    };
    let mut stop = says.stop.clone();
    let streams = async {
        let mut step = 0;
        let mut last: Option<Status> = None;
        let mut asked: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let Err(Broken { status, opened, refused }) = once(link, &told, &mut says).await else { return };
            if opened {
                (last, asked) = (None, None);
            }
            // The same reason again and again is one line.
            if last.as_ref() != Some(&status) {
                tracing::warn!(reason = %status, "no stream to control; what is in force goes on");
            }
            last = Some(status);
            step = if began.elapsed() >= GOOD_STREAM { 0 } else { step };
            if refused && asked.is_none_or(|asked| asked.elapsed() >= ASK_INTERVAL) {
                tokio::select! {
                    answered = let_in_again(link, &told) => if answered {
                        (asked, step) = (Some(Instant::now()), 0);
                    },
                    () = stopped(&mut stop) => return,
                }
            }
            let pause = link.rng.backoff(BACKOFF_MIN, BACKOFF_MAX, step);
            step = step.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => return,
            }
        }
    };
    let fallback = async {
        tokio::time::sleep(PLAN_WAIT).await;
        told.use_stored();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = streams => {}
        () = fallback => {}
    }
}

/// Why a stream is over.
struct Broken {
    status: Status,
    /// It had been open.
    opened: bool,
    /// Control is there, and does not take our certificate.
    refused: bool,
}

/// Asks for another certificate, by proof of the key, until control gives one (true) or is away (false). Whoever was
/// revoked waits here until it is reinstated.
async fn let_in_again(link: &mut Link, told: &Told) -> bool {
    let mut renewing = link.renewing();
    let mut step = 0_u32;
    loop {
        match renewing.renew(&*told.plane).await {
            Ok(()) => return true,
            Err(status) if is_final(status.code) => {
                if step == 0 {
                    tracing::warn!(reason = %status, "this identity is refused; asking until it is reinstated");
                }
            }
            Err(_) => return false,
        }
        tokio::time::sleep(renewing.rng.backoff(BACKOFF_MIN, BACKOFF_MAX, step)).await;
        step = step.saturating_add(1);
    }
}

/// Ends when a stop is asked for, or whoever could ask is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody is left to run for.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One stream, from connecting to its end; `Ok` means that a stop was asked for.
async fn once(link: &Link, told: &Told, says: &mut Says) -> Result<(), Broken> {
    let opening = async {
        let away = |status| Broken { status, opened: false, refused: false };
        // In TLS 1.3 the client is done before its certificate is looked at: who is refused learns it by the first call.
        let refused = |status| Broken { status, opened: false, refused: true };
        let mut connection = connect(&link.address, &link.tls, &link.control).await.map_err(away)?;
        let (up, messages) = connection.stream("Watch").await.map_err(refused)?;
        Ok::<_, Broken>((connection, up, messages))
    };
    let mut stop = says.stop.clone();
    let (_connection, up, messages) = tokio::select! {
        opened = opening => opened?,
        () = stopped(&mut stop) => return Ok(()),
    };
    let (answers, answered) = mpsc::channel(ANSWERS_QUEUE);
    let mut reading = pin!(downward(messages, told, answers));
    let broken = |status: Status| {
        let refused = status.code == Code::PermissionDenied;
        Broken { status, opened: true, refused }
    };
    tokio::select! {
        status = &mut reading => Err(broken(status)),
        ended = upward(up, answered, link, told, says) => {
            ended.map_err(broken)?;
            // Control closes its side once it has read ours to the end; not waiting would cut the last words.
            let _ = tokio::time::timeout(FAREWELL_TIMEOUT, reading).await;
            Ok(())
        }
    }
}

/// Applies what control says; gives why it ended.
async fn downward(mut messages: Messages, told: &Told, answers: mpsc::Sender<UpKind>) -> Status {
    loop {
        let down: Down = match messages.next().await {
            Ok(Some(down)) => down,
            Ok(None) => {
                let ended = || Status::new(Code::Unavailable, "control ended the stream");
                return messages.status().cloned().unwrap_or_else(ended);
            }
            Err(status) => return status,
        };
        match down.kind {
            Some(DownKind::Plan(plan)) => {
                let answer = told.take_plan(plan);
                if answers.send(answer).await.is_err() {
                    return Status::new(Code::Cancelled, "this side of the stream is over");
                }
            }
            Some(DownKind::Endpoints(endpoints)) => told.take_endpoints(endpoints),
            Some(DownKind::Trust(trust)) => told.take_trust(&trust),
            // A newer control may say more than this build understands.
            None => {}
        }
    }
}

/// Says what there is to say, until asked to stop.
async fn upward(
    up: Upward,
    mut answers: mpsc::Receiver<UpKind>,
    link: &Link,
    told: &Told,
    says: &mut Says,
) -> Result<(), Status> {
    let isolation = says.isolation.borrow_and_update().clone();
    say(&up, UpKind::Hello(hello(link, told, &isolation))).await?;
    let presence = says.presence.borrow_and_update().clone();
    say(&up, UpKind::Presence(presence)).await?;
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retries = tokio::time::interval(REFUSED_INTERVAL);
    retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = says.stop.clone();
    loop {
        let kind = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Ok(()) = says.presence.changed() => UpKind::Presence(says.presence.borrow_and_update().clone()),
            Some(answer) = answers.recv() => answer,
            Ok(()) = says.isolation.changed() => {
                let isolation = says.isolation.borrow_and_update().clone();
                UpKind::Hello(hello(link, told, &isolation))
            }
            _ = ticks.tick() => UpKind::Report(told.plane.report().await),
            _ = retries.tick() => match told.try_refused() {
                Some(answer) => answer,
                None => continue,
            },
        };
        say(&up, kind).await?;
    }
    let presence = says.presence.borrow().clone();
    say(&up, UpKind::Presence(presence)).await?;
    say(&up, UpKind::Report(told.plane.report().await)).await
}

async fn say(up: &Upward, kind: UpKind) -> Result<(), Status> {
    up.send(&Up { kind: Some(kind) }).await
}

fn hello(link: &Link, told: &Told, isolation: &str) -> Hello {
    Hello {
        role: link.role.to_owned(),
        instance: link.instance.clone(),
        plan_version: told.in_force().version.clone(),
        build: link.settings.build.clone(),
        pid: std::process::id(),
        isolation: isolation.to_owned(),
    }
}

/// What control told, applied to the data plane and kept on disk.
struct Told {
    plane: Arc<dyn DataPlane>,
    trust: Arc<MeshTrust>,
    keepsakes: Arc<Keepsakes>,
    data_dir: PathBuf,
    instance: String,
    in_force: Mutex<InForce>,
    refused: Mutex<Option<Refused>>,
}

/// The newest plan of control, while it is not taken.
struct Refused {
    down: PlanDown,
    reason: String,
}

#[derive(Default)]
struct InForce {
    version: String,
    json: String,
    endpoints: Option<Endpoints>,
}

impl Told {
    /// Never held across an await: all of this runs on one thread, and nothing else locks it.
    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a plan, or keeps the old one; gives the answer for control.
    fn take_plan(&self, down: PlanDown) -> UpKind {
        *self.refused() = None;
        self.try_plan(down, None).1
    }

    /// Tries the plan that was refused last, if there is one. Gives what control does not know yet.
    fn try_refused(&self) -> Option<UpKind> {
        let Refused { down, reason } = self.refused().take()?;
        let (is_news, answer) = self.try_plan(down, Some(&reason));
        is_news.then_some(answer)
    }

    /// Gives the answer for control, and whether it is another than the refusal `before`.
    fn try_plan(&self, down: PlanDown, before: Option<&str>) -> (bool, UpKind) {
        let PlanDown { version, json, edge } = down.clone();
        let pair = edge.clone();
        let applied = plans::plan_of(&json).and_then(|plan| self.plane.apply_plan(plan, edge));
        match applied {
            Ok(()) => {
                tracing::info!(%version, "plan in force");
                self.keepsakes.change(&*self.plane, |kept| kept.edge = pair);
                let mut in_force = self.in_force();
                in_force.version.clone_from(&version);
                in_force.json = json;
                self.keep(&in_force);
                (true, UpKind::Ack(Ack { version }))
            }
            Err(reason) => {
                let is_news = before != Some(reason.as_str());
                if is_news {
                    tracing::warn!(%version, %reason, "plan refused; the old one goes on");
                    self.plane.plan_refused(&reason);
                }
                *self.refused() = Some(Refused { down, reason: reason.clone() });
                (is_news, UpKind::Nack(Nack { version, reason }))
            }
        }
    }

    fn take_endpoints(&self, endpoints: Endpoints) {
        self.plane.apply_endpoints(endpoints.clone());
        let mut in_force = self.in_force();
        in_force.endpoints = Some(endpoints);
        self.keep(&in_force);
    }

    fn take_trust(&self, told: &Trust) {
        match replace_trust(&self.trust, told) {
            Ok(changed) => {
                if changed {
                    self.plane.trust_changed();
                }
                self.keepsakes.change(&*self.plane, |kept| kept.trust = Some(told.clone()));
            }
            Err(reason) => {
                tracing::error!(%reason, "roots and revocations refused; the old ones stay in force");
            }
        }
    }

    fn keep(&self, in_force: &InForce) {
        if in_force.version.is_empty() {
            return;
        }
        let InForce { version, json, endpoints } = in_force;
        if let Err(error) = plans::write(&self.data_dir, &self.instance, version, json, endpoints.as_ref()) {
            tracing::warn!(%error, "the plan in force could not be kept on disk");
        }
    }

    /// Starts from disk, unless there is a plan in force by now.
    fn use_stored(&self) {
        if !self.in_force().version.is_empty() {
            return;
        }
        let Some(stored) = plans::read(&self.data_dir, &self.instance) else { return };
        match self.plane.apply_plan(stored.plan, self.keepsakes.edge()) {
            Ok(()) => {
                tracing::warn!(version = %stored.version, "control is away; the plan on disk is in force");
                if let Some(endpoints) = stored.endpoints {
                    self.plane.apply_endpoints(endpoints);
                }
                // The version stays unset: control sends its plan whole, with what is never on disk.
            }
            Err(reason) => tracing::warn!(%reason, "the plan on disk was refused"),
        }
    }
}
