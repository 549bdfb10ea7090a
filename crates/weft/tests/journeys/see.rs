//! See what runs: status, edges, metrics.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value;
use weft_testkit::http;
use weft_testkit::ports::free;
use weft_testkit::{Manifest, System, python, tool, until};

use super::WEFT;

const MANIFEST: &str = "
system: seen
services:
  front: { run: \"{service} front\", health: /healthz, protocol: http, calls: [back] }
  back: { run: \"{service} back\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /**: front
observe: { metrics: \"{metrics}\" }
";

#[test]
fn status_names_every_instance_and_what_is_really_enforced() {
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let status = system.status();
    assert_eq!(status["system"], "seen");
    let services = status["services"].as_array().unwrap();
    assert_eq!(services.len(), 2, "{status}");
    for service in services {
        let instance = &service["instances"][0];
        assert_eq!((&instance["state"], &instance["current"]), (&"ready".into(), &true.into()), "{service}");
        assert!(
            instance["isolation"].as_str().is_some_and(|tier| tier.starts_with("peer-credentials")),
            "{service}"
        );
        assert!(instance["identity_expires_unix_s"].as_u64().is_some_and(|end| end > 0), "{service}");
    }
    assert_eq!(
        status["calls"].as_array().map(Vec::len),
        Some(2),
        "gateway to front, front to back: {status}"
    );
    let text = system.weft(&["status"]);
    assert_eq!(text.status, Some(0));
    assert!(text.out.contains("front") && text.out.contains("back"), "{}", text.out);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn metrics_count_each_edge_and_promtool_accepts_them() {
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    for _ in 0..10 {
        assert_eq!(http::get(system.edge, "/call/back/echo").unwrap().json()["status"], 200);
    }
    let metrics = system.metrics;
    let text = until("both edges are counted", || {
        let text = http::get(metrics, "/metrics").ok()?.text();
        let counted = |source: &str, destination: &str| {
            text.lines().any(|line| {
                line.starts_with("http_client_request_duration_seconds_count")
                    && line.contains(&format!("weft_source=\"{source}\""))
                    && line.contains(&format!("weft_destination=\"{destination}\""))
            })
        };
        (counted("gateway", "front") && counted("front", "back")).then_some(text)
    });
    check_with_promtool(&text);
    // `top` shows what happened between two reports.
    until("`weft top` shows both edges", || {
        http::get(system.edge, "/call/back/echo").ok()?;
        let top = system.weft(&["top", "--once", "--output", "json"]).json();
        let edges = top["edges"].as_array()?;
        let seen = |source: &str, destination: &str| {
            edges.iter().any(|edge| {
                edge["source"] == source
                    && edge["destination"] == destination
                    && edge["calls"].as_u64() > Some(0)
            })
        };
        (seen("gateway", "front") && seen("front", "back")).then_some(())
    });
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_real_prometheus_scrapes_the_edges() {
    let Some(prometheus) = tool("prometheus") else { return };
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let folder = system.folder().join("prometheus");
    std::fs::create_dir(&folder).unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: weft\n  static_configs: [ {{ targets: [\"{}\"] }} ]\n",
        system.metrics
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free()));
    let mut server = Command::new(prometheus)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(http::get(system.edge, "/call/back/echo").unwrap().json()["status"], 200);
    let query = "/api/v1/query?query=http_client_request_duration_seconds_count";
    until("Prometheus has scraped both edges", || {
        let answer = http::get(address, query).ok()?.json();
        let edges: Vec<_> = answer["data"]["result"].as_array()?.iter().map(|one| &one["metric"]).collect();
        let seen = |source: &str, destination: &str| {
            edges.iter().any(|edge| edge["weft_source"] == source && edge["weft_destination"] == destination)
        };
        (seen("gateway", "front") && seen("front", "back")).then_some(())
    });
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_real_receiver_gets_one_trace_of_gateway_and_sidecars() {
    let Some(python) = python("grpc, opentelemetry.proto.trace") else { return };
    for over in ["grpc", "http"] {
        let mut receiver = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../proxy/tests/otlp_receiver.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines().map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            line
        });
        let otlp = format!("http://127.0.0.1:{}", lines.next().unwrap()[over]);
        let observe = format!(
            "observe: {{ metrics: \"{{metrics}}\", traces: {{ otlp: \"{otlp}\", over: {over}, sample: 100% }} }}"
        );
        let plain = "observe: { metrics: \"{metrics}\" }";
        let mut system = System::up(WEFT, &Manifest::new(&MANIFEST.replace(plain, &observe)));
        assert_eq!(http::get(system.edge, "/call/back/echo").unwrap().json()["status"], 200);
        // Probes are not traced, so that all there is belongs to this one request.
        let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        while !["weft-gateway", "front", "back"].iter().all(|name| seen.contains_key(*name)) {
            let told = lines.next().unwrap();
            assert_eq!(told["over"], over, "{told}");
            let name = told["resource"]["service.name"].as_str().unwrap().to_owned();
            seen.entry(name).or_default().extend(told["spans"].as_array().unwrap().clone());
        }
        let all: Vec<&Value> = seen.values().flatten().collect();
        assert!(all.iter().all(|span| span["trace_id"] == all[0]["trace_id"]), "{seen:#?}");
        let first = all.iter().filter(|span| span["parent_span_id"] == "").count();
        assert_eq!(first, 1, "the gateway begins the trace: {seen:#?}");
        drop(receiver.stdin.take());
        receiver.wait().unwrap();
        assert!(system.interrupt().success());
        system.assert_nothing_left();
    }
}

fn check_with_promtool(metrics: &str) {
    let Some(promtool) = tool("promtool") else { return };
    let mut promtool =
        Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success(), "{metrics}");
}
