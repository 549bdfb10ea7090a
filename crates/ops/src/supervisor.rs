//! The supervisor behind `weft up`: starts a whole system, keeps it running, changes it as its manifest changes, and leaves
//! nothing of it behind.
//!
//! - [`machine`] decides what to start and stop, and when; pure
//! - [`system`] knows what there is, as the plans want it
//! - [`process`], [`sockets`], [`command`] are what a process is made of
//! - [`admin`] asks control for the identity of a role; [`watch`] notices a changed manifest; [`door`] lets `weft restart` and
//!   `weft down` in
//! - [`failing`] deals with what does not come up
//! - this file is the loop that joins them: one task owns all state, everything else sends it messages

pub mod admin;
pub mod command;
pub mod door;
mod failing;
pub mod machine;
pub mod process;
mod show;
pub mod sockets;
mod starting;
pub mod system;
pub mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use weft_model::plan::Plans;
use weft_stdx::clock::{Clock, Tick};
use weft_stdx::rng::Rng;
use weft_trust::bootstrap::Bootstrap;
use weft_trust::keepsake::Keepsake;

use crate::data_dir::{DataDir, DataDirError};
use crate::keep::KeeperWord;
use crate::screen::{Mode, Screen};
use crate::words::{DrainGrace, RoleWord, ServiceHealth, ServiceProcess, SupervisorWord};
use admin::AdminError;
use door::{Answer, Ask, Asked, Door};
use machine::{Action, Event, Machine, State, UnitId};
use process::{FromProcess, LogLine, Process, ProcessEvent, Reports};
use sockets::Pool;
use system::{Change, Instance, Instead, Make, System, SystemError, What};
use watch::{Compile, Compiled, watch};

/// Messages of one kind that wait for the loop.
const WAITING_MAX: usize = 1024;
/// Log lines that are taken in one turn of the loop.
const LOGS_A_TURN_MAX: usize = 256;
/// How often the screen is drawn at most.
const DRAW_INTERVAL: Duration = Duration::from_millis(50);
/// The shortest time in which callers notice that an instance leaves.
const RETIRE_UNREADY_MS: u64 = 500;

/// What `weft up` was asked for.
pub struct Settings {
    /// This executable; it is started again for every role.
    pub executable: PathBuf,
    /// The manifest's main file.
    pub manifest: PathBuf,
    /// Its folder; absolute.
    pub manifest_dir: PathBuf,
    /// Overlay to merge.
    pub overlay: Option<String>,
    /// The system's data directory.
    pub data_dir: PathBuf,
    /// What roles log.
    pub log_level: String,
    /// Whether to show everything that roles log, not only what asks for attention.
    pub verbose: bool,
    /// The user's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Services that somebody else runs.
    pub mine: BTreeMap<String, SocketAddr>,
    /// Where admin API and console listen if that is free.
    pub admin: SocketAddr,
    /// Life of the identities that control issues.
    pub identity_lifetime: Duration,
    /// Threads of the gateway that accept.
    pub cores: usize,
    /// How to show.
    pub mode: Mode,
    /// Reads and compiles the manifest.
    pub compile: Compile,
    /// The process's clock.
    pub clock: Clock,
    /// For jitter.
    pub rng: Rng,
}

/// Why a system does not come up, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The manifest is refused.
    #[error("the manifest is refused\n{0}")]
    Manifest(String),
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A port or a command that cannot be.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A process did not come up.
    #[error("{0}")]
    Start(String),
    /// The kernel refuses.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        error: std::io::Error,
    },
}

/// Runs a system until it is told to stop; then everything is drained and gone.
///
/// Call it on the main thread, in a runtime of that thread alone: processes ask to be told of the death of the *thread* that
/// started them.
///
/// # Errors
/// It did not come up. Then everything that was started is gone as well.
pub async fn run<W: Write>(settings: Settings, out: W) -> Result<(), UpError> {
    let io = |what: &'static str| move |error| UpError::Io { what, error };
    let started = settings.clock.now();
    let data_dir = DataDir::open(&settings.data_dir)?;
    // Whoever loses its keeper falls to us.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| UpError::Io { what: "gather processes", error: error.into() })?;
    let Compiled { files, warnings, outcome } = (settings.compile)();
    let plans = outcome.map_err(UpError::Manifest)?;
    let signals = Signals::new().map_err(io("listen to signals"))?;
    let door = Door::open(data_dir.path()).map_err(io("open the door of this system"))?;
    let (mut supervisor, inputs) = Supervisor::new(settings, data_dir, started, out);
    supervisor.warn(warnings);
    supervisor.prepare(&plans)?;
    tokio::spawn(door.serve(supervisor.asked.clone()));
    tokio::spawn(watch(files, Arc::clone(&supervisor.settings.compile), supervisor.changed.clone()));
    supervisor.serve(inputs, signals).await
}

