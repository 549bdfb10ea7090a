//! Which endpoint of an upstream takes the next request. Pure: one [`Balancer`] per upstream and worker thread.
//!
//! By default two endpoints are drawn and the cheaper one by peak EWMA wins; `round_robin` and `ring` on request.
//! An endpoint is left out while it is not ready or its breaker is open, but never more than half of the ready ones
//! for their breakers, and when nobody is left the next best is tried anyway: a request that may fail is better than
//! one that must. Endpoints keep their id, load and breaker across updates of the list.

mod group;
mod load;
mod ring;

use std::collections::HashMap;
use std::time::Duration;

use weft_model::plan::{Balance, UpstreamPlan};
use weft_stdx::clock::{Tick, whole_us};
use weft_stdx::rng::Rng;

use self::group::{Group, GroupIndex};
use self::load::Latency;
pub(crate) use self::ring::hash_key;
use crate::resilience::breaker::{self, Breaker, Change, Rules, Verdict};

/// When a due probe fits none of the requests that come, look again after this.
const PROBE_RECHECK: Duration = Duration::from_millis(10);
/// Endpoints of one upstream; more in an update are not taken in. A hundred times what one process should know.
const ENDPOINTS_MAX: usize = 16_384;
/// No weight counts for more.
const WEIGHT_MAX: u32 = 65_535;

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The cheaper of two by peak EWMA.
    LeastLoaded,
    /// In turn, by weight.
    RoundRobin,
    /// By [`Ask::key`]; as the least loaded where there is none.
    Ring,
}

impl From<&Balance> for Method {
    fn from(balance: &Balance) -> Self {
        match balance {
            Balance::LeastLoaded => Self::LeastLoaded,
            Balance::RoundRobin => Self::RoundRobin,
            Balance::Ring(_) => Self::Ring,
        }
    }
}

/// What the plan says about choosing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How.
    pub method: Method,
    /// Versions with a share of their own, in 1/10000; endpoints of all other versions share the rest.
    pub versions: Vec<(String, u32)>,
    /// When to leave an endpoint out.
    pub breaker: Rules,
}

impl From<&UpstreamPlan> for Settings {
    fn from(plan: &UpstreamPlan) -> Self {
        Self {
            method: Method::from(&plan.balance),
            versions: plan
                .versions
                .iter()
                .map(|version| (version.version.clone(), version.share_bp))
                .collect(),
            breaker: Rules::from(&plan.resilience),
        }
    }
}

impl Settings {
    /// Whether requests that ask for no version may go to this group. A version without a share is only for those that
    /// ask for it, however ill the others are: nobody else agreed to try it.
    fn is_open_to_all(&self, group: GroupIndex) -> bool {
        group == 0 || self.versions.get(group - 1).is_some_and(|(_, share_bp)| *share_bp > 0)
    }
}

/// Whether an endpoint says that it takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It does.
    Ready,
    /// It finishes what is open.
    Draining,
    /// It starts, or failed its health probes.
    Unready,
}

/// One entry of an endpoint list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'l> {
    /// What makes it the same endpoint in the next list: its instance and address.
    pub key: &'l str,
    /// Version of the service.
    pub version: &'l str,
    /// Share relative to the others; 0 counts as 1.
    pub weight: u32,
    /// Whether it takes requests.
    pub readiness: Readiness,
}

/// Names an endpoint as long as it is listed; never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EndpointId {
    slot: u32,
    generation: u32,
}

/// What an update changed: connections of those that went can be closed as they become idle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New endpoints, with their place in the list that was given.
    pub added: Vec<(EndpointId, usize)>,
    /// Endpoints that are no longer listed.
    pub removed: Vec<EndpointId>,
}

/// What a request asks of the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask {
    /// This version and no other, by its place in [`Settings::versions`].
    pub version: Option<usize>,
    /// For [`Method::Ring`]: the hash of the key, see [`hash_key`]. Without one nothing binds the request to an endpoint; all of
    /// those on one endpoint would be more than its share.
    pub key: Option<u64>,
    /// Not this one if there is another: where the attempt before failed.
    pub avoid: Option<EndpointId>,
}

