//! What there is to supervise: the units of a system as its plans want them, and what changes when the plans do.
//!
//! A service has instances; an instance has a name, sockets, a sidecar and, unless somebody else runs it, a process. What
//! changes of a service replaces its instances one for one: the new one is well before the old one is told to leave, on
//! another port if need be.
//!
//! What is replaced is always who serves, never who was on its way there: an instance that is not wanted any more before it
//! was up leaves at once, and whom it was to replace serves on, for its successor or for good if it is what is wanted again.

mod instead;
mod members;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use weft_model::plan::{LaunchService, OutboundPlan, Plan, Plans, Protocol, RolePlan};

pub use instead::{Instead, Seen};
use members::{Member, Renew, Wanted};

use super::command::Told;
use super::machine::{Event, Kind, Machine, Need, UnitId, UnitSpec};
use super::sockets::{self, Pool, PortError, SocketSet};
use crate::keep::confine::Ports;

/// Group of control.
pub const CONTROL: &str = "weft-control";
/// Group of the gateway.
pub const GATEWAY: &str = "weft-gateway";
/// What a role may take to be ready.
const ROLE_START_LIMIT: Duration = Duration::from_secs(20);
/// What a service may take to be well.
pub const SERVICE_START_LIMIT: Duration = Duration::from_secs(120);
/// What a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// From the announcement that an instance leaves to the end of its requests.
pub const RETIRE_LIMIT: Duration = Duration::from_secs(30);
/// A role finishes what is open (`DrainGrace::LOCAL`), and a little.
const ROLE_STOP_LIMIT: Duration = Duration::from_secs(33);
/// A keeper kills on its own after [`SERVICE_GRACE`]; this is for a keeper that does not.
const SERVICE_STOP_LIMIT: Duration = Duration::from_secs(13);
/// From SIGTERM to SIGKILL of a service.
pub const SERVICE_GRACE: Duration = Duration::from_secs(10);

/// Why a system cannot be as its plans want it.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// `--mine` names what is not there.
    #[error("--mine {0}: there is no such service in the manifest")]
    Mine(String),
    /// `weft restart` names what is not there.
    #[error("there is nothing named `{0}` to restart: name a service, `gateway`, `control` or `sidecars`")]
    Unknown(String),
}

/// One running copy of a service.
#[derive(Debug)]
pub struct Instance {
    /// Its name, e.g. `orders-1`.
    pub name: String,
    /// How it is run.
    pub launch: LaunchService,
    /// Sockets of its sidecar.
    pub sockets: SocketSet,
    /// What the service is told.
    pub told: Told,
    /// Somebody else runs it, there.
    pub foreign: Option<SocketAddr>,
    /// Its port came from the pool.
    pooled: bool,
    /// Callees and variables for which its sidecar listens.
    callees: Vec<Outbound>,
}

/// What a unit is.
#[derive(Clone, Debug)]
pub enum What {
    /// The control plane.
    Control(Arc<SocketSet>),
    /// The edge.
    Gateway(Arc<SocketSet>),
    /// Beside an instance.
    Sidecar(Arc<Instance>),
    /// An instance itself.
    Service(Arc<Instance>),
    /// A command before the first start.
    Build(Build),
}

/// A command before the first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The service that is named first.
    pub service: String,
    /// The command.
    pub command: String,
    /// Its folder, relative to the manifest's.
    pub cwd: String,
}

impl What {
    /// The name that its lines are prefixed with.
    pub fn label(&self) -> String {
        match self {
            Self::Control(_) => "control".to_owned(),
            Self::Gateway(_) => "gateway".to_owned(),
            Self::Sidecar(instance) => format!("{}/sidecar", instance.name),
            Self::Service(instance) => instance.label(),
            Self::Build(build) => build.service.clone(),
        }
    }
}

impl Instance {
    /// The service's name where that says it all.
    pub fn label(&self) -> String {
        let plain = self.launch.replicas <= 1 && self.launch.version == weft_model::defaults::BASE_VERSION;
        if plain { self.launch.service.clone() } else { self.name.clone() }
    }

    /// The port that it was told where that is not the one of the manifest.
    pub fn lent_port(&self) -> Option<u16> {
        self.launch.port.filter(|port| *port != self.told.port).map(|_| self.told.port)
    }
}

