//! Three times what a service can do. It works on eight requests at once, in order of arrival, and does not notice that
//! somebody gave up, as most do.

use weft_testkit::Manifest;
use weft_testkit::http;
use weft_testkit::offer::{Kind, Offer, Offered, Running};

use super::*;

const MANIFEST: &str = "
system: overload
services:
  worker: { run: \"{service} fast\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /**: worker
resilience:
  worker: { timeout: {timeout}s }
observe: { metrics: \"{metrics}\" }
";

/// So long one request is worked on; with eight places that makes a capacity of 80 a second.
const WORK_MS: u64 = 100;
const CAPACITY: u64 = 80;

#[test]
fn three_times_what_a_service_can_do_costs_nobody_an_answer_that_it_could_give() {
    let seconds = setting("WEFT_OVERLOAD_SECONDS", 8);
    // The shorter, the sooner a line is too long: 15 s is the default.
    let timeout_s = setting("WEFT_OVERLOAD_TIMEOUT_S", 4);
    let share_percent = setting("WEFT_OVERLOAD_PERCENT", 75);
    let mut system = System::up(WEFT, &Manifest::new(&MANIFEST.replace("{timeout}", &timeout_s.to_string())));
    let best = offer(&system, CAPACITY, seconds);
    let loaded = offer(&system, 3 * CAPACITY, seconds);
    let (best, good) = (best.good_per_second(), loaded.good_per_second());
    say(&format!(
        "  good a second: {best:.1} at what it can do, {good:.1} at three times that\n{}",
        loaded.table()
    ));

    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let share = share_percent as f64 / 100.0;
    assert!(good >= share * best, "{good:.1} of {best:.1}\n{}", loaded.table());
    let (answered, refused) = (loaded.of("200"), loaded.of("503 W2013"));
    let rest = loaded.unusual.len() as u64 - refused.count();
    assert!(rest * 20 <= answered.count(), "what is taken is answered in time\n{}", loaded.table());
    assert!(refused.count() > answered.count(), "{}", loaded.table());
    // Who is refused does not wait for those that are not.
    assert!(refused.at(99.0) < answered.at(50.0) / 4, "{}", loaded.table());
    let told = |one: &&weft_testkit::offer::Unusual| one.outcome.starts_with("503") && !one.retry_after;
    assert_eq!(loaded.unusual.iter().filter(told).count(), 0, "each refusal says when to come again");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// Offers so much for so long, while control and metrics are asked all the time.
fn offer(system: &System, per_second: u64, seconds: u64) -> Offered {
    let kinds = vec![Kind::get("work", &format!("/busy/{WORK_MS}"))];
    let load =
        Running::start(Offer { to: system.edge, kinds, per_second, open_max: 15_000, patience: 2 * LIMIT });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        pass(Duration::from_millis(100));
        let asked = Instant::now();
        let status = admin(system, "/v1/status").expect("the admin API answers");
        assert!(is_whole(&status, 2), "the probe of the service is answered\n{status:#}");
        assert_eq!(http::get(system.metrics, "/metrics").expect("metrics are answered").status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    say(&format!("  {per_second} offered a second: admin API and metrics together within {slowest:.1?}"));
    load.stop()
}
