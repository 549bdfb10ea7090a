//! What the balancer promises, one promise a test; the seeded run of all cores together is `resilience/simulation.rs`.

use std::collections::BTreeMap;

use super::*;

fn at(ms: u64) -> Tick {
    Tick::from_ms(ms)
}

fn settings(method: Method) -> Settings {
    Settings { method, versions: Vec::new(), breaker: Rules::default() }
}

fn member(key: &str) -> Member<'_> {
    Member { key, version: "v1", weight: 1, readiness: Readiness::Ready }
}

fn verdict(failed: bool) -> Verdict {
    if failed { Verdict::Failure } else { Verdict::Success }
}

fn balancer(method: Method, members: &[Member<'_>]) -> Balancer {
    let mut balancer = Balancer::new(settings(method));
    balancer.update(Tick::ZERO, members);
    balancer
}

/// Picks, answers with `latency`, releases, and tells whom it picked.
fn exchange(balancer: &mut Balancer, rng: &mut Rng, now: Tick, ask: &Ask, failed: bool) -> String {
    let mut picked = balancer.pick(now, rng, ask).expect("somebody is listed");
    let key = balancer.key(picked.id()).expect("it is current").to_owned();
    balancer.record(&mut picked, now, Duration::from_millis(2), verdict(failed));
    balancer.release(picked, now);
    key
}

/// How often each endpoint is picked in `count` exchanges at one time.
fn shares(balancer: &mut Balancer, now: Tick, ask: &Ask, count: usize) -> BTreeMap<String, usize> {
    let mut rng = Rng::seeded(17);
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(exchange(balancer, &mut rng, now, ask, false)).or_default() += 1;
    }
    shares
}

/// Fails requests until the breaker of `key` opens.
fn trip(balancer: &mut Balancer, key: &str, ask: &Ask, now: Tick) {
    let mut rng = Rng::seeded(3);
    for _ in 0..10_000 {
        let mut picked = balancer.pick(now, &mut rng, ask).unwrap();
        let failed = balancer.key(picked.id()) == Some(key);
        let change = balancer.record(&mut picked, now, Duration::from_millis(2), verdict(failed));
        balancer.release(picked, now);
        if change == Change::Opened {
            return;
        }
    }
    panic!("the breaker of {key} never opened");
}

fn ejected(balancer: &Balancer) -> Vec<&str> {
    balancer.seen().filter(|seen| seen.ejected).map(|seen| seen.key).collect()
}

fn open(balancer: &Balancer) -> Vec<&str> {
    balancer.seen().filter(|seen| seen.breaker != breaker::State::Closed).map(|seen| seen.key).collect()
}

#[test]
fn nobody_listed_is_nobody_picked() {
    let mut rng = Rng::seeded(1);
    for method in [Method::LeastLoaded, Method::RoundRobin, Method::Ring] {
        let mut balancer = balancer(method, &[]);
        assert!(balancer.pick(Tick::ZERO, &mut rng, &Ask::default()).is_none());
        balancer.update(Tick::ZERO, &[member("a")]);
        assert_eq!(exchange(&mut balancer, &mut rng, Tick::ZERO, &Ask::default(), false), "a");
        balancer.update(Tick::ZERO, &[]);
        assert!(balancer.pick(Tick::ZERO, &mut rng, &Ask::default()).is_none());
    }
}

#[test]
fn the_less_loaded_of_two_wins() {
    let mut balancer = balancer(Method::LeastLoaded, &[member("a"), member("b")]);
    let mut rng = Rng::seeded(1);
    let held: Vec<_> =
        (0..10).map(|_| balancer.pick(Tick::ZERO, &mut rng, &Ask::default()).unwrap()).collect();
    assert!(balancer.seen().all(|seen| seen.in_flight == 5), "even while nothing is known");
    held.into_iter().for_each(|picked| balancer.release(picked, Tick::ZERO));
    assert!(balancer.seen().all(|seen| seen.in_flight == 0));
}

