//! The hub, told what happens in the order that a network would choose.

use std::collections::BTreeMap;

use weft_model::plan::{
    AccessLog, Balance, HealthPlan, InboundPlan, LaunchPlan, LimitPlan, ObservePlan, PLAN_FORMAT, Plan,
    Probe, Protocol, Reach, ResiliencePlan, RolePlan, SidecarPlan, UpstreamPlan,
};
use weft_stdx::rng::Rng;

use super::*;

pub(crate) fn plan(service: &str, upstreams: &[&str]) -> Plan {
    let limit = LimitPlan { open: 1024, queued: 1024 };
    let inbound = InboundPlan {
        protocol: Protocol::Auto,
        allow: Vec::new(),
        health: HealthPlan { probe: Probe::Tcp, interval_ms: 1_000, timeout_ms: 1_000 },
        operations: Vec::new(),
        limit,
    };
    let sidecar = SidecarPlan {
        service: service.to_owned(),
        context: None,
        inbound,
        outbound: Vec::new(),
        external: Vec::new(),
    };
    Plan {
        format: PLAN_FORMAT,
        system: "test".to_owned(),
        trust_domain: "shop.test".to_owned(),
        role: RolePlan::Sidecar(sidecar),
        upstreams: upstreams.iter().map(|name| upstream(name)).collect(),
        observe: ObservePlan {
            metrics: None,
            istio_names: true,
            istio_durations: false,
            traces: None,
            access_log: AccessLog::Off,
        },
    }
}

fn upstream(name: &str) -> UpstreamPlan {
    UpstreamPlan {
        name: name.to_owned(),
        origin: weft_model::plan::Origin::default(),
        reach: Reach::Mesh,
        protocol: Protocol::Auto,
        balance: Balance::LeastLoaded,
        versions: Vec::new(),
        resilience: ResiliencePlan {
            timeout_ms: 15_000,
            timeout_whole: false,
            per_try_timeout_ms: None,
            connect_timeout_ms: 1_000,
            retries: 1,
            backoff_ms: (25, 250),
            retry_budget_percent: 20,
            retry_budget_floor: 10,
            breaker_failures: 7,
            breaker_success_percent: 80,
            limit: LimitPlan { open: 1024, queued: 1024 },
            fallback: None,
        },
        operations: Vec::new(),
    }
}

/// Services with whom each of them calls.
pub(crate) fn plans(services: &[(&str, &[&str])]) -> Plans {
    let sidecars: BTreeMap<_, _> =
        services.iter().map(|(name, calls)| ((*name).to_owned(), plan(name, calls))).collect();
    Plans { system: "test".to_owned(), gateway: None, sidecars, launch: LaunchPlan { services: Vec::new() } }
}

fn caller(instance: &str) -> Caller {
    let (service, _) = instance.split_once('-').unwrap();
    Caller {
        service: service.to_owned(),
        instance: instance.to_owned(),
        serial: format!("serial of {instance}"),
        expires_unix_s: 86_400,
    }
}

fn hello(instance: &str, pid: u32) -> Hello {
    Hello { role: "sidecar".to_owned(), instance: instance.to_owned(), pid, ..Hello::default() }
}

fn presence(port: u16, state: InstanceState) -> Presence {
    let address = format!("127.0.0.1:{port}");
    Presence { address, version: "v1".to_owned(), state: state as i32, ..Presence::default() }
}

fn at(ms: u64) -> Tick {
    Tick::from_ms(10_000 + ms)
}

/// orders calls catalog and users; users is called by nobody else.
fn shop() -> Hub {
    let mut hub = Hub::new(Trust::default());
    let all = plans(&[("orders", &["catalog", "users"]), ("catalog", &[]), ("users", &["catalog"])]);
    assert!(hub.publish(all, None).unwrap());
    hub
}

fn join(hub: &mut Hub, instance: &str, pid: u32, port: u16, now: Tick) -> SessionId {
    let id = hub.open(&caller(instance), &hello(instance, pid), now).unwrap();
    hub.present(&caller(instance), id, &presence(port, InstanceState::Ready), now);
    id
}

