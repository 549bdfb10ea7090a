//! Manifests in, units out: what a change of the plans starts, replaces and lets leave.

use weft_model::sources::{FileError, Files};
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use super::super::machine::{Action, State};
use super::*;

struct One(String);

impl Files for One {
    fn read(&self, path: &str, _bytes_max: usize) -> Result<Vec<u8>, FileError> {
        if path == "weft.yaml" { Ok(self.0.clone().into_bytes()) } else { Err(FileError::Missing) }
    }
}

fn plans(services: &str) -> Plans {
    let text = format!(
        "system: shop\nservices:\n{services}gateway: {{ listen: \"127.0.0.1:8080\", auth: none, routes: {{ \"ANY /**\": users }} }}\n"
    );
    let compiled = weft_model::compile(&One(text), "weft.yaml", None, &BTreeMap::new());
    let mut plans = compiled.plans.unwrap_or_else(|| panic!("{:?}", compiled.findings));
    listen(&mut plans, "127.0.0.1:0");
    plans
}

/// The edge elsewhere: each test has ports of its own.
fn listen(plans: &mut Plans, address: &str) {
    if let Some(RolePlan::Gateway(gateway)) = plans.gateway.as_mut().map(|plan| &mut plan.role) {
        gateway.listen = vec![address.to_owned()];
    }
}

/// A system whose processes do at once what they are told; only services with the command `broken` never come up.
struct World {
    machine: Machine,
    system: System,
    started: Vec<String>,
    gone: Vec<String>,
    now: Tick,
}

/// What a service that is `slow` takes to be up.
const SLOW: Duration = Duration::from_secs(10);

impl World {
    fn new(mine: &[(&str, &str)]) -> Self {
        let mine = mine.iter().map(|(name, at)| ((*name).to_owned(), at.parse().unwrap())).collect();
        let make = Make { mine, edge_sockets: 2, admin: "127.0.0.1:0".parse().unwrap() };
        // Another pool than that of any test beside this one.
        let pool = Pool::new(u64::from(std::process::id()));
        let (machine, system) = (Machine::new(Rng::seeded(5)), System::new(make, pool));
        Self { machine, system, started: Vec::new(), gone: Vec::new(), now: Tick::from_ms(1) }
    }

    fn up(services: &str, mine: &[(&str, &str)]) -> Self {
        let mut world = Self::new(mine);
        world.system.add_control(&mut world.machine, None).unwrap();
        world.apply(services);
        world
    }

    fn name(&self, unit: UnitId) -> String {
        match self.system.what(unit) {
            Some(What::Service(instance)) => instance.name.clone(),
            Some(What::Build(build)) => format!("build of {}", build.service),
            Some(other) => other.label(),
            None => "?".to_owned(),
        }
    }

    /// Does what follows of an event until nothing follows any more.
    fn feed(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.machine.handle(self.now, event) {
                match action {
                    Action::Start(unit) => {
                        self.started.push(self.name(unit));
                        let run = match self.system.what(unit) {
                            Some(What::Service(instance)) => instance.launch.run.as_str(),
                            _ => "",
                        };
                        if run.starts_with("slow") {
                            self.now = self.now + SLOW;
                        }
                        if !run.starts_with("broken") {
                            events.push(Event::Up(unit));
                        }
                    }
                    Action::Retire(unit) => events.push(Event::Retired(unit)),
                    Action::Stop(unit) => events.push(Event::Ended(unit)),
                    Action::Gone(unit) => {
                        self.gone.push(self.name(unit));
                        self.system.forget(unit);
                    }
                    Action::Kill(_) | Action::GaveUp(_) => panic!("{action:?}"),
                    Action::Settled | Action::Finished => {}
                }
            }
        }
    }

    fn follow(&mut self, change: Change) {
        self.started.clear();
        self.gone.clear();
        self.feed(Event::Tick);
        change.events.into_iter().for_each(|event| self.feed(event));
    }

    fn apply(&mut self, services: &str) {
        self.apply_plans(&plans(services)).unwrap();
    }

    fn apply_plans(&mut self, plans: &Plans) -> Result<(), SystemError> {
        let mut change = Change::default();
        let applied = self.system.apply(&mut self.machine, plans, &mut change);
        self.follow(change);
        applied
    }

    fn decide_restart(&mut self, target: Option<&str>, build: bool) -> Change {
        let mut change = Change::default();
        self.system.restart(&mut self.machine, target, build, &mut change).unwrap();
        change
    }

    fn restart(&mut self, target: &str) {
        let change = self.decide_restart(Some(target), false);
        self.follow(change);
    }

    /// Every unit of the system, and no more: what the machine has, and what is known of it.
    fn there(&self) -> Vec<String> {
        let units: Vec<UnitId> = self.system.units().map(|(unit, _)| unit).collect();
        assert!(units.iter().all(|unit| self.machine.state(*unit).is_some()));
        let mut names: Vec<String> = units.into_iter().map(|unit| self.name(unit)).collect();
        names.sort();
        names.retain(|name| name != "control" && name != "gateway");
        names
    }

    /// The service of an instance did not come up in all its time.
    fn give_up(&mut self, instance: &str) -> Instead {
        let mut change = Change::default();
        let service = self.service(instance);
        let instead = self.system.instead(&mut self.machine, service, &mut change).unwrap();
        self.follow(change);
        instead
    }

    fn service(&self, instance: &str) -> UnitId {
        self.system.of_instance(instance).1[0]
    }

    /// A start of an instance failed, and showed that.
    fn failed_start(&mut self, instance: &str, seen: Seen) -> bool {
        let service = self.service(instance);
        let change = self.system.on_its_port(&mut self.machine, service, seen).unwrap();
        change.map(|change| self.follow(change)).is_some()
    }

    fn told(&self, instance: &str) -> Told {
        let all = self.system.units().filter_map(|(_, what)| match what {
            What::Sidecar(one) if one.name == instance => Some(one.told.clone()),
            _ => None,
        });
        all.last().unwrap_or_else(|| panic!("{instance} is not there"))
    }
}