/// Signals that end the system. SIGHUP too: its terminal was closed.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What reaches the loop from the tasks that it started.
enum Told {
    /// Control answered for a role that is to start.
    Bootstrap(UnitId, Result<Box<Bootstrap>, AdminError>),
    /// The port of a service accepts connections.
    Connects(UnitId, u32),
    /// It said that an address is in use, and has had its time since.
    StillInUse(UnitId, u32),
}

struct Inputs {
    events: mpsc::Receiver<FromProcess>,
    logs: mpsc::Receiver<LogLine>,
    told: mpsc::Receiver<Told>,
    asked: mpsc::Receiver<Asked>,
    changed: mpsc::Receiver<Compiled>,
}

/// What is known of a unit besides its life.
#[derive(Default)]
struct Unit {
    process: Option<Process>,
    /// Why it could not be started, or how it ended.
    why: String,
    /// What it logged last when it ended.
    tail: Vec<String>,
    /// It said that an address is in use before it ended.
    address_in_use: bool,
    /// What the sidecar said of its service last.
    health: Option<ServiceHealth>,
    /// It is confined by Landlock.
    confined: bool,
    /// What a role starts again with while control is away.
    keepsake: Option<Keepsake>,
    bootstrap: Option<Bootstrap>,
    /// It did not come up in its time; whom callers have instead.
    given_up: Option<Instead>,
}

/// Somebody who waits for a restart to be done.
struct Waiter {
    answers: mpsc::Sender<Answer>,
    new: Vec<UnitId>,
    what: String,
}

struct Supervisor<W> {
    settings: Settings,
    data_dir: DataDir,
    started: Tick,
    machine: Machine,
    system: System,
    units: BTreeMap<UnitId, Unit>,
    screen: Screen<W>,
    system_name: String,
    edge_tls: bool,
    admin: Option<SocketAddr>,
    metrics: Option<String>,
    metrics_asked: Option<String>,
    reports: Reports,
    told: mpsc::Sender<Told>,
    asked: mpsc::Sender<Asked>,
    changed: mpsc::Sender<Compiled>,
    waiters: Vec<Waiter>,
    leavers: Vec<mpsc::Sender<Answer>>,
    took: Option<Duration>,
    failure: Option<String>,
    stopping: bool,
    finished: bool,
    warned_unconfined: bool,
    /// Findings that were shown last.
    warned: String,
}

impl<W: Write> Supervisor<W> {
    fn new(settings: Settings, data_dir: DataDir, started: Tick, out: W) -> (Self, Inputs) {
        let (events_to, events) = mpsc::channel(WAITING_MAX);
        let (logs_to, logs) = mpsc::channel(WAITING_MAX);
        let (told_to, told) = mpsc::channel(WAITING_MAX);
        let (asked_to, asked) = mpsc::channel(16);
        let (changed_to, changed) = mpsc::channel(1);
        let make =
            Make { mine: settings.mine.clone(), edge_sockets: settings.cores.max(1), admin: settings.admin };
        let supervisor = Self {
            machine: Machine::new(settings.rng.clone()),
            system: System::new(make, Pool::new(show::stable_hash(data_dir.path()))),
            screen: Screen::new(out, settings.mode),
            settings,
            data_dir,
            started,
            units: BTreeMap::new(),
            system_name: String::new(),
            edge_tls: false,
            admin: None,
            metrics: None,
            metrics_asked: None,
            reports: Reports { events: events_to, logs: logs_to },
            told: told_to,
            asked: asked_to,
            changed: changed_to,
            waiters: Vec::new(),
            leavers: Vec::new(),
            took: None,
            failure: None,
            stopping: false,
            finished: false,
            warned_unconfined: false,
            warned: String::new(),
        };
        (supervisor, Inputs { events, logs, told, asked, changed })
    }