fn seen_by(hub: &Hub, service: &str, now: Tick) -> Vec<String> {
    let endpoints = hub.view(service, now).endpoints.unwrap();
    endpoints.instances.into_iter().map(|one| one.instance).collect()
}

#[test]
fn only_declared_calls_are_told() {
    let mut hub = shop();
    for (index, instance) in ["catalog-1", "catalog-2", "users-1", "orders-1"].iter().enumerate() {
        join(&mut hub, instance, 1, 9_000 + index as u16, at(0));
    }
    assert_eq!(seen_by(&hub, "orders", at(0)), ["catalog-1", "catalog-2", "users-1"]);
    assert_eq!(seen_by(&hub, "users", at(0)), ["catalog-1", "catalog-2"]);
    assert!(seen_by(&hub, "catalog", at(0)).is_empty());
    assert!(hub.view("stranger", at(0)).plan.is_none());
    assert!(hub.view("stranger", at(0)).endpoints.is_none());
}

#[test]
fn the_same_plans_are_no_change_and_another_plan_is_one() {
    let mut hub = shop();
    let version = |hub: &Hub| hub.view("users", at(0)).plan.unwrap().version.clone();
    let before = version(&hub);
    let same = hub.published().unwrap().plans().clone();
    assert!(!hub.publish(same.clone(), None).unwrap());
    let mut other = same;
    other.sidecars.get_mut("orders").unwrap().observe.access_log = AccessLog::Full;
    assert!(hub.publish(other, None).unwrap());
    assert_eq!(version(&hub), before, "whose plan is the same keeps its version");
}

#[test]
fn who_drains_leaves_at_once_and_who_is_lost_stays_for_the_grace() {
    let mut hub = shop();
    let draining = join(&mut hub, "catalog-1", 1, 9_001, at(0));
    let lost = join(&mut hub, "catalog-2", 2, 9_002, at(0));
    assert!(hub.present(&caller("catalog-1"), draining, &presence(9_001, InstanceState::Draining), at(10)));
    assert_eq!(seen_by(&hub, "orders", at(10)), ["catalog-2"]);
    assert!(hub.close(&caller("catalog-1"), draining, at(20)), "it does not come back");
    assert!(!hub.close(&caller("catalog-2"), lost, at(20)), "it may");
    assert_eq!(
        seen_by(&hub, "orders", at(30_019)),
        ["catalog-2"],
        "a lost stream changes nothing for others"
    );
    assert!(!hub.tick(at(30_019)));
    assert!(hub.tick(at(30_020)));
    assert!(seen_by(&hub, "orders", at(30_020)).is_empty());
    assert!(hub.instances(at(30_020)).is_empty(), "the drained one was forgotten with its stream");
}

#[test]
fn a_process_that_comes_back_never_leaves_the_lists() {
    let mut hub = shop();
    let first = join(&mut hub, "catalog-1", 7, 9_001, at(0));
    hub.close(&caller("catalog-1"), first, at(10));
    let again = hub.open(&caller("catalog-1"), &hello("catalog-1", 7), at(20)).unwrap();
    assert_eq!(seen_by(&hub, "orders", at(20)), ["catalog-1"], "between hello and presence");
    assert!(!hub.present(&caller("catalog-1"), again, &presence(9_001, InstanceState::Ready), at(21)));
    hub.close(&caller("catalog-1"), again, at(30));
    hub.open(&caller("catalog-1"), &hello("catalog-1", 8), at(40)).unwrap();
    assert!(seen_by(&hub, "orders", at(40)).is_empty(), "another process begins anew");
}

