//! Toward whom we call: which endpoint, and over which connection. One [`Upstream`] per service and worker thread.
//!
//! `balance` chooses an endpoint, `pool` keeps connections to it, `connect` makes them, `lookup` finds the addresses of
//! services elsewhere, `presence` waits for somebody where nobody is there. Loads, breakers and connections survive a change of plan and of the list of instances.

pub(crate) mod balance;
pub(crate) mod connect;
pub(crate) mod lookup;
pub(crate) mod pool;
pub(crate) mod presence;
pub(crate) mod reply;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use weft_model::code::Code;
use weft_model::plan::{LimitPlan, UpstreamPlan};
use weft_model::wire::{Instance, InstanceState};
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use self::balance::{Ask, Balancer, EndpointId, Member, Picked, Readiness, Seen, Settings};
use self::pool::{Endpoint, Target};
use self::presence::Held;
use crate::metrics::{EndpointState, NameId, foldhash};
use crate::rescue::Ended;
use crate::resilience::breaker::{self, Verdict};
use crate::resilience::budget::Budget;
use crate::resilience::limit::{Bulkhead, Entry, Full, Place, Ticket};
use crate::resilience::line::Key;
use crate::timer::Timer;

/// So long requests wait for somebody to call, from when the last one left.
pub(crate) const ABSENCE_MAX: Duration = Duration::from_secs(3);

/// A service that this worker calls.
pub(crate) struct Upstream {
    /// For people.
    pub(crate) name: Arc<str>,
    /// For metrics.
    label: Arc<str>,
    pub(crate) id: NameId,
    balancer: RefCell<Balancer>,
    pub(crate) budget: RefCell<Budget>,
    bulkhead: RefCell<Bulkhead>,
    waiting: RefCell<HashMap<Key, Waker>>,
    endpoints: RefCell<HashMap<EndpointId, Rc<Endpoint>, foldhash::Build>>,
    /// Whether a list of endpoints was ever taken in.
    pub(crate) known: Cell<bool>,
    /// Since when nobody takes requests.
    absent_since: Cell<Option<Tick>>,
    /// All that are listed turned out to be deserted, and nobody has told us yet.
    desertion: Cell<Option<Desertion>>,
    /// Somebody is back, and those who were held for it are being let go.
    coming_back: Cell<bool>,
    held: RefCell<Held>,
    appeared: Notify,
}

/// Listed instances where nobody is, or nobody behind their sidecars.
#[derive(Clone, Copy)]
struct Desertion {
    since: Tick,
    /// When the next request may look.
    look: Tick,
}

/// One entry of an endpoint list, resolved to an address.
pub(crate) struct Listed {
    pub(crate) instance: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) version: String,
    /// Share relative to the others.
    pub(crate) weight: u32,
    pub(crate) readiness: Readiness,
    pub(crate) target: Target,
}

impl Listed {
    /// An instance of the mesh; `None` if its address cannot be understood.
    pub(crate) fn from_wire(instance: &Instance, target: Target) -> Option<Self> {
        let readiness = match InstanceState::try_from(instance.state) {
            Ok(InstanceState::Ready) => Readiness::Ready,
            Ok(InstanceState::Draining) => Readiness::Draining,
            _ => Readiness::Unready,
        };
        Some(Listed {
            instance: instance.instance.as_str().into(),
            address: instance.address.parse().ok()?,
            version: instance.version.clone(),
            weight: 1,
            readiness,
            target,
        })
    }
}

impl Upstream {
    /// An upstream without endpoints.
    pub(crate) fn new(plan: &UpstreamPlan, label: &str, id: NameId, now: Tick) -> Self {
        let resilience = &plan.resilience;
        Upstream {
            name: plan.name.as_str().into(),
            label: label.into(),
            id,
            balancer: RefCell::new(Balancer::new(Settings::from(plan))),
            budget: RefCell::new(Budget::new(resilience.retry_budget_percent, resilience.retry_budget_floor)),
            bulkhead: RefCell::new(Bulkhead::new(resilience.limit)),
            waiting: RefCell::new(HashMap::new()),
            endpoints: RefCell::default(),
            known: Cell::new(false),
            absent_since: Cell::new(Some(now)),
            desertion: Cell::new(None),
            coming_back: Cell::new(false),
            held: RefCell::default(),
            appeared: Notify::new(),
        }
    }

    /// Takes in a new plan; what was learned stays.
    pub(crate) fn reconfigure(&self, plan: &UpstreamPlan, now: Tick) {
        self.balancer.borrow_mut().reconfigure(now, Settings::from(plan));
        self.budget.borrow_mut().reconfigure(&plan.resilience);
        self.set_limit(plan.resilience.limit, now);
    }