    /// Opens every socket and adds every unit, so that what cannot be is said before anything runs.
    fn prepare(&mut self, plans: &Plans) -> Result<(), UpError> {
        self.look_at(plans);
        let metrics = show::metrics_of(plans);
        self.system.add_control(&mut self.machine, metrics.as_deref())?;
        self.metrics_asked = metrics;
        self.system.apply(&mut self.machine, plans, &mut Change::default())?;
        let names: Vec<String> = self.system.units().map(|(_, what)| what.label()).collect();
        self.screen.names(names.iter().map(String::as_str).filter(|name| !name.contains('/')));
        self.tell_foreign(&[]);
        Ok(())
    }

    /// Tells whoever runs a service himself what it has to know, where that was not told for one of `known`.
    fn tell_foreign(&mut self, known: &[Arc<Instance>]) {
        for instance in self.system.foreign() {
            if !known.iter().any(|known| known.name == instance.name) {
                let text = show::foreign(&instance);
                self.screen.say("mine", &text, serde_json::json!({ "service": instance.launch.service }));
            }
        }
    }

    /// Shows findings that let the manifest pass, once.
    fn warn(&mut self, warnings: String) {
        if warnings != self.warned && !warnings.is_empty() {
            self.screen.say("warning", warnings.trim_end(), serde_json::Value::Null);
        }
        self.warned = warnings;
    }

    fn look_at(&mut self, plans: &Plans) {
        self.system_name.clone_from(&plans.system);
        self.edge_tls = show::edge_tls(plans);
    }

    // --- the loop -----------------------------------------------------------------------------------------------

    async fn serve(mut self, mut inputs: Inputs, mut signals: Signals) -> Result<(), UpError> {
        self.feed(Event::Tick);
        let mut draw = tokio::time::interval(DRAW_INTERVAL);
        draw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut interrupts = 0_u32;
        while !self.finished {
            let next = self.machine.next_tick().and_then(|tick| self.settings.clock.instant_of(tick));
            tokio::select! {
                biased;
                () = signals.next() => {
                    interrupts += 1;
                    self.interrupted(interrupts);
                }
                Some(event) = inputs.events.recv() => self.process_did(event),
                Some(told) = inputs.told.recv() => self.told(told),
                Some(asked) = inputs.asked.recv() => self.asked(asked),
                Some(compiled) = inputs.changed.recv() => self.recompiled(compiled),
                () = until(next) => self.feed(Event::Tick),
                Some(line) = inputs.logs.recv() => {
                    self.log(&line);
                    for _ in 1..LOGS_A_TURN_MAX {
                        let Ok(line) = inputs.logs.try_recv() else { break };
                        self.log(&line);
                    }
                }
                _ = draw.tick() => self.draw(),
            }
        }
        while let Ok(line) = inputs.logs.try_recv() {
            self.log(&line);
        }
        self.end()
    }

    fn now(&self) -> Tick {
        self.settings.clock.now()
    }

