//! What to start, stop and restart, and when: the pure half of the supervisor. Events and the time come in, actions go
//! out; processes, sockets and clocks are the shell's.
//!
//! A [`UnitSpec`] is one process to have. A unit starts once what it [`Need`]s is there, is *up* when it says so, is
//! started again when it ends by itself, and leaves after whoever needs it. A rolling restart is two units of which the
//! second replaces the first: the first leaves once the second is up. A third that replaces the second before that is up
//! replaces the first as well.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

/// First pause before a crashed unit is started again.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(10);
/// Longest pause of one of our own roles that was up before: all others miss it, and it is as likely that somebody ended it
/// as that it fails by itself.
pub const ROLE_BACKOFF_LONGEST: Duration = Duration::from_secs(1);
/// A unit that was up for this long starts again with the first pause.
pub const WELL_AFTER: Duration = Duration::from_secs(30);
/// Starts in a row that may fail before the unit is given up for its first start.
pub const FIRST_START_ATTEMPTS_MAX: u32 = 5;

/// Names a unit; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u32);

/// What a unit is, as far as it matters for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs once, before anything that needs it; its success is being up.
    Build,
    /// Control, gateway or sidecar: started again at once after its first crash.
    Role,
    /// A user's program: started again after a pause; its sidecar is told before it leaves.
    Service,
}

/// What must be there before a unit starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Some unit of this group is up, at every start; and one stays until this one is gone.
    Always(String),
    /// Some unit of this group is up, at the first start; and one stays until this one is gone.
    Once(String),
    /// Some unit of this group is up, at the first start, unless the group has nobody who is to come. When the whole system
    /// stops, its units stay until this one is gone.
    First(String),
    /// Nothing before a start. When the whole system stops, the units of this group stay until this one is gone.
    Outlived(String),
    /// This build succeeded, at the first start.
    Built(UnitId),
    /// This unit is gone: it holds what this one wants.
    Gone(UnitId),
}

/// A process to have.
#[derive(Clone, Debug)]
pub struct UnitSpec {
    /// What it is.
    pub kind: Kind,
    /// The groups that it belongs to: others need a group, not a unit, so that a unit can be replaced.
    pub groups: Vec<String>,
    /// What must be there first.
    pub needs: Vec<Need>,
    /// These leave once this one is up, and with them whom those were to replace that never were up themselves.
    pub replaces: Vec<UnitId>,
    /// How long its first start may take, with all its attempts.
    pub start_limit: Duration,
    /// How long it may say goodbye to its callers ([`Action::Retire`]).
    pub retire_limit: Duration,
    /// How long it may take to end after it was asked; then it is killed.
    pub stop_limit: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It says that it serves, or its sidecar found it well; for a build: it succeeded.
    Up(UnitId),
    /// Its sidecar found it ill.
    Ill(UnitId),
    /// Its process ended, or could not be started.
    Ended(UnitId),
    /// Nobody calls it any more.
    Retired(UnitId),
    /// It is to leave once nobody needs it.
    Leave(UnitId),
    /// It is to leave although others need it: its successor waits for its end, and they can do without for a moment.
    Evict(UnitId),
    /// All are to leave, last started first.
    StopAll,
    /// Whoever is still there is to be killed.
    KillAll,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start its process; answer with `Up` or `Ended`.
    Start(UnitId),
    /// Tell its callers that it leaves; answer with `Retired`.
    Retire(UnitId),
    /// Ask its process to end; answer with `Ended`.
    Stop(UnitId),
    /// Kill its process; answer with `Ended`.
    Kill(UnitId),
    /// It did not come up in its time, or too often ended before. It is tried on, unless somebody lets it leave.
    GaveUp(UnitId),
    /// It is gone for good: release what it holds.
    Gone(UnitId),
    /// Every unit is up, for the first time.
    Settled,
    /// Nothing is left.
    Finished,
}

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For what it needs.
    Waiting,
    /// Its process runs and is not up yet.
    Starting,
    /// Serves.
    Up {
        /// Since when.
        since: Tick,
        /// What its sidecar thinks of it.
        ill: bool,
    },
    /// A build that succeeded.
    Built,
    /// Crashed; starts again then.
    Backoff {
        /// When.
        until: Tick,
    },
    /// Its callers are told.
    Retiring {
        /// When it is asked to end anyway.
        until: Tick,
    },
    /// Was asked to end.
    Stopping {
        /// When it is killed.
        until: Tick,
    },
    /// Was killed; the end of its process has not been seen yet.
    Killed,
}

