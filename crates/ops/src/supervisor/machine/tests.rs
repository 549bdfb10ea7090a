//! Tables for the rules, and seeded runs in which processes come up, crash and end as they like.

use super::*;

fn spec(kind: Kind, group: &str, needs: Vec<Need>) -> UnitSpec {
    UnitSpec {
        kind,
        groups: vec![group.to_owned()],
        needs,
        replaces: Vec::new(),
        start_limit: Duration::from_secs(60),
        retire_limit: Duration::from_secs(5),
        stop_limit: Duration::from_secs(10),
    }
}

fn always(group: &str) -> Need {
    Need::Always(group.to_owned())
}

fn at(ms: u64) -> Tick {
    Tick::from_ms(ms)
}

/// control, sidecar and service of `users`, sidecar and service of `orders` (calls users), gateway.
struct Shop {
    machine: Machine,
    control: UnitId,
    users_sidecar: UnitId,
    users: UnitId,
    orders_sidecar: UnitId,
    orders: UnitId,
    gateway: UnitId,
}

fn shop() -> Shop {
    let mut machine = Machine::new(Rng::seeded(1));
    let control = machine.add(spec(Kind::Role, "weft-control", vec![]));
    let users_sidecar = machine.add(spec(Kind::Role, "users sidecar", vec![always("weft-control")]));
    let users = machine.add(spec(Kind::Service, "users", vec![always("users sidecar")]));
    let orders_sidecar = machine.add(spec(Kind::Role, "orders sidecar", vec![always("weft-control")]));
    let orders = machine.add(spec(
        Kind::Service,
        "orders",
        vec![always("orders sidecar"), Need::First("users".to_owned())],
    ));
    let all = vec![always("weft-control"), Need::First("users".to_owned()), Need::First("orders".to_owned())];
    let gateway = machine.add(spec(Kind::Role, "weft-gateway", all));
    Shop { machine, control, users_sidecar, users, orders_sidecar, orders, gateway }
}

fn served() -> Shop {
    let mut shop = shop();
    shop.machine.handle(at(0), Event::Tick);
    for unit in [shop.control, shop.users_sidecar, shop.orders_sidecar, shop.users, shop.orders, shop.gateway]
    {
        shop.machine.handle(at(10), Event::Up(unit));
    }
    assert!(shop.machine.settled());
    shop
}

#[test]
fn each_starts_when_what_it_needs_is_up_and_what_is_independent_starts_together() {
    let Shop { mut machine, control, users_sidecar, users, orders_sidecar, orders, gateway } = shop();
    use Action::{Settled, Start};
    assert_eq!(machine.handle(at(0), Event::Tick), [Start(control)]);
    assert_eq!(machine.handle(at(1), Event::Up(control)), [Start(users_sidecar), Start(orders_sidecar)]);
    assert_eq!(machine.handle(at(2), Event::Up(orders_sidecar)), [], "orders needs users first");
    assert_eq!(machine.missing(orders), [Need::First("users".to_owned())]);
    assert_eq!(machine.handle(at(3), Event::Up(users_sidecar)), [Start(users)]);
    assert_eq!(machine.handle(at(4), Event::Up(users)), [Start(orders)]);
    assert_eq!(machine.handle(at(5), Event::Up(orders)), [Start(gateway)]);
    assert_eq!(machine.handle(at(6), Event::Up(gateway)), [Settled]);
    assert_eq!(machine.next_tick(), None, "nothing to wait for once all are up");
}

#[test]
fn everything_leaves_in_reverse_and_each_waits_for_whoever_needs_it() {
    let Shop { mut machine, control, users_sidecar, users, orders_sidecar, orders, gateway } = served();
    use Action::{Finished, Gone, Stop};
    assert_eq!(machine.handle(at(20), Event::StopAll), [Stop(gateway)]);
    assert_eq!(machine.handle(at(21), Event::Ended(gateway)), [Gone(gateway), Stop(orders)]);
    let last = machine.handle(at(22), Event::Ended(orders));
    assert_eq!(last, [Gone(orders), Stop(users), Stop(orders_sidecar)]);
    assert_eq!(machine.handle(at(23), Event::Ended(orders_sidecar)), [Gone(orders_sidecar)]);
    assert_eq!(machine.handle(at(24), Event::Ended(users)), [Gone(users), Stop(users_sidecar)]);
    assert_eq!(machine.handle(at(25), Event::Ended(users_sidecar)), [Gone(users_sidecar), Stop(control)]);
    assert_eq!(machine.handle(at(26), Event::Ended(control)), [Gone(control), Finished]);
}