const TWO: &str = "  users: { run: users }\n  orders: { run: orders, calls: [ users ] }\n";

#[test]
fn control_is_first_callees_are_before_callers_and_the_edge_is_last() {
    let world = World::up(TWO, &[]);
    let at = |name: &str| world.started.iter().position(|started| started == name).unwrap();
    assert_eq!(world.started.len(), 6, "{:?}", world.started);
    assert_eq!((at("control"), at("gateway")), (0, 5));
    assert!(at("users-1/sidecar") < at("users-1") && at("users-1") < at("orders-1"));
    assert_eq!(world.told("orders-1").callees.first().unwrap().variable, "USERS_URL");
    assert!(world.machine.settled());
}

#[test]
fn nobody_waits_for_a_service_without_copies_or_one_that_is_removed_meanwhile() {
    let text = |stock: &str| {
        format!(
            "  users: {{ run: users }}\n  stock: {{ {stock} }}\n  orders: {{ run: orders, calls: [ stock ] }}\n"
        )
    };
    let world = World::up(&text("run: stock, replicas: 0"), &[]);
    assert!(world.machine.settled(), "{:?}", world.started);
    assert_eq!(world.there(), ["orders-1", "orders-1/sidecar", "users-1", "users-1/sidecar"]);
    for instead in ["  users: { run: users }\n  orders: { run: orders }\n", &text("run: broken, replicas: 0")]
    {
        let mut world = World::up(&text("run: broken"), &[]);
        assert!(!world.started.contains(&"gateway".to_owned()), "{:?}", world.started);
        world.apply(instead);
        assert!(world.machine.settled(), "{:?}", world.started);
        assert_eq!(world.started.last().map(String::as_str), Some("gateway"));
    }
}

#[test]
fn the_same_plans_change_nothing_and_neither_does_what_only_control_minds() {
    let mut world = World::up(TWO, &[]);
    world.apply(TWO);
    assert_eq!((world.started.len(), world.gone.len()), (0, 0));
    world.apply("  users: { run: users, health: /healthz }\n  orders: { run: orders, calls: [ users ] }\n");
    assert_eq!((world.started.len(), world.gone.len()), (0, 0));
}

#[test]
fn a_change_of_a_service_replaces_it_and_nobody_else() {
    let mut world = World::up(TWO, &[]);
    world.apply("  users: { run: users, env: { A: b } }\n  orders: { run: orders, calls: [ users ] }\n");
    assert_eq!(world.started, ["users-2/sidecar", "users-2"]);
    assert_eq!(world.gone, ["users-1", "users-1/sidecar"]);
}

#[test]
fn a_new_callee_replaces_the_caller_with_a_listener_for_it() {
    let mut world = World::up(TWO, &[]);
    world.apply("  users: { run: users, calls: [ orders ] }\n  orders: { run: orders }\n");
    assert_eq!(world.told("users-2").callees.first().unwrap().variable, "ORDERS_URL");
    assert!(world.told("orders-2").callees.is_empty());
}