/// A chosen endpoint with one request in flight on it. Must be given back by [`Balancer::release`].
#[derive(Debug)]
#[must_use = "the request counts as in flight until it is released"]
pub(crate) struct Picked {
    id: EndpointId,
    probe: bool,
    recorded: bool,
}

impl Picked {
    /// Which endpoint.
    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }

    /// Whether this request decides if an endpoint that was out comes back.
    #[cfg(test)]
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }
}

/// What is known of one endpoint, for status and metrics.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests see more than the metrics show"))]
pub(crate) struct Seen<'b> {
    /// Its id.
    pub id: EndpointId,
    /// Its key in the list.
    pub key: &'b str,
    /// As listed.
    pub readiness: Readiness,
    /// Where its breaker stands.
    pub breaker: breaker::State,
    /// Whether it is really left out for its breaker.
    pub ejected: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Average latency, in microseconds; 0 before the first answer.
    pub latency_us: u64,
}

#[derive(Debug)]
struct Endpoint {
    listed: bool,
    readiness: Readiness,
    ejected: bool,
    in_flight: u32,
    generation: u32,
    weight: u32,
    group: GroupIndex,
    latency: Latency,
    breaker: Breaker,
    key: String,
    version: String,
}

/// Chooses among the endpoints of one upstream.
#[derive(Debug)]
pub(crate) struct Balancer {
    settings: Settings,
    endpoints: Vec<Endpoint>,
    by_key: HashMap<String, u32>,
    /// First the endpoints of no version with a share, then one group per version of the settings.
    groups: Vec<Group>,
    /// The earliest time at which an open breaker lets a probe ask.
    probe_due: Tick,
}

