//! Under pressure: processes that die at random, long load, more load than can be served, and many of everything. As a
//! part of the tests each is short and shows that it works; `cargo xtask soak`, `kills`, `floods`, `overload` and `scale` run them
//! for long, with a release build (`docs/under-pressure.md`).

#[cfg(test)]
mod pressure {
    //! One test for each question.

    mod floods;
    mod kills;
    mod overload;
    mod scale;
    mod soak;
    mod streams;

    use std::time::{Duration, Instant};

    use serde_json::Value;
    use weft_testkit::http::{Client, Request};
    use weft_testkit::{LIMIT, System};

    /// The executable under test.
    const WEFT: &str = env!("CARGO_BIN_EXE_weft");

    /// A number that `cargo xtask` sets, or the one that suits a test.
    fn setting(name: &str, default: u64) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "the toolbox says how long to run")]
        let said = std::env::var(name);
        said.ok().map_or(default, |said| said.parse().expect(name))
    }

    /// Lets load run for a while: what is looked at is what the load saw.
    fn pass(time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
    }

    /// Asks the admin API, over a connection of its own.
    fn admin(system: &System, path: &str) -> std::io::Result<Value> {
        let data = system.folder().join(".weft");
        let read = |name: &str| std::fs::read_to_string(data.join(name));
        let place: Value = serde_json::from_str(&read("control.json")?)?;
        let address = place["admin"].as_str().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| std::io::Error::other("control.json"))?;
        let token = format!("Bearer {}", read("admin.token")?.trim());
        let answer = Client::connect(address)?.send(&Request::get(path).field("authorization", &token))?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(std::io::Error::other(answer.outcome())) }
    }

    /// Whether as many instances are connected, ready, and run the current plan.
    fn is_whole(status: &Value, instances: usize) -> bool {
        let services = status["services"].as_array().into_iter().flatten();
        let gateways = status["gateway"]["instances"].as_array().into_iter().flatten();
        let all = services.flat_map(|service| service["instances"].as_array().into_iter().flatten());
        let good =
            |one: &&Value| one["state"] == "ready" && one["connected"] == true && one["current"] == true;
        all.chain(gateways).filter(good).count() == instances
    }

    fn say(line: &str) {
        eprintln!("{line}");
    }
}
