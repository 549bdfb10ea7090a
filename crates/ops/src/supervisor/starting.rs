//! How each kind of unit is started, and what is left of processes that lost their keeper is ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use weft_model::command::split;
use weft_trust::bootstrap::Bootstrap;
use weft_trust::keepsake::Keepsake;
use weft_trust::peer::descendants;

use super::admin::{self, AdminError};
use super::command::{CommandError, environment, resolve};
use super::machine::{Event, UnitId};
use super::process::{Process, Spawn};
use super::system::{Build, Instance, SERVICE_GRACE, SERVICE_START_LIMIT, What, folder};
use super::{Supervisor, Told};
use crate::keep::confine::Ports;
use crate::words::{DrainGrace, LocalService, RoleStart};

/// Between two looks whether a port accepts connections.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// Processes that lost their keeper, at most; more are found by the next look.
const STRAYS_MAX: usize = 4096;

impl<W: Write> Supervisor<W> {
    pub(super) fn start(&mut self, unit: UnitId) {
        match self.system.what(unit).cloned() {
            Some(What::Control(_)) => self.start_control(unit),
            Some(What::Gateway(_)) => {
                self.ask_for(unit, "gateway".to_owned(), "weft-gateway".to_owned(), String::new());
            }
            Some(What::Sidecar(instance)) => {
                let launch = &instance.launch;
                self.ask_for(unit, launch.service.clone(), instance.name.clone(), launch.version.clone());
            }
            Some(What::Service(instance)) => self.start_service(unit, &instance),
            Some(What::Build(build)) => self.start_build(unit, &build),
            None => {}
        }
    }

    /// It counts as ended before it began.
    pub(super) fn cannot_start(&mut self, unit: UnitId, why: String) {
        let known = self.unit(unit);
        known.why = why;
        known.tail.clear();
        known.address_in_use = false;
        self.feed(Event::Ended(unit));
    }

    fn spawn(&mut self, unit: UnitId, spawn: &Spawn<'_>) -> bool {
        match Process::start(unit, spawn, &self.reports) {
            Ok(process) => {
                self.unit(unit).process = Some(process);
                true
            }
            Err(error) => {
                self.cannot_start(unit, error.to_string());
                false
            }
        }
    }

    fn start_control(&mut self, unit: UnitId) {
        let Some(What::Control(sockets)) = self.system.what(unit).cloned() else { return };
        let mut arguments: Vec<OsString> = vec!["control".into(), "--file".into()];
        arguments.push(self.settings.manifest.clone().into());
        arguments.extend(["--data-dir".into(), self.data_dir.path().into()]);
        let lifetime = weft_stdx::units::show_duration(self.settings.identity_lifetime).to_string();
        arguments.extend(["--identity-lifetime".into(), lifetime.into()]);
        let spawn = Spawn { sockets: Some(&sockets), ..self.role(arguments) };
        self.spawn(unit, &spawn);
    }

    /// Gateway and sidecars: the identity first.
    fn ask_for(&mut self, unit: UnitId, service: String, instance: String, version: String) {
        let Some(admin) = self.admin else {
            return self.cannot_start(unit, "control has not said where it listens".to_owned());
        };
        let token_file = self.data_dir.path().join("admin.token");
        let told = self.told.clone();
        // Who can do without control waits for it less long.
        let limit = if self.unit(unit).keepsake.is_some() { admin::LIMIT_IF_KEPT } else { admin::LIMIT };
        tokio::spawn(async move {
            let asked = admin::bootstrap(admin, &token_file, &service, &instance, &version);
            let answer = admin::within(limit, asked).await;
            let _ = told.send(Told::Bootstrap(unit, answer.map(Box::new))).await;
        });
    }

    /// Control is away, or refuses: who was there before is so again, if it is only away.
    pub(super) fn start_without(&mut self, unit: UnitId, error: &AdminError) {
        // It may have left while control was asked.
        if self.machine.state(unit) != Some(super::State::Starting) {
            return;
        }
        let known = self.unit(unit);
        let kept = known.keepsake.clone().filter(|_| error.is_away()).zip(known.bootstrap.take());
        match kept {
            Some((keepsake, bootstrap)) => self.start_role(unit, bootstrap, Some(keepsake)),
            None => self.cannot_start(unit, error.to_string()),
        }
    }

