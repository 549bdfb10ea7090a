//! Load by `wrk` (HTTP/1.1) and `h2load` (HTTP/2), and what they tell.

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::Place;
use super::scenario::{Load, Scenario};
use crate::shell::Shell;

/// What came of a round, as its client saw it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Loads a proxy for so many seconds; by HTTP/1.1 with `instead` connections where that is said.
pub(super) fn run(
    shell: &Shell,
    place: &Place,
    scenario: &Scenario,
    port: u16,
    seconds: u64,
    instead: Option<u64>,
) -> anyhow::Result<Seen> {
    let log = place.folder.join("h2load.log");
    let words = match scenario.load {
        Load::Http1 { connections, upload, .. } => {
            let scheme = if scenario.tls { "https" } else { "http" };
            let connections = instead.unwrap_or(connections.into());
            let mut words =
                vec!["wrk".to_owned(), "-t1".to_owned(), format!("-c{connections}"), format!("-d{seconds}s")];
            words.extend(["--latency", "--timeout", "10s"].map(str::to_owned));
            if upload {
                words.extend(["-s".to_owned(), script(place, "upload.lua", UPLOAD)?]);
            }
            words.push(format!("{scheme}://localhost:{port}{}", scenario.path()));
            words
        }
        Load::Http2 { connections, streams, grpc } => {
            // h2load appends.
            let _ = std::fs::remove_file(&log);
            let mut words = vec![
                "h2load".to_owned(),
                "-t1".to_owned(),
                format!("-c{connections}"),
                format!("-m{streams}"),
            ];
            words.extend([format!("-D{seconds}"), format!("--log-file={}", log.display())]);
            if grpc {
                let message = script(place, "message.bin", &grpc_message())?;
                let fields = ["content-type: application/grpc", "te: trailers"];
                words.extend(["-d".to_owned(), message]);
                words.extend(fields.iter().flat_map(|field| ["-H".to_owned(), (*field).to_owned()]));
            }
            words.push(format!("http://localhost:{port}{}", scenario.path()));
            words
        }
    };
    let mut taskset = shell.command("taskset");
    let output = taskset.args(["--cpu-list", &place.cores.1.to_string()]).args(&words).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    let seen = match scenario.load {
        Load::Http1 { .. } => of_wrk(&text),
        Load::Http2 { .. } => of_h2load(&text, &std::fs::read_to_string(&log)?),
    };
    seen.with_context(|| format!("{}:\n{text}", words.join(" ")))
}

const UPLOAD: &str = "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 1024 * 1024)\n";

/// One message of 100 bytes in the framing of gRPC.
fn grpc_message() -> String {
    format!("\0\0\0\0{}{}", char::from(100), "x".repeat(100))
}

fn script(place: &Place, name: &str, text: &str) -> anyhow::Result<String> {
    let path = place.folder.join(name);
    std::fs::write(&path, text)?;
    Ok(Path::display(&path).to_string())
}

fn of_wrk(text: &str) -> anyhow::Result<Seen> {
    let refused = text.lines().find(|line| line.contains("Non-2xx"));
    ensure!(refused.is_none(), "answers that are not 2xx");
    let field = |name: &str| {
        let found = text.lines().map(str::trim).find_map(|line| line.strip_prefix(name));
        found.map(str::trim).with_context(|| format!("no {name} in"))
    };
    let total =
        text.lines().find(|line| line.contains(" requests in ")).context("no count of requests in")?;
    let requests = total.split_whitespace().next().unwrap_or_default().parse()?;
    let per_second = field("Requests/sec:")?.parse()?;
    Ok(Seen {
        requests,
        per_second,
        p50_us: duration_us(field("50%")?)?,
        p99_us: duration_us(field("99%")?)?,
    })
}

/// `1.05ms`, `812.00us` or `1.20s`.
fn duration_us(text: &str) -> anyhow::Result<f64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        other => anyhow::bail!("`{other}` is no unit of time"),
    };
    Ok(digits.parse::<f64>()? * unit)
}

fn of_h2load(text: &str, log: &str) -> anyhow::Result<Seen> {
    let line = text.lines().find(|line| line.starts_with("requests:")).context("no count of requests in")?;
    let count = |word: &str| {
        let before = line.split(',').find_map(|part| part.trim().strip_suffix(word));
        before
            .and_then(|number| number.trim().rsplit(' ').next())
            .and_then(|number| number.parse::<u64>().ok())
    };
    let requests = count("succeeded").context("no count of successes in")?;
    let answered =
        text.lines().find(|line| line.starts_with("status codes:")).context("no status codes in")?;
    ensure!(answered.contains("0 3xx, 0 4xx, 0 5xx"), "answers that are not 2xx");
    let finished = text.lines().find(|line| line.starts_with("finished in")).context("no rate in")?;
    let per_second =
        finished.split(", ").find_map(|part| part.strip_suffix(" req/s")).context("no rate in")?;
    // Each line: when it began, its status, how long it took, both times in microseconds.
    let mut times: Vec<u64> = log.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect();
    ensure!(!times.is_empty(), "no times in the log of h2load");
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a short run")]
    let at = |percent: usize| times[(times.len() - 1) * percent / 100] as f64;
    Ok(Seen { requests, per_second: per_second.parse()?, p50_us: at(50), p99_us: at(99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_tells_is_understood() {
        let text = "  Latency Distribution\n     50%    1.05ms\n     75%    1.20ms\n     90%    1.5ms\n     99%  812.00us\n  \
                    120034 requests in 3.00s, 39.15MB read\nRequests/sec:  40011.33\nTransfer/sec:     13.05MB\n";
        let seen = Seen { requests: 120_034, per_second: 40_011.33, p50_us: 1050.0, p99_us: 812.0 };
        assert_eq!(of_wrk(text).unwrap(), seen);
        assert!(of_wrk(&format!("{text}  Non-2xx or 3xx responses: 3\n")).is_err());
    }

    #[test]
    fn what_h2load_tells_is_understood() {
        let text = "finished in 3.00s, 20120.00 req/s, 4.21MB/s\n\
                    requests: 60360 total, 60616 started, 60360 done, 60360 succeeded, 0 failed, 0 errored, 0 timeout\n\
                    status codes: 60616 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let log = "100\t200\t30\n101\t200\t10\n102\t200\t20\n";
        let seen = Seen { requests: 60_360, per_second: 20_120.0, p50_us: 20.0, p99_us: 20.0 };
        assert_eq!(of_h2load(text, log).unwrap(), seen);
        assert!(of_h2load(&text.replace("0 5xx", "7 5xx"), log).is_err());
    }
}
