//! What the supervisor and a role say to each other: JSON lines on the role's standard input and output.
//!
//! The supervisor starts `weft gateway` or `weft sidecar` without other arguments than the global ones; the first line
//! on standard input is a [`RoleStart`], each further line a [`SupervisorWord`]. The role answers with [`RoleWord`]s on
//! standard output and logs on standard error. `weft control` reads no start (its arguments say it all), and otherwise
//! follows the same rules.
//!
//! - End of input: the supervisor is gone. The role drains with [`DrainGrace::ORPHAN`] and exits.
//! - SIGTERM: drain with [`RoleStart::grace`] and exit 0; a second one exits at once.
//! - Listening sockets are inherited (see [`crate::inherit`]); they stay open in the supervisor while the role is away.
//!
//! A line holds at most [`LINE_BYTES_MAX`] bytes. Unknown fields are ignored, so that a rolling restart may mix builds.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_trust::bootstrap::Bootstrap;
use weft_trust::keepsake::Keepsake;

/// The first line that a gateway or sidecar reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoleStart {
    /// Where control is, and the single-use token that turns into an identity.
    pub bootstrap: Bootstrap,
    /// The system's data directory; the last good plan is `plans/<instance>.json` in it.
    pub data_dir: PathBuf,
    /// The manifest's folder: certificates of the edge are named relative to it.
    #[serde(default)]
    pub manifest_dir: PathBuf,
    /// The service beside which a sidecar runs; absent for the gateway.
    pub service: Option<LocalService>,
    /// What an earlier process of the same instance said last ([`RoleWord::keepsake`]), if control is away now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepsake: Option<Keepsake>,
    /// Whether standard output leads to somebody who keeps that.
    #[serde(default)]
    pub keeps: bool,
    /// How to drain on SIGTERM.
    #[serde(default)]
    pub grace: DrainGrace,
}

/// The service beside which a sidecar runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalService {
    /// Where it listens on `127.0.0.1`; what inbound exchanges are forwarded to and probes are sent to.
    pub port: u16,
    /// Version of the service, e.g. `v1`.
    #[serde(default = "base_version")]
    pub version: String,
    /// It was not started by us (`--mine`), so that nothing is known of its processes: the outbound listeners take
    /// whoever comes from this machine, and the isolation tier is reported as `none`.
    #[serde(default)]
    pub foreign: bool,
}

fn base_version() -> String {
    weft_model::defaults::BASE_VERSION.to_owned()
}

/// How long the parts of a drain may take; see `weft_stdx::drain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainGrace {
    /// Still accepting while saying "not ready".
    pub unready_ms: u64,
    /// Not accepting; what is still open after this is cut.
    pub finish_ms: u64,
}

impl DrainGrace {
    /// Under `weft up`: a successor or nobody listens on the same sockets, so that nobody has to notice first.
    pub const LOCAL: Self = Self { unready_ms: 0, finish_ms: 30_000 };
    /// The supervisor died: nothing may stay behind for long.
    pub const ORPHAN: Self = Self { unready_ms: 0, finish_ms: 3_000 };

    /// The same for a [`weft_stdx::drain::Drain`].
    pub fn grace(self) -> weft_stdx::drain::Grace {
        weft_stdx::drain::Grace {
            unready: Duration::from_millis(self.unready_ms),
            finish: Duration::from_millis(self.finish_ms),
        }
    }
}

impl Default for DrainGrace {
    fn default() -> Self {
        Self::LOCAL
    }
}

/// What the supervisor says after the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupervisorWord {
    /// The local service runs, or runs again, as these processes. Until the first such word the outbound listeners have
    /// no owner to compare with, and refuse.
    Service(ServiceProcess),
    /// This instance is about to leave: say `Draining` to control, go on serving for at least `unready_ms`, then say
    /// [`RoleWord::retired`] once no inbound exchange is open (at the latest after `finish_ms`); go on serving what
    /// the service calls. The service ends next, then comes SIGTERM.
    Retire(DrainGrace),
    /// Drain and exit 0, like SIGTERM but with this grace.
    Drain(DrainGrace),
}

/// The processes of the local service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceProcess {
    /// Process id of its keeper, which is also the id of its session: who may use the outbound listeners is the keeper's
    /// descendants (see `weft_trust::peer`).
    pub session: u32,
    /// Whether Landlock keeps it from the ports of other services.
    #[serde(default)]
    pub landlock: bool,
}

/// What a role says on standard output. Every field may be absent; a line may say several things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleWord {
    /// It serves: it has its identity, a plan is in force, it accepts. Said once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// It cannot serve: control sent a plan that it does not take, for this reason, and none is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Sidecar: the state of the local service changed, by its probes. While it is starting a sidecar probes eagerly
    /// (every 20 ms at first), since the start of the whole system waits for this word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceHealth>,
    /// Sidecar: after [`SupervisorWord::Retire`], no inbound exchange is open any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<bool>,
    /// What the next process of this instance can start with while control is away; replaces what was said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepsake: Option<Keepsake>,
    /// Control: where its admin API and console listen, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Control: where roles reach it, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// Control: where it serves metrics of the whole system, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

impl RoleWord {
    /// "It serves."
    pub fn ready() -> Self {
        Self { ready: Some(true), ..Self::default() }
    }

    /// "It cannot serve."
    pub fn refused(reason: String) -> Self {
        Self { refused: Some(reason), ..Self::default() }
    }

    /// The state of the local service changed.
    pub fn service(health: ServiceHealth) -> Self {
        Self { service: Some(health), ..Self::default() }
    }
}

/// How the local service is, by the sidecar's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceHealth {
    /// Not yet well since its process started.
    Starting,
    /// Takes requests.
    Ready,
    /// Was well, failed its probes.
    Unhealthy,
}

/// Bytes that a line between supervisor and role may hold.
pub const LINE_BYTES_MAX: usize = weft_trust::bootstrap::BOOTSTRAP_BYTES_MAX + 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &SupervisorWord, line: &str) {
        assert_eq!(serde_json::to_string(word).unwrap(), line);
        assert_eq!(&serde_json::from_str::<SupervisorWord>(line).unwrap(), word);
    }

    #[test]
    fn words_keep_their_form_on_the_wire() {
        let service = ServiceProcess { session: 7, landlock: true };
        check(&SupervisorWord::Service(service), r#"{"service":{"session":7,"landlock":true}}"#);
        check(
            &SupervisorWord::Drain(DrainGrace { unready_ms: 0, finish_ms: 3_000 }),
            r#"{"drain":{"unready_ms":0,"finish_ms":3000}}"#,
        );
        assert_eq!(serde_json::to_string(&RoleWord::ready()).unwrap(), r#"{"ready":true}"#);
        let word = RoleWord::service(ServiceHealth::Unhealthy);
        assert_eq!(serde_json::to_string(&word).unwrap(), r#"{"service":"unhealthy"}"#);
    }

    #[test]
    fn a_role_word_of_a_newer_build_is_understood_as_far_as_it_can_be() {
        let word: RoleWord = serde_json::from_str(r#"{"ready":true,"colour":"red"}"#).unwrap();
        assert_eq!(word, RoleWord::ready());
        assert!(serde_json::from_str::<RoleWord>(r#"{"service":"purple"}"#).is_err());
    }
}
