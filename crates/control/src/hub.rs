//! What control knows: the plans in force, who is there, and what each of them is to be told. Pure: time comes in,
//! nothing goes out but values.
//!
//! An instance is registered under its name and may have several sessions at a time, because a rolling restart overlaps
//! two processes on the same sockets: it takes requests as long as one of them does. A data plane runs without control,
//! so a lost stream says nothing about the instance: it stays as it was for [`LOST_GRACE`], and whoever calls it meanwhile
//! sees for himself. What drains leaves at once.

mod published;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_model::plan::Plans;
use weft_model::wire::{EdgePair, Endpoints, Hello, Instance, InstanceState, PlanDown, Presence, Trust};
use weft_stdx::clock::Tick;

pub use published::{GATEWAY, PublishError, Published, digest_of};

/// How long an instance whose stream was lost stays as it was. Longer than any backoff of a reconnect.
pub const LOST_GRACE: Duration = Duration::from_secs(30);
/// How long a control that lost its memory of who was there waits for them before it says who is: an empty list must
/// not replace a good one. Longer than the longest backoff of a reconnect (5 s) and its handshake.
pub const SETTLE: Duration = Duration::from_secs(8);
/// Instances that may be registered.
pub const INSTANCES_MAX: usize = 4096;
/// Sessions of one instance: a process, its successor, and one more that was cut and not yet noticed.
pub const SESSIONS_MAX: usize = 4;
/// Bytes of a text that a data plane says about itself.
const TEXT_BYTES_MAX: usize = 1024;

/// One stream of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Who speaks, by its certificate and the enrolment registry; nothing of it comes from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Service name; the gateway's is [`GATEWAY`].
    pub service: String,
    /// Instance name.
    pub instance: String,
    /// Serial number of the certificate, lower-case hex.
    pub serial: String,
    /// When the certificate ends, seconds since the epoch.
    pub expires_unix_s: u64,
}

/// Why a session is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The message names another instance than the certificate's.
    #[error("the certificate is that of {of}, not of {named}")]
    OtherInstance {
        /// By the certificate.
        of: String,
        /// By the message.
        named: String,
    },
    /// Too many of them.
    #[error("too many {what}: the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
}

/// What control knows. See the head of this file.
#[derive(Debug, Default)]
pub struct Hub {
    published: Option<Arc<Published>>,
    registered: BTreeMap<String, Registered>,
    trust: Arc<Trust>,
    settled_at: Tick,
    sessions: u64,
}

/// One instance.
#[derive(Debug, Clone)]
struct Registered {
    service: String,
    role: String,
    sessions: Vec<Session>,
    /// How it was last seen, once no session is left.
    lost: Option<Lost>,
}

#[derive(Debug, Clone)]
struct Lost {
    since: Tick,
    last: Session,
    /// Read from disk after a restart of control, and not seen since.
    restored: bool,
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    build: String,
    pid: u32,
    isolation: String,
    presence: Presence,
    running: String,
    refused: Option<Refused>,
    serial: String,
    expires_unix_s: u64,
    seen: Tick,
}

/// A plan that a data plane refused; it runs the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Version of the plan.
    pub version: String,
    /// Why, for people.
    pub reason: String,
}

/// What a process is to be told. Parts are compared with what it was told last.
#[derive(Debug, Clone)]
pub struct View {
    /// Its plan; absent where the manifest has none for it (it keeps the one it has).
    pub plan: Option<Arc<PlanDown>>,
    /// Instances of its upstreams; absent while that is not known.
    pub endpoints: Option<Endpoints>,
    /// Roots and revocations.
    pub trust: Arc<Trust>,
}

/// One instance, for people and for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Service name.
    pub service: String,
    /// Instance name.
    pub instance: String,
    /// `gateway` or `sidecar`.
    pub role: String,
    /// `starting`, `ready`, `unhealthy`, `draining`.
    pub state: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// `HOST:PORT` of its sidecar; empty for a gateway.
    pub address: String,
    /// Version of the service.
    pub version: String,
    /// Version of the plan that it runs; empty: none.
    pub plan: String,
    /// Whether that is the one that it should run.
    pub current: bool,
    /// Why it refused the newest plan.
    pub refused: Option<String>,
    /// Isolation tier in force.
    pub isolation: String,
    /// Version of the executable.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// Serial number of its certificate, hex.
    pub serial: String,
    /// When its certificate ends, seconds since the epoch.
    pub identity_expires_unix_s: u64,
    /// Gateway: why it does not serve the newest certificate of the edge.
    #[serde(default)]
    pub edge_refused: Option<String>,
    /// Gateway: when the certificate of the edge ends, seconds since the epoch.
    #[serde(default)]
    pub edge_expires_unix_s: Option<u64>,
    /// Time since it was last heard of.
    pub silent_ms: u64,
}

