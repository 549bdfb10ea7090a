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

/// A system whose processes do at once what they are told.
struct World {
    machine: Machine,
    system: System,
    started: Vec<String>,
    gone: Vec<String>,
}

impl World {
    fn new(mine: &[(&str, &str)]) -> Self {
        let mine = mine.iter().map(|(name, at)| ((*name).to_owned(), at.parse().unwrap())).collect();
        let make = Make { mine, edge_sockets: 2, admin: "127.0.0.1:0".parse().unwrap() };
        // Another pool than that of any test beside this one.
        let pool = Pool::new(u64::from(std::process::id()));
        let (machine, system) = (Machine::new(Rng::seeded(5)), System::new(make, pool));
        Self { machine, system, started: Vec::new(), gone: Vec::new() }
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
            for action in self.machine.handle(Tick::from_ms(1), event) {
                match action {
                    Action::Start(unit) => {
                        self.started.push(self.name(unit));
                        events.push(Event::Up(unit));
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
        let change = self.system.apply(&mut self.machine, &plans(services)).unwrap();
        self.follow(change);
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
        let change = world.system.restart(&mut world.machine, Some("users"), false).unwrap();
        world.follow(change);
        assert_eq!(world.told(name).port == port, has_it, "{name}");
    }
    assert_eq!(world.gone, ["users-2", "users-2/sidecar"]);
}

#[test]
fn who_cannot_be_moved_to_another_port_gets_its_own_after_the_end_of_the_one_before() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut world = World::up(&format!("  users: {{ run: users, port: {port} }}\n"), &[]);
    let change = world.system.restart(&mut world.machine, Some("users"), false).unwrap();
    let service = change.new.iter().copied().find(|unit| world.name(*unit) == "users-2").unwrap();
    let change = world.system.on_its_port(&mut world.machine, service).unwrap().unwrap();
    assert_eq!(change.new.len(), 2);
    change.events.into_iter().for_each(|event| world.feed(event));
    world.gone.sort();
    assert_eq!(world.gone, ["users-1", "users-1/sidecar", "users-2", "users-2/sidecar"]);
    assert_eq!((world.told("users-3").port, world.started.last().unwrap().as_str()), (port, "users-3"));
    let (_, services) = world.system.of_instance("users-3");
    assert!(world.system.on_its_port(&mut world.machine, services[0]).unwrap().is_none(), "it has it");
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
        let change = world.system.restart(&mut world.machine, Some(target), false).unwrap();
        world.follow(change);
        world.started.sort();
        world.gone.sort();
        assert_eq!(world.started, started, "{target}");
        assert_eq!(world.gone, started, "{target}");
    }
    assert_eq!((world.system.edge(), world.told("users-1")), (edge, told));
    let error = world.system.restart(&mut world.machine, Some("nobody"), false).map(drop).unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
}

#[test]
fn a_successor_that_is_taken_back_leaves_the_one_before() {
    let mut world = World::up(TWO, &[]);
    let change = world.system.restart(&mut world.machine, Some("users"), false).unwrap();
    let service = change.new.iter().copied().find(|unit| world.name(*unit) == "users-2").unwrap();
    world.system.unreplace(service);
    for unit in change.new {
        world.feed(Event::Leave(unit));
    }
    world.apply("  users: { run: users, env: { A: b } }\n  orders: { run: orders, calls: [ users ] }\n");
    assert!(world.gone.contains(&"users-1".to_owned()), "the one before was known: {:?}", world.gone);
}

#[test]
fn a_build_of_several_runs_once_and_again_when_it_is_asked_for() {
    let built = "  users: { run: users, build: make }\n  orders: { run: orders, build: make }\n";
    let mut world = World::up(built, &[]);
    let builds = |world: &World| world.started.iter().filter(|name| name.starts_with("build")).count();
    assert_eq!(builds(&world), 1);
    for (again, count) in [(false, 0), (true, 1)] {
        let change = world.system.restart(&mut world.machine, None, again).unwrap();
        world.follow(change);
        assert_eq!(builds(&world), count);
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
    let error = world.system.apply(&mut world.machine, &plans(TWO)).map(drop).unwrap_err();
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
    let error = world.system.apply(&mut world.machine, &plans(&services)).map(drop).unwrap_err().to_string();
    assert!(error.contains("service `users` cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn another_address_of_the_edge_is_another_gateway_before_the_old_one_leaves() {
    let mut world = World::up(TWO, &[]);
    let mut moved = plans(TWO);
    listen(&mut moved, "localhost:0");
    let before = world.system.edge();
    let change = world.system.apply(&mut world.machine, &moved).unwrap();
    world.follow(change);
    assert_eq!(
        (world.started.as_slice(), world.gone.as_slice()),
        (&["gateway".to_owned()][..], &["gateway".to_owned()][..])
    );
    assert_ne!(world.system.edge(), before);
    let gateways = world.system.units().filter(|(_, what)| matches!(what, What::Gateway(_)));
    let states: Vec<_> = gateways.map(|(unit, _)| world.machine.state(unit)).collect();
    assert!(matches!(states.as_slice(), [Some(State::Up { ill: false, .. })]), "{states:?}");
}
