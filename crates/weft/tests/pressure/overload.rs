//! Three times what a service can do. It works on eight requests at once, in order of arrival, and does not notice that
//! somebody gave up, as most do.

use weft_testkit::offer::{Kind, Offer, Offered, Running, Times};
use weft_testkit::{Manifest, bench, http};

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

/// So long one request is worked on; with the places of the service that makes a capacity of 80 a second.
const WORK_MS: u64 = 100;
/// What is too much is refused so, and says when to come again.
const REFUSED: &str = "503 W2013";
/// What was taken and had no answer at its time limit ends so.
const LATE: &str = "504 W3009";

#[test]
fn three_times_what_a_service_can_do_costs_nobody_an_answer_that_it_could_give() {
    let seconds = setting("WEFT_OVERLOAD_SECONDS", 8);
    // The shorter, the sooner a line is too long: 15 s is the default.
    let timeout_s = setting("WEFT_OVERLOAD_TIMEOUT_S", 4);
    let work_ms = setting("WEFT_OVERLOAD_WORK_MS", WORK_MS);
    let slack = Slack::told();
    let capacity = bench::WORK_PLACES as u64 * 1000 / work_ms;
    let mut system = System::up(WEFT, &Manifest::new(&MANIFEST.replace("{timeout}", &timeout_s.to_string())));
    let best = offer(&system, work_ms, capacity, seconds);
    let loaded = offer(&system, work_ms, 3 * capacity, seconds);
    say(&format!("  at what it can do: {:.1} good a second\n{}", best.good_per_second(), best.table()));
    say(&format!("  at three times that: {:.1}\n{}", loaded.good_per_second(), loaded.table()));

    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let least = best.good_per_second() * slack.good_percent as f64 / 100.0;
    assert!(loaded.good_per_second() >= least, "less than {least:.1} good a second");
    slack.assert_promised(&best, Duration::from_secs(timeout_s));
    slack.assert_promised(&loaded, Duration::from_secs(timeout_s));
    let (answered, refused) = (loaded.of("200"), loaded.of(REFUSED));
    assert!(refused.count() > answered.count(), "it was asked for far more than it can do");
    // Who is refused does not wait for those that are not.
    let at_once = answered.at(50.0) / 4;
    let at_once = slack.refused_within.map_or(at_once, |within| at_once.min(within));
    assert!(refused.at(99.0) < at_once, "refused at once: {:.1?}", refused.at(99.0));
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// How much worse it may be than promised. A run for long allows nothing, and so wants the machine for itself. The short
/// one shares it with other tests, and the service works by the clock: where they keep it for one second of the eight, that is
/// an eighth of what it can do, and a quarter of the time of a request whose turn was to come at three quarters of it.
struct Slack {
    /// Good answers of those that there were without overload; promised are 90.
    good_percent: u64,
    /// Of what was taken, what may be late; promised is nothing.
    late_percent: u64,
    /// Of the time limit, how long an answer may take on the clock of the client, which begins before Weft has read the
    /// request; 0: that clock is not asked, and what Weft itself finds to be late counts alone.
    limit_percent: u64,
    /// Within what time 99 of 100 refusals come; absent: a quarter of the time that those who are answered wait.
    refused_within: Option<Duration>,
}

impl Slack {
    fn told() -> Self {
        let refused_ms = setting("WEFT_OVERLOAD_REFUSED_MS", 0);
        Self {
            refused_within: (refused_ms > 0).then(|| Duration::from_millis(refused_ms)),
            good_percent: setting("WEFT_OVERLOAD_PERCENT", 75),
            late_percent: setting("WEFT_OVERLOAD_LATE_PERCENT", 5),
            limit_percent: setting("WEFT_OVERLOAD_LIMIT_PERCENT", 0),
        }
    }

    /// All that was offered has one of two ends: an answer within the time limit, or a refusal that says when to come again.
    fn assert_promised(&self, offered: &Offered, limit: Duration) {
        assert_eq!(offered.held_back, 0, "all of it was sent");
        let (answered, refused, late) = (offered.of("200"), offered.of(REFUSED), offered.of(LATE));
        let all: u64 = offered.outcomes.values().map(Times::count).sum();
        assert_eq!(answered.count() + refused.count() + late.count(), all, "there is no other end");
        assert!(
            late.count() * 100 <= answered.count() * self.late_percent,
            "what is taken is answered in time"
        );
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let most = limit.mul_f64(self.limit_percent as f64 / 100.0);
        assert!(
            self.limit_percent == 0 || answered.longest() <= most,
            "an answer came after more than {most:?}"
        );
        let told = offered.unusual.iter().filter(|one| one.outcome == REFUSED && one.retry_after).count();
        assert_eq!(told as u64, refused.count(), "each refusal says when to come again");
    }
}

/// Offers so much for so long, while control and metrics are asked all the time.
fn offer(system: &System, work_ms: u64, per_second: u64, seconds: u64) -> Offered {
    let kinds = vec![Kind::get("work", &format!("/busy/{work_ms}"))];
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
