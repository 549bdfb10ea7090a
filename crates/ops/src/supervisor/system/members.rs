//! The members of a service: which instances are there for it, who takes whose place, and on which port.
//!
//! First every place is made, which may fail where a port cannot be had; then the units are added, which cannot.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_model::plan::LaunchService;

use super::{Change, Instance, Outbound, System, SystemError, What, differs};
use crate::supervisor::command::{Callee, Told};
use crate::supervisor::machine::{Event, Machine, UnitId};
use crate::supervisor::sockets::{self, SocketSet};

/// So many copies of a service come before a name is given again: these, or four for each that there is at once.
const ORDINALS_MIN: u32 = 100;

/// One copy of a service, as it is wanted.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Arc<Instance>,
    /// Who serves until this one is up: it is taken back if this one does not come up. Forgotten once it is gone.
    pub(super) before: Option<Arc<Instance>>,
    /// Whose place this one was given before it was up: that is what is started again if it does not come up either.
    pub(super) again: Option<Again>,
}

/// How an instance that is gone was run. Not itself: that would keep its sockets open.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) launch: LaunchService,
    pub(super) callees: Vec<Outbound>,
}

/// What is to be where a member is, or where none is yet. Made without touching what runs, since a port may not be had.
pub(super) enum Place {
    /// It stays, or the one before it is taken back.
    Stays(Member),
    /// A new one.
    New {
        member: Member,
        /// They have its port, and it starts after their end.
        after: Vec<UnitId>,
    },
}

/// How the members of a service are to be.
pub(super) struct Wanted<'a> {
    pub(super) launch: &'a LaunchService,
    pub(super) callees: &'a [Outbound],
    /// Services of the system: whom this one may wait for.
    pub(super) here: &'a BTreeSet<&'a str>,
    pub(super) renew: Renew,
}

/// Who of those that are there is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    Nobody,
    /// Who is not as it is wanted.
    Changed,
    /// All that are run here.
    All,
}

/// The port that an instance gets.
pub(super) struct Port {
    pub(super) port: u16,
    /// It is of the pool.
    pub(super) pooled: bool,
    /// They have it still.
    pub(super) after: Vec<UnitId>,
}

impl System {
    /// The members of a service that had those of `old`. On an error nothing is changed.
    pub(super) fn members(
        &mut self,
        machine: &mut Machine,
        wanted: &Wanted<'_>,
        old: &[Member],
        change: &mut Change,
    ) -> Result<Vec<Member>, SystemError> {
        let replicas =
            if self.make.mine.contains_key(&wanted.launch.service) { 1 } else { wanted.launch.replicas };
        let mut places = Vec::new();
        for index in 0..usize::try_from(replicas).unwrap_or(usize::MAX) {
            match self.place(machine, wanted, old.get(index), index == 0) {
                Ok(place) => places.push(place),
                Err(error) => {
                    places.into_iter().for_each(|place| self.give_up_place(&place));
                    return Err(error);
                }
            }
        }
        let take = |place| self.take_place(machine, place, wanted.here, change);
        let members: Vec<Member> = places.into_iter().map(take).collect();
        self.leave_but(old, &members, change);
        Ok(members)
    }

