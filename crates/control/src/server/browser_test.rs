//! The console, looked at in a real browser: a system with live calls, then what Chromium made of the page.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weft_model::plan::{ActionPlan, GatewayPlan, Origin, OutboundPlan, RolePlan, RoutePlan, WeightedTarget};
use weft_model::wire::{Family, Kind, Sample};

use super::tests::*;

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A caller whose counters grow with each report.
struct Busy {
    source: &'static str,
    edges: &'static [(&'static str, &'static str, &'static str)],
    reports: AtomicU64,
}

impl DataPlane for Busy {
    fn apply_plan(&self, _: Plan, _: Option<EdgePair>) -> Result<(), String> {
        Ok(())
    }

    fn apply_endpoints(&self, _: Endpoints) {}

    fn trust_changed(&self) {}

    fn report(&self) -> Pin<Box<dyn Future<Output = Report> + Send>> {
        let n = self.reports.fetch_add(1, Ordering::Relaxed);
        let sample = |(destination, route, status): &(&str, &str, &str)| Sample {
            labels: [
                ("weft_source", self.source),
                ("weft_destination", destination),
                ("http_request_method", "GET"),
                ("http_route", route),
                ("http_response_status_code", status),
            ]
            .iter()
            .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
            .collect(),
            value: 0.1,
            buckets: vec![n * 20, n * 5, n],
        };
        let family = Family {
            name: crate::edges::FAMILY.to_owned(),
            help: "Calls.".to_owned(),
            kind: Kind::Histogram as i32,
            bounds: vec![0.005, 0.05],
            samples: self.edges.iter().map(sample).collect(),
        };
        Box::pin(std::future::ready(Report { families: vec![family] }))
    }
}

/// A gateway, two contexts, an instance that is missing, a name that would be markup if anybody parsed it.
fn system() -> Plans {
    let mut all = plans(&[("orders", &["catalog", "users"]), ("catalog", &[]), ("users", &[])]);
    for (service, context) in
        [("orders", "sales"), ("catalog", "<img src=x onerror=alert(1)>"), ("users", "identity")]
    {
        let plan = all.sidecars.get_mut(service).unwrap();
        let upstreams: Vec<String> = plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        let RolePlan::Sidecar(sidecar) = &mut plan.role else { unreachable!() };
        sidecar.context = Some(context.to_owned());
        sidecar.outbound = upstreams
            .into_iter()
            .map(|callee| OutboundPlan {
                variable: String::new(),
                origin: Origin::default(),
                endpoints: Vec::new(),
                callee,
            })
            .collect();
    }
    let mut gateway = plan("gateway", &["orders"]);
    let forward = ActionPlan::Forward {
        targets: vec![WeightedTarget { upstream: "orders".to_owned(), weight: 1 }],
        rewrite: None,
        replace: None,
    };
    let route = RoutePlan {
        key: "ANY /orders/**".to_owned(),
        origin: Origin { file: "weft.yaml".to_owned(), line: 7, column: 5 },
        host: None,
        method: None,
        path: "/orders/**".parse().unwrap(),
        headers: Vec::new(),
        query: Vec::new(),
        action: forward,
        timeout_ms: None,
        request_headers: Default::default(),
        response_headers: Default::default(),
        cors: None,
        mirror: None,
    };
    gateway.role = RolePlan::Gateway(GatewayPlan {
        listen: vec!["127.0.0.1:8080".to_owned()],
        tls: None,
        trusted_proxies: Vec::new(),
        routes: vec![route],
        timeout_ms: 15_000,
        timeout_whole: false,
    });
    all.gateway = Some(gateway);
    all
}

#[tokio::test]
async fn a_browser_shows_the_system_with_its_rates_and_runs_nothing_that_it_was_told() {
    let Some(browser) = BROWSERS.iter().find(|name| is_there(name)) else {
        assert!(std::env::var_os("CI").is_none(), "continuous integration installs what this test needs");
        eprintln!("NOT CHECKED: no Chromium is installed, so nobody looked at the console");
        return;
    };
    let folder = Folder::new();
    let source: Source = Arc::new(Mutex::new(Ok(system())));
    let control = Control::start(&folder, &source, None);
    let edge: &[_] = &[("orders", "/orders/{id}", "200")];
    let inner: &[_] =
        &[("catalog", "/products/{sku}", "200"), ("catalog", "/products/{sku}", "503"), ("users", "", "200")];
    let mut all = Vec::new();
    for (service, instance, port, source, edges) in [
        (crate::hub::GATEWAY, "gateway", 9_000, "gateway", edge),
        ("orders", "orders-1", 9_001, "orders", inner),
        ("catalog", "catalog-1", 9_002, "catalog", &[]),
    ] {
        let busy = Busy { source, edges, reports: AtomicU64::new(1) };
        all.push(Instance::start_with(&control, &folder, service, instance, port, Arc::new(busy)).await);
    }
    all[0].presence.send_modify(|presence| {
        presence.edge_refused = "the key does not belong to the certificate".to_owned();
        presence.edge_not_after = unix_s() + 10 * 86_400 + 3_600;
    });
    let findings = "error: `prot` is not a key\n <b>not bold</b>".to_owned();
    *source.lock().unwrap() = Err(findings.clone());
    control.shared.refuse_reload(findings);
    // Rates need two reports of each.
    let rates = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while control.shared.edges().iter().filter(|edge| edge.figures.calls > 0).count() < 3 {
            ticks.tick().await;
        }
    };
    patiently("the rates", rates).await;

    let token = std::fs::read_to_string(folder.0.join(TOKEN_FILE)).unwrap();
    let page = format!("http://{}/#token={token}", control.admin);
    let picture = std::env::temp_dir().join(format!("weft-console-{}.png", std::process::id()));
    let dom = look(browser, &page, &picture).await;
    assert!(std::fs::metadata(&picture).is_ok_and(|file| file.len() > 10_000), "a picture was taken");
    if std::env::var_os("WEFT_KEEP_PICTURE").is_none() {
        std::fs::remove_file(&picture).unwrap();
    }
    for text in [
        "orders-1",
        "catalog-1",
        "not ready",
        "serves the one before: the key does not belong to the certificate",
        "in 10 days",
        "/products/{sku}",
        "ANY /orders/**",
        "weft.yaml:7",
        "peer-credentials",
        "class=\"context\"",
        "edge flows",
        "edge flows fails",
        "&lt;img src=x",
        "&lt;b&gt;not bold&lt;/b&gt;",
        "live on",
    ] {
        assert!(dom.contains(text), "{text} is not in\n{dom}");
    }
    assert!(!dom.contains("<img src=\"x\"") && !dom.contains("<b>not"), "what was told is text, not markup");
    assert!(!dom.contains(token.as_str()), "the token is not left in the page");
}

fn unix_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[expect(clippy::disallowed_methods, reason = "whether a browser is installed is what the environment says")]
fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Opens the page, takes a picture of it after a moment of its own time, and gives its elements.
async fn look(browser: &str, page: &str, picture: &std::path::Path) -> String {
    let profile = Folder::new();
    let mut command = tokio::process::Command::new(browser);
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1280,1500",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--virtual-time-budget=5000",
        ])
        .arg(format!("--user-data-dir={}", profile.0.display()))
        .arg(format!("--screenshot={}", picture.display()))
        .args(["--dump-dom", page])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = patiently("the browser", command.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}