/// The gateway as it is wanted.
#[derive(Clone)]
struct Edge {
    unit: UnitId,
    listen: Vec<String>,
    sockets: Arc<SocketSet>,
    /// Who serves until this one is up. Forgotten once it is gone.
    before: Option<Box<Edge>>,
}

/// A callee of a service, as the service is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outbound {
    callee: String,
    variable: String,
    scheme: &'static str,
}

/// A version of a service as it is now.
#[derive(Debug)]
struct Running {
    launch: LaunchService,
    callees: Vec<Outbound>,
    members: Vec<Member>,
}

/// What the system is made with.
#[derive(Clone, Debug)]
pub struct Make {
    /// Services that somebody else runs.
    pub mine: BTreeMap<String, SocketAddr>,
    /// Sockets for each address of the gateway: one for each thread that accepts.
    pub edge_sockets: usize,
    /// Where admin API and console listen if that is free.
    pub admin: SocketAddr,
}

/// A change of the system that was decided on.
#[derive(Debug, Default)]
pub struct Change {
    /// To feed to the machine, in this order.
    pub events: Vec<Event>,
    /// New units, to be watched by whoever asked.
    pub new: Vec<UnitId>,
    /// For people: `orders: new environment`.
    pub told: Vec<String>,
}

/// All that is supervised.
pub struct System {
    make: Make,
    pool: Pool,
    what: BTreeMap<UnitId, What>,
    running: BTreeMap<(String, String), Running>,
    builds: Vec<(Build, UnitId)>,
    /// The number in the newest name of a service.
    ordinals: BTreeMap<String, u32>,
    /// Who has a name.
    named: BTreeMap<String, Weak<Instance>>,
    control: Option<(UnitId, Arc<SocketSet>)>,
    gateway: Option<Edge>,
}

impl System {
    /// Nothing yet.
    pub fn new(make: Make, pool: Pool) -> Self {
        Self {
            make,
            pool,
            what: BTreeMap::new(),
            running: BTreeMap::new(),
            builds: Vec::new(),
            ordinals: BTreeMap::new(),
            named: BTreeMap::new(),
            control: None,
            gateway: None,
        }
    }

    /// What a unit is; `None` once it was forgotten.
    pub fn what(&self, unit: UnitId) -> Option<&What> {
        self.what.get(&unit)
    }

    /// All units, in the order in which they were made.
    pub fn units(&self) -> impl Iterator<Item = (UnitId, &What)> {
        self.what.iter().map(|(unit, what)| (*unit, what))
    }

    /// The units of this instance: `(sidecars, services)`.
    pub fn of_instance(&self, name: &str) -> (Vec<UnitId>, Vec<UnitId>) {
        let with = |wanted: fn(&What) -> Option<&Arc<Instance>>| {
            let of = |what: &What| wanted(what).is_some_and(|instance| instance.name == name);
            self.what.iter().filter(|(_, what)| of(what)).map(|(unit, _)| *unit).collect()
        };
        let sidecars = with(|what| if let What::Sidecar(instance) = what { Some(instance) } else { None });
        let services = with(|what| if let What::Service(instance) = what { Some(instance) } else { None });
        (sidecars, services)
    }

    /// Addresses of the edge.
    pub fn edge(&self) -> Vec<SocketAddr> {
        self.gateway.as_ref().map(|edge| edge.sockets.addresses()).unwrap_or_default()
    }

    /// Instances that somebody else runs.
    pub fn foreign(&self) -> Vec<Arc<Instance>> {
        let members = self.running.values().flat_map(|running| &running.members);
        members
            .map(|member| &member.instance)
            .filter(|instance| instance.foreign.is_some())
            .cloned()
            .collect()
    }

    /// Ports that a service may not connect to: all that services of this system have, or may get, but its own.
    pub fn forbidden(&self, instance: &Instance) -> Ports {
        let mut ports = Ports::none();
        self.pool.range().for_each(|port| ports.insert(port));
        for what in self.what.values() {
            if let What::Sidecar(other) = what {
                ports.insert(other.told.port);
            }
        }
        ports.remove(instance.told.port);
        ports
    }