#[test]
fn load_follows_inverse_latency_and_weight() {
    // Closed loop: at each step one of many open requests ends, and another one begins.
    let members = [member("fast"), member("slow"), Member { weight: 3, ..member("heavy") }];
    let mut balancer = balancer(Method::LeastLoaded, &members);
    let latency_ms = BTreeMap::from([("fast", 10), ("slow", 40), ("heavy", 10)]);
    let mut rng = Rng::seeded(9);
    let mut open: Vec<(Tick, Tick, Picked)> = Vec::new();
    let mut counts = BTreeMap::<&str, u32>::new();
    let mut now = Tick::ZERO;
    for step in 0..40_000 {
        if open.len() >= 50 {
            let first = (0..open.len()).min_by_key(|index| open[*index].0).unwrap();
            let (ends, begun, mut picked) = open.swap_remove(first);
            now = ends;
            balancer.record(&mut picked, now, now.since(begun), Verdict::Success);
            balancer.release(picked, now);
        }
        let picked = balancer.pick(now, &mut rng, &Ask::default()).unwrap();
        let key = *latency_ms.keys().find(|key| Some(**key) == balancer.key(picked.id())).unwrap();
        if step > 5_000 {
            *counts.entry(key).or_default() += 1;
        }
        open.push((now + Duration::from_millis(latency_ms[key]), now, picked));
    }
    let (fast, slow, heavy) =
        (f64::from(counts["fast"]), f64::from(counts["slow"]), f64::from(counts["heavy"]));
    assert!(
        (8.0..32.0).contains(&(fast / slow)),
        "in flight × latency evens out, so 4² = 16 times: {counts:?}"
    );
    assert!((2.0..4.5).contains(&(heavy / fast)), "three times the weight: {counts:?}");
}

#[test]
fn a_list_that_says_nothing_new_begins_no_turn_anew() {
    let heavy = Member { weight: 3, ..member("b") };
    for members in [[member("a"), member("b"), member("c")], [member("a"), heavy, member("c")]] {
        let mut undisturbed = balancer(Method::RoundRobin, &members);
        let mut relisted = balancer(Method::RoundRobin, &members);
        let mut rng = Rng::seeded(1);
        for turn in 0..20 {
            let expected = exchange(&mut undisturbed, &mut rng, Tick::ZERO, &Ask::default(), false);
            let mut again = members;
            again.rotate_left(turn % 3);
            assert_eq!(relisted.update(Tick::ZERO, &again), Changes::default());
            let picked = exchange(&mut relisted, &mut rng, Tick::ZERO, &Ask::default(), false);
            assert_eq!(picked, expected, "turn {turn}");
        }
    }
}

#[test]
fn in_turn_means_in_turn_and_weights_are_spread() {
    let mut balancer = balancer(Method::RoundRobin, &[member("a"), member("b"), member("c")]);
    let mut rng = Rng::seeded(1);
    let mut turn = |balancer: &mut Balancer, count: usize| -> String {
        (0..count).map(|_| exchange(balancer, &mut rng, Tick::ZERO, &Ask::default(), false)).collect()
    };
    assert_eq!(turn(&mut balancer, 7), "abcabca");
    let weighted = [Member { weight: 5, ..member("a") }, member("b"), member("c")];
    balancer.update(Tick::ZERO, &weighted);
    assert_eq!(turn(&mut balancer, 14), "aabacaaaabacaa");
    balancer.update(
        Tick::ZERO,
        &[weighted[0], weighted[1], Member { readiness: Readiness::Unready, ..member("c") }],
    );
    assert_eq!(turn(&mut balancer, 12).matches('a').count(), 10, "c is left out, a and b share by weight");
}

#[test]
fn a_second_attempt_goes_elsewhere_if_it_can() {
    let mut rng = Rng::seeded(2);
    for method in [Method::LeastLoaded, Method::RoundRobin, Method::Ring] {
        let mut balancer = balancer(method, &[member("a"), member("b")]);
        for hash in 0..50 {
            let ask = Ask { key: Some(hash << 58), ..Ask::default() };
            let picked = balancer.pick(Tick::ZERO, &mut rng, &ask).unwrap();
            let first = picked.id();
            balancer.release(picked, Tick::ZERO);
            let again = balancer.pick(Tick::ZERO, &mut rng, &Ask { avoid: Some(first), ..ask }).unwrap();
            assert_ne!(again.id(), first, "{method:?}");
            balancer.release(again, Tick::ZERO);
        }
        balancer.update(Tick::ZERO, &[member("a")]);
        let only = balancer.seen().next().unwrap().id;
        let picked =
            balancer.pick(Tick::ZERO, &mut rng, &Ask { avoid: Some(only), ..Ask::default() }).unwrap();
        assert_eq!(picked.id(), only, "{method:?}: better the same one than none");
        balancer.release(picked, Tick::ZERO);
    }
}