impl Balancer {
    /// A balancer without endpoints.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut balancer = Self {
            settings,
            endpoints: Vec::new(),
            by_key: HashMap::new(),
            groups: Vec::new(),
            probe_due: Tick::NEVER,
        };
        balancer.regroup(Tick::ZERO);
        balancer
    }

    /// Chooses an endpoint and counts a request in flight on it. `None` if none is listed (of the version asked for).
    ///
    /// Does not allocate; constant time but for `ring` (logarithmic) and `round_robin` by unequal weights (linear).
    pub(crate) fn pick(&mut self, now: Tick, rng: &mut Rng, ask: &Ask) -> Option<Picked> {
        if (now >= self.probe_due || self.seeks_probe(ask))
            && let Some(slot) = self.take_probe(now, ask)
        {
            return Some(self.take(slot, true));
        }
        let group = self.choose_group(rng, ask)?;
        let avoid = ask.avoid.filter(|id| self.is_current(*id)).map_or(u32::MAX, |id| id.slot);
        let slot = match (self.settings.method, ask.key) {
            (Method::RoundRobin, _) => self.groups[group].next_in_turn(&self.endpoints, avoid),
            (Method::Ring, Some(key)) => self.groups[group].on_ring(&self.endpoints, key, avoid),
            (Method::LeastLoaded, _) | (Method::Ring, None) => {
                self.groups[group].cheaper_of_two(&self.endpoints, now, rng, avoid)
            }
        }?;
        Some(self.take(slot, false))
    }

    /// Counts a request in flight on this endpoint and no other; `None` if it is not listed any more.
    pub(crate) fn pick_this(&mut self, id: EndpointId) -> Option<Picked> {
        self.is_current(id).then(|| self.take(id.slot, false))
    }

    /// Takes in what became of a request: once, when its response's head has come, or it has failed or was given up.
    /// `elapsed` is the time until then.
    pub(crate) fn record(
        &mut self,
        picked: &mut Picked,
        now: Tick,
        elapsed: Duration,
        verdict: Verdict,
    ) -> Change {
        if picked.recorded || !self.is_current(picked.id) {
            return Change::None;
        }
        let endpoint = &mut self.endpoints[picked.id.slot as usize];
        let failed = match verdict {
            Verdict::Success => false,
            Verdict::Failure => true,
            Verdict::Unknown => {
                endpoint.latency.observe_at_least(now, whole_us(elapsed));
                return Change::None;
            }
        };
        picked.recorded = true;
        endpoint.latency.observe(now, whole_us(elapsed), failed);
        let rules = &self.settings.breaker;
        let change = if picked.probe {
            endpoint.breaker.record_probe(rules, now, failed)
        } else {
            endpoint.breaker.record(rules, now, failed)
        };
        if change == Change::Closed {
            // What it took while it failed says nothing about what it takes now.
            endpoint.latency = Latency::guess(0.0, now);
            endpoint.latency.observe(now, whole_us(elapsed), false);
        }
        if change != Change::None {
            self.refit(now);
        }
        change
    }

    /// Gives a request back: its response's body has ended, or it was given up.
    #[expect(clippy::needless_pass_by_value, reason = "what was picked ends here, and is released once")]
    pub(crate) fn release(&mut self, picked: Picked, now: Tick) {
        if !self.is_current(picked.id) {
            return;
        }
        let endpoint = &mut self.endpoints[picked.id.slot as usize];
        endpoint.in_flight -= 1;
        self.groups[endpoint.group].in_flight -= 1;
        if picked.probe && !picked.recorded {
            endpoint.breaker.lose_probe(now);
            self.probe_due = self.probe_due.min(now);
        }
    }

    /// Takes in a new list. Endpoints are the same if their key is; of equal keys in one list the first counts.
    pub(crate) fn update(&mut self, now: Tick, members: &[Member<'_>]) -> Changes {
        let mut changes = Changes::default();
        let mut listed = HashMap::with_capacity(members.len());
        for (place, member) in members.iter().enumerate().take(ENDPOINTS_MAX) {
            listed.entry(member.key).or_insert(place);
        }
        for slot in 0..self.endpoints.len() {
            if self.endpoints[slot].listed && !listed.contains_key(self.endpoints[slot].key.as_str()) {
                changes.removed.push(self.remove(slot));
            }
        }
        let mut changed = !changes.removed.is_empty();
        let guess_us = self.usual_latency_us();
        let free = (0..self.endpoints.len() as u32).filter(|slot| !self.endpoints[*slot as usize].listed);
        let mut free = free.collect::<Vec<_>>().into_iter();
        for (place, member) in members.iter().enumerate().take(ENDPOINTS_MAX) {
            if listed.get(member.key) != Some(&place) {
                continue;
            }
            if let Some(slot) = self.by_key.get(member.key) {
                changed |= self.endpoints[*slot as usize].relist(member, now);
                continue;
            }
            let slot = free.next().unwrap_or(self.endpoints.len() as u32);
            let mut endpoint = Endpoint::new(member, guess_us, now);
            match self.endpoints.get_mut(slot as usize) {
                Some(old) => {
                    endpoint.generation = old.generation;
                    *old = endpoint;
                }
                None => self.endpoints.push(endpoint),
            }
            self.by_key.insert(member.key.to_owned(), slot);
            changes
                .added
                .push((EndpointId { slot, generation: self.endpoints[slot as usize].generation }, place));
        }
        // Lists come often and change seldom; arranged anew, each turn would begin anew.
        if changed || !changes.added.is_empty() {
            self.regroup(now);
        }
        changes
    }

    /// Takes in a new plan; endpoints, loads and breakers stay.
    pub(crate) fn reconfigure(&mut self, now: Tick, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.regroup(now);
        }
    }

    /// The key of an endpoint, if it is still listed.
    #[cfg(test)]
    pub(crate) fn key(&self, id: EndpointId) -> Option<&str> {
        self.is_current(id).then(|| self.endpoints[id.slot as usize].key.as_str())
    }

    /// All endpoints as they are now.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.listed).map(|(slot, endpoint)| {
            Seen {
                id: EndpointId { slot: slot as u32, generation: endpoint.generation },
                key: &endpoint.key,
                readiness: endpoint.readiness,
                breaker: endpoint.breaker.state(),
                ejected: endpoint.ejected,
                in_flight: endpoint.in_flight,
                latency_us: endpoint.latency.observed_us().map_or(0, |us| us as u64),
            }
        })
    }

    fn is_current(&self, id: EndpointId) -> bool {
        let endpoint = self.endpoints.get(id.slot as usize);
        endpoint.is_some_and(|endpoint| endpoint.listed && endpoint.generation == id.generation)
    }

    fn take(&mut self, slot: u32, probe: bool) -> Picked {
        let endpoint = &mut self.endpoints[slot as usize];
        endpoint.in_flight += 1;
        self.groups[endpoint.group].in_flight += 1;
        Picked { id: EndpointId { slot, generation: endpoint.generation }, probe, recorded: false }
    }

    /// Whether this request looks for a probe without being due: a version without a share is probed by those that ask for
    /// it and by no others, so that of many requests few may.
    fn seeks_probe(&self, ask: &Ask) -> bool {
        let group =
            ask.version.map(|version| version + 1).filter(|place| !self.settings.is_open_to_all(*place));
        group.and_then(|place| self.groups.get(place)).is_some_and(|group| !group.is_whole())
    }

    /// An endpoint whose breaker lets a probe ask now, if this request may be the probe. A second attempt may not:
    /// it has failed once already and goes where it most likely succeeds.
    #[cold]
    fn take_probe(&mut self, now: Tick, ask: &Ask) -> Option<u32> {
        if ask.avoid.is_some() {
            return None;
        }
        let (settings, rules) = (&self.settings, &self.settings.breaker);
        let mut fitting = self.endpoints.iter_mut().enumerate().filter(|(_, endpoint)| {
            let asked_for = match ask.version {
                Some(version) => endpoint.group == version + 1,
                None => settings.is_open_to_all(endpoint.group),
            };
            endpoint.is_ready() && asked_for
        });
        let slot = fitting
            .find_map(|(slot, endpoint)| endpoint.breaker.try_probe(rules, now).then_some(slot as u32));
        let due = self.probe_due;
        self.schedule_probe();
        if slot.is_none() {
            // Who looked before it was due does not put off the others.
            self.probe_due = self.probe_due.max(if now >= due { now + PROBE_RECHECK } else { due });
        }
        slot
    }

    /// The group that a request goes to: the version asked for and no other, or one by the shares. The share of a
    /// version of which nobody is eligible goes to the rest, but never to a version without a share.
    fn choose_group(&self, rng: &mut Rng, ask: &Ask) -> Option<GroupIndex> {
        if let Some(version) = ask.version {
            return (version + 1 < self.groups.len()).then_some(version + 1);
        }
        let chosen = if self.groups.len() == 1 { 0 } else { self.draw_group(rng, ask) };
        if self.groups[chosen].has_eligible() {
            return Some(chosen);
        }
        let open = |place: &GroupIndex| self.settings.is_open_to_all(*place);
        let mut eligible = (0..self.groups.len()).filter(open);
        let mut listed = (0..self.groups.len()).filter(open);
        let eligible = eligible.find(|place| self.groups[*place].has_eligible());
        eligible.or_else(|| listed.find(|place| !self.groups[*place].is_empty()))
    }

    fn draw_group(&self, rng: &mut Rng, ask: &Ask) -> GroupIndex {
        // On a ring a key also stays with its version.
        let drawn = match (self.settings.method, ask.key) {
            (Method::Ring, Some(key)) => ring::mix(!key),
            _ => rng.next_u64(),
        };
        let mut drawn_bp = (((drawn >> 32) * 10_000) >> 32) as u32;
        for (version, (_, share_bp)) in self.settings.versions.iter().enumerate() {
            if drawn_bp < *share_bp {
                return version + 1;
            }
            drawn_bp -= share_bp;
        }
        0
    }

    fn remove(&mut self, slot: usize) -> EndpointId {
        let endpoint = &mut self.endpoints[slot];
        let id = EndpointId { slot: slot as u32, generation: endpoint.generation };
        endpoint.listed = false;
        endpoint.ejected = false;
        // What is still in flight there is released against the old generation, and so to nobody.
        endpoint.generation = endpoint.generation.wrapping_add(1);
        endpoint.in_flight = 0;
        self.by_key.remove(&endpoint.key);
        id
    }

    /// What a newcomer is thought to take: as long as the others, so that it is neither flooded nor starved.
    fn usual_latency_us(&self) -> f64 {
        let known = self.endpoints.iter().filter(|endpoint| endpoint.listed);
        let known = known.filter_map(|endpoint| endpoint.latency.observed_us());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), us| (sum + us, count + 1.0));
        if count == 0.0 { 0.0 } else { sum / count }
    }

    /// Sorts the endpoints into the groups of the settings, from scratch.
    fn regroup(&mut self, now: Tick) {
        let mut groups: Vec<Group> = (0..=self.settings.versions.len()).map(|_| Group::default()).collect();
        for (slot, endpoint) in self.endpoints.iter_mut().enumerate().filter(|(_, endpoint)| endpoint.listed)
        {
            let version = self.settings.versions.iter().position(|(version, _)| *version == endpoint.version);
            endpoint.group = version.map_or(0, |version| version + 1);
            groups[endpoint.group].members.push(slot as u32);
            groups[endpoint.group].in_flight += endpoint.in_flight;
        }
        for group in &mut groups {
            group.arrange(&self.endpoints, self.settings.method);
        }
        self.groups = groups;
        self.refit(now);
    }

    /// Decides anew who is left out, after a breaker or the list changed.
    #[cold]
    fn refit(&mut self, now: Tick) {
        let open_min = self.settings.breaker.open_min;
        let ready = || self.endpoints.iter().filter(|one| one.is_ready());
        let closed = ready().filter(|one| one.breaker.is_closed()).count();
        let mut room = ready().count() / 2;
        // Who is out stays out before others follow, so that an upstream in trouble does not shuffle its endpoints.
        for was_ejected in [true, false] {
            for endpoint in
                self.endpoints.iter_mut().filter(|one| one.is_ready() && one.ejected == was_ejected)
            {
                endpoint.ejected = !endpoint.breaker.is_closed() && room > 0;
                room -= usize::from(endpoint.ejected);
            }
        }
        for endpoint in &mut self.endpoints {
            endpoint.ejected &= endpoint.is_ready();
            if closed == 0 {
                // Nobody is trusted: whoever comes back first must be found soon, however often it failed.
                endpoint.breaker.hasten(now + open_min);
            }
        }
        for group in &mut self.groups {
            group.refit(&self.endpoints);
        }
        self.schedule_probe();
    }

    fn schedule_probe(&mut self) {
        let waiting = self.endpoints.iter().filter(|one| one.is_ready());
        self.probe_due = waiting.filter_map(|one| one.breaker.probe_due()).min().unwrap_or(Tick::NEVER);
    }
}

