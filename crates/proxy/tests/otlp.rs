//! Spans on their way to a receiver that nobody here wrote: the messages that OpenTelemetry publishes, served by grpcio
//! and by Python's own HTTP server. `cargo xtask test` installs what it needs and sets `WEFT_TEST_TOOLS`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use weft_model::plan::{TracesOver, TracesPlan};
use weft_proxy::{Exporter, Resource, Span, TraceContext};
use weft_stdx::clock::Clock;

/// The receiver; it ends when its standard input does.
struct Receiver {
    process: Child,
    lines: BufReader<ChildStdout>,
    ports: Value,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Receiver {
    /// `None` where Python or its packages are missing; in continuous integration that is a failure.
    fn start(args: &[&str]) -> Option<Receiver> {
        let python = python();
        let there = Command::new(&python).args(["-c", "import grpc, opentelemetry.proto.trace"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            let missing = format!(
                "SKIPPED: `{}` has no grpcio and opentelemetry-proto; run `cargo xtask test`",
                python.display()
            );
            assert!(environment("CI").is_none(), "{missing}");
            let _ = writeln!(std::io::stderr(), "{missing}");
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/otlp_receiver.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut receiver = Receiver { process, lines, ports: Value::Null };
        receiver.ports = receiver.line();
        Some(receiver)
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn plan(&self, over: TracesOver) -> TracesPlan {
        let name = if over == TracesOver::Grpc { "grpc" } else { "http" };
        let url = format!("http://127.0.0.1:{}", self.ports[name]);
        TracesPlan { url, over, sample_bp: 10_000 }
    }
}

fn python() -> PathBuf {
    environment("WEFT_TEST_TOOLS")
        .map(|bin| PathBuf::from(bin).join("python"))
        .unwrap_or_else(|| "python3".into())
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the toolbox where their tools are")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn span(number: u8) -> Span {
    Span {
        context: TraceContext {
            trace_id: [0xab; 16],
            span_id: [number; 8],
            parent_id: if number == 1 { [0; 8] } else { [1; 8] },
            sampled: true,
        },
        server: number == 1,
        name: if number == 1 { "GET /orders/{id}" } else { "shop.Pricing/Quote" }.to_owned(),
        source: "outside".to_owned(),
        destination: "orders".to_owned(),
        method: if number == 1 { "GET" } else { "POST" },
        status: if number == 1 { 503 } else { 200 },
        grpc: (number != 1).then_some(0),
        code: (number == 1).then_some("W2302"),
        start: UNIX_EPOCH + Duration::new(1_700_000_000, 5_000),
        duration_us: 250,
        attempts: u32::from(number),
    }
}

/// Runs an exporter on a thread of its own until the receiver has what was handed over.
fn export(plan: TracesPlan, spans: Vec<Span>, received: impl FnOnce()) {
    let resource =
        Resource { service: "orders".to_owned(), instance: "orders-1".to_owned(), build: "9.9.9".to_owned() };
    let (exporter, sender, export) = Exporter::new(resource, Clock::system());
    exporter.set(Some(plan));
    spans.into_iter().for_each(|span| sender.try_send(span).unwrap());
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, export.run());
    });
    received();
    exporter.finish();
    running.join().unwrap();
}

fn check(received: &Value, over: &str) {
    assert_eq!(received["over"], over, "{received}");
    assert_eq!(received["resource"]["service.name"], "orders");
    assert_eq!(received["resource"]["service.instance.id"], "orders-1");
    assert_eq!(received["scope"], serde_json::json!(["weft", "9.9.9"]));
    let (first, second) = (&received["spans"][0], &received["spans"][1]);
    assert_eq!(first["trace_id"], "ab".repeat(16));
    assert_eq!(first["span_id"], "01".repeat(8));
    assert_eq!(first["parent_span_id"], "");
    assert_eq!(first["name"], "GET /orders/{id}");
    assert_eq!(first["start"], 1_700_000_000_000_005_000_u64);
    assert_eq!(first["end"], 1_700_000_000_000_255_000_u64);
    // SPAN_KIND_SERVER and STATUS_CODE_ERROR.
    assert_eq!((&first["kind"], &first["status"]), (&2.into(), &2.into()));
    // 64-bit numbers are strings in the JSON of protobuf.
    let expected = serde_json::json!({
        "http.request.method": "GET", "http.response.status_code": "503", "http.route": "/orders/{id}",
        "weft.source": "outside", "weft.destination": "orders", "weft.code": "W2302", "weft.attempts": "1",
    });
    assert_eq!(first["attributes"], expected);

    assert_eq!((&first["unknown_fields"], &second["unknown_fields"]), (&0.into(), &0.into()));
    assert_eq!(second["parent_span_id"], "01".repeat(8));
    assert_eq!(second["name"], "shop.Pricing/Quote");
    // SPAN_KIND_CLIENT and STATUS_CODE_UNSET.
    assert_eq!((&second["kind"], &second["status"]), (&3.into(), &0.into()));
    assert_eq!(second["attributes"]["rpc.grpc.status_code"], "0");
}

#[test]
fn a_receiver_takes_spans_over_grpc_and_http() {
    let Some(mut receiver) = Receiver::start(&[]) else { return };
    for (over, name) in [(TracesOver::Grpc, "grpc"), (TracesOver::Http, "http")] {
        export(receiver.plan(over), vec![span(1), span(2)], || {
            let received = receiver.line();
            check(&received, name);
            assert!(received["how"].to_string().contains("weft/"), "who sends: {received}");
        });
    }
}

#[test]
fn a_receiver_that_is_not_ready_gets_the_spans_later() {
    let Some(mut receiver) = Receiver::start(&["--fail-first"]) else { return };
    for (over, name) in [(TracesOver::Grpc, "grpc"), (TracesOver::Http, "http")] {
        export(receiver.plan(over), vec![span(1), span(2)], || {
            assert_eq!(receiver.line()["turned_away"], true);
            check(&receiver.line(), name);
        });
    }
}

#[test]
fn a_large_batch_passes_the_windows_of_http2() {
    let Some(mut receiver) = Receiver::start(&[]) else { return };
    let long = |number| Span { destination: "d".repeat(2000), ..span(number) };
    let spans: Vec<Span> = (0..512_u16).map(|number| long(number.to_le_bytes()[0])).collect();
    for over in [TracesOver::Grpc, TracesOver::Http] {
        export(receiver.plan(over), spans.clone(), || {
            let received = receiver.line();
            assert_eq!(received["spans"].as_array().map(Vec::len), Some(512));
        });
    }
}