    /// What is to be in the place of `old`.
    fn place(
        &mut self,
        machine: &Machine,
        wanted: &Wanted<'_>,
        old: Option<&Member>,
        first: bool,
    ) -> Result<Place, SystemError> {
        let (launch, callees) = (wanted.launch, wanted.callees);
        let foreign = self.make.mine.get(&launch.service).copied();
        let (mut serving, mut superseded, mut again) = (None, None, None);
        if let Some(old) = old {
            if wanted.renew == Renew::Nobody || (wanted.renew == Renew::All && foreign.is_some()) {
                return Ok(Place::Stays(old.clone()));
            }
            if self.served(machine, &old.instance) {
                serving = Some(Arc::clone(&old.instance));
            } else {
                (serving, superseded) = (old.before.clone(), Some(Arc::clone(&old.instance)));
                again.clone_from(&old.again);
            }
        }
        if let Some(instance) = &serving
            && wanted.renew == Renew::Changed
            && instance.callees == callees
            && !differs(&instance.launch, launch)
        {
            return Ok(Place::Stays(Member { instance: Arc::clone(instance), before: None, again: None }));
        }
        let port = match foreign {
            Some(address) => Port { port: address.port(), pooled: false, after: Vec::new() },
            None => self.port_for(machine, launch, first, serving.as_deref(), superseded.as_deref())?,
        };
        let mut place = self.new_place(launch, callees, port, foreign, serving)?;
        if let Place::New { member, .. } = &mut place {
            member.again = again;
        }
        Ok(place)
    }

    pub(super) fn new_place(
        &mut self,
        launch: &LaunchService,
        callees: &[Outbound],
        port: Port,
        foreign: Option<SocketAddr>,
        before: Option<Arc<Instance>>,
    ) -> Result<Place, SystemError> {
        match self.instance(launch, callees, &port, foreign, before.as_deref()) {
            Ok(instance) => {
                let instance = Arc::new(instance);
                self.named.retain(|_, instance| instance.strong_count() > 0);
                self.named.insert(instance.name.clone(), Arc::downgrade(&instance));
                let member = Member { instance, before, again: None };
                Ok(Place::New { member, after: port.after })
            }
            Err(error) => {
                if port.pooled {
                    self.pool.give_back(port.port);
                }
                Err(error)
            }
        }
    }

    fn give_up_place(&mut self, place: &Place) {
        if let Place::New { member, .. } = place
            && member.instance.pooled
        {
            self.pool.give_back(member.instance.told.port);
        }
    }

    /// Adds the units of a new member.
    pub(super) fn take_place(
        &mut self,
        machine: &mut Machine,
        place: Place,
        here: &BTreeSet<&str>,
        change: &mut Change,
    ) -> Member {
        let (member, after) = match place {
            Place::Stays(member) => return member,
            Place::New { member, after } => (member, after),
        };
        let replaces = member.before.as_ref().map(|before| self.units_of(before)).unwrap_or_default();
        // Where somebody else runs the service, its sidecar is all there is to wait for.
        let (of_sidecar, of_service) = match member.instance.foreign {
            Some(_) => (replaces, Vec::new()),
            None => (Vec::new(), replaces),
        };
        let sidecar = self.add_sidecar(machine, &member.instance, of_sidecar);
        let service = self.add_service(machine, &member.instance, here, of_service);
        if let Some(service) = service {
            after.into_iter().for_each(|holder| machine.wait_for_end(service, holder));
        }
        change.new.extend(service.into_iter().chain([sidecar]));
        member
    }

    /// The port that an instance gets. The port that the manifest names goes to the first copy. Where another one of ours
    /// has it and serves, the new one is well on another port before that one leaves; where it leaves anyway and nobody
    /// loses by it, the new one has the port after its end.
    pub(super) fn port_for(
        &mut self,
        machine: &Machine,
        launch: &LaunchService,
        first: bool,
        serving: Option<&Instance>,
        superseded: Option<&Instance>,
    ) -> Result<Port, SystemError> {
        let what = format!("service `{}`", launch.service);
        if let Some(port) = launch.port.filter(|_| first) {
            let holders: Vec<(UnitId, &Arc<Instance>)> = self
                .what
                .iter()
                .filter_map(|(unit, what)| match what {
                    What::Service(instance) if instance.told.port == port => Some((*unit, instance)),
                    _ => None,
                })
                .collect();
            if holders.is_empty() {
                sockets::claim(port, &what)?;
            }
            let leaves = |unit: UnitId, instance: &Instance| {
                machine.leaves(unit) || superseded.is_some_and(|superseded| superseded.name == instance.name)
            };
            let waits = |unit: UnitId| serving.is_none() || !machine.was_up(unit);
            if holders.iter().all(|(unit, instance)| leaves(*unit, instance) && waits(*unit)) {
                let after = holders.into_iter().map(|(unit, _)| unit).collect();
                return Ok(Port { port, pooled: false, after });
            }
        }
        Ok(Port { port: self.pool.take(&what)?, pooled: true, after: Vec::new() })
    }

