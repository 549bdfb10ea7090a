//! A world of virtual time: endpoints that follow a script, callers that come, wait and go away, and between them the
//! cores, joined as the data plane joins them: count → admit → pick → attempt → record → decide → release.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use weft_model::plan::LimitPlan;
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use crate::resilience::breaker::{self, Verdict};
use crate::resilience::budget::Budget;
use crate::resilience::deadline::Deadline;
use crate::resilience::limit::{Bulkhead, Entry, Place, Ticket};
use crate::resilience::line::Key;
use crate::resilience::retry::{Decision, Ended, Hint, Outcome, Replay, Retries, Rules};
use crate::upstream::balance::{Ask, Balancer, EndpointId, Member, Method, Picked, Readiness, Settings};

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// Answers 200 after about so many milliseconds.
    Serves(u64),
    /// Answers 503 in so many of a million cases, else 200, after a few milliseconds.
    Errors(u32),
    /// Does not take the connection.
    Refuses,
    /// Takes the request and closes without an answer.
    Resets,
    /// Takes the request and says that it did nothing with it.
    Declines,
    /// Takes the request and never answers.
    Hangs,
}

/// An endpoint and how it behaves from each moment (milliseconds) on.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub name: String,
    pub phases: Vec<(u64, Behaviour)>,
}

/// A world to run.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub method: Method,
    pub scripts: Vec<Script>,
    /// From each moment (milliseconds) on, who is listed: places in `scripts`.
    pub lists: Vec<(u64, Vec<(usize, Readiness)>)>,
    pub arrivals_per_s: u64,
    /// How long callers come; then the world runs until all are gone.
    pub run_ms: u64,
    pub deadline_ms: u64,
    pub per_try_ms: Option<u64>,
    pub retries: u32,
    pub budget: (u32, u32),
    pub limit: LimitPlan,
    /// Callers, in parts of a million, whose request is idempotent; who go away early; whose body is not kept.
    pub idempotent_ppm: u32,
    pub impatient_ppm: u32,
    pub streamed_ppm: u32,
    /// Attempts, in parts of a million, on a connection that the endpoint had closed already.
    pub stale_ppm: u32,
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub requests: u64,
    pub attempts: u64,
    pub retries: u64,
    pub resends: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub refused: u64,
    pub given_up: u64,
    /// By endpoint, when each attempt on it began and whether it succeeded.
    pub by_endpoint: BTreeMap<String, Vec<(Tick, bool)>>,
    /// Greatest number of endpoints that were out at once.
    pub ejected_max: usize,
    pub opened: u64,
    pub queued_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    List(usize),
    /// The caller's patience or the deadline ends.
    Leaves {
        exchange: u64,
        gives_up: bool,
    },
    /// The running attempt comes to its scripted end.
    Answers {
        exchange: u64,
        attempt: u64,
    },
    TryLimit {
        exchange: u64,
        attempt: u64,
    },
    TriesAgain {
        exchange: u64,
    },
    BodyEnds {
        exchange: u64,
    },
}

#[derive(Debug)]
enum At {
    Waiting(Ticket),
    /// With the place, between attempts.
    Pausing,
    Trying {
        picked: Picked,
        begun: Tick,
        outcome: Outcome,
        reused: bool,
    },
    Answering(Picked),
}

#[derive(Debug)]
struct Exchange {
    idempotent: bool,
    replay: Replay,
    deadline: Deadline,
    retries: Retries,
    place: Option<Place>,
    at: At,
    attempt: u64,
    /// The next attempt is on a new connection.
    fresh: bool,
    last: Option<EndpointId>,
    /// Attempts with which an endpoint may have done what was asked.
    maybe_done: u32,
}

/// The running world.
pub(super) struct World {
    setup: Setup,
    rng: Rng,
    now: Tick,
    agenda: BinaryHeap<Reverse<(Tick, u64, Event)>>,
    planned: u64,
    exchanges: BTreeMap<u64, Exchange>,
    waiting: HashMap<Key, u64>,
    balancer: Balancer,
    budget: Budget,
    bulkhead: Bulkhead,
    tally: Tally,
}