#[test]
fn services_come_and_go() {
    let mut world = World::up(TWO, &[]);
    world.apply("  users: { run: users }\n  stock: { run: stock }\n");
    assert_eq!(world.started, ["stock-1/sidecar", "stock-1"]);
    assert_eq!(world.gone, ["orders-1", "orders-1/sidecar"]);
}

#[test]
fn copies_come_and_go_and_only_the_first_has_the_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let copies = |count: u32| format!("  users: {{ run: users, port: {port}, replicas: {count} }}\n");
    let mut world = World::up(&copies(1), &[]);
    world.apply(&copies(3));
    world.started.sort();
    assert_eq!(world.started, ["users-2", "users-2/sidecar", "users-3", "users-3/sidecar"]);
    let ports = ["users-1", "users-2", "users-3"].map(|name| world.told(name).port);
    assert_eq!(ports[0], port);
    assert!(ports[1] != ports[2] && ports[1] != port && ports[2] != port, "{ports:?}");
    world.apply(&copies(1));
    world.gone.sort();
    assert_eq!(world.gone, ["users-2", "users-2/sidecar", "users-3", "users-3/sidecar"]);
}

#[test]
fn a_restart_lends_another_port_and_the_next_one_gives_it_back() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut world = World::up(&format!("  users: {{ run: users, port: {port} }}\n"), &[]);
    for (name, has_it) in [("users-2", false), ("users-3", true)] {
        world.restart("users");
        assert_eq!(world.told(name).port == port, has_it, "{name}");
    }
    assert_eq!(world.gone, ["users-2", "users-2/sidecar"]);
}

#[test]
fn each_role_can_be_restarted_on_the_same_sockets() {
    let mut world = World::up(TWO, &[]);
    let (edge, told) = (world.system.edge(), world.told("users-1"));
    for (target, started) in [
        ("gateway", vec!["gateway"]),
        ("control", vec!["control"]),
        ("sidecars", vec!["orders-1/sidecar", "users-1/sidecar"]),
    ] {
        world.restart(target);
        world.started.sort();
        world.gone.sort();
        assert_eq!(world.started, started, "{target}");
        assert_eq!(world.gone, started, "{target}");
    }
    assert_eq!((world.system.edge(), world.told("users-1")), (edge, told));
    let mut change = Change::default();
    let error = world.system.restart(&mut world.machine, Some("nobody"), false, &mut change).unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
}

#[test]
fn a_successor_that_is_taken_back_leaves_the_one_before() {
    let mut world = World::up(&users("a", 1), &[]);
    world.apply(&users("broken", 1));
    world.give_up("users-2");
    assert_eq!(world.there(), one("users-1"));
    world.apply(&users("broken", 1));
    assert_eq!(world.there(), one("users-1"), "what failed is not tried again without a change");
    world.apply(&users("a", 1));
    assert_eq!((world.there(), world.started.len()), (one("users-1"), 0), "it is as it is wanted");
    world.apply(&users("b", 1));
    assert_eq!(world.there(), one("users-3"));
}

#[test]
fn a_build_of_several_runs_once_and_again_when_it_is_asked_for() {
    let built = "  users: { run: users, build: make }\n  orders: { run: orders, build: make }\n";
    let mut world = World::up(built, &[]);
    let builds = |world: &World| world.started.iter().filter(|name| name.starts_with("build")).count();
    assert_eq!(builds(&world), 1);
    for (target, again, count) in
        [(None, false, 0), (None, true, 1), (Some("users"), true, 1), (Some("orders"), true, 1)]
    {
        let change = world.decide_restart(target, again);
        world.follow(change);
        assert_eq!(builds(&world), count, "{target:?}");
        let there = world.there().iter().filter(|name| name.starts_with("build")).count();
        assert_eq!(there, 1, "the build before is gone");
    }
}

#[test]
fn what_is_mine_has_a_sidecar_and_no_process_and_nobody_waits_for_it() {
    let world = World::up(TWO, &[("users", "127.0.0.1:7005")]);
    assert!(world.machine.settled());
    assert!(world.started.contains(&"users-1/sidecar".to_owned()));
    assert!(!world.started.contains(&"users-1".to_owned()));
    let foreign = world.system.foreign();
    assert_eq!((foreign.len(), foreign[0].told.port), (1, 7005));
    let mut world = World::new(&[("nobody", "127.0.0.1:7005")]);
    let error = world.apply_plans(&plans(TWO)).unwrap_err();
    assert!(matches!(error, SystemError::Mine(_)), "{error}");
}