    fn set_limit(&self, limit: LimitPlan, now: Tick) {
        let wake = self.bulkhead.borrow_mut().reconfigure(limit, now);
        for key in wake {
            self.wake(key);
        }
    }

    /// Takes in a new list of endpoints.
    pub(crate) fn update(&self, listed: &[Listed], now: Tick) {
        self.known.set(true);
        self.note_absence(listed, now);
        let keys: Vec<String> =
            listed.iter().map(|one| format!("{}@{}", one.instance, one.address)).collect();
        let members: Vec<Member<'_>> = listed
            .iter()
            .zip(&keys)
            .map(|(one, key)| Member {
                key,
                version: &one.version,
                weight: one.weight,
                readiness: one.readiness,
            })
            .collect();
        let changes = self.balancer.borrow_mut().update(now, &members);
        let mut endpoints = self.endpoints.borrow_mut();
        for id in changes.removed {
            if let Some(endpoint) = endpoints.remove(&id) {
                endpoint.retire();
            }
        }
        for (id, place) in changes.added {
            let one = &listed[place];
            let endpoint = Endpoint::new(self.id, one.instance.clone(), one.address, one.target.clone());
            endpoints.insert(id, Rc::new(endpoint));
        }
        drop(endpoints);
        self.review_desertion(now);
    }

    /// Chooses an endpoint; the choice counts as a request in flight until it is dropped.
    pub(crate) fn pick(self: &Rc<Self>, now: Tick, rng: &mut Rng, ask: &Ask) -> Option<InFlight> {
        let picked = self.balancer.borrow_mut().pick(now, rng, ask)?;
        self.fly(picked, now)
    }

    fn fly(self: &Rc<Self>, picked: Picked, now: Tick) -> Option<InFlight> {
        let endpoint = self.endpoints.borrow().get(&picked.id()).cloned();
        let flight = InFlight { upstream: Rc::clone(self), picked: Some(picked), began: now, endpoint };
        flight.endpoint.is_some().then_some(flight)
    }

    /// Chooses for a request that nobody was there to begin, or that looks whether somebody is back: the least busy of those of
    /// whom it is not known that nobody is there, else the one that was found so longest ago. What breakers say counts only
    /// for the former: who vanished and came back has failed often enough to be left out.
    pub(crate) fn pick_inhabited(self: &Rc<Self>, now: Tick, rng: &mut Rng, ask: &Ask) -> Option<InFlight> {
        let endpoints = self.endpoints.borrow();
        let rank = |seen: &Seen<'_>| {
            let endpoint = endpoints.get(&seen.id)?;
            let deserted = endpoint.deserted.get();
            let order =
                if deserted { endpoint.found_deserted.get().as_us() } else { u64::from(seen.in_flight) };
            Some((deserted, seen.ejected && !deserted, order))
        };
        let chosen = {
            let balancer = self.balancer.borrow();
            let takers = balancer.seen().filter(|seen| seen.readiness == Readiness::Ready);
            let ranked = takers.filter_map(|seen| Some((rank(&seen)?, seen.id)));
            ranked.min().map(|(_, id)| id).filter(|_| ask.version.is_none())
        };
        let picked = chosen.and_then(|id| self.balancer.borrow_mut().pick_this(id));
        drop(endpoints);
        picked.map_or_else(|| self.pick(now, rng, ask), |picked| self.fly(picked, now))
    }

    /// Asks for a place among the open requests.
    pub(crate) fn admit(self: &Rc<Self>, timer: &Rc<Timer>, deadline: Tick) -> Result<Admission, Ended> {
        let entry = self.bulkhead.borrow_mut().enter(timer.recent(), deadline);
        match entry {
            Entry::Open(place) => Ok(Admission::Open(self.admitted(timer, place))),
            Entry::Queued(ticket) => Ok(Admission::Queued(ticket)),
            Entry::Refused { retry_after, why } => {
                let name = &self.name;
                let detail = match why {
                    Full::Queue => {
                        format!("as many requests as the limit of `{name}` allows are open and queued")
                    }
                    Full::Deadline => {
                        format!("as slowly as `{name}` answers now, it would answer only after the deadline")
                    }
                };
                let mut ended = Ended::new(Code::Overloaded, detail);
                ended.retry_after_s = u32::try_from(retry_after.as_secs()).ok();
                Err(ended)
            }
        }
    }

    fn admitted(self: &Rc<Self>, timer: &Rc<Timer>, place: Place) -> Admitted {
        Admitted { upstream: Rc::clone(self), timer: Rc::clone(timer), place: Some(place) }
    }

    /// Waits for a place, in order of arrival.
    pub(crate) async fn queue(
        self: &Rc<Self>,
        timer: &Rc<Timer>,
        ticket: Ticket,
        deadline: Tick,
    ) -> Result<Admitted, Ended> {
        let mut queued = Queued { upstream: self, timer, ticket: Some(ticket) };
        let place = timer.limit(deadline, poll_fn(|cx| queued.poll(cx.waker()))).await;
        match place {
            Some(place) => Ok(self.admitted(timer, place)),
            None => Err(Ended::new(Code::QueueTimeout, format!("waited for a place toward `{}`", self.name))),
        }
    }

    fn wake(&self, key: Key) {
        if let Some(waker) = self.waiting.borrow_mut().remove(&key) {
            waker.wake();
        }
    }

    /// The endpoints for a report.
    pub(crate) fn states(&self, into: &mut Vec<EndpointState>) {
        let endpoints = self.endpoints.borrow();
        for seen in self.balancer.borrow().seen() {
            let Some(endpoint) = endpoints.get(&seen.id) else { continue };
            into.push(EndpointState {
                upstream: self.label.clone(),
                instance: endpoint.instance.clone(),
                open: seen.in_flight,
                breaker: match seen.breaker {
                    breaker::State::Closed => 0,
                    breaker::State::HalfOpen { .. } => 1,
                    breaker::State::Open { .. } => 2,
                },
            });
        }
    }

    /// Closes idle connections whose time is over.
    pub(crate) fn tidy(&self, now: Tick) {
        for endpoint in self.endpoints.borrow().values() {
            endpoint.tidy(now);
        }
    }

    /// Closes all connections as they become idle: what they prove may no longer hold.
    pub(crate) fn reconnect(&self) {
        for endpoint in self.endpoints.borrow().values() {
            endpoint.forget();
        }
    }
}