    /// A unit is gone: forgets it, and frees what it had once nobody uses it any more.
    pub fn forget(&mut self, unit: UnitId) {
        let gone = self.what.remove(&unit);
        if let Some(edge) = &mut self.gateway
            && edge.before.as_ref().is_some_and(|before| before.unit == unit)
        {
            edge.before = None;
        }
        let Some(What::Sidecar(instance) | What::Service(instance)) = gone else { return };
        if self.units_of(&instance).is_empty() {
            // With it its sockets are closed.
            let members = self.running.values_mut().flat_map(|running| &mut running.members);
            let gone = |before: &Arc<Instance>| before.name == instance.name;
            members.filter(|member| member.before.as_ref().is_some_and(gone)).for_each(|member| {
                member.before = None;
            });
        }
        let used = self.what.values().any(|what| match what {
            What::Sidecar(other) | What::Service(other) => other.told.port == instance.told.port,
            _ => false,
        });
        if !used && instance.pooled {
            self.pool.give_back(instance.told.port);
        }
    }

    // --- from plans ---------------------------------------------------------------------------------------------

    /// Control, which is there before all others.
    ///
    /// # Errors
    /// No port is left.
    pub fn add_control(&mut self, machine: &mut Machine, metrics: Option<&str>) -> Result<(), SystemError> {
        let mut sockets = SocketSet::default();
        let free = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
        let admin = self.make.admin;
        if sockets.open("admin", admin, "control").is_err() {
            sockets.open("admin", free(admin), "control")?;
        }
        sockets.open_free("mesh")?;
        if let Some(metrics) = metrics {
            let address = sockets::address(metrics, "observe.metrics")?;
            if sockets.open("metrics", address, "observe.metrics").is_err() {
                sockets.open("metrics", free(address), "observe.metrics")?;
            }
        }
        let sockets = Arc::new(sockets);
        let unit = self.add(machine, What::Control(Arc::clone(&sockets)), Vec::new(), Vec::new());
        self.control = Some((unit, sockets));
        Ok(())
    }

    /// Makes the system as `plans` want it: adds, replaces and lets leave. What was decided on is in `change`, also on an
    /// error: then nothing of the service in question is changed, and what came before it is.
    ///
    /// # Errors
    /// A port that cannot be.
    pub fn apply(
        &mut self,
        machine: &mut Machine,
        plans: &Plans,
        change: &mut Change,
    ) -> Result<(), SystemError> {
        let launches = &plans.launch.services;
        for name in self.make.mine.keys() {
            if !launches.iter().any(|launch| launch.service == *name) {
                return Err(SystemError::Mine(name.clone()));
            }
        }
        let wanted: BTreeSet<(String, String)> = launches.iter().map(key).collect();
        let gone: Vec<_> = self.running.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        for key in gone {
            if let Some(running) = self.running.remove(&key) {
                change.told.push(format!("{}: removed", key.0));
                self.leave_but(&running.members, &[], change);
            }
        }
        let here: BTreeSet<&str> = launches.iter().map(|launch| launch.service.as_str()).collect();
        for launch in launches {
            let callees = plans.sidecars.get(&launch.service).map(callees_of).unwrap_or_default();
            self.apply_service(machine, launch, callees, &here, change)?;
        }
        // A build that failed is no reason not to try when it is wanted again.
        self.builds.retain(|(build, unit)| {
            let of = |launch: &LaunchService| {
                launch.build.as_ref() == Some(&build.command) && launch.cwd == build.cwd
            };
            let wanted = launches.iter().any(of);
            change.events.extend((!wanted).then_some(Event::Leave(*unit)));
            wanted
        });
        self.apply_gateway(machine, plans.gateway.as_ref(), &here, change)
    }

    fn apply_service(
        &mut self,
        machine: &mut Machine,
        launch: &LaunchService,
        callees: Vec<Outbound>,
        here: &BTreeSet<&str>,
        change: &mut Change,
    ) -> Result<(), SystemError> {
        let (old, renew) = match self.running.get(&key(launch)) {
            None => (Vec::new(), Renew::Nobody),
            Some(running) if differs(&running.launch, launch) || running.callees != callees => {
                change.told.push(format!("{}: changed", launch.service));
                (running.members.clone(), Renew::Changed)
            }
            Some(running) => (running.members.clone(), Renew::Nobody),
        };
        let wanted = Wanted { launch, callees: &callees, here, renew };
        let members = self.members(machine, &wanted, &old, change)?;
        self.running.insert(key(launch), Running { launch: launch.clone(), callees, members });
        Ok(())
    }