#[test]
fn a_service_may_connect_to_its_own_port_and_to_no_other_services() {
    let world = World::up(TWO, &[]);
    let instance = |name: &str| {
        let mut all = world.system.units().filter_map(|(_, what)| match what {
            What::Service(instance) if instance.name == name => Some(Arc::clone(instance)),
            _ => None,
        });
        all.next().unwrap()
    };
    let (users, orders) = (instance("users-1"), instance("orders-1"));
    let forbidden = world.system.forbidden(&users);
    assert!(!forbidden.contains(users.told.port) && forbidden.contains(orders.told.port));
    assert!(!forbidden.contains(users.told.proxy) && !forbidden.contains(5432));
}

#[test]
fn a_taken_port_is_refused_with_its_service() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut world = World::new(&[]);
    let services = format!("  users: {{ run: users, port: {port} }}\n");
    let error = world.apply_plans(&plans(&services)).unwrap_err().to_string();
    assert!(error.contains("service `users` cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn another_address_of_the_edge_is_another_gateway_before_the_old_one_leaves() {
    let mut world = World::up(TWO, &[]);
    let mut moved = plans(TWO);
    listen(&mut moved, "localhost:0");
    let before = world.system.edge();
    world.apply_plans(&moved).unwrap();
    assert_eq!(
        (world.started.as_slice(), world.gone.as_slice()),
        (&["gateway".to_owned()][..], &["gateway".to_owned()][..])
    );
    assert_ne!(world.system.edge(), before);
    let gateways = world.system.units().filter(|(_, what)| matches!(what, What::Gateway(_)));
    let states: Vec<_> = gateways.map(|(unit, _)| world.machine.state(unit)).collect();
    assert!(matches!(states.as_slice(), [Some(State::Up { ill: false, .. })]), "{states:?}");
}

// --- what is changed again before it was up ------------------------------------------------------------------------

fn users(run: &str, replicas: u32) -> String {
    format!("  users: {{ run: {run}, replicas: {replicas} }}\n")
}

fn one(instance: &str) -> Vec<String> {
    vec![instance.to_owned(), format!("{instance}/sidecar")]
}

fn both(first: &str, second: &str) -> Vec<String> {
    [one(first), one(second)].concat()
}

#[test]
fn the_successor_of_a_broken_one_replaces_whom_that_was_to_replace() {
    for broken in [&["broken"][..], &["broken", "broken-2"], &["broken", "broken-2", "broken"]] {
        let mut world = World::up(&users("a", 1), &[]);
        let mut last = 1;
        for run in broken {
            world.apply(&users(run, 1));
            last += 1;
            let wanted = format!("users-{last}");
            assert_eq!(world.there(), both("users-1", &wanted), "one serves, one tries");
        }
        world.apply(&users("c", 1));
        assert_eq!(world.there(), one(&format!("users-{}", last + 1)), "{broken:?}");
    }
}

#[test]
fn who_serves_stays_when_it_is_what_is_wanted_again() {
    let mut world = World::up(&users("a", 1), &[]);
    for run in ["broken", "broken-2"] {
        world.apply(&users(run, 1));
    }
    world.apply(&users("a", 1));
    assert_eq!((world.there(), world.started.len()), (one("users-1"), 0));
    world.apply(&users("b", 1));
    assert_eq!(world.there(), one("users-4"), "and can be replaced later");
}

#[test]
fn each_copy_is_replaced_or_stays_by_itself() {
    let mut world = World::up(&users("a", 2), &[]);
    world.apply(&users("broken", 2));
    assert_eq!(world.there(), [both("users-1", "users-2"), both("users-3", "users-4")].concat());
    world.apply(&users("c", 2));
    assert_eq!(world.there(), both("users-5", "users-6"));

    let mut world = World::up(&users("a", 2), &[]);
    world.apply(&users("broken", 2));
    let (_, third) = world.system.of_instance("users-3");
    world.feed(Event::Up(third[0]));
    assert_eq!(world.there(), [both("users-2", "users-3"), one("users-4")].concat());
    world.apply(&users("a", 2));
    assert_eq!(world.there(), both("users-2", "users-5"), "one is taken back, one is there anew");
}

#[test]
fn copies_may_become_more_and_fewer_while_the_new_ones_are_broken() {
    for (during, after, left) in [
        (1, 1, one("users-1")),
        (1, 2, both("users-1", "users-4")),
        (3, 1, one("users-1")),
        (3, 2, both("users-1", "users-2")),
        (2, 3, [both("users-1", "users-2"), one("users-5")].concat()),
    ] {
        let mut world = World::up(&users("a", 2), &[]);
        world.apply(&users("broken", during));
        world.apply(&users("a", after));
        assert_eq!(world.there(), left, "2 to {during} to {after}");
    }
    let mut world = World::up(&users("a", 2), &[]);
    world.apply(&users("broken", 2));
    world.apply(&users("broken", 1));
    assert_eq!(
        world.there(),
        both("users-1", "users-3"),
        "whoever has no place leaves with whom it was to replace"
    );
}

#[test]
fn a_service_that_is_removed_while_its_new_one_is_broken_leaves_nothing() {
    let mut world = World::up(TWO, &[]);
    world.apply("  users: { run: users }\n  orders: { run: broken, calls: [ users ] }\n");
    assert_eq!(world.there(), [both("orders-1", "orders-2"), one("users-1")].concat());
    world.apply("  users: { run: users }\n");
    assert_eq!(world.there(), one("users-1"));
    let ports = world.system.pool.range().filter(|port| world.system.pool.is_given(*port)).count();
    assert_eq!(ports, 1, "ports are given back");
}

#[test]
fn a_restart_of_what_is_not_up_yet_is_one_restart() {
    let mut world = World::up(&users("a", 1), &[]);
    world.apply(&users("broken", 1));
    world.restart("users");
    assert_eq!(world.there(), both("users-1", "users-3"));
    world.restart("sidecars");
    assert_eq!(world.there(), both("users-1", "users-3"));
    world.give_up("users-3");
    assert_eq!(world.there(), one("users-1"));
}

#[test]
fn sidecars_that_are_restarted_before_their_service_is_replaced_leave_with_it() {
    let mut world = World::up(&users("a", 1), &[]);
    world.apply(&users("broken", 1));
    world.restart("sidecars");
    world.started.sort();
    assert_eq!(world.started, ["users-1/sidecar", "users-2/sidecar"]);
    let (_, services) = world.system.of_instance("users-2");
    world.feed(Event::Up(services[0]));
    assert_eq!(world.there(), one("users-2"));
}

#[test]
fn a_build_that_is_not_wanted_any_more_is_forgotten_and_runs_anew_when_it_is() {
    let built = |build: &str| format!("  users: {{ run: users, build: {build} }}\n");
    let mut world = World::up(&built("make"), &[]);
    let fails = plans(&built("make-2"));
    for instance in ["users-2", "users-3"] {
        let mut change = Change::default();
        world.system.apply(&mut world.machine, &fails, &mut change).unwrap();
        let actions = world.machine.handle(Tick::from_ms(1), Event::Tick);
        let build = actions.into_iter().find_map(|action| match action {
            Action::Start(unit) if matches!(world.system.what(unit), Some(What::Build(_))) => Some(unit),
            _ => None,
        });
        let gave_up = world.machine.handle(Tick::from_ms(1), Event::Ended(build.unwrap()));
        assert!(matches!(gave_up[..], [Action::GaveUp(_)]), "{gave_up:?}");
        change.events.into_iter().for_each(|event| world.feed(event));
        let (sidecars, services) = world.system.of_instance(instance);
        assert!(matches!(world.machine.state(services[0]), Some(State::Waiting)), "it waits for its build");
        assert_eq!(sidecars.len(), 1);
        world.apply(&built("make"));
        world.there().iter().for_each(|name| assert!(!name.contains(instance), "{name}"));
        assert!(world.there().contains(&"users-1".to_owned()), "{:?}", world.there());
    }
}

#[test]
fn a_build_that_fails_takes_nobody_away_and_is_tried_again_when_it_is_wanted_again() {
    let mut world = World::up("  users: { run: users, build: make }\n", &[]);
    let services = "  users: { run: users, build: fails }\n  more: { run: more, build: fails }\n";
    let mut change = Change::default();
    world.system.apply(&mut world.machine, &plans(services), &mut change).unwrap();
    let builds = |world: &World| -> Vec<UnitId> {
        let is_build = |what: &What| matches!(what, What::Build(build) if build.command == "fails");
        world.system.units().filter(|(_, what)| is_build(what)).map(|(unit, _)| unit).collect()
    };
    let build = builds(&world)[0];
    world.machine.handle(Tick::from_ms(1), Event::Tick);
    let gave_up = world.machine.handle(Tick::from_ms(1), Event::Ended(build));
    assert_eq!(gave_up, [Action::GaveUp(build)]);
    let waited = world.system.build_failed(&world.machine, build, &mut change);
    assert_eq!(waited.len(), 2, "one that is there, one that is new");
    let instead = |unit| world.system.instead(&mut world.machine, unit, &mut change).unwrap();
    let mut instead: Vec<Instead> = waited.into_iter().map(instead).collect();
    instead.sort_by_key(|instead| *instead == Instead::Nobody);
    assert_eq!(instead, [Instead::Before, Instead::Nobody]);
    change.events.into_iter().for_each(|event| world.feed(event));
    assert_eq!((builds(&world).len(), world.system.of_instance("users-2").1.len()), (0, 0));
    world.restart("more");
    assert_eq!(
        world.started.iter().filter(|name| name.starts_with("build")).count(),
        1,
        "{:?}",
        world.started
    );
    assert!(world.there().contains(&"users-1".to_owned()) && world.there().contains(&"more-2".to_owned()));
}

#[test]
fn a_new_service_that_is_broken_leaves_at_once_and_its_successor_has_its_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let users = |run: &str| format!("  users: {{ run: {run}, port: {port} }}\n");
    let mut world = World::up(&users("broken"), &[]);
    assert_eq!(world.told("users-1").port, port);
    world.apply(&users("a"));
    assert_eq!((world.there(), world.told("users-2").port), (one("users-2"), port));
    assert!(world.machine.settled());

    // The one that serves was lent a port, the broken one has that of the manifest.
    world.restart("users");
    assert_ne!(world.told("users-3").port, port);
    world.apply(&users("broken"));
    assert_eq!(world.told("users-4").port, port);
    world.apply(&users("c"));
    assert_eq!((world.there(), world.told("users-5").port), (one("users-5"), port));
}

