//! Renew the certificate of the edge while the system runs.

use std::path::Path;

use weft_testkit::http::{self, Client, Request};
use weft_testkit::load::Load;
use weft_testkit::tls::{Tls, leaf_of};
use weft_testkit::{Manifest, System, until};

use super::{ONE, WEFT};

/// A certificate and its key, PEM.
struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        Self { chain: signed.cert.pem(), key: signed.signing_key.serialize_pem() }
    }

    fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("edge.pem"), &self.chain).unwrap();
        std::fs::write(folder.join("edge.key"), &self.key).unwrap();
    }

    fn leaf(&self) -> Vec<u8> {
        leaf_of(&self.chain).to_vec()
    }
}

/// Both files come to be in one moment each, as certbot and most others do it.
fn rename_into(folder: &Path, pair: &Pair) {
    pair.write(&folder.join("next"));
    for name in ["edge.pem", "edge.key"] {
        std::fs::rename(folder.join("next").join(name), folder.join(name)).unwrap();
    }
}

/// As Kubernetes does: both files are links through one that is turned.
fn turn_to(folder: &Path, version: &str, pair: &Pair) {
    pair.write(&folder.join(version));
    std::os::unix::fs::symlink(version, folder.join("..next")).unwrap();
    std::fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
}

fn refusal(system: &System) -> Option<String> {
    let status = system.status();
    Some(status["gateway"]["instances"][0]["edge_refused"].as_str()?.to_owned())
}

fn start(name: &str, pair: &Pair) -> System {
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    pair.write(&files);
    let manifest = ONE.replace("gateway:", "gateway:\n  tls: { cert: edge.pem, key: edge.key }");
    System::up(WEFT, &Manifest::new(&manifest).beside(&files))
}

fn until_shown(system: &System, tls: &Tls, pair: &Pair) {
    until("a new connection is shown the certificate", || {
        (tls.shown_by(system.edge).ok()? == pair.leaf()).then_some(())
    });
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_or_a_failed_request() {
    let pairs: [Pair; 4] = std::array::from_fn(|_| Pair::new());
    let tls = Tls::trusting(pairs.iter().map(|pair| pair.chain.as_str()));
    let mut system = start("renewed", &pairs[0]);
    let folder = system.folder().to_owned();
    let edge = system.edge;
    assert_eq!(tls.shown_by(edge).unwrap(), pairs[0].leaf());
    let gateway = |system: &System| system.status()["gateway"]["instances"][0]["pid"].clone();
    let pid = gateway(&system);
    let mut open = Client::connect_with(edge, Some(&tls)).unwrap();
    assert_eq!(open.send(&Request::get("/echo")).unwrap().status, 200);
    // Connections that stay, and a handshake for each request.
    let kept = Load::start_with(edge, 2, &Request::get("/echo"), Some(&tls));
    let fresh = Load::start_with(edge, 2, &Request::get("/echo").field("connection", "close"), Some(&tls));

    rename_into(&folder, &pairs[1]);
    until_shown(&system, &tls, &pairs[1]);
    pairs[2].write(&folder);
    until_shown(&system, &tls, &pairs[2]);
    // To links that lead to the same at first.
    turn_to(&folder, "..1", &pairs[2]);
    for name in ["edge.pem", "edge.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.join("link")).unwrap();
        std::fs::rename(folder.join("link"), folder.join(name)).unwrap();
    }
    turn_to(&folder, "..2", &pairs[3]);
    until_shown(&system, &tls, &pairs[3]);

    assert_eq!(open.send(&Request::get("/echo")).unwrap().status, 200, "the open connection goes on");
    for load in [kept, fresh] {
        load.wait_for(20);
        let outcomes = load.stop();
        assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    }
    assert_eq!(gateway(&system), pid, "the same process served all of them");
    assert_eq!(refusal(&system), None);
    let metrics = http::get(system.metrics, "/metrics").unwrap().text();
    let expiry = |line: &str| {
        let (name, seconds) = line.rsplit_once(' ')?;
        name.starts_with("weft_edge_certificate_expiry_seconds{").then(|| seconds.parse::<f64>().unwrap())
    };
    assert!(metrics.lines().find_map(expiry).is_some_and(|seconds| seconds > 0.0), "{metrics}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_pair_that_does_not_fit_is_refused_and_shown_while_the_one_before_serves() {
    let (first, second) = (Pair::new(), Pair::new());
    let tls = Tls::trusting([first.chain.as_str(), second.chain.as_str()]);
    let mut system = start("unfit", &first);
    let folder = system.folder().to_owned();
    let fresh = Request::get("/echo").field("connection", "close");
    let load = Load::start_with(system.edge, 2, &fresh, Some(&tls));

    std::fs::write(folder.join("edge.key"), &second.key).unwrap();
    let reason = until("status shows the refusal", || refusal(&system));
    assert!(reason.contains("edge.key") && reason.contains("does not belong to the certificate"), "{reason}");
    until("the manifest is refused for it too", || {
        system.status()["refused"]["rendered"].as_str()?.contains("W1032").then_some(())
    });
    let shown = system.weft(&["status"]);
    assert!(shown.status == Some(1) && shown.out.contains(&reason), "{}", shown.out);
    load.wait_for(20);
    assert_eq!(tls.shown_by(system.edge).unwrap(), first.leaf());
    std::fs::write(folder.join("edge.pem"), "not a certificate\n").unwrap();
    until("the other mistake is shown", || refusal(&system)?.contains("not PEM").then_some(()));
    assert_eq!(tls.shown_by(system.edge).unwrap(), first.leaf());

    std::fs::write(folder.join("edge.pem"), &second.chain).unwrap();
    until_shown(&system, &tls, &second);
    until("no refusal is shown", || refusal(&system).is_none().then_some(()));
    until("nor one of the manifest", || system.status()["refused"].is_null().then_some(()));
    load.wait_for(20);
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    let log = system.log();
    for mistake in ["does not belong", "not PEM"] {
        let said =
            |line: &&str| line.contains("new certificate of the edge refused") && line.contains(mistake);
        assert_eq!(log.lines().filter(said).count(), 1, "{log}");
    }
    let mut secret = first.key.lines().chain(second.key.lines()).filter(|line| !line.starts_with('-'));
    assert!(!secret.any(|line| log.contains(line)), "{log}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