struct Unit {
    spec: UnitSpec,
    state: State,
    /// When its first start began, until it is up for the first time or given up.
    first_start: Option<Tick>,
    /// What its first start took, with all its attempts.
    took: Option<Duration>,
    was_up: bool,
    /// Ends in a row without being well in between.
    failures: u32,
    restarts: u32,
    leaving: bool,
    evicted: bool,
}

/// All units. Feed it with [`Machine::handle`].
pub struct Machine {
    units: BTreeMap<UnitId, Unit>,
    next_id: u32,
    rng: Rng,
    settled: bool,
    stopping: bool,
    finished: bool,
}

impl Machine {
    /// Nothing yet; `rng` is for jitter.
    pub fn new(rng: Rng) -> Self {
        Self { units: BTreeMap::new(), next_id: 0, rng, settled: false, stopping: false, finished: false }
    }

    /// Adds a unit; it starts with the next event, once what it needs is there.
    pub fn add(&mut self, mut spec: UnitSpec) -> UnitId {
        let id = UnitId(self.next_id);
        self.next_id += 1;
        // Who never was up made nobody leave: whoever comes instead has to.
        let heirless = spec.replaces.iter().filter_map(|replaced| self.units.get(replaced));
        let inherited: Vec<UnitId> =
            heirless.filter(|unit| !unit.was_up).flat_map(|unit| unit.spec.replaces.clone()).collect();
        spec.replaces.extend(inherited);
        let unit = Unit {
            spec,
            state: State::Waiting,
            first_start: None,
            took: None,
            was_up: false,
            failures: 0,
            restarts: 0,
            leaving: self.stopping,
            evicted: false,
        };
        self.units.insert(id, unit);
        id
    }