#[test]
fn what_is_gone_keeps_no_socket_open() {
    let mut world = World::up(&users("a", 1), &[]);
    let sidecar = |world: &World, name: &str| SocketAddr::from(([127, 0, 0, 1], world.told(name).api));
    let mut before = Vec::new();
    for (last, run) in ["b", "broken", "a", "c"].into_iter().enumerate() {
        before.push(sidecar(&world, &format!("users-{}", last + 1)));
        world.apply(&users(run, 1));
    }
    assert_eq!(world.there(), one("users-5"));
    for address in before {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address}");
    }
}

#[test]
fn the_gateway_is_the_first_to_leave_whatever_came_since_it_started() {
    for what in ["nothing", "a restart", "a service"] {
        let mut world = World::up(TWO, &[]);
        match what {
            "a restart" => world.restart("gateway"),
            "a service" => world.apply(&format!("{TWO}  late: {{ run: late }}\n")),
            _ => {}
        }
        world.gone.clear();
        world.feed(Event::StopAll);
        assert_eq!(world.gone.first().map(String::as_str), Some("gateway"), "{what}: {:?}", world.gone);
    }
}

#[test]
fn the_gateway_is_followed_from_address_to_address_also_while_it_cannot_serve() {
    let ports = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = ports.map(|port| port.local_addr().unwrap().to_string());
    let at = |services: &str, address: &str| {
        let mut plans = plans(services);
        listen(&mut plans, address);
        plans
    };
    let more = "  users: { run: users }\n  more: { run: broken }\n";
    let gateways =
        |world: &World| world.system.units().filter(|(_, what)| matches!(what, What::Gateway(_))).count();
    let mut world = World::new(&[]);
    world.system.add_control(&mut world.machine, None).unwrap();
    world.apply_plans(&at(&users("users", 1), &a)).unwrap();
    // It waits for a service that never comes up.
    world.apply_plans(&at(more, &b)).unwrap();
    assert_eq!(gateways(&world), 2);
    world.apply_plans(&at(more, &a)).unwrap();
    assert_eq!(
        (gateways(&world), world.system.edge()),
        (1, vec![a.parse().unwrap()]),
        "it serves there still"
    );
    world.apply_plans(&at(more, &b)).unwrap();
    world.apply_plans(&at(&users("users", 1), "127.0.0.1:0")).unwrap();
    assert_eq!(gateways(&world), 1);
    for address in [a, b] {
        assert!(std::net::TcpStream::connect(&address).is_err(), "{address}");
    }
}

