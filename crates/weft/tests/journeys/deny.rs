//! Who may call whom: declared calls pass, everything else is refused, and not by the caller alone.

use weft_testkit::http::{self, Request};
use weft_testkit::{Manifest, System};

use super::WEFT;

/// `desk` may ask `vault` for one thing only; `lobby` may ask it nothing.
const MANIFEST: &str = "
system: bank
services:
  desk: { run: \"{service} desk\", health: /healthz, protocol: http, calls: [ \"vault GET /echo/open/**\" ] }
  lobby: { run: \"{service} lobby\", health: /healthz, protocol: http }
  vault: { run: \"{service} vault\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /desk/**: { to: desk, rewrite: / }
    ANY /lobby/**: { to: lobby, rewrite: / }
";

#[test]
fn only_declared_endpoints_of_declared_callees_are_reached() {
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let ask = |path: &str| http::get(system.edge, path).unwrap().json();

    let allowed = ask("/desk/call/vault/echo/open/1");
    assert_eq!(allowed["status"], 200, "{allowed}");
    let seen: serde_json::Value = serde_json::from_str(allowed["body"].as_str().unwrap()).unwrap();
    assert_eq!((&seen["name"], &seen["target"]), (&"vault".into(), &"/echo/open/1".into()));
    let caller = seen["fields"]["weft-caller"][0].as_str().unwrap_or_default();
    assert!(caller.starts_with("spiffe://") && caller.ends_with("/svc/desk"), "{seen}");

    for path in ["/desk/call/vault/echo/shut", "/desk/call/vault/echo/open/../shut"] {
        let denied = ask(path);
        assert_eq!(denied["status"], 403, "{path}: {denied}");
        assert!(denied["body"].as_str().unwrap().contains("W2003"), "{denied}");
    }

    // `lobby` has no address of `vault`; by the forward proxy it is refused.
    assert_eq!(http::get(system.edge, "/lobby/call/vault/echo").unwrap().status, 502);
    let denied = ask("/lobby/through/vault/echo/open/1");
    assert_eq!(denied["status"], 403, "{denied}");

    // Who says that he is somebody is not believed.
    let forged =
        Request::get("/desk/echo").field("weft-caller", "spiffe://bank.internal/ns/default/svc/desk");
    let seen = http::send(system.edge, &forged).unwrap().json();
    let caller = &seen["fields"]["weft-caller"];
    assert!(!caller.to_string().contains("svc/desk"), "{seen}");

    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_local_process_that_is_no_service_cannot_speak_for_one() {
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let url = outbound_of_desk(&system);
    // This test is a process of the machine like any other.
    let asked = http::get(url, "/echo/open/1");
    assert!(!asked.as_ref().is_ok_and(|answer| answer.status == 200), "{asked:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// Where `desk` reaches `vault`, as the kernel shows what `desk` was started with.
fn outbound_of_desk(system: &System) -> std::net::SocketAddr {
    let desk = system.processes(&["testkit-service", "desk"]);
    let found = desk.iter().find_map(|process| {
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let url = environment.split('\0').find_map(|line| line.strip_prefix("VAULT_URL=http://"))?;
        url.parse().ok()
    });
    found.expect("desk was told where vault is")
}