    pub(super) fn start_role(&mut self, unit: UnitId, bootstrap: Bootstrap, keepsake: Option<Keepsake>) {
        if self.machine.state(unit) != Some(super::State::Starting) {
            return;
        }
        let Some(what) = self.system.what(unit).cloned() else { return };
        let (command, sockets, service) = match &what {
            What::Gateway(sockets) => ("gateway", sockets.as_ref(), None),
            What::Sidecar(instance) => {
                let service = LocalService {
                    port: instance.told.port,
                    version: instance.launch.version.clone(),
                    foreign: instance.foreign.is_some(),
                };
                ("sidecar", &instance.sockets, Some(service))
            }
            _ => return,
        };
        let start = RoleStart {
            bootstrap,
            keepsake,
            keeps: true,
            data_dir: self.data_dir.path().to_owned(),
            manifest_dir: self.settings.manifest_dir.clone(),
            service,
            grace: DrainGrace::LOCAL,
        };
        let spawn = Spawn { sockets: Some(sockets), ..self.role(vec![command.into()]) };
        let line = serde_json::to_string(&start);
        self.unit(unit).bootstrap = Some(start.bootstrap);
        if !self.spawn(unit, &spawn) {
            return;
        }
        if let (Some(process), Ok(line)) = (self.process(unit), line) {
            process.say(line);
        }
        if let What::Sidecar(instance) = &what {
            for service in self.system.of_instance(&instance.name).1 {
                self.introduce(unit, service);
            }
        }
    }

    fn role(&self, mut arguments: Vec<OsString>) -> Spawn<'static> {
        arguments.extend(["--log-level".into(), self.settings.log_level.clone().into()]);
        if let Some(overlay) = &self.settings.overlay {
            arguments.extend(["--env".into(), overlay.into()]);
        }
        let mut variables: BTreeMap<OsString, OsString> = self.settings.environment.iter().cloned().collect();
        variables.retain(|name, _| !name.as_encoded_bytes().starts_with(b"LISTEN_"));
        Spawn {
            program: self.settings.executable.clone(),
            arguments,
            environment: variables,
            cwd: None,
            sockets: None,
        }
    }

    fn start_service(&mut self, unit: UnitId, instance: &Arc<Instance>) {
        let launch = &instance.launch;
        let forbidden = self.system.forbidden(instance);
        let variables = environment(&self.settings.environment, &instance.told, &launch.env);
        self.start_kept(unit, &launch.run, &launch.cwd, variables, Some(forbidden));
    }

    fn start_build(&mut self, unit: UnitId, build: &Build) {
        let ours = |name: &OsString| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"LISTEN_") || name.starts_with(b"WEFT_")
        };
        let users = self.settings.environment.iter().filter(|(name, _)| !ours(name)).cloned().collect();
        self.start_kept(unit, &build.command, &build.cwd, users, None);
    }

    /// A user's command, under a keeper.
    fn start_kept(
        &mut self,
        unit: UnitId,
        command: &str,
        cwd: &str,
        variables: BTreeMap<OsString, OsString>,
        forbidden: Option<Ports>,
    ) {
        let cwd = folder(&self.settings.manifest_dir, cwd);
        let found = split(command).map_err(CommandError::from).and_then(|words| {
            let path = variables.get(std::ffi::OsStr::new("PATH"));
            let first = words.first().map(String::as_str).unwrap_or_default();
            Ok((resolve(first, &cwd, path.map(OsString::as_os_str))?, words))
        });
        let (program, words) = match found {
            Ok(found) => found,
            Err(error) => return self.cannot_start(unit, error.to_string()),
        };
        let mut arguments: Vec<OsString> = vec!["keep".into(), "--parent".into()];
        arguments.push(std::process::id().to_string().into());
        arguments.extend(["--grace-ms".into(), SERVICE_GRACE.as_millis().to_string().into()]);
        if let Some(ports) = forbidden {
            arguments.extend(["--forbid".into(), ports.to_string().into()]);
        }
        arguments.extend(["--".into(), program.into()]);
        arguments.extend(words.into_iter().skip(1).map(OsString::from));
        let executable: PathBuf = self.settings.executable.clone();
        let spawn =
            Spawn { program: executable, arguments, environment: variables, cwd: Some(cwd), sockets: None };
        self.spawn(unit, &spawn);
    }
}

/// Waits until a port of `127.0.0.1` accepts a connection; false if it does not in the time that a service may take.
pub(super) async fn connects(port: u16) -> bool {
    let trying = async {
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            tokio::time::sleep(CONNECT_INTERVAL).await;
        }
    };
    tokio::time::timeout(SERVICE_START_LIMIT, trying).await.is_ok()
}

/// Kills and reaps our children that are none of `ours`: they fell to us when their keeper was killed.
pub(super) fn sweep(ours: &[u32]) {
    let all = descendants(std::process::id(), STRAYS_MAX);
    let mut kept: Vec<u32> = ours.to_vec();
    for pid in ours {
        kept.extend(descendants(*pid, STRAYS_MAX));
    }
    for pid in all.into_iter().filter(|pid| !kept.contains(pid)) {
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}