    /// Feeds the machine, and does what it wants.
    fn feed(&mut self, event: Event) {
        let now = self.now();
        for action in self.machine.handle(now, event) {
            self.act(action);
        }
        self.answer_waiters();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(unit) => self.start(unit),
            Action::Retire(unit) => self.retire(unit),
            Action::Stop(unit) => self.stop(unit),
            Action::Kill(unit) => self.kill(unit),
            Action::GaveUp(unit) => self.gave_up(unit),
            Action::Gone(unit) => {
                self.system.forget(unit);
                self.units.remove(&unit);
            }
            Action::Settled => self.settled(),
            Action::Finished => self.finished = true,
        }
    }

    fn unit(&mut self, unit: UnitId) -> &mut Unit {
        self.units.entry(unit).or_default()
    }

    fn process(&self, unit: UnitId) -> Option<&Process> {
        self.units.get(&unit)?.process.as_ref()
    }

    // --- what is told -------------------------------------------------------------------------------------------

    fn process_did(&mut self, event: FromProcess) {
        let FromProcess { unit, pid, what } = event;
        if self.process(unit).is_none_or(|process| process.pid() != pid) {
            return;
        }
        match what {
            ProcessEvent::Word(line) => self.word(unit, &line),
            ProcessEvent::AddressInUse => self.said_address_in_use(unit, pid),
            ProcessEvent::Ended { status, tail, address_in_use } => {
                self.unit(unit).address_in_use = address_in_use;
                self.process_ended(unit, status, tail);
                self.failed_start(unit);
            }
        }
    }

    fn word(&mut self, unit: UnitId, line: &[u8]) {
        match self.system.what(unit).cloned() {
            Some(What::Service(instance)) => match serde_json::from_slice(line) {
                Ok(KeeperWord::Started { confined, why_not, .. }) => {
                    self.service_runs(unit, &instance, confined, why_not);
                }
                Err(_) => tracing::warn!("a keeper's word is not understood"),
            },
            Some(What::Build(_)) | None => {}
            Some(what) => match serde_json::from_slice(line) {
                Ok(word) => self.role_word(unit, &what, word),
                Err(error) => tracing::warn!(%error, "a role's word is not understood"),
            },
        }
    }

    fn role_word(&mut self, unit: UnitId, what: &What, word: RoleWord) {
        if let What::Control(_) = what {
            self.admin = word.admin.and_then(|admin| admin.parse().ok()).or(self.admin);
            self.metrics = word.metrics.or(self.metrics.take());
        }
        if word.keepsake.is_some() {
            self.unit(unit).keepsake = word.keepsake;
        }
        if word.ready == Some(true) {
            self.feed(Event::Up(unit));
        }
        if let Some(reason) = word.refused {
            self.plan_refused(what, &reason);
        }
        let What::Sidecar(instance) = what else { return };
        if let Some(health) = word.service {
            self.unit(unit).health = Some(health);
            for service in self.system.of_instance(&instance.name).1 {
                match health {
                    ServiceHealth::Ready if self.process(service).is_some() => self.feed(Event::Up(service)),
                    ServiceHealth::Ready | ServiceHealth::Starting => {}
                    ServiceHealth::Unhealthy => self.feed(Event::Ill(service)),
                }
            }
        }
        if word.retired == Some(true) {
            for service in self.system.of_instance(&instance.name).1 {
                self.feed(Event::Retired(service));
            }
        }
    }

    /// A role has no plan, and does not take the one that it was sent: it would not be ready in any time.
    fn plan_refused(&mut self, what: &What, reason: &str) {
        let text = format!("{} cannot do what its plan says: {reason}", show::subject(what));
        if !self.machine.settled() {
            self.failure.get_or_insert(text);
            return self.stop_all();
        }
        self.screen.say("failed", &text, serde_json::json!({ "name": what.label() }));
    }

    /// A service's process is there: its sidecar learns whose calls it may carry.
    fn service_runs(
        &mut self,
        unit: UnitId,
        instance: &Arc<Instance>,
        confined: bool,
        why_not: Option<String>,
    ) {
        self.unit(unit).confined = confined;
        if let Some(why) = why_not
            && !self.warned_unconfined
        {
            self.warned_unconfined = true;
            let text = format!("services can reach each other's own ports: {why}");
            self.screen.say("isolation", &text, serde_json::Value::Null);
        }
        for sidecar in self.system.of_instance(&instance.name).0 {
            self.introduce(sidecar, unit);
        }
        let Some(pid) = self.process(unit).map(Process::pid) else { return };
        let (told, port) = (self.told.clone(), instance.told.port);
        tokio::spawn(async move {
            if starting::connects(port).await {
                let _ = told.send(Told::Connects(unit, pid)).await;
            }
        });
    }

    /// Tells a sidecar which processes its service is.
    fn introduce(&self, sidecar: UnitId, service: UnitId) {
        let landlock = self.units.get(&service).is_some_and(|unit| unit.confined);
        let (Some(to), Some(keeper)) = (self.process(sidecar), self.process(service)) else { return };
        say(to, &SupervisorWord::Service(ServiceProcess { session: keeper.pid(), landlock }));
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Bootstrap(unit, Ok(bootstrap)) => self.start_role(unit, *bootstrap, None),
            Told::Bootstrap(unit, Err(error)) => self.start_without(unit, &error),
            // The sidecar says when the service is well. It is silent where it never saw it ill: where the process was
            // replaced between two probes.
            Told::Connects(unit, pid) => {
                let Some(What::Service(instance)) = self.system.what(unit) else { return };
                let sidecars = self.system.of_instance(&instance.name).0;
                let ready = |sidecar: &UnitId| {
                    self.units.get(sidecar).is_some_and(|unit| unit.health == Some(ServiceHealth::Ready))
                };
                let same = self.process(unit).is_some_and(|process| process.pid() == pid);
                if same && sidecars.iter().any(ready) {
                    self.feed(Event::Up(unit));
                }
            }
            Told::StillInUse(unit, pid) => self.still_in_use(unit, pid),
        }
    }

    fn process_ended(&mut self, unit: UnitId, status: Option<ExitStatus>, tail: Vec<String>) {
        let label = self.system.what(unit).map(What::label).unwrap_or_default();
        let how = show::ending(status);
        let done = status.is_some_and(|status| status.success());
        let known = self.unit(unit);
        known.process = None;
        known.health = None;
        known.tail = tail;
        known.why.clone_from(&how);
        if status.is_none_or(|status| status.code().is_none()) {
            self.sweep();
        }
        if done && matches!(self.system.what(unit), Some(What::Build(_))) {
            return self.feed(Event::Up(unit));
        }
        if !self.machine.leaves(unit) {
            let text = format!("{label} {how}");
            self.screen.say("ended", &text, serde_json::json!({ "name": label }));
        }
        self.feed(Event::Ended(unit));
    }

    /// Ends what lost its keeper and fell to us.
    fn sweep(&self) {
        let ours: Vec<u32> =
            self.units.values().filter_map(|unit| unit.process.as_ref()).map(Process::pid).collect();
        starting::sweep(&ours);
    }

    fn interrupted(&mut self, times: u32) {
        if times == 1 {
            let text = "draining; once more to kill";
            self.screen.say("stopping", text, serde_json::Value::Null);
            self.stop_all();
        } else {
            self.feed(Event::KillAll);
        }
    }

    fn stop_all(&mut self) {
        self.stopping = true;
        self.feed(Event::StopAll);
    }

    // --- what is asked ------------------------------------------------------------------------------------------

    fn asked(&mut self, asked: Asked) {
        let Asked { ask, answers } = asked;
        match ask {
            Ask::Down => {
                self.leavers.push(answers);
                self.screen.say("stopping", "draining, as `weft down` asks", serde_json::Value::Null);
                self.stop_all();
            }
            Ask::Restart { .. } if self.stopping => {
                let _ = answers.try_send(Answer::Error("the system is going down".to_owned()));
            }
            Ask::Restart { target, build } => self.restart(target.as_deref(), build, answers),
        }
    }

    fn restart(&mut self, target: Option<&str>, build: bool, answers: mpsc::Sender<Answer>) {
        let what = target.unwrap_or("all services").to_owned();
        let mut change = Change::default();
        match self.system.restart(&mut self.machine, target, build, &mut change) {
            Ok(()) => {
                let text = format!("restarting {what}");
                self.screen.say("restart", &text, serde_json::Value::Null);
                let _ = answers.try_send(Answer::Progress(text));
                self.waiters.push(Waiter { answers, new: change.new.clone(), what });
            }
            Err(error) => {
                let _ = answers.try_send(Answer::Error(error.to_string()));
            }
        }
        self.follow(change);
    }

    fn follow(&mut self, change: Change) {
        for told in &change.told {
            self.screen.say("changed", told, serde_json::Value::Null);
        }
        self.feed(Event::Tick);
        change.events.into_iter().for_each(|event| self.feed(event));
    }

    fn answer_waiters(&mut self) {
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.retain(|waiter| {
            let up =
                |unit: &UnitId| matches!(self.machine.state(*unit), Some(State::Up { .. } | State::Built));
            let given_up =
                |unit: &UnitId| self.units.get(unit).and_then(|known| Some((known, known.given_up?)));
            if let Some((unit, instead)) = waiter.new.iter().find_map(given_up) {
                let (what, why) = (&waiter.what, if unit.why.is_empty() { "is not well" } else { &unit.why });
                let text = format!("{what} did not come up again ({why}): {}", instead.words());
                let _ = waiter.answers.try_send(Answer::Error(text));
                return false;
            }
            if waiter.new.iter().any(|unit| self.machine.leaves(*unit)) {
                let text = format!("{} was changed or stopped before it came up again", waiter.what);
                let _ = waiter.answers.try_send(Answer::Error(text));
                return false;
            }
            if waiter.new.iter().all(up) {
                let _ = waiter.answers.try_send(Answer::Done(format!("restarted {}", waiter.what)));
                return false;
            }
            true
        });
        self.waiters.extend(waiters);
    }

    /// The manifest changed. Control takes what concerns the roles by itself.
    fn recompiled(&mut self, compiled: Compiled) {
        if self.stopping {
            return;
        }
        let plans = match compiled.outcome {
            Ok(plans) => plans,
            Err(findings) => {
                let text =
                    format!("the changed manifest is refused, the one before stays in force\n{findings}");
                return self.screen.say("refused", &text, serde_json::Value::Null);
            }
        };
        self.warn(compiled.warnings);
        self.look_at(&plans);
        if show::metrics_of(&plans) != self.metrics_asked {
            self.metrics_asked = show::metrics_of(&plans);
            let text = "observe.metrics: another address takes effect with the next `weft up`";
            self.screen.say("changed", text, serde_json::Value::Null);
        }
        let (mut change, foreign) = (Change::default(), self.system.foreign());
        let applied = self.system.apply(&mut self.machine, &plans, &mut change);
        self.follow(change);
        self.tell_foreign(&foreign);
        if let Err(error) = applied {
            self.screen.say("refused", &error.to_string(), serde_json::Value::Null);
        }
    }

    // --- actions ------------------------------------------------------------------------------------------------

    /// Says that an instance leaves; without a sidecar nobody calls it.
    fn retire(&mut self, unit: UnitId) {
        let Some(What::Service(instance)) = self.system.what(unit) else { return };
        let finish_ms = u64::try_from(system::RETIRE_LIMIT.as_millis()).unwrap_or(u64::MAX);
        let word = SupervisorWord::Retire(DrainGrace { unready_ms: RETIRE_UNREADY_MS, finish_ms });
        let sidecars = self.system.of_instance(&instance.name).0;
        let asked =
            sidecars.iter().filter_map(|sidecar| self.process(*sidecar)).map(|to| say(to, &word)).count();
        if asked == 0 {
            self.feed(Event::Retired(unit));
        }
    }

    fn stop(&mut self, unit: UnitId) {
        match self.process(unit) {
            Some(process) => process.signal(Signal::TERM),
            None => self.feed(Event::Ended(unit)),
        }
    }

    fn kill(&mut self, unit: UnitId) {
        let kept = matches!(self.system.what(unit), Some(What::Service(_) | What::Build(_)));
        match self.process(unit) {
            // The keeper kills better than we do: all that descends from the service.
            Some(process) if kept => process.say(crate::keep::KILL_WORD),
            Some(process) => process.signal(Signal::KILL),
            None => self.feed(Event::Ended(unit)),
        }
    }

    fn settled(&mut self) {
        let took = self.now().since(self.started);
        self.took = Some(took);
        let title = self.title();
        let addresses: serde_json::Map<_, _> = self
            .addresses()
            .into_iter()
            .map(|(name, address)| (name, serde_json::Value::String(address)))
            .collect();
        let took_ms = weft_stdx::clock::whole_ms(took);
        self.screen.say("up", &title, serde_json::json!({ "took_ms": took_ms, "addresses": addresses }));
        if self.settings.mode == Mode::Plain {
            for (name, address) in self.addresses() {
                self.screen.say("address", &format!("  {name:<8} {address}"), serde_json::Value::Null);
            }
        }
    }

    fn end(mut self) -> Result<(), UpError> {
        self.sweep();
        self.screen.end();
        if self.failure.is_none() {
            let text = format!("{} is down, nothing is left running", self.system_name);
            self.screen.say("down", &text, serde_json::Value::Null);
        }
        let _ = self.screen.flush(None);
        drop(self.leavers);
        match self.failure.take() {
            Some(failure) => Err(UpError::Start(failure)),
            None => Ok(()),
        }
    }
}

/// Says a word to a role.
fn say(to: &Process, word: &SupervisorWord) {
    match serde_json::to_string(word) {
        Ok(line) => to.say(line),
        Err(error) => tracing::error!(%error, "a word cannot be written"),
    }
}

async fn until(when: Option<std::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Where admin API and console listen where nobody says otherwise.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);
