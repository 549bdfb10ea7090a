//! The servers that are compared, each on a port for each way: a recorder of ours, Node's own server, and nginx and HAProxy
//! in front of a recorder, so that what they send on shows how they read what they got.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

use super::seen::{Seen, recorder};
use crate::support::LIMIT;

/// Room for what one case can bring; a case that brings more waits, and ends with the time.
const SEEN_MAX: usize = 256;

/// One server as it is reached on one way.
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) seen: mpsc::Receiver<Seen>,
}

/// Servers that run, and the folder of their files. They end with it.
pub(super) struct Running {
    children: Vec<Child>,
    folder: Option<PathBuf>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Whether all of these programs are here; if not it says so, and fails in continuous integration.
pub(super) fn have(programs: &[&str]) -> bool {
    let lacks = |name: &&&str| program(name).is_none();
    let missing: Vec<&str> = programs.iter().filter(lacks).copied().collect();
    if missing.is_empty() {
        return true;
    }
    let message = format!("SKIPPED: {} not installed; run `cargo xtask servers`", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "{message}");
    let _ = writeln!(std::io::stderr(), "{message}");
    false
}

/// Where a program is; Debian keeps servers out of the path of users.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Starts every server for so many ways: for each way its backends, the recorder first.
pub(super) async fn start(ways: usize) -> (Running, Vec<Vec<Backend>>) {
    let folder = std::env::temp_dir().join(format!("weft-differential-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut running = Running { children: Vec::new(), folder: Some(folder.clone()) };
    let mut all = Vec::new();
    let (mut behind_nginx, mut behind_haproxy) = (Vec::new(), Vec::new());
    for _ in 0..ways {
        let (tell, seen) = mpsc::channel(SEEN_MAX);
        all.push(vec![Backend { name: "recorder", port: recorder(tell, true).await, seen }]);
        for behind in [&mut behind_nginx, &mut behind_haproxy] {
            let (tell, seen) = mpsc::channel(SEEN_MAX);
            behind.push((recorder(tell, false).await, seen));
        }
    }
    for (way, (port, seen)) in node(&mut running, ways).into_iter().enumerate() {
        all[way].push(Backend { name: "node", port, seen });
    }
    let proxies: [(&'static str, Vec<_>, Configure); 2] =
        [("nginx", behind_nginx, nginx), ("haproxy", behind_haproxy, haproxy)];
    for (name, behind, configure) in proxies {
        let (recorders, seen): (Vec<u16>, Vec<_>) = behind.into_iter().unzip();
        let ports = proxy(&mut running, &folder, &recorders, configure);
        for (way, (port, seen)) in ports.into_iter().zip(seen).enumerate() {
            all[way].push(Backend { name, port, seen });
        }
    }
    (running, all)
}

fn node(running: &mut Running, ways: usize) -> Vec<(u16, mpsc::Receiver<Seen>)> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/differential/server.js");
    let mut node = Command::new(program("node").unwrap())
        .arg("--max-http-header-size=262144")
        .arg(script)
        .arg(ways.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    running.children.push(node);
    let mut line = move || {
        let line = lines.next()?.ok()?;
        Some(serde_json::from_str::<serde_json::Value>(&line).unwrap())
    };
    let ports = line().unwrap();
    let ports = ports["ports"].as_array().unwrap().iter().map(|port| port.as_u64().unwrap() as u16);
    let (tells, backends): (Vec<_>, Vec<_>) = ports
        .map(|port| {
            let (tell, seen) = mpsc::channel(SEEN_MAX);
            (tell, (port, seen))
        })
        .unzip();
    std::thread::spawn(move || {
        while let Some(said) = line() {
            let way = said["way"].as_u64().unwrap() as usize;
            if tells[way].blocking_send(Seen::from_node(&said)).is_err() {
                return;
            }
        }
    });
    backends
}

/// Writes the configuration of a proxy (folder, ports, ports of the recorders behind) and says how to start it.
type Configure = fn(&std::path::Path, &[u16], &[u16]) -> Command;

/// Starts a proxy. A port that somebody took between our asking and its listening is worth another try.
fn proxy(running: &mut Running, folder: &std::path::Path, behind: &[u16], configure: Configure) -> Vec<u16> {
    for _ in 0..5 {
        let held: Vec<_> =
            behind.iter().map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        drop(held);
        let mut child = configure(folder, &ports, behind)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + LIMIT;
        loop {
            if ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                running.children.push(child);
                return ports;
            }
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                let _ = std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said);
                assert!(said.contains("in use"), "a proxy ended with {status}: {said}");
                break;
            }
            assert!(std::time::Instant::now() < deadline, "a proxy does not listen");
            std::thread::yield_now();
        }
    }
    panic!("no port stayed free");
}

fn nginx(folder: &std::path::Path, ports: &[u16], behind: &[u16]) -> Command {
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = String::from(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n\
         events { worker_connections 512; }\n\
         http {\n\
         access_log off; client_max_body_size 0; keepalive_timeout 1h; keepalive_requests 1000000;\n\
         client_header_buffer_size 64k; large_client_header_buffers 8 256k;\n\
         underscores_in_headers on; merge_slashes off; proxy_http_version 1.1; proxy_next_upstream off;\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n\
         proxy_set_header Host $http_host; proxy_set_header Connection \"\";\n",
    );
    for (port, behind) in ports.iter().zip(behind) {
        text.push_str(&format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}\n"
        ));
    }
    text.push_str("}\n");
    std::fs::write(folder.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(program("nginx").unwrap());
    command.arg("-p").arg(&folder).args(["-e", "stderr", "-c", "nginx.conf"]);
    command
}

fn haproxy(folder: &std::path::Path, ports: &[u16], behind: &[u16]) -> Command {
    let mut text = String::from(
        "global\n tune.bufsize 262144\n tune.http.maxhdr 512\n maxconn 256\n\
         defaults\n mode http\n option http-keep-alive\n retries 0\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n",
    );
    for (way, (port, behind)) in ports.iter().zip(behind).enumerate() {
        text.push_str(&format!(
            "frontend f{way}\n bind 127.0.0.1:{port}\n default_backend b{way}\n\
             backend b{way}\n server s 127.0.0.1:{behind}\n"
        ));
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(program("haproxy").unwrap());
    command.arg("-db").arg("-f").arg(file);
    command
}
