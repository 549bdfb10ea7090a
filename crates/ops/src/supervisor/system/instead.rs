//! What there is instead of a service that should replace another and does not come up.
//!
//! A successor is started beside the one that serves, on a port that it is lent. Most that do not come up there are simply
//! broken, and nobody is to lose anything by that: the one before serves on. Some cannot come up beside another, since they
//! listen on one port whatever they are told. Those get the place of the one before, after its end; if they do not come up
//! there either, the one before is started again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::members::{Again, Member, Port};
use super::{Change, Instance, SERVICE_START_LIMIT, System, SystemError, What, differs};
use crate::supervisor::machine::{Event, Machine, Need, State, UnitId};

/// Who is started in the place of one that served has so many times what that one took to be well, since callers have nobody
/// meanwhile,
const IN_PLACE_TIMES: u32 = 4;
/// and so long at least: its first start may have more to do than the last one.
const IN_PLACE_MIN: Duration = Duration::from_secs(20);

/// Whom callers have instead of a service that did not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The one before, which serves.
    Before,
    /// The one before, which is there and does not serve now: it crashes itself.
    BeforeCrashes,
    /// The one before, which had to leave and is started again.
    Again,
    /// Nobody: it is tried on.
    Nobody,
    /// Nobody: its build failed, which is not tried by itself.
    Unbuilt,
}

impl Instead {
    /// What is said of it, as a part of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::Before => "the one before serves on",
            Self::BeforeCrashes => "the one before stays, but is not up either",
            Self::Again => "the one before is started again",
            Self::Nobody => "it is tried on",
            Self::Unbuilt => "it is built with its next change or restart",
        }
    }
}

/// What a start that failed showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It said that an address is in use.
    AddressInUse,
    /// It runs, and is not well on the port that it was told.
    Unwell,
    /// It ended.
    Ended,
}

/// A copy of a service, by its place in the system.
struct Copy {
    key: (String, String),
    index: usize,
    instance: Arc<Instance>,
    member: Member,
}

impl System {
    /// The service `unit` did not come up in all its time: gives its callers whom they can have instead. What was decided on is in
    /// `change`.
    ///
    /// # Errors
    /// The one before cannot be started again, since no port is left. Then nothing is changed.
    pub fn instead(
        &mut self,
        machine: &mut Machine,
        unit: UnitId,
        change: &mut Change,
    ) -> Result<Instead, SystemError> {
        let Some(Copy { key, index, instance, member }) = self.copy(unit) else { return Ok(Instead::Nobody) };
        if let Some(before) = member.before {
            let serves = self.serves(machine, &before);
            self.leave(&instance, change);
            self.set_member(&key, index, Member { instance: before, before: None, again: None });
            return Ok(if serves { Instead::Before } else { Instead::BeforeCrashes });
        }
        // Who is started again and does not come up is not started again once more.
        let is_another =
            |again: &Again| differs(&again.launch, &instance.launch) || again.callees != instance.callees;
        let Some(again) = member.again.filter(is_another) else { return Ok(Instead::Nobody) };
        let port = self.port_for(machine, &again.launch, true, None, Some(&instance))?;
        let place = self.new_place(&again.launch, &again.callees, port, None, None)?;
        self.leave(&instance, change);
        let mut member = self.take_place(machine, place, &BTreeSet::new(), change);
        member.again = Some(again);
        self.set_member(&key, index, member);
        Ok(Instead::Again)
    }

    /// The build `unit` failed, and is forgotten, so that whoever wants it again tries it again. Gives the services that waited
    /// for it.
    pub fn build_failed(&mut self, machine: &Machine, unit: UnitId, change: &mut Change) -> Vec<UnitId> {
        self.builds.retain(|(_, build)| *build != unit);
        change.events.push(Event::Leave(unit));
        let need = Need::Built(unit);
        let services = self.what.iter().filter(|(_, what)| matches!(what, What::Service(_)));
        let services = services.map(|(service, _)| *service);
        services.filter(|service| machine.missing(*service).contains(&need)).collect()
    }

    /// The service `unit` should replace another and did not come up on the port that it was lent. Where there is evidence that it
    /// listens on the one of the manifest whatever it is told, it gets the place and the port of the one before, which leaves; in
    /// between there is nobody. `None` where there is none. Who only runs may as well hang: that is tried where nobody loses by it.
    ///
    /// # Errors
    /// No port is left for its sidecar. Then nothing is changed.
    pub fn on_its_port(
        &mut self,
        machine: &mut Machine,
        unit: UnitId,
        seen: Seen,
    ) -> Result<Option<Change>, SystemError> {
        let Some(Copy { key, index, instance, member }) = self.copy(unit) else { return Ok(None) };
        let (Some(before), Some(port)) = (member.before, instance.launch.port) else { return Ok(None) };
        let is_lent = instance.told.port != port && before.told.port == port;
        let wants_it = match seen {
            Seen::AddressInUse => true,
            Seen::Unwell => !self.serves(machine, &before),
            Seen::Ended => false,
        };
        if !is_lent || !wants_it {
            return Ok(None);
        }
        let mut change = Change::default();
        let (_, after) = self.of_instance(&before.name);
        // Whom nobody misses has all the time there is.
        let took =
            after.iter().find_map(|unit| machine.took(*unit)).filter(|_| self.serves(machine, &before));
        let port = Port { port, pooled: false, after };
        let place = self.new_place(&instance.launch, &instance.callees, port, None, None)?;
        self.leave(&instance, &mut change);
        self.leave(&before, &mut change);
        let mut member = self.take_place(machine, place, &BTreeSet::new(), &mut change);
        if let Some(took) = took {
            let limit = took.saturating_mul(IN_PLACE_TIMES).max(IN_PLACE_MIN).min(SERVICE_START_LIMIT);
            let (_, services) = self.of_instance(&member.instance.name);
            services.into_iter().for_each(|unit| machine.limit_start(unit, limit));
        }
        member.again = Some(Again { launch: before.launch.clone(), callees: before.callees.clone() });
        self.set_member(&key, index, member);
        Ok(Some(change))
    }

    /// The copy whose newest instance `unit` is.
    fn copy(&self, unit: UnitId) -> Option<Copy> {
        let Some(What::Service(instance)) = self.what.get(&unit) else { return None };
        self.running.iter().find_map(|(key, running)| {
            let is_it = |member: &Member| member.instance.name == instance.name;
            let index = running.members.iter().position(is_it)?;
            let member = running.members.get(index)?.clone();
            Some(Copy { key: key.clone(), index, instance: Arc::clone(instance), member })
        })
    }

    fn set_member(&mut self, key: &(String, String), index: usize, member: Member) {
        if let Some(place) = self.running.get_mut(key).and_then(|running| running.members.get_mut(index)) {
            *place = member;
        }
    }

    fn serves(&self, machine: &Machine, instance: &Instance) -> bool {
        let (_, services) = self.of_instance(&instance.name);
        services.into_iter().any(|unit| matches!(machine.state(unit), Some(State::Up { .. })))
    }
}
