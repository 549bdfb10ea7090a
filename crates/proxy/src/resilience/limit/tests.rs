//! Places and queue: order, deadlines, and that nothing leaks whoever goes away when.

use std::collections::VecDeque;

use super::*;
use weft_stdx::rng::Rng;

fn bulkhead(open: u32, queued: u32) -> Bulkhead {
    Bulkhead::new(LimitPlan { open, queued })
}

fn place(entry: Entry) -> Place {
    match entry {
        Entry::Open(place) => place,
        other => panic!("not open: {other:?}"),
    }
}

fn ticket(entry: Entry) -> Ticket {
    match entry {
        Entry::Queued(ticket) => ticket,
        other => panic!("not queued: {other:?}"),
    }
}

#[test]
fn so_many_are_open_so_many_wait_and_the_rest_are_refused() {
    let mut bulkhead = bulkhead(1_024, 1_024);
    let now = Tick::ZERO;
    let mut places: Vec<_> = (0..1_024).map(|_| place(bulkhead.enter(now, Tick::NEVER))).collect();
    let tickets: Vec<_> = (0..1_024).map(|_| ticket(bulkhead.enter(now, Tick::NEVER))).collect();
    let refused = bulkhead.enter(now, Tick::NEVER);
    assert!(
        matches!(refused, Entry::Refused { retry_after, why: Full::Queue } if retry_after == Duration::from_secs(1))
    );
    assert_eq!((bulkhead.open(), bulkhead.queued()), (1_024, 1_024));
    for waiting in tickets {
        let left = places.pop().unwrap();
        assert_eq!(bulkhead.leave(left, now), Some(waiting.key()), "first come, first served");
        places.insert(0, bulkhead.claim(waiting).unwrap());
    }
    assert_eq!((bulkhead.open(), bulkhead.queued()), (1_024, 0));
    assert!(places.into_iter().all(|left| bulkhead.leave(left, now).is_none()));
    assert_eq!((bulkhead.open(), bulkhead.queued()), (0, 0));
}

#[test]
fn a_place_that_was_given_is_not_taken_by_who_comes_in_between() {
    let mut bulkhead = bulkhead(1, 5);
    let now = Tick::ZERO;
    let first = place(bulkhead.enter(now, Tick::NEVER));
    let second = ticket(bulkhead.enter(now, Tick::NEVER));
    let second = bulkhead.claim(second).expect_err("its turn has not come");
    assert_eq!(bulkhead.leave(first, now), Some(second.key()));
    let third = ticket(bulkhead.enter(now, Tick::NEVER));
    let second = bulkhead.claim(second).unwrap();
    assert_eq!(bulkhead.leave(second, now), Some(third.key()));
    let third = bulkhead.claim(third).unwrap();
    assert_eq!(bulkhead.leave(third, now), None);
}

#[test]
fn who_goes_away_leaves_nothing_behind() {
    let mut bulkhead = bulkhead(1, 5);
    let now = Tick::ZERO;
    let first = place(bulkhead.enter(now, Tick::NEVER));
    let [a, b, c] = [(); 3].map(|()| ticket(bulkhead.enter(now, Tick::NEVER)));
    assert_eq!(bulkhead.cancel(b, now), None, "from the middle of the line");
    assert_eq!(bulkhead.queued(), 2);
    assert_eq!(bulkhead.leave(first, now), Some(a.key()));
    assert_eq!(bulkhead.cancel(a, now), Some(c.key()), "after it was given the place, before it noticed");
    assert_eq!(bulkhead.cancel(c, now), None);
    assert_eq!((bulkhead.open(), bulkhead.queued()), (0, 0));
    let again = place(bulkhead.enter(now, Tick::NEVER));
    assert_eq!(bulkhead.leave(again, now), None);
}

#[test]
fn who_has_no_time_left_is_passed_over() {
    let mut bulkhead = bulkhead(1, 5);
    let first = place(bulkhead.enter(Tick::ZERO, Tick::NEVER));
    let late = ticket(bulkhead.enter(Tick::ZERO, Tick::from_ms(100)));
    let patient = ticket(bulkhead.enter(Tick::ZERO, Tick::from_ms(900)));
    assert_eq!(bulkhead.leave(first, Tick::from_ms(100)), Some(patient.key()));
    let late = bulkhead.claim(late).expect_err("it was given nothing");
    assert_eq!(bulkhead.cancel(late, Tick::from_ms(101)), None);
    let patient = bulkhead.claim(patient).unwrap();
    assert_eq!(bulkhead.leave(patient, Tick::from_ms(200)), None);
    assert_eq!((bulkhead.open(), bulkhead.queued()), (0, 0));
}

#[test]
fn the_late_ones_do_not_block_an_empty_house() {
    let mut bulkhead = bulkhead(1, 5);
    let first = place(bulkhead.enter(Tick::ZERO, Tick::NEVER));
    let late = ticket(bulkhead.enter(Tick::ZERO, Tick::from_ms(10)));
    assert_eq!(bulkhead.leave(first, Tick::from_ms(20)), None);
    let next = place(bulkhead.enter(Tick::from_ms(20), Tick::NEVER));
    assert_eq!(bulkhead.cancel(late, Tick::from_ms(21)), None);
    assert_eq!(bulkhead.leave(next, Tick::from_ms(22)), None);
    assert_eq!((bulkhead.open(), bulkhead.queued()), (0, 0));
}