#[test]
fn who_is_not_ready_is_left_out_and_tried_only_when_nobody_else_is_left() {
    let with =
        |a, b, c| [("a", a), ("b", b), ("c", c)].map(|(key, readiness)| Member { readiness, ..member(key) });
    use Readiness::{Draining, Ready, Unready};
    let table = [
        (with(Ready, Draining, Unready), vec!["a"]),
        (with(Draining, Draining, Unready), vec!["a", "b"]),
        (with(Unready, Unready, Unready), vec!["a", "b", "c"]),
        (with(Unready, Draining, Unready), vec!["b"]),
    ];
    for method in [Method::LeastLoaded, Method::RoundRobin] {
        for (members, expected) in &table {
            let mut balancer = balancer(method, members);
            let picked = shares(&mut balancer, Tick::ZERO, &Ask::default(), 100);
            assert_eq!(
                picked.keys().map(String::as_str).collect::<Vec<_>>(),
                *expected,
                "{method:?} {members:?}"
            );
        }
    }
}

#[test]
fn an_endpoint_that_fails_is_left_out_until_a_probe_succeeds() {
    let mut balancer = balancer(Method::LeastLoaded, &[member("a"), member("b"), member("c"), member("d")]);
    trip(&mut balancer, "b", &Ask::default(), at(0));
    assert_eq!((ejected(&balancer), open(&balancer)), (vec!["b"], vec!["b"]));
    assert!(!shares(&mut balancer, at(999), &Ask::default(), 500).contains_key("b"));
    let mut rng = Rng::seeded(5);
    let mut probe = balancer.pick(at(1_000), &mut rng, &Ask::default()).unwrap();
    assert!(
        probe.is_probe() && balancer.key(probe.id()) == Some("b"),
        "the first request after 1 s is the probe"
    );
    assert!(!shares(&mut balancer, at(1_000), &Ask::default(), 500).contains_key("b"), "and the only one");
    assert_eq!(
        balancer.record(&mut probe, at(1_001), Duration::from_millis(1), Verdict::Success),
        Change::Closed
    );
    balancer.release(probe, at(1_001));
    assert!(ejected(&balancer).is_empty());
    assert!(shares(&mut balancer, at(1_002), &Ask::default(), 500)["b"] > 50);
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_another() {
    let mut balancer = balancer(Method::RoundRobin, &[member("a"), member("b")]);
    trip(&mut balancer, "b", &Ask::default(), at(0));
    let mut rng = Rng::seeded(5);
    let retry = Ask { avoid: Some(balancer.seen().next().unwrap().id), ..Ask::default() };
    let not_probe = balancer.pick(at(1_000), &mut rng, &retry).unwrap();
    assert!(!not_probe.is_probe(), "a second attempt goes where it most likely succeeds");
    balancer.release(not_probe, at(1_000));
    for _ in 0..3 {
        // Past the recheck, because the second attempt above found nothing to probe with.
        let probe = balancer.pick(at(1_010), &mut rng, &Ask::default()).unwrap();
        assert!(probe.is_probe());
        balancer.release(probe, at(1_010));
    }
}

#[test]
fn never_more_than_half_are_out_whatever_fails() {
    for count in 1..=9 {
        let names: Vec<String> = (0..count).map(|n| format!("e{n}")).collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| member(name)).collect();
        let mut balancer = balancer(Method::LeastLoaded, &members);
        let mut rng = Rng::seeded(count);
        for ms in 0..500 {
            exchange(&mut balancer, &mut rng, at(ms), &Ask::default(), true);
            assert!(ejected(&balancer).len() as u64 <= count / 2);
        }
        assert_eq!((ejected(&balancer).len() as u64, open(&balancer).len() as u64), (count / 2, count));
        assert!(balancer.pick(at(500), &mut rng, &Ask::default()).is_some_and(|picked| {
            balancer.release(picked, at(500));
            true
        }));
    }
}