#[test]
fn the_gateway_leaves_first_also_if_it_was_restarted_or_a_service_came_later() {
    let Shop { mut machine, users, orders, gateway, .. } = served();
    let needs = ["users", "orders"].map(|service| Need::Outlived(service.to_owned()));
    let needs = [vec![always("weft-control")], needs.to_vec()].concat();
    let replaces = vec![gateway];
    let next = machine.add(UnitSpec { replaces, ..spec(Kind::Role, "weft-gateway", needs) });
    machine.handle(at(20), Event::Tick);
    machine.handle(at(30), Event::Up(next));
    machine.handle(at(40), Event::Ended(gateway));
    let late = machine.add(spec(Kind::Service, "late", vec![]));
    for _ in 0..2 {
        machine.outlived_by(next, "late");
    }
    machine.handle(at(50), Event::Tick);
    machine.handle(at(60), Event::Up(late));
    assert_eq!(machine.handle(at(70), Event::StopAll), [Action::Stop(next)]);
    let then = machine.handle(at(80), Event::Ended(next));
    assert!(then.contains(&Action::Stop(late)) && then.contains(&Action::Stop(orders)), "{then:?}");
    assert!(!then.contains(&Action::Stop(users)), "orders calls it");
}

#[test]
fn a_second_interrupt_kills_and_a_process_that_does_not_end_is_killed() {
    let Shop { mut machine, gateway, .. } = served();
    machine.handle(at(20), Event::StopAll);
    assert_eq!(machine.next_tick(), Some(at(10_020)));
    assert_eq!(machine.handle(at(10_020), Event::Tick), [Action::Kill(gateway)]);
    let rest = machine.handle(at(10_021), Event::KillAll);
    assert_eq!(rest.len(), 5, "the gateway is killed already: {rest:?}");
    assert!(rest.iter().all(|action| matches!(action, Action::Kill(_))));
}

#[test]
fn a_crashed_role_is_back_at_once_and_only_then_with_a_pause() {
    let Shop { mut machine, users_sidecar, .. } = served();
    assert_eq!(machine.handle(at(100), Event::Ended(users_sidecar)), [Action::Start(users_sidecar)]);
    assert_eq!(machine.handle(at(110), Event::Up(users_sidecar)), []);
    assert_eq!(machine.handle(at(120), Event::Ended(users_sidecar)), []);
    let until = machine.next_tick().unwrap();
    assert!((at(120 + 200)..=at(120 + 400)).contains(&until), "{until:?}");
    assert_eq!(machine.handle(until, Event::Tick), [Action::Start(users_sidecar)]);
    machine.handle(at(1_000), Event::Up(users_sidecar));
    let well = at(1_000) + WELL_AFTER;
    assert_eq!(machine.handle(well, Event::Ended(users_sidecar)), [Action::Start(users_sidecar)], "forgiven");
    assert_eq!(machine.restarts(users_sidecar), 3);
}

#[test]
fn a_role_that_is_ended_again_and_again_is_missed_for_a_second_at_most() {
    let Shop { mut machine, gateway, .. } = served();
    let mut now = at(100);
    machine.handle(now, Event::Ended(gateway));
    for _ in 0..20 {
        now = now + Duration::from_secs(2);
        machine.handle(now, Event::Up(gateway));
        machine.handle(now, Event::Ended(gateway));
        let until = machine.next_tick().unwrap();
        assert!(until.since(now) <= ROLE_BACKOFF_LONGEST, "{until:?}");
        assert_eq!(machine.handle(until, Event::Tick), [Action::Start(gateway)]);
    }
}

