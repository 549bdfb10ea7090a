//! All cores together, in virtual time, under scripted faults: many seeds, each a world of its own.
//!
//! `world` checks what must hold in every world (retries within the budget, never more than half out, nothing sent
//! twice that must not be, nothing leaked, nobody kept past the deadline). The tests here add what each kind of fault
//! promises. A failure prints its seed; `WEFT_SIM_SEED=n cargo test -p weft-proxy simulation` runs that one alone,
//! `WEFT_SIM_SEEDS=n` as many as wanted.

mod overload;
mod world;

use std::time::Duration;

use weft_model::plan::LimitPlan;
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use self::world::{Behaviour, Script, Setup, Tally, behaviour, run};
use crate::upstream::balance::{Method, Readiness};

use Behaviour::{Declines, Errors, Hangs, Refuses, Resets, Serves};

/// Runs `check` with each seed and says which one it was that failed.
pub(super) fn each_seed(seeds: u64, check: impl Fn(u64)) {
    struct Say(u64);
    impl Drop for Say {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with seed {0}; run it alone with WEFT_SIM_SEED={0}", self.0);
            }
        }
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number(option_env!("WEFT_SIM_SEED")) {
        return check(seed);
    }
    for seed in 0..number(option_env!("WEFT_SIM_SEEDS")).unwrap_or(seeds) {
        let _say = Say(seed);
        check(seed);
    }
}

/// A calm world of these endpoints, all listed: 100 requests a second, all idempotent, nobody impatient.
fn calm(phases: &[&[(u64, Behaviour)]]) -> Setup {
    let script = |(n, phases): (usize, &&[_])| Script { name: format!("e{n}"), phases: phases.to_vec() };
    let scripts: Vec<Script> = phases.iter().enumerate().map(script).collect();
    let all = (0..scripts.len()).map(|script| (script, Readiness::Ready)).collect();
    Setup {
        method: Method::LeastLoaded,
        scripts,
        lists: vec![(0, all)],
        arrivals_per_s: 100,
        run_ms: 20_000,
        deadline_ms: 3_000,
        per_try_ms: Some(500),
        retries: 1,
        budget: (20, 10),
        limit: LimitPlan { open: 1_024, queued: 1_024 },
        idempotent_ppm: 1_000_000,
        impatient_ppm: 0,
        streamed_ppm: 0,
        stale_ppm: 0,
    }
}

/// Attempts on an endpoint that began within these milliseconds.
fn attempts(tally: &Tally, key: &str, ms: std::ops::Range<u64>) -> usize {
    let within = Tick::from_ms(ms.start)..Tick::from_ms(ms.end);
    tally.by_endpoint.get(key).map_or(0, |list| list.iter().filter(|(at, _)| within.contains(at)).count())
}

/// When an endpoint first served again at or after a time.
fn serves_after(tally: &Tally, key: &str, ms: u64) -> Option<Tick> {
    let list = tally.by_endpoint.get(key)?;
    list.iter().find(|(at, success)| *success && *at >= Tick::from_ms(ms)).map(|(at, _)| *at)
}

#[test]
fn any_world_at_all() {
    each_seed(400, |seed| {
        let setup = random_world(seed);
        run(seed, setup);
    });
}

/// A world where everything is drawn.
fn random_world(seed: u64) -> Setup {
    // Not the world's own seed, whose numbers it would repeat.
    let mut rng = Rng::seeded(seed ^ 0x5eed_0000_0000);
    let count = 1 + rng.below(6);
    let phases = |rng: &mut Rng| {
        let mut from_ms = 0;
        let mut phases = Vec::new();
        while from_ms < 8_000 {
            let behaviour = match rng.below(11) {
                0 => Refuses,
                1 => Resets,
                2 => Hangs,
                3 => Errors(rng.between(0, 1_000_000) as u32),
                4 => Serves(rng.between(50, 900)),
                5 => Declines,
                _ => Serves(rng.between(1, 30)),
            };
            phases.push((from_ms, behaviour));
            from_ms += rng.between(100, 6_000);
        }
        phases
    };
    let scripts = (0..count).map(|n| Script { name: format!("e{n}"), phases: phases(&mut rng) }).collect();
    let mut lists = vec![(0, (0..count).map(|one| (one, Readiness::Ready)).collect())];
    for _ in 0..rng.below(6) {
        let readiness = [Readiness::Ready, Readiness::Ready, Readiness::Draining, Readiness::Unready];
        let kept: Vec<usize> = (0..count).filter(|_| rng.below(4) > 0).collect();
        let listed = kept.into_iter().map(|one| (one, readiness[rng.below(4)])).collect();
        lists.push((rng.between(1, 8_000), listed));
    }
    Setup {
        method: [Method::LeastLoaded, Method::LeastLoaded, Method::RoundRobin, Method::Ring][rng.below(4)],
        scripts,
        lists,
        arrivals_per_s: rng.between(5, 150),
        run_ms: 8_000,
        deadline_ms: rng.between(5, 2_000),
        per_try_ms: rng.chance_ppm(700_000).then(|| rng.between(10, 800)),
        retries: rng.below(4) as u32,
        budget: (rng.below(50) as u32, rng.below(12) as u32),
        limit: LimitPlan { open: 1 + rng.below(30) as u32, queued: rng.below(30) as u32 },
        idempotent_ppm: rng.between(0, 1_000_000) as u32,
        impatient_ppm: rng.between(0, 300_000) as u32,
        streamed_ppm: rng.between(0, 300_000) as u32,
        stale_ppm: rng.between(0, 100_000) as u32,
    }
}