#[test]
fn when_the_list_shrinks_the_half_is_counted_anew() {
    let all = [member("a"), member("b"), member("c"), member("d")];
    let mut balancer = balancer(Method::RoundRobin, &all);
    trip(&mut balancer, "a", &Ask::default(), at(0));
    trip(&mut balancer, "b", &Ask::default(), at(0));
    assert_eq!(ejected(&balancer), ["a", "b"]);
    balancer.update(at(1), &all[..3]);
    assert_eq!(ejected(&balancer), ["a"], "one of three");
    balancer.update(at(2), &all[..2]);
    assert_eq!((ejected(&balancer), open(&balancer)), (vec!["a"], vec!["a", "b"]));
    balancer.update(at(3), &all[..1]);
    assert_eq!((ejected(&balancer), open(&balancer)), (vec![], vec!["a"]), "the only one is never out");
    balancer.update(at(4), &all);
    assert_eq!((ejected(&balancer), open(&balancer)), (vec!["a"], vec!["a"]), "b came back as another");
}

#[test]
fn when_nobody_is_trusted_each_is_asked_every_second_however_often_it_failed() {
    let mut balancer = balancer(Method::LeastLoaded, &[member("a"), member("b")]);
    let mut rng = Rng::seeded(6);
    (0..300_000).step_by(100).for_each(|ms| {
        exchange(&mut balancer, &mut rng, at(ms), &Ask::default(), true);
    });
    assert_eq!(open(&balancer), ["a", "b"]);
    let healed = (300_000..302_500).step_by(100);
    healed.for_each(|ms| drop(exchange(&mut balancer, &mut rng, at(ms), &Ask::default(), false)));
    assert!(open(&balancer).is_empty(), "five minutes of failures, and back within 2.5 s");
}

#[test]
fn becoming_ready_again_asks_at_once() {
    let (a, b) = (member("a"), member("b"));
    let mut balancer = balancer(Method::LeastLoaded, &[a, b]);
    trip(&mut balancer, "b", &Ask::default(), at(0));
    balancer.update(at(100), &[a, Member { readiness: Readiness::Unready, ..b }]);
    assert!(ejected(&balancer).is_empty(), "left out for another reason");
    balancer.update(at(200), &[a, b]);
    let probe = balancer.pick(at(200), &mut Rng::seeded(1), &Ask::default()).unwrap();
    assert!(probe.is_probe() && balancer.key(probe.id()) == Some("b"));
    balancer.release(probe, at(200));
}

#[test]
fn the_list_may_change_while_requests_are_in_flight() {
    let mut balancer = balancer(Method::LeastLoaded, &[member("a"), member("b")]);
    let mut rng = Rng::seeded(1);
    let mut held: Vec<_> = (0..6).map(|_| balancer.pick(at(0), &mut rng, &Ask::default()).unwrap()).collect();
    let ids: BTreeMap<String, EndpointId> =
        balancer.seen().map(|seen| (seen.key.to_owned(), seen.id)).collect();
    let changes = balancer.update(at(1), &[member("c"), member("b"), member("c")]);
    assert_eq!(changes.removed, [ids["a"]]);
    assert_eq!(changes.added.len(), 1, "of equal keys the first counts");
    assert_eq!(changes.added[0].1, 0);
    assert_ne!(changes.added[0].0, ids["a"], "an id is never given twice, although the place is");
    assert_eq!((balancer.key(ids["a"]), balancer.key(ids["b"])), (None, Some("b")));
    for picked in &mut held {
        balancer.record(picked, at(2), Duration::from_secs(9), Verdict::Failure);
    }
    held.into_iter().for_each(|picked| balancer.release(picked, at(3)));
    for seen in balancer.seen() {
        assert_eq!(seen.in_flight, 0, "{}", seen.key);
        let expected = if seen.key == "b" { 9_000_000 } else { 0 };
        assert_eq!(seen.latency_us, expected, "what a's requests took is not written to c's account");
    }
}

#[test]
fn a_newcomer_gets_its_share_and_no_flood() {
    let mut balancer = balancer(Method::LeastLoaded, &[member("a"), member("b"), member("c")]);
    shares(&mut balancer, at(0), &Ask::default(), 300);
    balancer.update(at(10), &[member("a"), member("b"), member("c"), member("new")]);
    let mut rng = Rng::seeded(8);
    let held: Vec<_> = (0..100).map(|_| balancer.pick(at(10), &mut rng, &Ask::default()).unwrap()).collect();
    let new = balancer.seen().find(|seen| seen.key == "new").unwrap();
    assert!((15..=35).contains(&new.in_flight), "{} of 100 before its first answer", new.in_flight);
    held.into_iter().for_each(|picked| balancer.release(picked, at(11)));
}

