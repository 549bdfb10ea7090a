//! Weft as it is run: a control plane, and a gateway or two sidecars that enrol with it, from a real manifest.
//!
//! The gateway has 50 routes and all of its stages on: metrics, request id, trace context, deadline, balancing, breaker, retry
//! budget. Who may call whom is decided by the callee's sidecar, so the allow check is on in the pair. The control plane runs on the core
//! of the load and is not counted.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Place;
use super::peers::Running;
use super::process::Process;
use super::scenario::{Kind, Scenario, UPSTREAM_PORT, milliseconds};

/// Routes of the gateway.
const ROUTES: u32 = 50;

/// Starts Weft for a scenario.
pub(super) fn start(place: &Place, scenario: &Scenario, port: u16) -> anyhow::Result<Running> {
    if scenario.kind == Kind::Pair {
        let system = System::start(place, "pair", &two_services(port))?;
        let callee = system.sidecar("callee", port, port + 1, UPSTREAM_PORT)?;
        let caller = system.sidecar("caller", port + 2, port + 3, port)?;
        // The caller has to know the callee as ready before load comes.
        return wait_answer(port + 2, scenario.path()).map(|()| Running {
            port: port + 2,
            measured: vec![caller, callee],
            beside: vec![system.control],
        });
    }
    let system = System::start(place, "gateway", &gateway(place, scenario, port))?;
    let gateway = system.gateway(port)?;
    Ok(Running { port, measured: vec![gateway], beside: vec![system.control] })
}

/// Milliseconds from the start of a sidecar until it says that it serves, several times, and its memory then.
pub(super) fn sidecar_starts(place: &Place, port: u16, count: usize) -> anyhow::Result<(u64, Vec<f64>)> {
    let system = System::start(place, "starts", &two_services(port))?;
    let (mut times, mut kib) = (Vec::new(), 0);
    for _ in 0..count {
        let began = Instant::now();
        let sidecar = system.sidecar("callee", port, port + 1, UPSTREAM_PORT)?;
        times.push(milliseconds(began));
        kib = sidecar.resident_kib()?;
    }
    Ok((kib, times))
}

fn gateway(place: &Place, scenario: &Scenario, port: u16) -> String {
    let protocol = if scenario.grpc() { ", protocol: grpc" } else { "" };
    let tls = match scenario.tls {
        true => format!("  tls: {{ cert: {0}/leaf.pem, key: {0}/leaf.key }}\n", place.folder.display()),
        false => String::new(),
    };
    let mut routes = "    POST /bench.Echo/Say: up\n".to_owned();
    for number in 1..ROUTES {
        // Writing to a string cannot fail.
        let _ = writeln!(routes, "    ANY /api/v{number}/things/{{id}}: up");
    }
    format!(
        "system: bench\nservices:\n  up: {{ url: \"http://127.0.0.1:{UPSTREAM_PORT}\"{protocol} }}\n\
         gateway:\n  listen: \"127.0.0.1:{port}\"\n  auth: none\n{tls}  routes:\n{routes}\
         trust: {{ domain: bench.test }}\n"
    )
}

fn two_services(port: u16) -> String {
    // Nobody runs the commands: the services are played by the upstream and by the load.
    format!(
        "system: bench\nservices:\n  caller: {{ run: \"true\", port: {}, calls: [callee] }}\n  \
         callee: {{ run: \"true\", port: {UPSTREAM_PORT} }}\ntrust: {{ domain: bench.test }}\n",
        port + 9
    )
}

/// A control plane and what its roles need.
struct System<'p> {
    place: &'p Place,
    folder: PathBuf,
    control: Process,
    admin: String,
}

impl<'p> System<'p> {
    fn start(place: &'p Place, name: &str, manifest: &str) -> anyhow::Result<Self> {
        let folder = place.folder.join(name);
        // Of the scenario before.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let (path, data) = (folder.join("weft.yaml"), folder.join("data"));
        std::fs::write(&path, manifest)?;
        let (path, shown) = (path.display().to_string(), data.display().to_string());
        let words = [
            "control",
            "--file",
            &path,
            "--data-dir",
            &shown,
            "--admin",
            "127.0.0.1:0",
            "--log-level",
            "warn",
        ];
        let log = folder.join("control.log");
        let mut control = Process::start(place.cores.1, &place.weft, &words, &log)?;
        let said = control.read_line().with_context(|| format!("weft control; see {}", log.display()))?;
        let said: Value = serde_json::from_str(&said)?;
        let admin = said["admin"].as_str().context("weft control says no address")?.to_owned();
        Ok(Self { place, folder, control, admin })
    }

    fn gateway(&self, port: u16) -> anyhow::Result<Process> {
        self.role("gateway", "weft-gateway", &["--listen", &format!("127.0.0.1:{port}")], &Value::Null)
    }

    /// A sidecar with its mesh port at `inbound`, and its port toward the one other service at `outbound`.
    fn sidecar(&self, service: &str, outbound: u16, inbound: u16, port: u16) -> anyhow::Result<Process> {
        let inbound = format!("127.0.0.1:{inbound}");
        let mut words = vec!["--inbound", &inbound];
        let outbound = format!("callee=127.0.0.1:{outbound}");
        if service == "caller" {
            words.extend(["--outbound", &outbound]);
        }
        self.role("sidecar", service, &words, &json!({ "port": port, "foreign": true }))
    }

    /// Starts a role and waits until it serves.
    fn role(&self, role: &str, service: &str, words: &[&str], local: &Value) -> anyhow::Result<Process> {
        let asked = json!({ "service": service, "instance": format!("{service}-1"), "version": "v1" });
        let start = json!({
            "bootstrap": self.post("/v1/tokens", &asked)?["bootstrap"],
            "data_dir": self.folder.join("data"),
            "manifest_dir": self.folder,
            "service": local,
        });
        let words = [&[role, "--log-level", "warn"], words].concat();
        let log = self.folder.join(format!("{service}.log"));
        let mut process = Process::start(self.place.cores.0, &self.place.weft, &words, &log)?;
        process.write_line(&start.to_string())?;
        // A sidecar may tell of its service first.
        loop {
            let said = process.read_line().with_context(|| format!("weft {role}; see {}", log.display()))?;
            if serde_json::from_str::<Value>(&said)?["ready"] == true {
                return Ok(process);
            }
        }
    }

    /// Asks the admin API.
    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let token = std::fs::read_to_string(self.folder.join("data/admin.token")).context("admin.token")?;
        let (admin, token, body) = (&self.admin, token.trim(), body.to_string());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(admin, &request)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("control answers no HTTP")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "control answers {head}");
        Ok(serde_json::from_str(body)?)
    }
}

fn exchange(address: &str, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks until the answer is 200.
fn wait_answer(port: u16, path: &str) -> anyhow::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut last = String::new();
    for _ in 0..400 {
        last = exchange(&format!("127.0.0.1:{port}"), &request)?;
        if last.starts_with("HTTP/1.1 200") {
            return Ok(());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("the pair answers {last}")
}