impl Hub {
    /// A hub without plans. Who was there when control ended comes by [`Hub::restore`].
    pub fn new(trust: Trust) -> Self {
        Self { trust: Arc::new(trust), ..Self::default() }
    }

    // --- plans and trust ---

    /// Puts plans in force. Returns whether anything is different now.
    ///
    /// # Errors
    /// A plan that is too large to be sent; the old ones stay.
    pub fn publish(&mut self, plans: Plans, edge: Option<EdgePair>) -> Result<bool, PublishError> {
        let published = Published::new(plans, edge)?;
        let changed = self.published.as_deref().is_none_or(|old| !old.same_as(&published));
        self.published = Some(Arc::new(published));
        Ok(changed)
    }

    /// The plans in force.
    pub fn published(&self) -> Option<&Arc<Published>> {
        self.published.as_ref()
    }

    /// Roots and revocations from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = Arc::new(trust);
    }

    /// What to tell a process of `service`.
    pub fn view(&self, service: &str, now: Tick) -> View {
        let plan = self.published.as_ref().and_then(|published| published.plan_of(service)).cloned();
        let known = now >= self.settled_at;
        let upstreams = self.published.as_ref().and_then(|published| published.upstreams_of(service));
        let endpoints = upstreams.filter(|_| known).map(|upstreams| self.endpoints_of(upstreams));
        View { plan, endpoints, trust: Arc::clone(&self.trust) }
    }

    fn endpoints_of(&self, upstreams: &std::collections::BTreeSet<String>) -> Endpoints {
        let mut instances: Vec<Instance> = self
            .registered
            .iter()
            .filter(|(_, registered)| upstreams.contains(&registered.service))
            .filter_map(|(name, registered)| registered.endpoint(name))
            .collect();
        instances.sort_by(|a, b| (&a.service, &a.instance).cmp(&(&b.service, &b.instance)));
        Endpoints { instances }
    }

    // --- sessions ---

    /// A process said hello.
    ///
    /// # Errors
    /// It speaks for another than its certificate does, or there are too many.
    pub fn open(&mut self, caller: &Caller, hello: &Hello, now: Tick) -> Result<SessionId, SessionError> {
        if hello.instance != caller.instance {
            let named = clipped(&hello.instance);
            return Err(SessionError::OtherInstance { of: caller.instance.clone(), named });
        }
        if self.registered.len() >= INSTANCES_MAX && !self.registered.contains_key(&caller.instance) {
            return Err(SessionError::TooMany { what: "instances", limit: INSTANCES_MAX });
        }
        let role = if caller.service == GATEWAY { "gateway" } else { "sidecar" };
        let registered = self.registered.entry(caller.instance.clone()).or_insert_with(|| Registered {
            service: caller.service.clone(),
            role: role.to_owned(),
            sessions: Vec::new(),
            lost: None,
        });
        if registered.sessions.len() >= SESSIONS_MAX {
            return Err(SessionError::TooMany { what: "sessions of one instance", limit: SESSIONS_MAX });
        }
        registered.service.clone_from(&caller.service);
        self.sessions += 1;
        let id = SessionId(self.sessions);
        // A process that comes back was what it was until it says otherwise, which it does next: between the two
        // messages it must not fall out of anybody's list. A new process has nothing to do with the old one's state.
        let lost = registered.lost.take().filter(|lost| lost.last.pid == hello.pid);
        let presence = lost.map(|lost| lost.last.presence).unwrap_or_default();
        registered.sessions.push(Session {
            id,
            build: clipped(&hello.build),
            pid: hello.pid,
            isolation: clipped(&hello.isolation),
            presence,
            running: clipped(&hello.plan_version),
            refused: None,
            serial: caller.serial.clone(),
            expires_unix_s: caller.expires_unix_s,
            seen: now,
        });
        Ok(id)
    }

    /// A process says anew who it is: its isolation tier may become known after its first words.
    pub fn greet_again(&mut self, caller: &Caller, id: SessionId, hello: &Hello, now: Tick) {
        self.with(caller, id, now, |session| session.isolation = clipped(&hello.isolation));
    }

    /// Where an instance is and how it is. Returns whether that changes what others are told.
    pub fn present(&mut self, caller: &Caller, id: SessionId, presence: &Presence, now: Tick) -> bool {
        let before = self.registered.get(&caller.instance).and_then(|known| known.endpoint(&caller.instance));
        let presence = Presence {
            address: clipped(&presence.address),
            version: clipped(&presence.version),
            state: presence.state,
            edge_refused: clipped(&presence.edge_refused),
            edge_not_after: presence.edge_not_after,
        };
        self.with(caller, id, now, |session| session.presence = presence);
        before != self.registered.get(&caller.instance).and_then(|known| known.endpoint(&caller.instance))
    }

    /// A plan is in force there.
    pub fn acknowledge(&mut self, caller: &Caller, id: SessionId, version: &str, now: Tick) {
        self.with(caller, id, now, |session| {
            session.running = clipped(version);
            session.refused = None;
        });
    }

    /// A plan was refused there.
    pub fn refuse(&mut self, caller: &Caller, id: SessionId, version: &str, reason: &str, now: Tick) {
        let refused = Refused { version: clipped(version), reason: clipped(reason) };
        self.with(caller, id, now, |session| session.refused = Some(refused));
    }

    /// It was heard of.
    pub fn seen(&mut self, caller: &Caller, id: SessionId, now: Tick) {
        self.with(caller, id, now, |_| ());
    }

    /// Whether this session is the newest of its instance: the one whose counters are believed.
    pub fn is_newest(&self, caller: &Caller, id: SessionId) -> bool {
        let registered = self.registered.get(&caller.instance);
        registered.and_then(|known| known.sessions.last()).is_some_and(|session| session.id == id)
    }

    fn with(&mut self, caller: &Caller, id: SessionId, now: Tick, change: impl FnOnce(&mut Session)) {
        let sessions = self.registered.get_mut(&caller.instance).map(|known| &mut known.sessions);
        if let Some(session) = sessions.and_then(|all| all.iter_mut().find(|session| session.id == id)) {
            session.seen = now;
            change(session);
        }
    }

    /// A stream ended. Returns whether its process ended in order and no other has its name: it does not come back.
    pub fn close(&mut self, caller: &Caller, id: SessionId, now: Tick) -> bool {
        let Some(registered) = self.registered.get_mut(&caller.instance) else { return false };
        let Some(index) = registered.sessions.iter().position(|session| session.id == id) else {
            return false;
        };
        let last = registered.sessions.remove(index);
        if registered.sessions.is_empty() {
            if last.presence.state() == InstanceState::Draining {
                self.registered.remove(&caller.instance);
                return true;
            }
            registered.lost = Some(Lost { since: now, last, restored: false });
        }
        false
    }

    /// An instance is about to be started anew: what is only remembered of it from before the restart is void.
    /// Returns whether that changes what others are told.
    pub fn expect_anew(&mut self, instance: &str) -> bool {
        let stale = |known: &Registered| known.lost.as_ref().is_some_and(|lost| lost.restored);
        if self.registered.get(instance).is_some_and(stale) {
            self.registered.remove(instance);
            return true;
        }
        false
    }

    /// Forgets whom nobody has heard of for [`LOST_GRACE`]. Returns whether that, or the end of settling, changes what
    /// others are told.
    pub fn tick(&mut self, now: Tick) -> bool {
        let before = self.registered.len();
        self.registered
            .retain(|_, known| known.lost.as_ref().is_none_or(|lost| now.since(lost.since) < LOST_GRACE));
        let settled = self.settled_at != Tick::ZERO && now >= self.settled_at;
        if settled {
            self.settled_at = Tick::ZERO;
        }
        settled || before != self.registered.len()
    }

    // --- restart ---

    /// Takes back who was there when control ended. They are treated like lost streams: as they were, for the grace.
    pub fn restore(&mut self, known: Vec<InstanceStatus>, now: Tick) {
        for status in known.into_iter().take(INSTANCES_MAX) {
            let state = state_of(&status.state);
            self.sessions += 1;
            let last = Session {
                id: SessionId(self.sessions),
                build: status.build,
                pid: status.pid,
                isolation: status.isolation,
                presence: Presence {
                    address: status.address,
                    version: status.version,
                    state: state as i32,
                    edge_refused: status.edge_refused.unwrap_or_default(),
                    edge_not_after: status.edge_expires_unix_s.unwrap_or_default(),
                },
                running: status.plan,
                refused: None,
                serial: status.serial,
                expires_unix_s: status.identity_expires_unix_s,
                seen: now,
            };
            let lost = Some(Lost { since: now, last, restored: true });
            let registered =
                Registered { service: status.service, role: status.role, sessions: Vec::new(), lost };
            self.registered.insert(status.instance, registered);
        }
    }

    /// Tells nobody who is there for [`SETTLE`]: there was somebody, and control does not remember whom.
    pub fn settle(&mut self, now: Tick) {
        self.settled_at = now + SETTLE;
    }

    /// Everybody who is registered, by instance name.
    pub fn instances(&self, now: Tick) -> Vec<InstanceStatus> {
        self.registered.iter().filter_map(|(name, known)| self.status_of(name, known, now)).collect()
    }

    fn status_of(&self, name: &str, known: &Registered, now: Tick) -> Option<InstanceStatus> {
        let session = known.speaker()?;
        let wanted = self.published.as_ref().and_then(|published| published.plan_of(&known.service));
        Some(InstanceStatus {
            service: known.service.clone(),
            instance: name.to_owned(),
            role: known.role.clone(),
            state: name_of(session.presence.state()).to_owned(),
            connected: known.lost.is_none(),
            address: session.presence.address.clone(),
            version: session.presence.version.clone(),
            plan: session.running.clone(),
            current: wanted.is_none_or(|plan| plan.version == session.running),
            refused: session.refused.as_ref().map(|refused| refused.reason.clone()),
            isolation: session.isolation.clone(),
            build: session.build.clone(),
            pid: session.pid,
            serial: session.serial.clone(),
            identity_expires_unix_s: session.expires_unix_s,
            edge_refused: Some(session.presence.edge_refused.clone()).filter(|reason| !reason.is_empty()),
            edge_expires_unix_s: Some(session.presence.edge_not_after).filter(|end| *end != 0),
            silent_ms: weft_stdx::clock::whole_ms(now.since(session.seen)),
        })
    }

    /// The identity of an instance was renewed.
    pub fn renewed(&mut self, instance: &str, serial: &str, expires_unix_s: u64) {
        // Only the process whose key enrolled last can renew, and it has the newest session.
        let session = self.registered.get_mut(instance).and_then(|known| known.sessions.last_mut());
        if let Some(session) = session {
            serial.clone_into(&mut session.serial);
            session.expires_unix_s = expires_unix_s;
        }
    }

    /// Takes whoever was revoked out of everybody's list; its streams end by themselves.
    pub fn expel(&mut self, is_revoked: impl Fn(&str, &str) -> bool) {
        self.registered.retain(|instance, known| !is_revoked(instance, &known.service));
    }
}