    /// Makes a unit wait for the end of another that holds what it wants.
    pub fn wait_for_end(&mut self, id: UnitId, of: UnitId) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.spec.needs.push(Need::Gone(of));
        }
    }

    /// Keeps a group that came later, too, until the unit is gone when the whole system stops.
    pub fn outlived_by(&mut self, id: UnitId, group: &str) {
        if let Some(unit) = self.units.get_mut(&id) {
            let same =
                |need: &Need| matches!(need, Need::First(known) | Need::Outlived(known) if known == group);
            if !unit.spec.needs.iter().any(same) {
                unit.spec.needs.push(Need::Outlived(group.to_owned()));
            }
        }
    }

    /// Makes a unit that was to replace others, and never was up, replace one more.
    pub fn replace_too(&mut self, id: UnitId, other: UnitId) {
        if let Some(unit) = self.units.get_mut(&id)
            && !unit.was_up
            && !unit.spec.replaces.is_empty()
        {
            unit.spec.replaces.push(other);
        }
    }

    /// Gives a unit that was not started yet another limit for its first start.
    pub fn limit_start(&mut self, id: UnitId, limit: Duration) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.spec.start_limit = limit;
        }
    }

    /// Takes what happened at `now`, gives what to do, in this order.
    pub fn handle(&mut self, now: Tick, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Up(id) => self.up(now, id),
            Event::Ill(id) => self.ill(id),
            Event::Ended(id) => self.ended(now, id, &mut actions),
            Event::Retired(id) => self.retired(now, id, &mut actions),
            Event::Leave(id) => self.leave(id),
            Event::Evict(id) => {
                self.leave(id);
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.evicted = true;
                }
            }
            Event::StopAll => {
                self.stopping = true;
                self.units.values_mut().for_each(|unit| unit.leaving = true);
            }
            Event::KillAll => self.kill_all(&mut actions),
            Event::Tick => {}
        }
        self.turn(now, &mut actions);
        actions
    }

    /// When to send [`Event::Tick`] if nothing happens before.
    pub fn next_tick(&self) -> Option<Tick> {
        let timers = self.units.values().flat_map(|unit| {
            let state = match unit.state {
                State::Backoff { until } | State::Retiring { until } | State::Stopping { until } => {
                    Some(until)
                }
                _ => None,
            };
            let limit = unit.first_start.map(|since| since + unit.spec.start_limit);
            state.into_iter().chain(limit)
        });
        timers.min()
    }

    /// Where a unit stands; `None` once it is gone.
    pub fn state(&self, id: UnitId) -> Option<State> {
        self.units.get(&id).map(|unit| unit.state)
    }

    /// How often it was started again.
    pub fn restarts(&self, id: UnitId) -> u32 {
        self.units.get(&id).map_or(0, |unit| unit.restarts)
    }

    /// Whether it was to replace another, and never was up.
    pub fn replaces(&self, id: UnitId) -> bool {
        self.units.get(&id).is_some_and(|unit| !unit.spec.replaces.is_empty() && !unit.was_up)
    }

    /// Whether it was up at least once.
    pub fn was_up(&self, id: UnitId) -> bool {
        self.units.get(&id).is_some_and(|unit| unit.was_up)
    }

    /// How long its first start took, with all its attempts; `None` if it never was up, or was given up before.
    pub fn took(&self, id: UnitId) -> Option<Duration> {
        self.units.get(&id).and_then(|unit| unit.took)
    }

    /// Whether it is on its way out.
    pub fn leaves(&self, id: UnitId) -> bool {
        self.units.get(&id).is_none_or(|unit| unit.leaving)
    }

    /// Whether everything was up at least once.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// What a waiting unit waits for.
    pub fn missing(&self, id: UnitId) -> Vec<Need> {
        let Some(unit) = self.units.get(&id) else { return Vec::new() };
        unit.spec.needs.iter().filter(|need| !self.met(unit, need)).cloned().collect()
    }

    // --- events -------------------------------------------------------------------------------------------------

    fn up(&mut self, now: Tick, id: UnitId) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        match unit.state {
            State::Starting if unit.spec.kind == Kind::Build => unit.state = State::Built,
            State::Starting => unit.state = State::Up { since: now, ill: false },
            State::Up { since, .. } => unit.state = State::Up { since, ill: false },
            _ => return,
        }
        let first_start = unit.first_start.take();
        if !unit.was_up {
            unit.was_up = true;
            unit.took = first_start.map(|since| now.since(since));
            for replaced in unit.spec.replaces.clone() {
                self.leave(replaced);
            }
        }
    }

    fn ill(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(&id)
            && let State::Up { since, .. } = unit.state
        {
            unit.state = State::Up { since, ill: true };
        }
    }

    fn leave(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.leaving = true;
        }
    }

    fn retired(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        if let Some(unit) = self.units.get_mut(&id)
            && matches!(unit.state, State::Retiring { .. })
        {
            unit.stop(now, id, actions);
        }
    }

    fn ended(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        if matches!(unit.state, State::Waiting | State::Backoff { .. } | State::Built) {
            return;
        }
        if unit.leaving {
            self.units.remove(&id);
            actions.push(Action::Gone(id));
            return;
        }
        if matches!(unit.state, State::Up { since, .. } if now.since(since) >= WELL_AFTER) {
            unit.failures = 0;
        }
        let pause = pause(unit, &mut self.rng);
        unit.failures = unit.failures.saturating_add(1);
        unit.restarts = unit.restarts.saturating_add(1);
        unit.state = State::Backoff { until: now + pause };
        let tries = if unit.spec.kind == Kind::Build { 1 } else { FIRST_START_ATTEMPTS_MAX };
        if unit.first_start.is_some() && unit.failures >= tries {
            unit.first_start = None;
            actions.push(Action::GaveUp(id));
        }
    }

    fn kill_all(&mut self, actions: &mut Vec<Action>) {
        self.stopping = true;
        for (id, unit) in &mut self.units {
            unit.leaving = true;
            if unit.has_process() && unit.state != State::Killed {
                unit.state = State::Killed;
                actions.push(Action::Kill(*id));
            }
        }
    }

    // --- what follows from the state ----------------------------------------------------------------------------

    /// Does what can be done now, until nothing more follows.
    fn turn(&mut self, now: Tick, actions: &mut Vec<Action>) {
        let mut before = usize::MAX;
        while before != actions.len() {
            before = actions.len();
            for id in self.units.keys().copied().collect::<Vec<_>>() {
                self.turn_unit(now, id, actions);
            }
        }
        let all_up = |unit: &Unit| matches!(unit.state, State::Up { .. } | State::Built);
        if !self.settled && !self.stopping && !self.units.is_empty() && self.units.values().all(all_up) {
            self.settled = true;
            actions.push(Action::Settled);
        }
        if self.stopping && self.units.is_empty() && !self.finished {
            self.finished = true;
            actions.push(Action::Finished);
        }
    }

    fn turn_unit(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        let Some(unit) = self.units.get(&id) else { return };
        if unit.leaving && !self.held(id, unit) {
            self.let_go(now, id, actions);
            return;
        }
        let ready = !unit.leaving && unit.spec.needs.iter().all(|need| self.met(unit, need));
        let Some(unit) = self.units.get_mut(&id) else { return };
        match unit.state {
            State::Waiting if ready => unit.start(now, id, actions),
            State::Backoff { until } if now >= until && ready && unit.spec.kind != Kind::Build => {
                unit.start(now, id, actions);
            }
            State::Stopping { until } if now >= until => {
                unit.state = State::Killed;
                actions.push(Action::Kill(id));
            }
            _ => {}
        }
        if unit.first_start.is_some_and(|since| now >= since + unit.spec.start_limit) {
            unit.first_start = None;
            actions.push(Action::GaveUp(id));
        }
    }

    /// A unit that leaves and that nobody needs any more goes one step on.
    fn let_go(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        let stopping = self.stopping;
        let Some(unit) = self.units.get_mut(&id) else { return };
        match unit.state {
            State::Waiting | State::Backoff { .. } | State::Built => {
                self.units.remove(&id);
                actions.push(Action::Gone(id));
            }
            // When all leave, the gateway is gone first, and with it whoever called.
            State::Up { .. } if unit.spec.kind == Kind::Service && !stopping && !unit.evicted => {
                unit.state = State::Retiring { until: now + unit.spec.retire_limit };
                actions.push(Action::Retire(id));
            }
            State::Retiring { until } if now < until && !stopping => {}
            State::Up { .. } | State::Starting | State::Retiring { .. } => unit.stop(now, id, actions),
            State::Stopping { until } if now >= until => {
                unit.state = State::Killed;
                actions.push(Action::Kill(id));
            }
            State::Stopping { .. } | State::Killed => {}
        }
    }

    /// Whether a leaving unit must stay a while for others.
    fn held(&self, id: UnitId, unit: &Unit) -> bool {
        if unit.evicted || matches!(unit.state, State::Stopping { .. } | State::Killed) {
            return false;
        }
        let mut others = self.units.iter().filter(|(other, _)| **other != id).map(|(_, it)| it);
        others.any(|other| {
            other.has_process() && other.spec.needs.iter().any(|need| self.holds(id, unit, need))
        })
    }

    /// Whether this need of another unit keeps `unit` here.
    fn holds(&self, id: UnitId, unit: &Unit, need: &Need) -> bool {
        match need {
            Need::Always(group) | Need::Once(group) => unit.is_of(group) && !self.serves_beside(id, group),
            Need::First(group) | Need::Outlived(group) => self.stopping && unit.is_of(group),
            Need::Built(_) | Need::Gone(_) => false,
        }
    }

    /// Whether another unit of the group serves and stays.
    fn serves_beside(&self, id: UnitId, group: &str) -> bool {
        self.units.iter().any(|(other, it)| *other != id && it.is_of(group) && it.serves() && !it.leaving)
    }

    fn met(&self, unit: &Unit, need: &Need) -> bool {
        let serves = |group: &str| self.units.values().any(|other| other.is_of(group) && other.serves());
        let comes = |group: &str| self.units.values().any(|other| other.is_of(group) && !other.leaving);
        match need {
            Need::Always(group) => serves(group),
            Need::Once(group) => unit.was_up || serves(group),
            Need::First(group) => unit.was_up || serves(group) || !comes(group),
            Need::Outlived(_) => true,
            Need::Built(build) => unit.was_up || self.units.get(build).is_some_and(Unit::serves),
            Need::Gone(id) => !self.units.contains_key(id),
        }
    }
}

