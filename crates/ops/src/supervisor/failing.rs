//! What does not come up: what is said of it, who waited for it, and whom its callers have instead.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use super::machine::{Event, State, UnitId};
use super::process::Process;
use super::system::{Change, Instance, Instead, Seen, What};
use super::{Answer, Supervisor, Told, show};

/// Who said that an address is in use and is not well so much later is not tried on beside the one before.
const IN_USE_GRACE: Duration = Duration::from_secs(5);

impl<W: Write> Supervisor<W> {
    pub(super) fn gave_up(&mut self, unit: UnitId) {
        let Some(what) = self.system.what(unit).cloned() else { return };
        let text = self.failure_of(unit, &what);
        if !self.machine.settled() {
            self.failure.get_or_insert(text);
            return self.stop_all();
        }
        if matches!(what, What::Build(_)) {
            return self.build_failed(unit, &what, text);
        }
        if self.try_its_port(unit) {
            return;
        }
        let mut change = Change::default();
        let instead = self.instead(unit, &what, &mut change);
        let text = match &what {
            What::Service(instance) => format!("{text}\n  {}", remedy(instance, instead)),
            _ => text,
        };
        self.screen.say("failed", &text, serde_json::json!({ "name": what.label() }));
        self.unit(unit).given_up = Some(instead);
        self.answer_waiters();
        self.follow(change);
    }

    /// Nobody who waited for a build comes up without it.
    fn build_failed(&mut self, build: UnitId, what: &What, mut text: String) {
        let mut change = Change::default();
        for unit in self.system.build_failed(&self.machine, build, &mut change) {
            let Some(service) = self.system.what(unit).cloned() else { continue };
            let instead = match self.instead(unit, &service, &mut change) {
                Instead::Nobody => Instead::Unbuilt,
                instead => instead,
            };
            text.push_str(&format!("\n  {}: {}", service.label(), instead.words()));
            let known = self.unit(unit);
            known.given_up = Some(instead);
            "its build failed".clone_into(&mut known.why);
        }
        self.screen.say("failed", &text, serde_json::json!({ "name": what.label() }));
        self.answer_waiters();
        self.follow(change);
    }

    /// A process ended that may never have been well: who says that the address is in use need not be tried again beside the
    /// one before.
    pub(super) fn failed_start(&mut self, unit: UnitId) {
        let starts_again = matches!(self.machine.state(unit), Some(State::Backoff { .. }));
        if starts_again && self.seen(unit) == Seen::AddressInUse {
            self.try_its_port(unit);
        }
    }

    /// A process says that an address is in use. Some end by that, and some try another address; those that do neither, since
    /// they watch files for a change, would run on until their time is over.
    pub(super) fn said_address_in_use(&self, unit: UnitId, pid: u32) {
        let told = self.told.clone();
        tokio::spawn(async move {
            tokio::time::sleep(IN_USE_GRACE).await;
            let _ = told.send(Told::StillInUse(unit, pid)).await;
        });
    }

    pub(super) fn still_in_use(&mut self, unit: UnitId, pid: u32) {
        let same = self.process(unit).is_some_and(|process| process.pid() == pid);
        if same && self.machine.state(unit) == Some(State::Starting) {
            self.try_its_port(unit);
        }
    }

    fn instead(&mut self, unit: UnitId, what: &What, change: &mut Change) -> Instead {
        if self.machine.leaves(unit) {
            return Instead::Nobody;
        }
        if !matches!(what, What::Service(_)) {
            return if self.machine.replaces(unit) { Instead::Before } else { Instead::Nobody };
        }
        self.system.instead(&mut self.machine, unit, change).unwrap_or_else(|error| {
            self.screen.say("refused", &error.to_string(), serde_json::Value::Null);
            Instead::Nobody
        })
    }

    /// A service that cannot be moved to another port even for a restart is restarted where it is.
    fn try_its_port(&mut self, unit: UnitId) -> bool {
        if !self.machine.replaces(unit) || self.machine.leaves(unit) {
            return false;
        }
        let seen = self.seen(unit);
        let Some(What::Service(instance)) = self.system.what(unit).cloned() else { return false };
        let change = match self.system.on_its_port(&mut self.machine, unit, seen) {
            Ok(Some(change)) => change,
            Ok(None) => return false,
            Err(error) => {
                self.screen.say("refused", &error.to_string(), serde_json::Value::Null);
                return false;
            }
        };
        let why = match seen {
            Seen::AddressInUse => "it says that an address is in use",
            Seen::Unwell | Seen::Ended => "it is not well on the port that it was lent",
        };
        let text = format!(
            "{}: {why}; trying it on its own port, after the end of the one before",
            instance.label()
        );
        self.screen.say("restart", &text, serde_json::json!({ "name": instance.label() }));
        let left: BTreeSet<UnitId> = change.events.iter().filter_map(left).collect();
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.new.contains(&unit)) {
            let _ = waiter.answers.try_send(Answer::Progress(text.clone()));
            waiter.new.retain(|unit| !left.contains(unit));
            waiter.new.extend(&change.new);
        }
        self.follow(change);
        true
    }

    fn seen(&self, unit: UnitId) -> Seen {
        let process = self.process(unit);
        let said = self.units.get(&unit).is_some_and(|known| known.address_in_use);
        match process.map(Process::address_in_use) {
            None if said => Seen::AddressInUse,
            None => Seen::Ended,
            Some(true) => Seen::AddressInUse,
            Some(false) => Seen::Unwell,
        }
    }

    fn failure_of(&self, unit: UnitId, what: &What) -> String {
        let known = self.units.get(&unit);
        let tail = known.map(|known| known.tail.as_slice()).unwrap_or_default();
        let why = known.map(|known| known.why.as_str()).unwrap_or_default();
        show::failure(what, why, tail, self.process(unit).is_some())
    }
}

fn left(event: &Event) -> Option<UnitId> {
    if let Event::Leave(unit) = event { Some(*unit) } else { None }
}

/// Whom callers have now, and what makes the change come up.
fn remedy(instance: &Instance, instead: Instead) -> String {
    let service = &instance.launch.service;
    let mut text = instead.words().to_owned();
    if instead != Instead::Nobody {
        text.push_str(&format!("; correct the manifest, or the service and `weft restart {service}`"));
    }
    if let Some(port) = instance.lent_port().filter(|_| instead != Instead::Again) {
        text.push_str(&format!(
            "\n  it was told to listen on port {port} (`PORT`), since another copy has the one of the manifest"
        ));
    }
    text
}