impl Registered {
    /// The session that speaks for the instance: the newest of those that are best off, so that a successor that is still
    /// starting does not hide the process that serves.
    fn speaker(&self) -> Option<&Session> {
        let best = self.sessions.iter().max_by_key(|session| (rank(session.presence.state()), session.id));
        best.or_else(|| self.lost.as_ref().map(|lost| &lost.last))
    }

    fn endpoint(&self, name: &str) -> Option<Instance> {
        let presence = &self.speaker()?.presence;
        let there = presence.state() != InstanceState::Draining && !presence.address.is_empty();
        there.then(|| Instance {
            service: self.service.clone(),
            instance: name.to_owned(),
            address: presence.address.clone(),
            version: presence.version.clone(),
            state: presence.state,
        })
    }
}

fn rank(state: InstanceState) -> u8 {
    match state {
        InstanceState::Draining => 0,
        InstanceState::Starting => 1,
        InstanceState::Unhealthy => 2,
        InstanceState::Ready => 3,
    }
}

fn name_of(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Ready => "ready",
        InstanceState::Unhealthy => "unhealthy",
        InstanceState::Draining => "draining",
    }
}

fn state_of(name: &str) -> InstanceState {
    match name {
        "ready" => InstanceState::Ready,
        "unhealthy" => InstanceState::Unhealthy,
        "draining" => InstanceState::Draining,
        _ => InstanceState::Starting,
    }
}

/// At most [`TEXT_BYTES_MAX`] bytes of what a data plane said, cut between characters.
fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