#[test]
fn versions_get_their_shares_and_forced_ones_all() {
    let versioned = [
        member("a"),
        member("b"),
        Member { version: "v2", ..member("c") },
        Member { version: "v3", ..member("d") },
    ];
    let versions = vec![("v2".to_owned(), 500), ("v3".to_owned(), 1_000)];
    for method in [Method::LeastLoaded, Method::RoundRobin] {
        let mut balancer = Balancer::new(Settings { versions: versions.clone(), ..settings(method) });
        balancer.update(at(0), &versioned);
        let got = shares(&mut balancer, at(0), &Ask::default(), 20_000);
        assert!((800..1_200).contains(&got["c"]) && (1_700..2_300).contains(&got["d"]), "{method:?} {got:?}");
        assert!(
            (7_500..9_500).contains(&got["a"]) && (7_500..9_500).contains(&got["b"]),
            "{method:?} {got:?}"
        );
        let forced = Ask { version: Some(0), ..Ask::default() };
        assert_eq!(shares(&mut balancer, at(0), &forced, 50), BTreeMap::from([("c".to_owned(), 50)]));

        balancer.update(
            at(1),
            &[versioned[0], versioned[3], Member { readiness: Readiness::Unready, ..versioned[2] }],
        );
        let got = shares(&mut balancer, at(1), &Ask::default(), 1_000);
        assert!(!got.contains_key("c"), "its share goes to the rest while nobody of v2 is ready: {got:?}");
        assert_eq!(shares(&mut balancer, at(1), &forced, 5)["c"], 5, "forced is tried anyway");
        balancer.update(at(2), &[versioned[0]]);
        assert!(balancer.pick(at(2), &mut Rng::seeded(1), &forced).is_none(), "no v2 is no answer, not v1");
        let unknown = Ask { version: Some(7), ..Ask::default() };
        assert!(balancer.pick(at(2), &mut Rng::seeded(1), &unknown).is_none());

        balancer.reconfigure(at(3), settings(method));
        balancer.update(at(3), &versioned);
        let got = shares(&mut balancer, at(3), &Ask::default(), 4_000);
        assert!(
            got.values().all(|count| (800..1_200).contains(count)),
            "without a rollout all are equal: {got:?}"
        );
    }
}

#[test]
fn a_version_without_a_share_gets_only_what_asks_for_it() {
    let members = [member("a"), Member { version: "v2", ..member("b") }];
    let forced = Ask { version: Some(0), ..Ask::default() };
    for method in [Method::LeastLoaded, Method::RoundRobin] {
        let mut rng = Rng::seeded(5);
        let only_a = BTreeMap::from([("a".to_owned(), 20)]);

        let mut balancer = Balancer::new(Settings { versions: vec![("v2".into(), 0)], ..settings(method) });
        balancer.update(at(0), &members);
        trip(&mut balancer, "a", &Ask::default(), at(0));
        assert_eq!(shares(&mut balancer, at(1), &Ask::default(), 20), only_a, "{method:?}: v1 is left out");
        assert_eq!(shares(&mut balancer, at(1), &forced, 5)["b"], 5);
        balancer.update(at(2), &[Member { readiness: Readiness::Unready, ..members[0] }, members[1]]);
        assert_eq!(shares(&mut balancer, at(2), &Ask::default(), 20), only_a, "{method:?}: v1 is not ready");
        balancer.update(at(3), &[members[1]]);
        assert!(balancer.pick(at(3), &mut rng, &Ask::default()).is_none(), "{method:?}: no v1 is no answer");
    }
}

