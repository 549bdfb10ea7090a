//! More load than a service can serve, toward a service that is as unkind as most: it works in order of arrival, and does not
//! notice that a caller has given up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use weft_model::plan::LimitPlan;
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use super::each_seed;
use crate::resilience::limit::{Bulkhead, Entry, Place, Ticket};
use crate::resilience::line::Key;

/// What is offered to what.
#[derive(Clone, Copy)]
struct Setup {
    /// Requests that the service works on at once.
    places: usize,
    /// Each for so long, give or take a half.
    work_ms: u64,
    per_second: u64,
    /// In every tenth second so many times as much.
    burst: u64,
    run_s: u64,
    time: Duration,
}

impl Setup {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn capacity(&self) -> f64 {
        self.places as f64 * 1000.0 / self.work_ms as f64
    }
}

#[derive(Debug, Default)]
struct Tally {
    good: u64,
    late: u64,
    refused: u64,
    /// Those of the second half of the run.
    good_later: u64,
    late_later: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Served(u64),
    TooLate(u64),
}

/// The world: one bulkhead with the default limits before one service.
struct World {
    setup: Setup,
    rng: Rng,
    now: Tick,
    events: BinaryHeap<Reverse<(Tick, u64, Event)>>,
    bulkhead: Bulkhead,
    /// Open requests with their places, and those that wait with their tickets.
    open: HashMap<u64, Place>,
    waiting: HashMap<u64, Ticket>,
    names: HashMap<Key, u64>,
    /// What the service has in its line, given up or not, and how many it works on.
    line: VecDeque<u64>,
    busy: usize,
    next: u64,
    tally: Tally,
}

fn run(seed: u64, setup: Setup) -> Tally {
    let limit = LimitPlan { open: 1_024, queued: 1_024 };
    let mut world = World {
        setup,
        rng: Rng::seeded(seed),
        now: Tick::ZERO,
        events: BinaryHeap::new(),
        bulkhead: Bulkhead::new(limit),
        open: HashMap::new(),
        waiting: HashMap::new(),
        names: HashMap::new(),
        line: VecDeque::new(),
        busy: 0,
        next: 0,
        tally: Tally::default(),
    };
    world.at(Duration::ZERO, Event::Arrives);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        match event {
            Event::Arrives => world.arrives(),
            Event::Served(id) => world.served(id),
            Event::TooLate(id) => world.too_late(id),
        }
    }
    assert_eq!((world.bulkhead.open(), world.bulkhead.queued()), (0, 0), "nothing leaks");
    world.tally
}

impl World {
    fn at(&mut self, wait: Duration, event: Event) {
        // The number keeps events of one moment in their order.
        self.next += 1;
        self.events.push(Reverse((self.now + wait, self.next, event)));
    }

    /// About so long: between half and one and a half.
    fn about(&mut self, us: u64) -> Duration {
        Duration::from_micros(self.rng.between(us / 2, us + us / 2))
    }

    fn arrives(&mut self) {
        if self.now >= Tick::from_ms(self.setup.run_s * 1000) {
            return;
        }
        let burst = if self.now.as_us() / 1_000_000 % 10 == 9 { self.setup.burst } else { 1 };
        let pause = self.about(1_000_000 / (self.setup.per_second * burst));
        self.at(pause, Event::Arrives);
        let deadline = self.now + self.setup.time;
        let id = self.next;
        match self.bulkhead.enter(self.now, deadline) {
            Entry::Open(place) => self.sends(id, place),
            Entry::Queued(ticket) => {
                self.names.insert(ticket.key(), id);
                self.waiting.insert(id, ticket);
            }
            Entry::Refused { retry_after, .. } => {
                assert!(retry_after >= Duration::from_secs(1));
                self.tally.refused += 1;
                return;
            }
        }
        self.at(self.setup.time, Event::TooLate(id));
    }

    fn is_later(&self) -> bool {
        self.now >= Tick::from_ms(self.setup.run_s * 500)
    }

    fn sends(&mut self, id: u64, place: Place) {
        self.open.insert(id, place);
        self.line.push_back(id);
        self.work();
    }

    fn work(&mut self) {
        while self.busy < self.setup.places
            && let Some(id) = self.line.pop_front()
        {
            self.busy += 1;
            let took = self.about(self.setup.work_ms * 1000);
            self.at(took, Event::Served(id));
        }
    }

    fn served(&mut self, id: u64) {
        self.busy -= 1;
        // Nobody may be waiting for it any more.
        if let Some(mut place) = self.open.remove(&id) {
            self.tally.good += 1;
            self.tally.good_later += u64::from(self.is_later());
            self.bulkhead.answered(&mut place, self.now);
            let woken = self.bulkhead.leave(place, self.now);
            self.wake(woken);
        }
        self.work();
    }

    fn too_late(&mut self, id: u64) {
        let woken = if let Some(place) = self.open.remove(&id) {
            self.bulkhead.leave(place, self.now)
        } else if let Some(ticket) = self.waiting.remove(&id) {
            self.names.remove(&ticket.key());
            self.bulkhead.cancel(ticket, self.now)
        } else {
            return;
        };
        self.tally.late += 1;
        self.tally.late_later += u64::from(self.is_later());
        self.wake(woken);
    }

    fn wake(&mut self, key: Option<Key>) {
        let Some(id) = key.and_then(|key| self.names.remove(&key)) else { return };
        let ticket = self.waiting.remove(&id).unwrap();
        let place = self.bulkhead.claim(ticket).unwrap();
        self.sends(id, place);
    }
}

/// Three times the capacity, for a service of each size.
fn overloaded(rng: &mut Rng, factor: f64) -> Setup {
    let (places, work_ms) = (4 + rng.below(16), rng.between(20, 500));
    let time = Duration::from_secs(rng.between(2, 15));
    let mut setup = Setup { places, work_ms, per_second: 1, burst: 1, run_s: 80, time };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
    let per_second = (setup.capacity() * factor).ceil() as u64;
    setup.per_second = per_second;
    setup
}

#[test]
fn at_three_times_what_it_can_do_a_service_does_what_it_can() {
    each_seed(20, |seed| {
        let setup = overloaded(&mut Rng::seeded(seed), 3.0);
        let tally = run(seed, setup);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let later = tally.good_later as f64 / (setup.run_s as f64 / 2.0) / setup.capacity();
        // After the run the last ones are still answered, for at most their time.
        assert!(later > 0.9, "{later:.2} of {:.0} a second: {tally:?}", setup.capacity());
        assert!(tally.late_later * 50 < tally.good_later, "{tally:?}");
        assert!(tally.refused > tally.good, "{tally:?}");
    });
}

#[test]
fn a_service_that_works_on_all_at_once_has_its_bursts() {
    each_seed(40, |seed| {
        let mut rng = Rng::seeded(seed);
        let work_ms = rng.between(10, 1_000);
        let calm = Setup {
            places: usize::MAX,
            work_ms,
            per_second: rng.between(1, 30),
            burst: 20,
            run_s: 60,
            time: Duration::from_secs(15),
        };
        let tally = run(seed, calm);
        assert_eq!((tally.late, tally.refused), (0, 0), "{tally:?}");
    });
}
