//! gRPC with an implementation that nobody here wrote, on both ends: Python's `grpcio`.

use std::path::PathBuf;
use std::process::Command;

use weft_testkit::{Manifest, System, tool};

use super::WEFT;

#[test]
fn calls_of_every_shape_pass_and_their_ends_are_told_apart() {
    let Some(python) = python_with_grpc() else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/journeys/grpc");
    let manifest = format!(
        "
system: prices
services:
  prices: {{ run: \"{} prices.py\", protocol: grpc }}
gateway:
  listen: \"{{edge}}\"
  auth: none
  routes:
    POST /prices.v1.Prices/**: prices
",
        python.display()
    );
    let mut system = System::up(WEFT, &Manifest::new(&manifest).beside(&folder));
    let client =
        Command::new(&python).arg(folder.join("client.py")).arg(system.edge.to_string()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&client.stdout), String::from_utf8_lossy(&client.stderr));
    assert!(client.status.success(), "{out}{err}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// The Python of `cargo xtask servers`, or another one that knows gRPC.
fn python_with_grpc() -> Option<PathBuf> {
    let python = tool("python3")?;
    let knows = Command::new(&python).args(["-c", "import grpc, grpc_health.v1.health"]).output().unwrap();
    if knows.status.success() {
        return Some(python);
    }
    // Says that it is skipped, or fails in continuous integration.
    tool("a python3 with grpcio and grpcio-health-checking")
}