#[test]
fn a_version_without_a_share_is_probed_by_what_asks_for_it_and_by_nothing_else() {
    let v2 = |key| Member { version: "v2", ..member(key) };
    let members = [member("a"), member("b"), v2("c"), v2("d")];
    let forced = Ask { version: Some(0), ..Ask::default() };
    let mut balancer =
        Balancer::new(Settings { versions: vec![("v2".into(), 0)], ..settings(Method::LeastLoaded) });
    balancer.update(at(0), &members);
    trip(&mut balancer, "a", &Ask::default(), at(0));
    trip(&mut balancer, "c", &forced, at(0));
    let mut rng = Rng::seeded(9);
    let mut probes = Vec::new();
    let mut probe = |balancer: &mut Balancer, ask: &Ask, ms| {
        let picked = balancer.pick(at(ms), &mut rng, ask).unwrap();
        let key = balancer.key(picked.id()).unwrap().to_owned();
        if picked.is_probe() {
            probes.push((ms, key.clone()));
        }
        // A probe that says nothing is followed by another.
        balancer.release(picked, at(ms));
        key
    };
    // Those that ask for v2 come more often than those that do not, and still one of these finds its probe, and the other way round.
    for ms in 1_000..1_100 {
        let asked = if ms % 25 == 0 { [&Ask::default(), &forced] } else { [&forced, &forced] };
        let keys = asked.map(|ask| (ask.version, probe(&mut balancer, ask, ms)));
        for (version, key) in keys {
            assert_eq!(version.is_some(), key == "c" || key == "d", "{key}");
        }
    }
    for ms in 1_100..1_200 {
        let asked = if ms % 25 == 0 { &forced } else { &Ask::default() };
        let key = probe(&mut balancer, asked, ms);
        assert_eq!(asked.version.is_some(), key == "c" || key == "d", "{key}");
    }
    for (key, from) in [("a", 1_000), ("c", 1_000), ("a", 1_100), ("c", 1_100)] {
        let found = probes.iter().any(|(ms, probed)| probed == key && (from..from + 100).contains(ms));
        assert!(found, "{key} from {from}: {probes:?}");
    }
}

#[test]
fn only_a_version_with_all_of_it_gets_all_of_it() {
    let mut balancer =
        Balancer::new(Settings { versions: vec![("v2".into(), 10_000)], ..settings(Method::LeastLoaded) });
    balancer.update(at(0), &[member("a"), Member { version: "v2", ..member("b") }]);
    assert_eq!(shares(&mut balancer, at(0), &Ask::default(), 500), BTreeMap::from([("b".to_owned(), 500)]));
}

/// Where each of many keys goes.
fn homes(balancer: &mut Balancer, now: Tick) -> Vec<String> {
    let mut rng = Rng::seeded(1);
    let hashes = (0..4_000_u64).map(|key| hash_key(&key.to_be_bytes()));
    hashes
        .map(|hash| exchange(balancer, &mut rng, now, &Ask { key: Some(hash), ..Ask::default() }, false))
        .collect()
}

#[test]
fn on_the_ring_a_key_stays_and_few_move_when_somebody_comes_or_goes() {
    let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:7000")).collect();
    let members: Vec<Member<'_>> = names.iter().map(|name| member(name)).collect();
    let mut balancer = balancer(Method::Ring, &members);
    let before = homes(&mut balancer, at(0));
    assert_eq!(before, homes(&mut balancer, at(1)));

    let mut elsewhere = self::balancer(Method::Ring, &[]);
    let reversed: Vec<Member<'_>> = members.iter().rev().copied().collect();
    elsewhere.update(at(0), &reversed);
    assert_eq!(
        before,
        homes(&mut elsewhere, at(0)),
        "another process, which learned of them in another order"
    );

    balancer.update(at(2), &members[..9]);
    let without = homes(&mut balancer, at(2));
    let moved = before.iter().zip(&without).filter(|(old, new)| old != new);
    assert!(moved.clone().all(|(old, _)| *old == names[9]), "only keys of the one that went");
    assert!((250..600).contains(&moved.count()), "about a tenth of 4000");

    balancer.update(at(3), &members);
    assert_eq!(before, homes(&mut balancer, at(3)), "and back");

    let unready: Vec<Member<'_>> = members
        .iter()
        .enumerate()
        .map(|(n, one)| Member {
            readiness: if n == 3 { Readiness::Unready } else { Readiness::Ready },
            ..*one
        })
        .collect();
    balancer.update(at(4), &unready);
    let skipped = homes(&mut balancer, at(4));
    assert!(before.iter().zip(&skipped).all(|(old, new)| (old == new) == (*old != names[3])));
}

#[test]
fn on_the_ring_no_endpoint_is_much_fuller_than_the_average() {
    let names: Vec<String> = (0..8).map(|n| format!("e{n}")).collect();
    let members: Vec<Member<'_>> = names.iter().map(|name| member(name)).collect();
    let mut balancer = balancer(Method::Ring, &members);
    let mut rng = Rng::seeded(1);
    let one_key = Ask { key: Some(hash_key(b"the hot one")), ..Ask::default() };
    let held: Vec<_> = (0..800).map(|_| balancer.pick(at(0), &mut rng, &one_key).unwrap()).collect();
    assert!(balancer.seen().all(|seen| seen.in_flight <= 126), "100 on average, 125 at most");
    held.into_iter().for_each(|picked| balancer.release(picked, at(0)));
}