    /// A new instance on `port`. Whoever runs a service himself was told ports of the sidecar `before`: they stay.
    fn instance(
        &mut self,
        launch: &LaunchService,
        callees: &[Outbound],
        port: &Port,
        foreign: Option<SocketAddr>,
        before: Option<&Instance>,
    ) -> Result<Instance, SystemError> {
        let name = self.free_name(launch);
        let mut sockets = SocketSet::default();
        sockets.open_free("inbound")?;
        let known = before.filter(|_| foreign.is_some()).map(|before| &before.sockets);
        let mut open = |name: &str| match known.and_then(|known| sockets.adopt(known, name)) {
            Some(port) => Ok(port),
            None => sockets.open_free(name),
        };
        let mut told = Told { port: port.port, callees: Vec::new(), proxy: 0, api: 0 };
        for Outbound { callee, variable, scheme } in callees {
            let port = open(&format!("outbound.{callee}"))?;
            told.callees.push(Callee { variable: variable.clone(), scheme, port });
        }
        told.proxy = open("proxy")?;
        told.api = open("api")?;
        let (launch, callees, pooled) = (launch.clone(), callees.to_vec(), port.pooled);
        Ok(Instance { name, launch, sockets, told, foreign, pooled, callees })
    }

    /// `orders-1`, then `orders-2`: a name for itself, as long as people may remember who had it before. But names come back, so
    /// that what is kept by name, series of metrics and enrolments above all, does not grow with every change of a service.
    fn free_name(&mut self, launch: &LaunchService) -> String {
        let names = ORDINALS_MIN.max(launch.replicas.saturating_mul(4));
        let name = |ordinal: u32| format!("{}-{ordinal}", launch.service);
        let free = |ordinal: &u32| {
            self.named.get(&name(*ordinal)).is_none_or(|instance| instance.strong_count() == 0)
        };
        let last = self.ordinals.entry(launch.service.clone()).or_insert(0);
        *last = (last.saturating_add(1)..=names).chain(1..).find(free).unwrap_or(u32::MAX);
        name(*last)
    }

    /// The units of an instance, itself first.
    pub(super) fn units_of(&self, instance: &Instance) -> Vec<UnitId> {
        let (sidecars, services) = self.of_instance(&instance.name);
        services.into_iter().chain(sidecars).collect()
    }

    pub(super) fn leave(&self, instance: &Instance, change: &mut Change) {
        change.events.extend(self.units_of(instance).into_iter().map(Event::Leave));
    }

    /// Whoever was there and is neither wanted nor serves for somebody who is leaves.
    pub(super) fn leave_but(&self, old: &[Member], kept: &[Member], change: &mut Change) {
        let all = |members: &[Member]| -> Vec<Arc<Instance>> {
            members
                .iter()
                .flat_map(|member| [Some(&member.instance), member.before.as_ref()])
                .flatten()
                .cloned()
                .collect()
        };
        let kept: BTreeSet<String> = all(kept).iter().map(|instance| instance.name.clone()).collect();
        for instance in all(old).iter().filter(|instance| !kept.contains(&instance.name)) {
            self.leave(instance, change);
        }
    }

    /// Whether calls could go to it at any time.
    pub(super) fn served(&self, machine: &Machine, instance: &Instance) -> bool {
        let (sidecars, services) = self.of_instance(&instance.name);
        let serving = if instance.foreign.is_some() { sidecars } else { services };
        serving.into_iter().any(|unit| machine.was_up(unit))
    }
}