/// A request that waits for a place.
struct Queued<'u> {
    upstream: &'u Rc<Upstream>,
    timer: &'u Rc<Timer>,
    ticket: Option<Ticket>,
}

impl Queued<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Place> {
        let Some(ticket) = self.ticket.take() else { return Poll::Pending };
        let key = ticket.key();
        let claimed = self.upstream.bulkhead.borrow_mut().claim(ticket);
        match claimed {
            Ok(place) => {
                self.upstream.waiting.borrow_mut().remove(&key);
                Poll::Ready(place)
            }
            Err(ticket) => {
                self.ticket = Some(ticket);
                self.upstream.waiting.borrow_mut().insert(key, waker.clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.upstream.waiting.borrow_mut().remove(&ticket.key());
            let next = self.upstream.bulkhead.borrow_mut().cancel(ticket, self.timer.now());
            if let Some(key) = next {
                self.upstream.wake(key);
            }
        }
    }
}

/// What became of a request for a place.
pub(crate) enum Admission {
    /// It has one.
    Open(Admitted),
    /// It may wait for one: [`Upstream::queue`].
    Queued(Ticket),
}

/// A place among the open requests of an upstream, until it is dropped.
pub(crate) struct Admitted {
    upstream: Rc<Upstream>,
    timer: Rc<Timer>,
    place: Option<Place>,
}

impl Admitted {
    /// The upstream itself began to answer.
    pub(crate) fn answered(&mut self) {
        if let Some(place) = &mut self.place {
            self.upstream.bulkhead.borrow_mut().answered(place, self.timer.recent());
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let next = self.upstream.bulkhead.borrow_mut().leave(place, self.timer.recent());
            if let Some(key) = next {
                self.upstream.wake(key);
            }
        }
    }
}

/// One attempt on one endpoint, in flight until it is dropped.
pub(crate) struct InFlight {
    upstream: Rc<Upstream>,
    picked: Option<Picked>,
    began: Tick,
    endpoint: Option<Rc<Endpoint>>,
}

impl InFlight {
    /// Where it goes.
    pub(crate) fn endpoint(&self) -> Option<&Rc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// When it was chosen.
    pub(crate) fn began(&self) -> Tick {
        self.began
    }

    /// Names the endpoint to the next choice.
    pub(crate) fn id(&self) -> Option<EndpointId> {
        self.picked.as_ref().map(Picked::id)
    }

    /// Tells the balancer and the breaker how it went. Only the first word counts.
    pub(crate) fn record(&mut self, now: Tick, verdict: Verdict) {
        if let Some(picked) = &mut self.picked {
            let latency = Duration::from_micros(now.us_since(self.began));
            self.upstream.balancer.borrow_mut().record(picked, now, latency, verdict);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(picked) = self.picked.take() {
            self.upstream.balancer.borrow_mut().release(picked, self.began);
        }
    }
}