#[test]
fn control_that_is_restarted_twice_is_there_once_at_any_time() {
    let mut world = World::up(TWO, &[]);
    let controls = |world: &World| -> Vec<UnitId> {
        world
            .system
            .units()
            .filter(|(_, what)| matches!(what, What::Control(_)))
            .map(|(unit, _)| unit)
            .collect()
    };
    let first = controls(&world);
    for _ in 0..2 {
        // It takes its time to end.
        for event in world.decide_restart(Some("control"), false).events {
            for action in world.machine.handle(Tick::from_ms(1), event) {
                match action {
                    Action::Stop(unit) => assert_eq!(first, [unit]),
                    Action::Gone(unit) => world.system.forget(unit),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    world.started.clear();
    world.feed(Event::Ended(first[0]));
    assert_eq!((world.started.as_slice(), controls(&world).len()), (&["control".to_owned()][..], 1));
}

#[test]
fn a_port_that_is_taken_leaves_what_it_concerns_and_nothing_else_behind() {
    let mut world = World::up(TWO, &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused =
        format!("  users: {{ run: users }}\n  stock: {{ run: stock, port: {port}, replicas: 2 }}\n");
    assert!(world.apply_plans(&plans(&refused)).is_err());
    assert_eq!(world.there(), one("users-1"), "what is removed is gone, what cannot be is not there by half");
}

#[test]
fn what_is_mine_keeps_the_ports_that_were_told_when_its_sidecar_is_replaced() {
    let mine = [("orders", "127.0.0.1:7006")];
    let mut world = World::up(TWO, &mine);
    let before = world.told("orders-1");
    world.apply("  users: { run: users }\n  stock: { run: stock }\n  orders: { run: orders, calls: [ users, stock ] }\n");
    let after = world.told("orders-2");
    assert_eq!((after.proxy, after.api), (before.proxy, before.api));
    assert!(after.callees.iter().any(|callee| *callee == before.callees[0]) && after.callees.len() == 2);
    assert!(!world.there().contains(&"orders-1/sidecar".to_owned()), "{:?}", world.there());
}

#[test]
fn names_come_back_when_many_came_and_nobody_loses_one() {
    let mut world = World::up(&users("a", 2), &[]);
    let mut names = BTreeSet::from_iter(world.there());
    for round in 0..120 {
        world.apply(&users("a", 2 + round % 2));
        names.extend(world.there());
    }
    assert!(world.there().starts_with(&both("users-1", "users-2")), "{:?}", world.there());
    // 60 copies came and went; then both are replaced again and again until the numbers have run out.
    for round in 0..60 {
        world.apply(&users(&format!("b{round}"), 2));
        assert_eq!(world.there().len(), 4, "a name stands for one copy");
        names.extend(world.there());
    }
    assert_eq!(names.len(), 2 * 100, "{names:?}");
}

// --- what listens on one port whatever it is told --------------------------------------------------------------------

/// A service with a port of its own.
struct Fixed {
    port: u16,
    world: World,
}

impl Fixed {
    fn up(run: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut fixed = Self { port, world: World::new(&[]) };
        fixed.world.system.add_control(&mut fixed.world.machine, None).unwrap();
        fixed.apply(run);
        fixed
    }

    fn apply(&mut self, run: &str) {
        self.world.apply(&format!("  users: {{ run: {run}, port: {} }}\n", self.port));
    }

    fn run(&self, instance: &str) -> String {
        match self.world.system.what(self.world.service(instance)) {
            Some(What::Service(instance)) => instance.launch.run.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn has_port(&self, instance: &str) -> bool {
        self.world.told(instance).port == self.port
    }
}

#[test]
fn who_said_that_the_address_is_in_use_gets_its_port_after_the_end_of_the_one_before() {
    let mut fixed = Fixed::up("a");
    fixed.apply("broken");
    assert!(fixed.world.failed_start("users-2", Seen::AddressInUse));
    fixed.world.gone.sort();
    assert_eq!(fixed.world.gone, both("users-1", "users-2"));
    assert_eq!((fixed.world.there(), fixed.has_port("users-3")), (one("users-3"), true));
    assert!(!fixed.world.failed_start("users-3", Seen::AddressInUse), "it has it");
}

#[test]
fn who_is_broken_for_any_other_reason_moves_nobody() {
    for seen in [Seen::Ended, Seen::Unwell] {
        let mut fixed = Fixed::up("a");
        fixed.apply("broken");
        assert!(!fixed.world.failed_start("users-2", seen));
        assert_eq!(fixed.world.there(), both("users-1", "users-2"));
        assert_eq!(fixed.world.give_up("users-2"), Instead::Before);
        assert_eq!((fixed.world.there(), fixed.has_port("users-1")), (one("users-1"), true));
    }
}

#[test]
fn where_the_one_before_crashes_who_runs_elsewhere_is_tried_in_its_place_and_who_ends_is_not() {
    for (seen, tried) in [(Seen::Unwell, true), (Seen::Ended, false)] {
        let mut fixed = Fixed::up("a");
        let before = fixed.world.service("users-1");
        fixed.world.machine.handle(Tick::from_ms(1), Event::Ended(before));
        fixed.apply("broken");
        assert_eq!(fixed.world.failed_start("users-2", seen), tried);
        if !tried {
            assert_eq!(fixed.world.give_up("users-2"), Instead::BeforeCrashes);
        }
    }
}

#[test]
fn who_does_not_come_up_on_its_port_either_leaves_it_to_the_one_before() {
    let mut fixed = Fixed::up("a");
    fixed.apply("broken");
    assert!(fixed.world.failed_start("users-2", Seen::AddressInUse));
    assert_eq!(fixed.world.give_up("users-3"), Instead::Again);
    assert_eq!((fixed.world.there(), fixed.run("users-4")), (one("users-4"), "a".to_owned()));
    assert!(fixed.has_port("users-4"));
    fixed.apply("broken");
    assert_eq!(fixed.world.there(), one("users-4"), "what failed is not tried again without a change");
    fixed.apply("a");
    assert_eq!(fixed.world.there(), one("users-4"), "it is as it is wanted");
    fixed.apply("b");
    assert_eq!((fixed.world.there(), fixed.has_port("users-5")), (one("users-5"), false));
}

#[test]
fn the_one_before_is_started_again_after_several_mistakes_and_only_once() {
    let mut fixed = Fixed::up("a");
    fixed.apply("broken");
    assert!(fixed.world.failed_start("users-2", Seen::AddressInUse));
    fixed.apply("broken-2");
    assert_eq!((fixed.world.there(), fixed.has_port("users-4")), (one("users-4"), true));
    fixed.world.restart("users");
    assert_eq!(fixed.world.there(), one("users-5"));
    assert_eq!(fixed.world.give_up("users-5"), Instead::Again);
    assert_eq!(fixed.run("users-6"), "a");
    assert_eq!(fixed.world.give_up("users-6"), Instead::Nobody);
    assert_eq!(fixed.world.there(), one("users-6"), "it is tried on");
    let ports = fixed.world.system.pool.range().filter(|port| fixed.world.system.pool.is_given(*port));
    assert_eq!(ports.count(), 0, "lent ports are given back");
}

#[test]
fn in_the_place_of_one_that_serves_it_has_a_few_times_what_that_one_took() {
    let limits = [("a", Duration::from_secs(20)), ("slow", SLOW * 4)];
    for (before, limit) in limits {
        let mut fixed = Fixed::up(before);
        fixed.apply("broken");
        let began = fixed.world.now;
        assert_eq!(fixed.world.machine.next_tick(), Some(began + SERVICE_START_LIMIT));
        assert!(fixed.world.failed_start("users-2", Seen::AddressInUse));
        assert_eq!(fixed.world.machine.next_tick(), Some(began + limit));
        let moved = fixed.world.service("users-3");
        let actions = fixed.world.machine.handle(began + limit, Event::Tick);
        assert_eq!(actions, [Action::GaveUp(moved)]);
        assert_eq!(fixed.world.give_up("users-3"), Instead::Again);
    }
    // Nobody misses one that crashes.
    let mut fixed = Fixed::up("a");
    let before = fixed.world.service("users-1");
    fixed.world.machine.handle(fixed.world.now, Event::Ended(before));
    fixed.apply("broken");
    assert!(fixed.world.failed_start("users-2", Seen::AddressInUse));
    let given_up = fixed.world.machine.next_tick();
    assert_eq!(given_up, Some(fixed.world.now + SERVICE_START_LIMIT));
}

#[test]
fn a_new_service_that_is_broken_has_nobody_instead() {
    let mut world = World::up(&users("a", 1), &[]);
    world.apply("  users: { run: a }\n  more: { run: broken }\n");
    world.restart("more");
    assert_eq!(world.give_up("more-2"), Instead::Nobody);
    assert!(world.there().contains(&"more-2".to_owned()), "it is tried on");
}