    fn apply_gateway(
        &mut self,
        machine: &mut Machine,
        plan: Option<&Plan>,
        here: &BTreeSet<&str>,
        change: &mut Change,
    ) -> Result<(), SystemError> {
        let listen = plan.and_then(|plan| match &plan.role {
            RolePlan::Gateway(gateway) => Some(gateway.listen.clone()),
            RolePlan::Sidecar(_) => None,
        });
        let Some(listen) = listen else {
            let (serving, superseded) = self.take_gateway(machine);
            change
                .events
                .extend([serving, superseded].into_iter().flatten().map(|edge| Event::Leave(edge.unit)));
            return Ok(());
        };
        let known = self.gateway.iter().flat_map(|edge| [Some(edge), edge.before.as_deref()]).flatten();
        for (edge, service) in known.flat_map(|edge| here.iter().map(move |service| (edge, service))) {
            machine.outlived_by(edge.unit, service);
        }
        if self.gateway.as_ref().is_some_and(|edge| edge.listen == listen) {
            return Ok(());
        }
        let known = self.gateway.as_ref().map(|edge| [Some(edge), edge.before.as_deref()]);
        let known: Vec<&Edge> = known.into_iter().flatten().flatten().collect();
        let mut sockets = SocketSet::default();
        for text in &listen {
            let address = sockets::address(text, "the gateway")?;
            if !known.iter().any(|edge| sockets.adopt_address(&edge.sockets, "edge", address)) {
                sockets.open_shared("edge", address, self.make.edge_sockets, "the gateway")?;
            }
        }
        let (serving, superseded) = self.take_gateway(machine);
        change.events.extend(superseded.map(|edge| Event::Leave(edge.unit)));
        self.gateway = match serving {
            Some(edge) if edge.listen == listen => Some(edge),
            before => {
                let mut needs = vec![Need::Once(CONTROL.to_owned())];
                needs.extend(here.iter().map(|service| Need::First((*service).to_owned())));
                Some(self.add_gateway(machine, listen, Arc::new(sockets), needs, before, change))
            }
        };
        Ok(())
    }

    /// The gateway that serves, and the one that was to replace it and never was up; none is the one that is wanted now.
    fn take_gateway(&mut self, machine: &Machine) -> (Option<Edge>, Option<Edge>) {
        match self.gateway.take() {
            Some(edge) if machine.was_up(edge.unit) => (Some(edge), None),
            Some(mut edge) => (edge.before.take().map(|before| *before), Some(edge)),
            None => (None, None),
        }
    }

    fn add_gateway(
        &mut self,
        machine: &mut Machine,
        listen: Vec<String>,
        sockets: Arc<SocketSet>,
        needs: Vec<Need>,
        before: Option<Edge>,
        change: &mut Change,
    ) -> Edge {
        let replaces = before.iter().map(|edge| edge.unit).collect();
        let unit = self.add(machine, What::Gateway(Arc::clone(&sockets)), needs, replaces);
        change.new.push(unit);
        let before = before.map(|edge| Box::new(Edge { before: None, ..edge }));
        Edge { unit, listen, sockets, before }
    }

    // --- restarts -----------------------------------------------------------------------------------------------