#[test]
fn on_the_ring_a_request_without_a_key_goes_where_there_is_less_load() {
    let mut balancer = balancer(Method::Ring, &[member("a"), member("b"), member("c")]);
    let mut rng = Rng::seeded(2);
    let held: Vec<_> = (0..60).map(|_| balancer.pick(at(0), &mut rng, &Ask::default()).unwrap()).collect();
    assert!(balancer.seen().all(|seen| (15..=25).contains(&seen.in_flight)));
    held.into_iter().for_each(|picked| balancer.release(picked, at(0)));
}

#[test]
fn on_the_ring_a_key_keeps_its_version() {
    let mut balancer =
        Balancer::new(Settings { versions: vec![("v2".into(), 2_000)], ..settings(Method::Ring) });
    let v2 = |key| Member { version: "v2", ..member(key) };
    balancer.update(at(0), &[member("a"), member("b"), v2("c"), v2("d")]);
    let first = homes(&mut balancer, at(0));
    assert_eq!(first, homes(&mut balancer, at(0)));
    let on_v2 = first.iter().filter(|key| ["c", "d"].contains(&key.as_str())).count();
    assert!((650..950).contains(&on_v2), "a fifth of 4000: {on_v2}");
}

#[test]
fn random_lists_and_requests_keep_the_books() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let method = [Method::LeastLoaded, Method::RoundRobin, Method::Ring][rng.below(3)];
        let versions = if rng.chance_ppm(500_000) { vec![("v2".to_owned(), 3_000)] } else { Vec::new() };
        let mut balancer = Balancer::new(Settings { versions, ..settings(method) });
        let names: Vec<String> = (0..8).map(|n| format!("e{n}")).collect();
        let mut held: Vec<Picked> = Vec::new();
        let mut now = Tick::ZERO;
        for _ in 0..600 {
            now = now + rng.duration(Duration::ZERO, Duration::from_millis(300));
            match rng.below(20) {
                0 => {
                    let readiness =
                        [Readiness::Ready, Readiness::Ready, Readiness::Draining, Readiness::Unready];
                    let kept: Vec<&String> = names.iter().filter(|_| rng.below(3) > 0).collect();
                    let list: Vec<Member<'_>> = kept
                        .into_iter()
                        .map(|key| Member {
                            key,
                            version: ["v1", "v2"][rng.below(2)],
                            weight: rng.below(4) as u32,
                            readiness: readiness[rng.below(4)],
                        })
                        .collect();
                    balancer.update(now, &list);
                }
                1..=9 => {
                    let avoid = held.last().filter(|_| rng.chance_ppm(200_000)).map(Picked::id);
                    let ask = Ask { key: Some(rng.next_u64()), avoid, version: None };
                    let picked = balancer.pick(now, &mut rng, &ask);
                    assert_eq!(picked.is_none(), balancer.seen().next().is_none(), "seed {seed}");
                    held.extend(picked);
                }
                _ if !held.is_empty() => {
                    let mut picked = held.swap_remove(rng.below(held.len()));
                    if rng.chance_ppm(900_000) {
                        let verdict =
                            [Verdict::Success, Verdict::Success, Verdict::Failure, Verdict::Unknown]
                                [rng.below(4)];
                        balancer.record(
                            &mut picked,
                            now,
                            rng.duration(Duration::ZERO, Duration::from_secs(2)),
                            verdict,
                        );
                    }
                    balancer.release(picked, now);
                }
                _ => {}
            }
            let ready = balancer.seen().filter(|seen| seen.readiness == Readiness::Ready).count();
            assert!(ejected(&balancer).len() <= ready / 2, "seed {seed}: more than half are out");
            let in_flight: u32 = balancer.seen().map(|seen| seen.in_flight).sum();
            let current = held.iter().filter(|picked| balancer.key(picked.id()).is_some()).count();
            assert_eq!(in_flight as usize, current, "seed {seed}");
            assert_eq!(
                balancer.groups.iter().map(|group| group.in_flight).sum::<u32>(),
                in_flight,
                "seed {seed}"
            );
        }
        held.into_iter().for_each(|picked| balancer.release(picked, now));
        assert!(balancer.seen().all(|seen| seen.in_flight == 0), "seed {seed}");
    }
}