#[test]
fn a_role_waits_for_control_before_it_is_started_again() {
    let Shop { mut machine, control, users_sidecar, .. } = served();
    assert_eq!(machine.handle(at(100), Event::Ended(control)), [Action::Start(control)]);
    assert_eq!(machine.handle(at(101), Event::Ended(users_sidecar)), [], "no token without control");
    assert_eq!(machine.handle(at(150), Event::Up(control)), [Action::Start(users_sidecar)]);
}

#[test]
fn pauses_of_a_service_double_up_to_the_longest() {
    let Shop { mut machine, users, .. } = served();
    let mut now = at(100);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(machine.handle(now, Event::Ended(users)), [], "never at once");
        let until = machine.next_tick().unwrap();
        pauses.push(until.since(now).as_millis());
        assert_eq!(machine.handle(until, Event::Tick), [Action::Start(users)]);
        now = until + Duration::from_millis(1);
    }
    for (step, pause) in pauses.iter().enumerate() {
        let longest = (200_u128 << step).min(10_000);
        assert!((longest / 2..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_first_start_that_fails_too_often_or_takes_too_long_is_given_up_once() {
    let mut machine = Machine::new(Rng::seeded(2));
    let often = machine.add(spec(Kind::Service, "often", vec![]));
    machine.handle(at(0), Event::Tick);
    let mut given_up = 0;
    for _ in 0..8 {
        let now = match machine.state(often) {
            Some(State::Backoff { until }) => until,
            _ => at(1),
        };
        machine.handle(now, Event::Tick);
        let actions = machine.handle(now, Event::Ended(often));
        given_up += actions.iter().filter(|action| **action == Action::GaveUp(often)).count();
    }
    assert_eq!(given_up, 1);

    let mut machine = Machine::new(Rng::seeded(3));
    let slow = machine.add(spec(Kind::Service, "slow", vec![]));
    assert_eq!(machine.handle(at(0), Event::Tick), [Action::Start(slow)]);
    assert_eq!(machine.next_tick(), Some(at(60_000)));
    assert_eq!(machine.handle(at(60_000), Event::Tick), [Action::GaveUp(slow)]);
    assert_eq!(machine.handle(at(60_001), Event::Tick), []);
    assert_eq!(machine.handle(at(61_000), Event::Up(slow)), [Action::Settled], "late is better than never");
}

#[test]
fn a_build_runs_once_for_all_who_need_it_and_its_failure_is_final() {
    let mut machine = Machine::new(Rng::seeded(4));
    let build = machine.add(spec(Kind::Build, "build", vec![]));
    let one = machine.add(spec(Kind::Service, "one", vec![always("build")]));
    let two = machine.add(spec(Kind::Service, "two", vec![always("build")]));
    assert_eq!(machine.handle(at(0), Event::Tick), [Action::Start(build)]);
    assert_eq!(machine.handle(at(1), Event::Up(build)), [Action::Start(one), Action::Start(two)]);
    assert_eq!(machine.handle(at(2), Event::Ended(build)), [], "it is done");

    let mut machine = Machine::new(Rng::seeded(4));
    let build = machine.add(spec(Kind::Build, "build", vec![]));
    machine.handle(at(0), Event::Tick);
    assert_eq!(machine.handle(at(1), Event::Ended(build)), [Action::GaveUp(build)]);
    assert_eq!(machine.handle(at(60_000), Event::Tick), [], "never tried again");
}

#[test]
fn what_is_replaced_leaves_when_the_new_one_is_up_service_first_and_sidecar_last() {
    let Shop { mut machine, users_sidecar, users, .. } = served();
    use Action::{Gone, Retire, Start, Stop};
    let sidecar = machine.add(spec(Kind::Role, "users sidecar 2", vec![always("weft-control")]));
    let mut new = spec(Kind::Service, "users", vec![always("users sidecar 2")]);
    new.replaces = vec![users, users_sidecar];
    let new = machine.add(new);
    assert_eq!(machine.handle(at(100), Event::Tick), [Start(sidecar)]);
    assert_eq!(machine.handle(at(101), Event::Up(sidecar)), [Start(new)]);
    assert_eq!(machine.handle(at(102), Event::Up(new)), [Retire(users)]);
    assert_eq!(machine.handle(at(103), Event::Retired(users)), [Stop(users)]);
    assert_eq!(machine.handle(at(104), Event::Ended(users)), [Gone(users), Stop(users_sidecar)]);
    assert_eq!(machine.handle(at(105), Event::Ended(users_sidecar)), [Gone(users_sidecar)]);
}

#[test]
fn a_role_is_replaced_under_those_who_need_it() {
    let Shop { mut machine, users_sidecar, .. } = served();
    use Action::{Gone, Start, Stop};
    let mut new = spec(Kind::Role, "users sidecar", vec![always("weft-control")]);
    new.replaces = vec![users_sidecar];
    let new = machine.add(new);
    assert_eq!(machine.handle(at(100), Event::Tick), [Start(new)]);
    assert_eq!(machine.handle(at(101), Event::Up(new)), [Stop(users_sidecar)]);
    assert_eq!(machine.handle(at(102), Event::Ended(users_sidecar)), [Gone(users_sidecar)]);
}

#[test]
fn a_new_one_that_wants_what_the_old_one_holds_waits_for_its_end() {
    let Shop { mut machine, users, .. } = served();
    use Action::{Gone, Retire, Start, Stop};
    let new = machine.add(spec(Kind::Service, "users", vec![always("users sidecar"), Need::Gone(users)]));
    assert_eq!(machine.handle(at(100), Event::Leave(users)), [Retire(users)]);
    assert_eq!(machine.next_tick(), Some(at(5_100)), "callers get a limit, not for ever");
    assert_eq!(machine.handle(at(5_100), Event::Tick), [Stop(users)]);
    assert_eq!(machine.handle(at(5_101), Event::Ended(users)), [Gone(users), Start(new)]);
}

#[test]
fn a_replacement_that_was_given_up_leaves_and_the_old_one_serves_on() {
    let Shop { mut machine, users, .. } = served();
    let mut new = spec(Kind::Service, "users", vec![]);
    new.replaces = vec![users];
    let new = machine.add(new);
    machine.handle(at(100), Event::Tick);
    assert_eq!(machine.handle(at(60_100), Event::Tick), [Action::GaveUp(new)]);
    assert_eq!(machine.handle(at(60_100), Event::Leave(new)), [Action::Stop(new)]);
    assert_eq!(machine.handle(at(60_200), Event::Ended(new)), [Action::Gone(new)]);
    assert!(matches!(machine.state(users), Some(State::Up { ill: false, .. })));
}

/// A service `users` that replaces another one.
fn successor(machine: &mut Machine, of: UnitId) -> UnitId {
    let mut new = spec(Kind::Service, "users", vec![]);
    new.replaces = vec![of];
    machine.add(new)
}

#[test]
fn whoever_replaces_what_never_was_up_replaces_whom_that_was_to_replace() {
    use Action::{Gone, Retire, Start, Stop};
    for supersede_at_once in [true, false] {
        let Shop { mut machine, users, .. } = served();
        let mut broken = Vec::new();
        for n in 0..3 {
            let last = broken.last().copied().unwrap_or(users);
            let new = successor(&mut machine, last);
            assert_eq!(machine.handle(at(100 + n), Event::Tick), [Start(new)]);
            if supersede_at_once && last != users {
                assert_eq!(machine.handle(at(100 + n), Event::Leave(last)), [Stop(last)]);
                assert_eq!(machine.handle(at(100 + n), Event::Ended(last)), [Gone(last)]);
            }
            broken.push(new);
        }
        let good = successor(&mut machine, broken[2]);
        assert_eq!(machine.handle(at(200), Event::Tick), [Start(good)]);
        let mut left = machine.handle(at(201), Event::Up(good));
        left.sort_by_key(|action| format!("{action:?}"));
        let (retire, stop): (Vec<_>, Vec<_>) = left.into_iter().partition(|action| *action == Retire(users));
        assert_eq!(retire.len(), 1, "who serves is told to leave, once");
        assert_eq!(stop.len(), if supersede_at_once { 1 } else { 3 }, "{stop:?}");
    }
}

#[test]
fn whoever_replaces_what_was_up_leaves_the_rest_to_that() {
    let Shop { mut machine, users, .. } = served();
    let second = successor(&mut machine, users);
    machine.handle(at(100), Event::Tick);
    assert_eq!(machine.handle(at(101), Event::Up(second)), [Action::Retire(users)]);
    let third = successor(&mut machine, second);
    machine.handle(at(102), Event::Tick);
    assert_eq!(machine.handle(at(103), Event::Up(third)), [Action::Retire(second)]);
}

#[test]
fn what_is_added_while_all_leave_is_never_started_and_holds_up_nobody() {
    let Shop { mut machine, control, users_sidecar, users, orders_sidecar, orders, gateway } = served();
    let mut actions = machine.handle(at(100), Event::StopAll);
    let late = successor(&mut machine, users);
    for unit in [gateway, orders, users, orders_sidecar, users_sidecar, control] {
        actions.extend(machine.handle(at(101), Event::Ended(unit)));
    }
    assert!(!actions.contains(&Action::Start(late)), "{actions:?}");
    assert_eq!(actions.last(), Some(&Action::Finished));
}

#[test]
fn ill_and_well_again_restarts_nothing() {
    let Shop { mut machine, users, .. } = served();
    assert_eq!(machine.handle(at(100), Event::Ill(users)), []);
    assert!(matches!(machine.state(users), Some(State::Up { ill: true, .. })));
    assert_eq!(machine.handle(at(200), Event::Up(users)), []);
    assert!(matches!(machine.state(users), Some(State::Up { ill: false, .. })));
}

/// A world in which every process does what it may at any moment. What must hold: no start of a unit that has a process,
/// no start before its needs, no stop of a sidecar before its service, and an end within the limits once all are told to go.
fn run(seed: u64) {
    let mut rng = Rng::seeded(seed);
    let Shop { mut machine, users_sidecar, users, orders_sidecar, orders, .. } = shop();
    let mut now = at(0);
    let mut alive: Vec<UnitId> = Vec::new();
    let mut finished = false;
    let mut steps = 0;
    let mut pending = machine.handle(now, Event::Tick);
    while !finished {
        steps += 1;
        assert!(steps < 20_000, "seed {seed}: it never ends");
        for action in std::mem::take(&mut pending) {
            match action {
                Action::Start(id) => {
                    assert!(!alive.contains(&id), "seed {seed}: {id:?} is started twice");
                    assert!(machine.missing(id).is_empty(), "seed {seed}: {id:?} is started too early");
                    alive.push(id);
                }
                Action::Stop(id) => {
                    for (service, sidecar) in [(users, users_sidecar), (orders, orders_sidecar)] {
                        assert!(
                            id != sidecar || !alive.contains(&service),
                            "seed {seed}: sidecar leaves first"
                        );
                    }
                }
                Action::Gone(id) => assert!(!alive.contains(&id), "seed {seed}: {id:?} is gone but runs"),
                Action::Finished => finished = true,
                _ => {}
            }
        }
        let someone = (!alive.is_empty()).then(|| alive[rng.below(alive.len())]);
        let event = match (rng.below(10), someone) {
            (0..=5, Some(id)) => Event::Up(id),
            (6, Some(id)) => Event::Ill(id),
            (7, Some(id)) => {
                alive.retain(|other| *other != id);
                Event::Ended(id)
            }
            (8, _) if steps > 300 => Event::StopAll,
            _ => Event::Tick,
        };
        now = now + Duration::from_millis(rng.between(0, 3_000));
        pending = machine.handle(now, event);
        if steps > 5_000 {
            pending.extend(machine.handle(now, Event::KillAll));
        }
    }
    assert!(alive.is_empty(), "seed {seed}: {alive:?} survive");
}

#[test]
fn whatever_the_processes_do_the_rules_hold() {
    for seed in 0..300 {
        run(seed);
    }
}