#[test]
fn load_follows_inverse_latency() {
    each_seed(8, |seed| {
        // Open loop at a load where requests overlap, so that the balancer has something to even out.
        let setup = Setup {
            arrivals_per_s: 400,
            ..calm(&[&[(0, Serves(20))], &[(0, Serves(40))], &[(0, Serves(80))]])
        };
        let tally = run(seed, setup);
        assert_eq!(tally.succeeded, tally.requests);
        let [fast, middle, slow] = ["e0", "e1", "e2"].map(|key| attempts(&tally, key, 2_000..20_000) as f64);
        assert!(fast > 1.3 * middle && middle > 1.3 * slow, "{fast} {middle} {slow}");
        assert!(slow > 0.01 * fast, "the slow one is not forgotten: {fast} {middle} {slow}");
    });
}

#[test]
fn an_endpoint_that_becomes_slow_gets_less_and_then_its_share_again() {
    each_seed(8, |seed| {
        let slow_for_a_while = [(0, Serves(10)), (5_000, Serves(300)), (15_000, Serves(10))];
        let steady = [(0, Serves(10))];
        let setup = Setup { run_ms: 60_000, ..calm(&[&slow_for_a_while, &steady, &steady, &steady]) };
        let tally = run(seed, setup);
        assert_eq!((tally.succeeded, tally.opened), (tally.requests, 0), "slow is not broken");
        let [before, during, after] = [0..5_000, 5_200..15_000, 45_000..60_000]
            .map(|ms| attempts(&tally, "e0", ms.clone()) * 1_000 / (ms.end - ms.start) as usize);
        assert!((15..40).contains(&before), "a quarter of 100/s at first: {before}/s");
        assert!(during * 4 < before, "while slow: {during}/s of {before}/s");
        assert!(after >= 8, "and after: {after}/s");
    });
}

#[test]
fn a_dead_endpoint_costs_nobody_an_answer_and_comes_back_in_time() {
    for fault in [Refuses, Resets, Hangs, Errors(1_000_000)] {
        each_seed(5, |seed| {
            let (dies_ms, back_ms) = (4_000, 14_000);
            let dying = [(0, Serves(10)), (dies_ms, fault), (back_ms, Serves(10))];
            let steady = [(0, Serves(10))];
            let setup = Setup { run_ms: 40_000, ..calm(&[&steady, &dying, &steady]) };
            let tally = run(seed, setup);
            assert_eq!(tally.failed, 0, "{fault:?}: every failure is retried elsewhere, within the budget");
            let while_dead = attempts(&tally, "e1", dies_ms + 1_500..back_ms);
            assert!(while_dead <= 30, "{fault:?}: until it trips, then probes, not {while_dead} of 280");
            // It was out for at most as long again as it had been dead, or its latency is stale after ten seconds.
            let again = serves_after(&tally, "e1", back_ms).expect("it serves again");
            assert!(again <= Tick::from_ms(back_ms + 11_500), "{fault:?}: only at {again:?}");
            assert!(attempts(&tally, "e1", 30_000..40_000) > 100, "{fault:?}: and with its share");
        });
    }
}

#[test]
fn when_all_are_dead_retries_add_little_and_the_first_to_come_back_is_found_at_once() {
    for fault in [Refuses, Resets, Hangs] {
        each_seed(5, |seed| {
            let forever = [(0, Serves(5)), (2_000, fault)];
            let for_a_minute = [(0, Serves(5)), (2_000, fault), (62_000, Serves(5))];
            let setup = Setup { run_ms: 70_000, ..calm(&[&forever, &for_a_minute, &forever, &forever]) };
            let tally = run(seed, setup);
            let dead_for_s = 60;
            // 20 % of 100/s, and 10/s; the window's length once more for what was unspent.
            let most = (20 + 10) * (dead_for_s + 10);
            assert!(tally.retries <= most, "{} retries", tally.retries);
            let again = serves_after(&tally, "e1", 62_000).expect("it serves again");
            assert!(again <= Tick::from_ms(62_000 + 2_500), "{fault:?}: only at {again:?}");
        });
    }
}