#[test]
fn a_rolling_restart_hands_over_without_a_gap() {
    let mut hub = shop();
    let old = join(&mut hub, "catalog-1", 1, 9_001, at(0));
    let me = caller("catalog-1");
    let new = hub.open(&me, &hello("catalog-1", 2), at(10)).unwrap();
    hub.present(&me, new, &presence(9_001, InstanceState::Starting), at(11));
    assert_eq!(seen_by(&hub, "orders", at(11)), ["catalog-1"], "the old one serves");
    assert_eq!(hub.instances(at(11))[0].state, "ready");
    assert!(!hub.is_newest(&me, old) && hub.is_newest(&me, new));
    hub.present(&me, new, &presence(9_001, InstanceState::Ready), at(12));
    assert!(
        !hub.present(&me, old, &presence(9_001, InstanceState::Draining), at(13)),
        "nothing changes for others"
    );
    assert!(!hub.close(&me, old, at(14)));
    assert_eq!(hub.instances(at(14))[0].pid, 2);
}

#[test]
fn nobody_speaks_for_another_and_nobody_crowds_out_the_rest() {
    let mut hub = shop();
    let refused = hub.open(&caller("users-1"), &hello("catalog-1", 1), at(0)).unwrap_err();
    assert_eq!(
        refused,
        SessionError::OtherInstance { of: "users-1".to_owned(), named: "catalog-1".to_owned() }
    );
    for pid in 0..SESSIONS_MAX as u32 {
        hub.open(&caller("users-1"), &hello("users-1", pid), at(0)).unwrap();
    }
    let refused = hub.open(&caller("users-1"), &hello("users-1", 99), at(0)).unwrap_err();
    assert!(matches!(refused, SessionError::TooMany { .. }), "{refused}");
    let long = Presence { address: "x".repeat(100_000), ..Presence::default() };
    let id = hub.open(&caller("orders-1"), &hello("orders-1", 1), at(0)).unwrap();
    hub.present(&caller("orders-1"), id, &long, at(0));
    assert_eq!(hub.instances(at(0))[0].address.len(), TEXT_BYTES_MAX);
}

#[test]
fn answers_to_plans_are_shown_until_the_next_good_one() {
    let mut hub = shop();
    let me = caller("users-1");
    let id = join(&mut hub, "users-1", 1, 9_001, at(0));
    let wanted = hub.view("users", at(0)).plan.unwrap().version.clone();
    hub.refuse(&me, id, &wanted, "no such socket", at(1));
    let status = &hub.instances(at(1))[0];
    assert_eq!((status.refused.as_deref(), status.current), (Some("no such socket"), false));
    hub.acknowledge(&me, id, &wanted, at(2));
    let status = &hub.instances(at(2))[0];
    assert_eq!(
        (status.refused.as_deref(), status.current, status.plan.as_str()),
        (None, true, wanted.as_str())
    );
}

#[test]
fn a_restarted_control_remembers_who_was_there_until_they_come_or_do_not() {
    let mut before = shop();
    join(&mut before, "catalog-1", 1, 9_001, at(0));
    join(&mut before, "catalog-2", 2, 9_002, at(0));
    join(&mut before, "catalog-3", 3, 9_003, at(0));
    let known = before.instances(at(1));
    let mut hub = shop();
    hub.restore(known, at(100));
    assert_eq!(seen_by(&hub, "orders", at(100)), ["catalog-1", "catalog-2", "catalog-3"], "no empty list");
    join(&mut hub, "catalog-1", 1, 9_001, at(200));
    assert!(hub.expect_anew("catalog-2"), "it is started anew: what was remembered is void");
    assert!(!hub.expect_anew("catalog-1"), "it is here: a successor takes over when it comes");
    assert_eq!(seen_by(&hub, "orders", at(200)), ["catalog-1", "catalog-3"]);
    assert!(hub.tick(at(30_100)));
    assert_eq!(seen_by(&hub, "orders", at(30_100)), ["catalog-1"]);
}