    /// Replaces what `target` names, without a change of plans: the instances of a service, of all services where absent,
    /// `gateway`, `control`, or all `sidecars`. What was decided on is in `change`, also on an error.
    ///
    /// # Errors
    /// There is no such thing, or no port is left.
    pub fn restart(
        &mut self,
        machine: &mut Machine,
        target: Option<&str>,
        build: bool,
        change: &mut Change,
    ) -> Result<(), SystemError> {
        match target {
            Some("gateway") => self.restart_gateway(machine, change)?,
            Some("control") => self.restart_control(machine, change)?,
            Some("sidecars") => self.restart_sidecars(machine, change),
            _ => {
                let keys = self.running.keys().filter(|key| target.is_none_or(|name| key.0 == name));
                let keys: Vec<_> = keys.cloned().collect();
                if let (true, Some(name)) = (keys.is_empty(), target) {
                    return Err(SystemError::Unknown(name.to_owned()));
                }
                if build {
                    self.forget_builds(machine, &keys, change);
                }
                for key in keys {
                    self.restart_service(machine, &key, change)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what was built for these services, whoever else it was for, so that it is built anew.
    fn forget_builds(&mut self, machine: &Machine, keys: &[(String, String)], change: &mut Change) {
        let of = |running: &Running, build: &Build| {
            running.launch.build.as_ref() == Some(&build.command) && running.launch.cwd == build.cwd
        };
        let Self { builds, running, what, .. } = self;
        builds.retain(|(build, unit)| {
            let wanted = keys.iter().filter_map(|key| running.get(key)).any(|running| of(running, build));
            // Who never was up still has to see that it was built.
            let awaited = what.iter().any(|(service, what)| {
                matches!(what, What::Service(instance) if instance.launch.build.as_ref() == Some(&build.command))
                    && !machine.was_up(*service)
            });
            change.events.extend((wanted && !awaited).then_some(Event::Leave(*unit)));
            !wanted
        });
    }

    fn restart_service(
        &mut self,
        machine: &mut Machine,
        key: &(String, String),
        change: &mut Change,
    ) -> Result<(), SystemError> {
        let Some(running) = self.running.get(key) else { return Ok(()) };
        let (launch, callees, old) =
            (running.launch.clone(), running.callees.clone(), running.members.clone());
        let names: Vec<String> = self.running.keys().map(|(service, _)| service.clone()).collect();
        let here = names.iter().map(String::as_str).collect();
        let wanted = Wanted { launch: &launch, callees: &callees, here: &here, renew: Renew::All };
        let members = self.members(machine, &wanted, &old, change)?;
        if let Some(running) = self.running.get_mut(key) {
            running.members = members;
        }
        Ok(())
    }

    fn restart_gateway(&mut self, machine: &mut Machine, change: &mut Change) -> Result<(), SystemError> {
        let Edge { listen, sockets, .. } =
            self.gateway.clone().ok_or_else(|| SystemError::Unknown("gateway".to_owned()))?;
        let (serving, superseded) = self.take_gateway(machine);
        change.events.extend(superseded.map(|edge| Event::Leave(edge.unit)));
        // The services may be down just now, and still are not to leave before it.
        let mut needs = vec![Need::Once(CONTROL.to_owned())];
        needs.extend(self.running.keys().map(|(service, _)| Need::Outlived(service.clone())));
        self.gateway = Some(self.add_gateway(machine, listen, sockets, needs, serving, change));
        Ok(())
    }

    /// One after the other: two of them would write the same files.
    fn restart_control(&mut self, machine: &mut Machine, change: &mut Change) -> Result<(), SystemError> {
        let (_, sockets) = self.control.clone().ok_or_else(|| SystemError::Unknown("control".to_owned()))?;
        let old: Vec<UnitId> = self
            .what
            .iter()
            .filter(|(_, what)| matches!(what, What::Control(_)))
            .map(|(unit, _)| *unit)
            .collect();
        let needs = old.iter().map(|old| Need::Gone(*old)).collect();
        let unit = self.add(machine, What::Control(Arc::clone(&sockets)), needs, Vec::new());
        change.events.extend(old.into_iter().map(Event::Evict));
        change.new.push(unit);
        self.control = Some((unit, sockets));
        Ok(())
    }

    /// Also those of whoever serves until another one is up.
    fn restart_sidecars(&mut self, machine: &mut Machine, change: &mut Change) {
        let members = self.running.values().flat_map(|running| running.members.clone());
        for member in members.collect::<Vec<_>>() {
            if let Some(before) = member.before.filter(|_| !self.served(machine, &member.instance)) {
                let (old, _) = self.of_instance(&before.name);
                let sidecar = self.add_sidecar(machine, &before, old);
                change.new.push(sidecar);
                for successor in self.units_of(&member.instance) {
                    machine.replace_too(successor, sidecar);
                }
            }
            let (old, _) = self.of_instance(&member.instance.name);
            change.new.push(self.add_sidecar(machine, &member.instance, old));
        }
    }

    // --- units --------------------------------------------------------------------------------------------------

    fn add_sidecar(
        &mut self,
        machine: &mut Machine,
        instance: &Arc<Instance>,
        replaces: Vec<UnitId>,
    ) -> UnitId {
        let needs = vec![Need::Once(CONTROL.to_owned())];
        self.add(machine, What::Sidecar(Arc::clone(instance)), needs, replaces)
    }

    fn add_service(
        &mut self,
        machine: &mut Machine,
        instance: &Arc<Instance>,
        here: &BTreeSet<&str>,
        replaces: Vec<UnitId>,
    ) -> Option<UnitId> {
        if instance.foreign.is_some() {
            return None;
        }
        let launch = &instance.launch;
        let mut needs = vec![Need::Always(sidecar_group(&instance.name))];
        let known = launch.after.iter().filter(|callee| here.contains(callee.as_str()));
        needs.extend(known.map(|callee| Need::First(callee.clone())));
        needs.extend(self.build_for(machine, launch).map(Need::Built));
        Some(self.add(machine, What::Service(Arc::clone(instance)), needs, replaces))
    }

    /// The build that a service needs; the same text in the same folder is one build.
    fn build_for(&mut self, machine: &mut Machine, launch: &LaunchService) -> Option<UnitId> {
        let command = launch.build.clone()?;
        let known = self.builds.iter().find(|(build, _)| build.command == command && build.cwd == launch.cwd);
        if let Some((_, unit)) = known {
            return Some(*unit);
        }
        let build = Build { service: launch.service.clone(), command, cwd: launch.cwd.clone() };
        let unit = self.add(machine, What::Build(build.clone()), Vec::new(), Vec::new());
        self.builds.push((build, unit));
        Some(unit)
    }

    fn add(&mut self, machine: &mut Machine, what: What, needs: Vec<Need>, replaces: Vec<UnitId>) -> UnitId {
        let (kind, groups, start_limit, stop_limit) = match &what {
            What::Control(_) => (Kind::Role, vec![CONTROL.to_owned()], ROLE_START_LIMIT, ROLE_STOP_LIMIT),
            What::Gateway(_) => (Kind::Role, vec![GATEWAY.to_owned()], ROLE_START_LIMIT, ROLE_STOP_LIMIT),
            What::Sidecar(instance) => {
                let mut groups = vec![sidecar_group(&instance.name)];
                // Who runs it says when it is there: nobody waits for a debugger.
                groups.extend(instance.foreign.map(|_| instance.launch.service.clone()));
                (Kind::Role, groups, ROLE_START_LIMIT, ROLE_STOP_LIMIT)
            }
            What::Service(instance) => (
                Kind::Service,
                vec![instance.launch.service.clone()],
                SERVICE_START_LIMIT,
                SERVICE_STOP_LIMIT,
            ),
            What::Build(_) => (Kind::Build, Vec::new(), BUILD_LIMIT, SERVICE_STOP_LIMIT),
        };
        let spec =
            UnitSpec { kind, groups, needs, replaces, start_limit, retire_limit: RETIRE_LIMIT, stop_limit };
        let unit = machine.add(spec);
        self.what.insert(unit, what);
        unit
    }
}

fn sidecar_group(instance: &str) -> String {
    format!("sidecar of {instance}")
}

fn key(launch: &LaunchService) -> (String, String) {
    (launch.service.clone(), launch.version.clone())
}

/// What the sidecars of a service lead to, by their plan.
fn callees_of(plan: &Plan) -> Vec<Outbound> {
    let RolePlan::Sidecar(sidecar) = &plan.role else { return Vec::new() };
    let is_tcp = |name: &str| {
        plan.upstreams.iter().any(|upstream| upstream.name == name && upstream.protocol == Protocol::Tcp)
    };
    let outbound = |out: &OutboundPlan| Outbound {
        callee: out.callee.clone(),
        variable: out.variable.clone(),
        scheme: if is_tcp(&out.callee) { "tcp" } else { "http" },
    };
    sidecar.outbound.iter().map(outbound).collect()
}

/// Whether a running service has to be started anew to be as it is said now. Copies, health and order do not ask for that.
fn differs(old: &LaunchService, new: &LaunchService) -> bool {
    let of = |launch: &LaunchService| {
        (launch.run.clone(), launch.build.clone(), launch.cwd.clone(), launch.env.clone(), launch.port)
    };
    of(old) != of(new)
}

/// The folder of a service's process.
pub fn folder(manifest: &std::path::Path, cwd: &str) -> PathBuf {
    let joined = manifest.join(cwd);
    std::path::absolute(&joined).unwrap_or(joined)
}