impl Unit {
    fn is_of(&self, group: &str) -> bool {
        self.spec.groups.iter().any(|known| known == group)
    }

    fn serves(&self) -> bool {
        matches!(self.state, State::Up { .. } | State::Built)
    }

    fn has_process(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Backoff { .. } | State::Built)
    }

    fn start(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        self.state = State::Starting;
        if !self.was_up && self.failures == 0 {
            self.first_start = Some(now);
        }
        actions.push(Action::Start(id));
    }

    fn stop(&mut self, now: Tick, id: UnitId, actions: &mut Vec<Action>) {
        self.state = State::Stopping { until: now + self.spec.stop_limit };
        self.first_start = None;
        actions.push(Action::Stop(id));
    }
}

/// How long a unit that ended waits for its next start.
fn pause(unit: &Unit, rng: &mut Rng) -> Duration {
    match (unit.spec.kind, unit.failures) {
        // What we build ourselves and was well: it is missed, and the fault is as likely outside (an operator's kill).
        (Kind::Role, 0) if unit.was_up => Duration::ZERO,
        (kind, failures) => {
            let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
            let most = if kind == Kind::Role && unit.was_up { ROLE_BACKOFF_LONGEST } else { BACKOFF_LONGEST };
            let longest = BACKOFF_FIRST.checked_mul(factor).unwrap_or(most).min(most);
            // Half fixed, half drawn: services that crashed together do not come back together.
            rng.duration(longest / 2, longest)
        }
    }
}