/// Runs a world to its end and returns what happened, after checking what must hold in every world.
pub(super) fn run(seed: u64, setup: Setup) -> Tally {
    let settings =
        Settings { method: setup.method, versions: Vec::new(), breaker: breaker::Rules::default() };
    let mut world = World {
        rng: Rng::seeded(seed),
        now: Tick::ZERO,
        agenda: BinaryHeap::new(),
        planned: 0,
        exchanges: BTreeMap::new(),
        waiting: HashMap::new(),
        balancer: Balancer::new(settings),
        budget: Budget::new(setup.budget.0, setup.budget.1),
        bulkhead: Bulkhead::new(setup.limit),
        tally: Tally::default(),
        setup,
    };
    for list in 0..world.setup.lists.len() {
        world.plan(Tick::from_ms(world.setup.lists[list].0), Event::List(list));
    }
    world.plan(Tick::ZERO, Event::Arrives);
    while let Some(Reverse((at, _, event))) = world.agenda.pop() {
        assert!(at >= world.now);
        world.now = at;
        world.happen(event);
        world.check();
    }
    world.check_end();
    world.tally
}

impl World {
    fn plan(&mut self, at: Tick, event: Event) {
        self.planned += 1;
        self.agenda.push(Reverse((at, self.planned, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives => self.arrive(),
            Event::List(list) => self.list(list),
            Event::Leaves { exchange, gives_up } => self.leave_early(exchange, gives_up),
            Event::Answers { exchange, attempt } => {
                if let Some(outcome) = self.running(exchange, attempt) {
                    self.attempt_ends(exchange, outcome);
                }
            }
            Event::TryLimit { exchange, attempt } => {
                if self.running(exchange, attempt).is_some() {
                    self.attempt_ends(exchange, Outcome::TryTimeout);
                }
            }
            Event::TriesAgain { exchange } => {
                if self.exchanges.get(&exchange).is_some_and(|one| matches!(one.at, At::Pausing)) {
                    self.attempt(exchange);
                }
            }
            Event::BodyEnds { exchange } => {
                if let Some(one) = self.exchanges.remove(&exchange) {
                    self.tally.succeeded += 1;
                    self.end(one);
                }
            }
        }
    }

    fn list(&mut self, list: usize) {
        let listed = self.setup.lists[list].1.clone();
        let members = listed.iter().map(|(script, readiness)| Member {
            key: &self.setup.scripts[*script].name,
            version: "v1",
            weight: 1,
            readiness: *readiness,
        });
        let members: Vec<Member<'_>> = members.collect();
        self.balancer.update(self.now, &members);
    }

    fn arrive(&mut self) {
        let id = self.tally.requests;
        self.tally.requests += 1;
        let pause_us = (-(1.0 - self.rng.fraction()).ln() * 1e6 / self.setup.arrivals_per_s as f64) as u64;
        let next = self.now + Duration::from_micros(pause_us);
        if next < Tick::from_ms(self.setup.run_ms) {
            self.plan(next, Event::Arrives);
        }
        self.budget.count_request(self.now);
        let deadline =
            Deadline::earliest(self.now, [Some(Duration::from_millis(self.setup.deadline_ms)), None, None]);
        self.plan(deadline.at(), Event::Leaves { exchange: id, gives_up: false });
        if self.rng.chance_ppm(self.setup.impatient_ppm) {
            let patience = self.rng.duration(Duration::ZERO, Duration::from_millis(self.setup.deadline_ms));
            self.plan(self.now + patience, Event::Leaves { exchange: id, gives_up: true });
        }
        let idempotent = self.rng.chance_ppm(self.setup.idempotent_ppm);
        let streamed = self.rng.chance_ppm(self.setup.streamed_ppm);
        let (place, at) = match self.bulkhead.enter(self.now, deadline.at()) {
            Entry::Open(place) => (Some(place), At::Pausing),
            Entry::Queued(ticket) => (None, At::Waiting(ticket)),
            Entry::Refused { retry_after, .. } => {
                assert!((1..=30).contains(&retry_after.as_secs()));
                self.tally.refused += 1;
                return;
            }
        };
        let rules = Rules {
            retries: self.setup.retries,
            backoff_min: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
        };
        let exchange = Exchange {
            idempotent,
            replay: if streamed { Replay::Gone } else { Replay::Possible },
            deadline,
            retries: Retries::new(rules, idempotent, None),
            place,
            at,
            attempt: 0,
            fresh: false,
            last: None,
            maybe_done: 0,
        };
        match &exchange.at {
            At::Waiting(ticket) => drop(self.waiting.insert(ticket.key(), id)),
            _ => self.plan(self.now, Event::TriesAgain { exchange: id }),
        }
        self.exchanges.insert(id, exchange);
    }

    /// The scripted outcome of a running attempt, if it is the one that `attempt` names.
    fn running(&self, exchange: u64, attempt: u64) -> Option<Outcome> {
        let one = self.exchanges.get(&exchange).filter(|one| one.attempt == attempt)?;
        match &one.at {
            At::Trying { outcome, .. } => Some(*outcome),
            _ => None,
        }
    }

    fn attempt(&mut self, id: u64) {
        let mut one = self.exchanges.remove(&id).expect("it is there");
        let per_try = self.setup.per_try_ms.map(Duration::from_millis);
        let Some(limits) = one.deadline.attempt(self.now, per_try) else {
            self.tally.failed += 1;
            return self.end(one);
        };
        let ask = Ask { key: Some(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)), avoid: one.last, version: None };
        let Some(picked) = self.balancer.pick(self.now, &mut self.rng, &ask) else {
            self.tally.failed += 1;
            return self.end(one);
        };
        self.tally.attempts += 1;
        one.attempt += 1;
        one.last = Some(picked.id());
        let key = self.balancer.key(picked.id()).expect("it was just picked").to_owned();
        let connects = !matches!(behaviour(&self.setup, &key, self.now), Behaviour::Refuses);
        let reused = connects && !std::mem::take(&mut one.fresh) && self.rng.chance_ppm(500_000);
        let (outcome, after_us) = self.scripted(&key, reused);
        let success = outcome == Some(Outcome::Answered(200));
        self.tally.by_endpoint.entry(key).or_default().push((self.now, success));
        if !matches!(outcome, Some(Outcome::NotSent | Outcome::NotProcessed)) {
            one.maybe_done += 1;
        }
        assert!(one.maybe_done <= 1 || one.idempotent, "{id} may have been done twice");
        assert!(one.attempt == 1 || one.replay == Replay::Possible, "{id} was sent again without its body");
        let attempt = one.attempt;
        if let Some(after_us) = after_us {
            self.plan(self.now + Duration::from_micros(after_us), Event::Answers { exchange: id, attempt });
        }
        if limits.per_try {
            self.plan(limits.ends, Event::TryLimit { exchange: id, attempt });
        }
        let outcome = outcome.unwrap_or(Outcome::TryTimeout);
        one.at = At::Trying { picked, begun: self.now, outcome, reused };
        self.exchanges.insert(id, one);
    }

    /// What an attempt on `key` will come to, and when; `None`: never.
    fn scripted(&mut self, key: &str, reused: bool) -> (Option<Outcome>, Option<u64>) {
        if reused && self.rng.chance_ppm(self.setup.stale_ppm) {
            return (Some(Outcome::NoResponse), Some(200));
        }
        let jitter = |rng: &mut Rng, ms: u64| Some(ms * 1_000 * rng.between(80, 120) / 100);
        match behaviour(&self.setup, key, self.now) {
            Behaviour::Serves(ms) => (Some(Outcome::Answered(200)), jitter(&mut self.rng, ms)),
            Behaviour::Errors(ppm) => {
                let status = if self.rng.chance_ppm(ppm) { 503 } else { 200 };
                (Some(Outcome::Answered(status)), jitter(&mut self.rng, 3))
            }
            Behaviour::Refuses => (Some(Outcome::NotSent), jitter(&mut self.rng, 1)),
            Behaviour::Resets => (Some(Outcome::NoResponse), jitter(&mut self.rng, 2)),
            Behaviour::Declines => (Some(Outcome::NotProcessed), jitter(&mut self.rng, 1)),
            Behaviour::Hangs => (None, None),
        }
    }

    fn attempt_ends(&mut self, id: u64, outcome: Outcome) {
        let mut one = self.exchanges.remove(&id).expect("it is running");
        let At::Trying { mut picked, begun, reused, .. } = std::mem::replace(&mut one.at, At::Pausing) else {
            panic!("{id} is not running");
        };
        let ended = Ended { outcome, replay: one.replay, hint: Hint::None };
        if one.retries.resend(ended, reused, self.now, &mut self.budget) {
            // The connection is to blame, and not the endpoint.
            self.tally.resends += 1;
            self.balancer.release(picked, self.now);
            one.last = None;
            one.fresh = true;
            self.exchanges.insert(id, one);
            return self.attempt(id);
        }
        let change = self.balancer.record(&mut picked, self.now, self.now.since(begun), outcome.verdict());
        self.tally.opened += u64::from(change == breaker::Change::Opened);
        match one.retries.decide(ended, self.now, one.deadline, &mut self.budget, &mut self.rng) {
            Decision::Retry { after } => {
                self.tally.retries += 1;
                self.balancer.release(picked, self.now);
                self.plan(self.now + after, Event::TriesAgain { exchange: id });
                self.exchanges.insert(id, one);
            }
            Decision::Stop(_) if outcome == Outcome::Answered(200) => {
                one.at = At::Answering(picked);
                let body = self.rng.duration(Duration::ZERO, Duration::from_millis(4));
                self.plan(self.now + body, Event::BodyEnds { exchange: id });
                self.exchanges.insert(id, one);
            }
            Decision::Stop(_) => {
                self.tally.failed += 1;
                self.balancer.release(picked, self.now);
                self.end(one);
            }
        }
    }

    /// The caller goes away, or the deadline passes, wherever the exchange stands.
    fn leave_early(&mut self, id: u64, gives_up: bool) {
        let Some(mut one) = self.exchanges.remove(&id) else { return };
        if gives_up {
            self.tally.given_up += 1;
        } else {
            self.tally.failed += 1;
        }
        if let At::Trying { picked, begun, .. } = &mut one.at {
            let waited = self.now.since(*begun);
            let outcome = if gives_up { Outcome::GivenUp } else { Outcome::DeadlinePassed { waited } };
            assert!(gives_up || outcome.verdict() != Verdict::Success);
            self.balancer.record(picked, self.now, waited, outcome.verdict());
        }
        self.end(one);
    }

    /// Gives back whatever an exchange holds.
    fn end(&mut self, one: Exchange) {
        assert!(self.now <= one.deadline.at(), "nobody is kept past the deadline");
        let woken = match one.at {
            At::Waiting(ticket) => {
                self.waiting.remove(&ticket.key());
                self.bulkhead.cancel(ticket, self.now)
            }
            At::Trying { picked, .. } | At::Answering(picked) => {
                self.balancer.release(picked, self.now);
                None
            }
            At::Pausing => None,
        };
        self.wake(woken);
        if let Some(place) = one.place {
            let woken = self.bulkhead.leave(place, self.now);
            self.wake(woken);
        }
    }

    fn wake(&mut self, woken: Option<Key>) {
        let Some(key) = woken else { return };
        let id = self.waiting.remove(&key).expect("somebody waits for it");
        let one = self.exchanges.get_mut(&id).expect("it waits");
        let At::Waiting(ticket) = std::mem::replace(&mut one.at, At::Pausing) else {
            panic!("it does not wait")
        };
        one.place = Some(self.bulkhead.claim(ticket).expect("its turn has come"));
        // As in the data plane, where a woken task runs after the one that woke it.
        self.plan(self.now, Event::TriesAgain { exchange: id });
    }

    /// What must hold after every event.
    fn check(&mut self) {
        let (ready, ejected) = self.balancer.seen().fold((0, 0), |(ready, ejected), seen| {
            (ready + usize::from(seen.readiness == Readiness::Ready), ejected + usize::from(seen.ejected))
        });
        assert!(ejected <= ready / 2, "{ejected} of {ready} are out");
        self.tally.ejected_max = self.tally.ejected_max.max(ejected);
        self.tally.queued_max = self.tally.queued_max.max(self.bulkhead.queued());
        assert!(
            self.bulkhead.open() <= self.setup.limit.open
                && self.bulkhead.queued() <= self.setup.limit.queued
        );
        let (share, floor) = (u64::from(self.setup.budget.0), u64::from(self.setup.budget.1));
        let most = self.tally.requests * share / 100 + floor * (self.now.as_ms() / 1_000 + 11);
        assert!(self.tally.retries <= most, "{} retries, at most {most}", self.tally.retries);
        assert!(self.tally.resends <= most, "{} resends, at most {most}", self.tally.resends);
    }

    /// What must hold when everybody has gone.
    fn check_end(&self) {
        let Tally { requests, attempts, retries, resends, succeeded, failed, refused, given_up, .. } =
            &self.tally;
        assert_eq!(*requests, succeeded + failed + refused + given_up, "each ends exactly once");
        assert!(*attempts <= requests + retries + resends, "and is tried no more often than was granted");
        assert!(self.exchanges.is_empty() && self.waiting.is_empty());
        assert_eq!((self.bulkhead.open(), self.bulkhead.queued()), (0, 0), "a place leaked");
        assert!(self.balancer.seen().all(|seen| seen.in_flight == 0), "a request leaked");
    }
}

/// What an endpoint does at a time.
pub(super) fn behaviour(setup: &Setup, key: &str, now: Tick) -> Behaviour {
    let script = setup.scripts.iter().find(|script| script.name == key).expect("it is scripted");
    let phase = script.phases.iter().rev().find(|(from_ms, _)| now >= Tick::from_ms(*from_ms));
    phase.expect("scripts begin at zero").1
}