#[test]
fn the_only_endpoint_is_never_out() {
    each_seed(8, |seed| {
        let flapping: Vec<_> =
            (0..20).map(|n| (n * 1_000, if n % 2 == 0 { Serves(5) } else { Resets })).collect();
        let tally = run(seed, Setup { retries: 0, ..calm(&[&flapping]) });
        assert!(tally.opened > 0, "its breaker is open and said to be");
        assert_eq!(
            (tally.ejected_max, tally.attempts),
            (0, tally.requests + tally.resends),
            "and every request is tried"
        );
        let share = tally.succeeded as f64 / tally.requests as f64;
        assert!((0.40..0.60).contains(&share), "it works half of the time, and that half succeeds: {share}");
    });
}

#[test]
fn a_flapping_endpoint_is_asked_less_and_less() {
    each_seed(8, |seed| {
        let flapping: Vec<_> =
            (0..60).map(|n| (n * 1_000, if n % 2 == 0 { Serves(5) } else { Resets })).collect();
        let steady = [(0, Serves(5))];
        let setup = Setup { run_ms: 60_000, idempotent_ppm: 0, ..calm(&[&flapping, &steady, &steady]) };
        let tally = run(seed, setup);
        assert_eq!(tally.retries, 0, "what is not idempotent is not sent twice");
        let share = tally.failed as f64 / tally.requests as f64;
        assert!(share < 0.05, "a third of the requests, half of the time, would be 17 %: {share}");
    });
}

#[test]
fn a_rolling_restart_loses_nothing() {
    each_seed(8, |seed| {
        // Each in turn: draining, then gone (and refusing), then listed again, first as not ready.
        let mut lists = vec![(0, vec![Readiness::Ready; 3])];
        let mut scripts: Vec<Vec<(u64, Behaviour)>> = vec![vec![(0, Serves(20))]; 3];
        for (one, script) in scripts.iter_mut().enumerate() {
            let from_ms = 2_000 + one as u64 * 4_000;
            for (after_ms, readiness) in
                [(0, Readiness::Draining), (1_500, Readiness::Unready), (3_000, Readiness::Ready)]
            {
                let mut list = vec![Readiness::Ready; 3];
                list[one] = readiness;
                lists.push((from_ms + after_ms, list));
            }
            script.extend([(from_ms + 1_000, Refuses), (from_ms + 2_500, Serves(20))]);
        }
        let phases: Vec<&[_]> = scripts.iter().map(Vec::as_slice).collect();
        let lists =
            lists.into_iter().map(|(ms, list)| (ms, list.into_iter().enumerate().collect())).collect();
        let tally = run(seed, Setup { lists, idempotent_ppm: 0, ..calm(&phases) });
        assert_eq!((tally.succeeded, tally.attempts), (tally.requests, tally.requests));
    });
}

#[test]
fn at_three_times_what_it_can_serve_what_is_accepted_keeps_its_deadline() {
    each_seed(5, |seed| {
        // Ten places of 20 ms each (and about 2 ms of body): 450 requests a second at most.
        let setup = Setup {
            arrivals_per_s: 1_350,
            deadline_ms: 500,
            per_try_ms: None,
            run_ms: 10_000,
            limit: LimitPlan { open: 10, queued: 1_000 },
            ..calm(&[&[(0, Serves(20))], &[(0, Serves(20))]])
        };
        let tally = run(seed, setup);
        assert!(tally.succeeded > 4_000, "{} of 4500 that could be", tally.succeeded);
        assert!(tally.failed < tally.requests / 50, "{} waited in vain", tally.failed);
        assert!(tally.refused > 7_000, "the rest is refused at once: {}", tally.refused);
        assert!(tally.queued_max < 300, "nobody is let into a queue that is too long: {}", tally.queued_max);
    });
}

#[test]
fn scripts_say_what_they_say() {
    let setup = calm(&[&[(0, Serves(1)), (1_000, Hangs)]]);
    assert!(matches!(behaviour(&setup, "e0", Tick::from_ms(999)), Serves(1)));
    assert!(matches!(behaviour(&setup, "e0", Tick::from_ms(1_000) + Duration::from_micros(1)), Hangs));
}