#[test]
fn who_would_wait_past_its_deadline_is_refused_at_once_and_told_when_to_come() {
    let mut bulkhead = bulkhead(2, 1_000);
    // 100 places left in 10 s: one every 100 ms.
    for n in 0..100 {
        let now = Tick::from_ms(n * 100);
        let one = place(bulkhead.enter(now, Tick::NEVER));
        assert_eq!(bulkhead.leave(one, now), None);
    }
    let now = Tick::from_ms(9_950);
    let held = [(); 2].map(|()| place(bulkhead.enter(now, Tick::NEVER)));
    let waiting: Vec<_> = (0..49).map(|_| ticket(bulkhead.enter(now, Tick::NEVER))).collect();
    let soon = bulkhead.enter(now, now + Duration::from_secs(3));
    let expected = Duration::from_secs(6);
    assert!(
        matches!(soon, Entry::Refused { retry_after, why: Full::Deadline } if retry_after == expected),
        "{soon:?}"
    );
    let later = ticket(bulkhead.enter(now, now + Duration::from_secs(6)));
    assert_eq!(bulkhead.cancel(later, now), None);
    for one in waiting {
        assert_eq!(bulkhead.cancel(one, now), None);
    }
    assert!(held.into_iter().all(|one| bulkhead.leave(one, now).is_none()));
}

#[test]
fn without_a_known_rate_everyone_may_wait() {
    let mut bulkhead = bulkhead(1, 10);
    let held = place(bulkhead.enter(Tick::ZERO, Tick::NEVER));
    let hopeful = ticket(bulkhead.enter(Tick::ZERO, Tick::from_ms(1)));
    let passed = bulkhead.enter(Tick::from_ms(5), Tick::from_ms(5));
    assert!(matches!(passed, Entry::Refused { why: Full::Deadline, .. }), "but not past its deadline");
    assert_eq!(bulkhead.cancel(hopeful, Tick::from_ms(1)), None);
    assert_eq!(bulkhead.leave(held, Tick::from_ms(1)), None);
}

#[test]
fn new_limits_let_more_in_or_close_places_as_they_are_left() {
    let mut bulkhead = bulkhead(1, 10);
    let now = Tick::ZERO;
    let first = place(bulkhead.enter(now, Tick::NEVER));
    let waiting: Vec<_> = (0..4).map(|_| ticket(bulkhead.enter(now, Tick::NEVER))).collect();
    let keys: Vec<_> = waiting.iter().map(Ticket::key).collect();
    assert_eq!(bulkhead.reconfigure(LimitPlan { open: 3, queued: 10 }, now), keys[..2]);
    let mut waiting = waiting.into_iter();
    let [a, b] = [(); 2].map(|()| bulkhead.claim(waiting.next().unwrap()).unwrap());
    assert_eq!(bulkhead.reconfigure(LimitPlan { open: 1, queued: 10 }, now), []);
    assert_eq!((bulkhead.leave(first, now), bulkhead.leave(a, now)), (None, None), "two places too many");
    assert_eq!(bulkhead.leave(b, now), Some(keys[2]));
    let c = bulkhead.claim(waiting.next().unwrap()).unwrap();
    assert_eq!(bulkhead.cancel(waiting.next().unwrap(), now), None);
    assert_eq!(bulkhead.leave(c, now), None);
    assert_eq!((bulkhead.open(), bulkhead.queued()), (0, 0));
}

#[test]
fn the_slab_is_as_large_as_the_longest_queue_ever_was() {
    let mut bulkhead = bulkhead(1, 8);
    let held = place(bulkhead.enter(Tick::ZERO, Tick::NEVER));
    for _ in 0..1_000 {
        let waiting: Vec<_> = (0..8).map(|_| ticket(bulkhead.enter(Tick::ZERO, Tick::NEVER))).collect();
        waiting.into_iter().for_each(|one| assert_eq!(bulkhead.cancel(one, Tick::ZERO), None));
    }
    assert_eq!(bulkhead.line.room(), 8);
    assert_eq!(bulkhead.leave(held, Tick::ZERO), None);
}

#[test]
fn random_comings_and_goings_agree_with_a_plain_queue() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let (open_max, queued_max) = (1 + rng.below(5) as u32, rng.below(6) as u32);
        let mut bulkhead = bulkhead(open_max, queued_max);
        let (mut places, mut given, mut line) = (Vec::new(), Vec::new(), VecDeque::<Ticket>::new());
        for step in 0..2_000 {
            let woken = match rng.below(4) {
                0 | 1 => {
                    match bulkhead.enter(Tick::ZERO, Tick::NEVER) {
                        Entry::Open(place) => places.push(place),
                        Entry::Queued(ticket) => line.push_back(ticket),
                        Entry::Refused { .. } => assert_eq!(line.len() as u32, queued_max, "seed {seed}"),
                    }
                    None
                }
                2 if !places.is_empty() => {
                    bulkhead.leave(places.swap_remove(rng.below(places.len())), Tick::ZERO)
                }
                3 if !given.is_empty() && rng.chance_ppm(500_000) => {
                    let ticket = given.swap_remove(rng.below(given.len()));
                    if rng.chance_ppm(500_000) {
                        places.push(bulkhead.claim(ticket).unwrap());
                        None
                    } else {
                        bulkhead.cancel(ticket, Tick::ZERO)
                    }
                }
                3 if !line.is_empty() => {
                    let ticket = line.remove(rng.below(line.len())).unwrap();
                    bulkhead.cancel(ticket, Tick::ZERO)
                }
                _ => None,
            };
            if let Some(key) = woken {
                let first = line.pop_front().unwrap();
                assert_eq!(first.key(), key, "seed {seed} step {step}: the first in line");
                given.push(first);
            }
            let taken = (places.len() + given.len()) as u32;
            assert_eq!(
                (bulkhead.open(), bulkhead.queued()),
                (taken, line.len() as u32),
                "seed {seed} step {step}"
            );
            assert!(
                taken <= open_max && (line.is_empty() || taken == open_max),
                "seed {seed}: nobody waits in vain"
            );
        }
    }
}