#[test]
fn a_control_without_memory_says_nothing_until_everybody_had_time_to_come() {
    let mut hub = shop();
    hub.settle(at(0));
    join(&mut hub, "catalog-1", 1, 9_001, at(10));
    assert!(hub.view("orders", at(10)).endpoints.is_none());
    assert!(hub.view("orders", at(10)).plan.is_some(), "plans are known");
    assert!(!hub.tick(at(7_999)));
    assert!(hub.tick(at(8_000)), "watchers must be woken");
    assert_eq!(seen_by(&hub, "orders", at(8_000)), ["catalog-1"]);
    assert!(!hub.tick(at(8_001)));
}

#[test]
fn who_was_revoked_leaves_at_once() {
    let mut hub = shop();
    join(&mut hub, "catalog-1", 1, 9_001, at(0));
    join(&mut hub, "catalog-2", 2, 9_002, at(0));
    hub.expel(|instance, _| instance == "catalog-1");
    assert_eq!(seen_by(&hub, "orders", at(0)), ["catalog-2"]);
    hub.renewed("catalog-2", "new", 99);
    assert_eq!(hub.instances(at(0))[0].identity_expires_unix_s, 99);
}

/// What must hold whatever happens: an instance that has said that it is ready, whose process lives and which does not
/// drain, is in its callers' list; one that is gone for longer than the grace is not.
#[test]
fn in_a_storm_of_streams_nobody_who_lives_is_lost() {
    for seed in 0..200 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let mut rng = Rng::seeded(seed);
    let mut hub = shop();
    let names = ["catalog-1", "catalog-2", "catalog-3"];
    let mut now_ms = 0;
    // Of each instance: its session, and since when it has none.
    let mut sessions: [Option<SessionId>; 3] = [None; 3];
    let mut lost_at: [Option<u64>; 3] = [None; 3];
    for _ in 0..300 {
        now_ms += rng.between(0, 4_000);
        let index = rng.below(3);
        let (name, port) = (names[index], 9_000 + index as u16);
        match sessions[index] {
            None => {
                sessions[index] = Some(join(&mut hub, name, index as u32, port, at(now_ms)));
                lost_at[index] = None;
            }
            Some(id) if rng.chance_ppm(500_000) => {
                hub.close(&caller(name), id, at(now_ms));
                sessions[index] = None;
                lost_at[index] = Some(now_ms);
            }
            Some(id) => {
                hub.present(&caller(name), id, &presence(port, InstanceState::Ready), at(now_ms));
            }
        }
        hub.tick(at(now_ms));
        let grace_ms = u64::try_from(LOST_GRACE.as_millis()).unwrap();
        let expected: Vec<&str> = (0..3)
            .filter(|one| {
                sessions[*one].is_some() || lost_at[*one].is_some_and(|since| now_ms - since < grace_ms)
            })
            .map(|one| names[one])
            .collect();
        assert_eq!(seen_by(&hub, "orders", at(now_ms)), expected, "seed {seed} at {now_ms} ms");
    }
}

#[test]
fn what_a_gateway_serves_tls_with_is_shown_and_survives_a_restart_of_control() {
    let mut hub = Hub::new(Trust::default());
    let id = hub.open(&caller("gateway-1"), &hello("gateway-1", 1), at(0)).unwrap();
    let edge = |hub: &Hub| {
        let shown = hub.instances(at(1)).remove(0);
        (shown.edge_refused, shown.edge_expires_unix_s)
    };
    assert_eq!(edge(&hub), (None, None));
    let served = Presence { edge_not_after: 7_000, ..Presence::default() };
    hub.present(&caller("gateway-1"), id, &served, at(0));
    assert_eq!(edge(&hub), (None, Some(7_000)));
    let refused = Presence { edge_refused: "broken".repeat(1_000), ..served };
    hub.present(&caller("gateway-1"), id, &refused, at(0));
    let (reason, expires_unix_s) = edge(&hub);
    assert_eq!((reason.as_ref().map(String::len), expires_unix_s), (Some(1024), Some(7_000)), "clipped");
    let mut next = Hub::new(Trust::default());
    next.restore(hub.instances(at(1)), at(1));
    assert_eq!(edge(&next), (reason, expires_unix_s));
}
