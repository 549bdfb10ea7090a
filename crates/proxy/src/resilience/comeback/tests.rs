//! Turns: their order, their bounds, that a comeback ends, and that nothing leaks whoever goes away when.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use weft_stdx::rng::Rng;

/// So many that came one millisecond after the other while nobody was there.
fn held(count: u64) -> (Comeback, Vec<Key>) {
    let mut comeback = Comeback::default();
    let line_up = |ms| {
        let (key, wake) = comeback.line_up(Tick::from_ms(ms));
        assert!(wake.is_empty());
        key
    };
    let keys = (0..count).map(line_up).collect();
    (comeback, keys)
}

#[test]
fn a_few_go_first_and_each_answer_lets_two_more_go() {
    let (mut comeback, keys) = held(100);
    let mut woken = comeback.back(Tick::ZERO);
    assert_eq!(woken, keys[..4]);
    let (mut gone, mut rounds) = (0, Vec::new());
    while !woken.is_empty() {
        rounds.push(woken.len());
        gone += woken.len();
        let turns: Vec<Turn> = woken.iter().map(|key| comeback.claim(*key).unwrap()).collect();
        woken = turns.into_iter().flat_map(|turn| comeback.answered(turn)).collect();
        assert_eq!(woken, keys[gone..gone + woken.len()], "in order of arrival");
    }
    assert_eq!(rounds, [4, 8, 16, 32, 40]);
    assert!(comeback.is_over());
}

#[test]
fn what_came_to_nothing_makes_no_more_room() {
    let (mut comeback, keys) = held(100);
    let mut next = comeback.back(Tick::ZERO);
    for _ in 0..50 {
        assert_eq!(next.len(), 4);
        let turns: Vec<Turn> = next.iter().map(|key| comeback.claim(*key).unwrap()).collect();
        next = turns.into_iter().flat_map(|turn| comeback.ended(turn)).collect();
        if next.last() == keys.last() {
            return;
        }
    }
    panic!("not all were let go");
}

#[test]
fn without_answers_the_room_doubles_with_time_until_nobody_waits() {
    let (mut comeback, _keys) = held(10_000);
    let (mut gone, mut now) = (comeback.back(Tick::ZERO).len(), Tick::ZERO);
    let mut steps = 0;
    while !comeback.is_over() {
        now = comeback.grows_at();
        assert!(comeback.grow(Tick::from_us(now.as_us() - 1)).is_empty());
        gone += comeback.grow(now).len();
        steps += 1;
        assert!(comeback.is_over() || gone == 4 << steps);
    }
    assert_eq!((gone, now), (10_000, Tick::ZERO + STEP * 10));
}

#[test]
fn whoever_is_away_again_gets_nobody_and_who_comes_meanwhile_lines_up() {
    let (mut comeback, keys) = held(5);
    let first = comeback.back(Tick::ZERO);
    comeback.away();
    let turns: Vec<Turn> = first.iter().map(|key| comeback.claim(*key).unwrap()).collect();
    let asked = turns.into_iter().flat_map(|turn| comeback.ended(turn)).count();
    assert_eq!(asked, 0);
    // The first one is back, and before the fifth, which never left.
    let (again, wake) = comeback.line_up(Tick::ZERO);
    assert!(wake.is_empty());
    assert_eq!(comeback.back(Tick::from_ms(9)), [again, keys[4]]);
}

#[test]
fn nobody_is_held_where_nobody_waited() {
    let mut comeback = Comeback::default();
    assert!(comeback.back(Tick::ZERO).is_empty());
    assert!(comeback.is_over());
}

/// A service that is back, with a backlog, and callers of whom some give up. By `WEFT_SIM_SEED` as the other simulations.
#[derive(Default)]
struct World {
    comeback: Comeback,
    /// Who waits: when it came.
    waiting: BTreeMap<Key, Tick>,
    /// At the service, oldest first.
    asked: VecDeque<Turn>,
    answers: u32,
}

impl World {
    fn wake(&mut self, keys: Vec<Key>) {
        for key in keys {
            let since = self.waiting.remove(&key).expect("somebody who waits is woken, once");
            assert!(self.waiting.values().all(|other| *other >= since), "in order of arrival");
            self.asked.push_back(self.comeback.claim(key).expect("its turn"));
        }
    }

    fn line_up(&mut self, now: Tick) {
        let (key, wake) = self.comeback.line_up(now);
        self.waiting.insert(key, now);
        self.wake(wake);
    }

    fn give_up(&mut self, rng: &mut Rng) {
        let nth = rng.below(self.waiting.len().max(1));
        if let Some(key) = self.waiting.keys().nth(nth).copied() {
            self.waiting.remove(&key);
            let wake = self.comeback.cancel(key);
            self.wake(wake);
        }
    }
}

#[test]
fn a_service_that_is_back_is_never_asked_by_more_than_its_answers_and_the_time_allow() {
    crate::resilience::simulation::each_seed(200, |seed| {
        let mut rng = Rng::seeded(seed);
        let mut world = World::default();
        // Milliseconds between two answers, two arrivals, and two that give up.
        let every = [rng.between(1, 60), rng.between(1, 20), rng.between(5, 500)];
        let due = |ms: u64, n: usize| ms.is_multiple_of(every[n]);
        for ms in 0..rng.between(1, 3_000) {
            if due(ms, 1) {
                world.line_up(Tick::from_ms(ms));
            }
            if due(ms, 2) {
                world.give_up(&mut rng);
            }
        }
        let back_ms = 3_000;
        let wake = world.comeback.back(Tick::from_ms(back_ms));
        world.wake(wake);
        let mut ms = back_ms;
        while !world.comeback.is_over() {
            ms += 1;
            assert!(ms < back_ms + 250 * 12, "it ends in bounded time");
            let now = Tick::from_ms(ms);
            if due(ms, 1) {
                world.line_up(now);
            }
            if due(ms, 2) {
                world.give_up(&mut rng);
            }
            if due(ms, 0)
                && let Some(turn) = world.asked.pop_front()
            {
                let lost = rng.chance_ppm(50_000);
                world.answers += u32::from(!lost);
                let wake = if lost { world.comeback.ended(turn) } else { world.comeback.answered(turn) };
                world.wake(wake);
            }
            if now >= world.comeback.grows_at() {
                let wake = world.comeback.grow(now);
                world.wake(wake);
            }
            let doubled = 1_u64 << ((ms - back_ms) / 250);
            let bound = (4 + u64::from(world.answers)) * doubled;
            assert!(
                world.comeback.is_over() || world.asked.len() as u64 <= bound,
                "{} asked",
                world.asked.len()
            );
        }
        assert!(world.waiting.is_empty(), "nobody is forgotten");
        for turn in std::mem::take(&mut world.asked) {
            assert!(world.comeback.ended(turn).is_empty());
        }
        assert_eq!((world.comeback.asked, world.comeback.line.len()), (0, 0));
    });
}