impl Endpoint {
    fn new(member: &Member<'_>, guess_us: f64, now: Tick) -> Self {
        Self {
            listed: true,
            readiness: member.readiness,
            ejected: false,
            in_flight: 0,
            generation: 0,
            weight: member.weight.clamp(1, WEIGHT_MAX),
            group: 0,
            latency: Latency::guess(guess_us, now),
            breaker: Breaker::new(),
            key: member.key.to_owned(),
            version: member.version.to_owned(),
        }
    }

    /// Takes in what a list says; whether that is something new.
    fn relist(&mut self, member: &Member<'_>, now: Tick) -> bool {
        let weight = member.weight.clamp(1, WEIGHT_MAX);
        let before = (self.readiness, self.weight, self.version.as_str());
        if before == (member.readiness, weight, member.version) {
            return false;
        }
        if member.readiness == Readiness::Ready && self.readiness != Readiness::Ready {
            // Whoever probes it says that it is well again: ask now, not when the breaker would have.
            self.breaker.hasten(now);
        }
        self.readiness = member.readiness;
        self.weight = weight;
        member.version.clone_into(&mut self.version);
        true
    }

    fn is_ready(&self) -> bool {
        self.listed && self.readiness == Readiness::Ready
    }

    /// How fit it is to take a request; less is better.
    fn standing(&self) -> u8 {
        match self.readiness {
            Readiness::Ready => u8::from(self.ejected),
            Readiness::Draining => 2,
            Readiness::Unready => 3,
        }
    }
}

#[cfg(test)]
mod tests;
