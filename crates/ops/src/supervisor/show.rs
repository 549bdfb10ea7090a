//! What the supervisor shows: the table, the addresses, logs of roles in short, and what went wrong in full.

use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use serde_json::Value;
use weft_model::plan::{Plans, RolePlan};

use super::Supervisor;
use super::machine::{Need, State, UnitId};
use super::process::LogLine;
use super::system::{Instance, Instead, What};
use crate::screen::{Mode, Mood, Row, Table, terminal_size};

impl<W: Write> Supervisor<W> {
    pub(super) fn log(&mut self, line: &LogLine) {
        let Some(what) = self.system.what(line.unit) else { return };
        let label = what.label();
        let text = match what {
            What::Service(_) | What::Build(_) => Some(line.text.clone()),
            _ => of_role(&line.text, self.settings.verbose),
        };
        // A role may have several lines to say at once.
        for line in text.iter().flat_map(|text| text.lines()) {
            self.screen.log(&label, line);
        }
    }

    pub(super) fn draw(&mut self) {
        let table = Table { title: self.title(), addresses: self.addresses(), rows: self.rows() };
        self.screen.table(table);
        let live = matches!(self.settings.mode, Mode::Live { .. });
        // Nobody reads any more: the system runs on, as a service should.
        let _ = self.screen.flush(if live { terminal_size() } else { None });
    }

    pub(super) fn title(&self) -> String {
        let name = &self.system_name;
        let edge = self.addresses().into_iter().find(|(name, _)| name == "edge").map(|(_, url)| url);
        match (self.stopping, self.took, edge) {
            (true, ..) => format!("{name} is going down"),
            (false, None, _) => {
                let s = self.now().since(self.started).as_secs();
                if s == 0 { format!("{name} is starting") } else { format!("{name} is starting ({s}s)") }
            }
            (false, Some(took), Some(edge)) => format!("{name} is up in {:.1}s — {edge}", took.as_secs_f64()),
            (false, Some(took), None) => format!("{name} is up in {:.1}s", took.as_secs_f64()),
        }
    }

    pub(super) fn addresses(&self) -> Vec<(String, String)> {
        let scheme = if self.edge_tls { "https" } else { "http" };
        let mut all: Vec<(String, String)> =
            self.system.edge().iter().map(|edge| ("edge".to_owned(), format!("{scheme}://{edge}"))).collect();
        if let Some(admin) = self.admin {
            all.push(("console".to_owned(), format!("http://{admin}/{}", self.login())));
        }
        if let Some(metrics) = &self.metrics {
            all.push(("metrics".to_owned(), format!("http://{metrics}/metrics")));
        }
        all
    }

    /// The fragment that opens the console. Only a terminal gets it: whatever else we write to is kept, and read by others.
    fn login(&self) -> String {
        if !matches!(self.settings.mode, Mode::Live { .. }) {
            return String::new();
        }
        let token = std::fs::read_to_string(self.data_dir.path().join("admin.token")).unwrap_or_default();
        format!("#token={}", token.trim())
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .system
            .units()
            .filter_map(|(unit, what)| {
                let state = self.machine.state(unit)?;
                let row = self.row(unit, what, state);
                let quiet = match what {
                    What::Sidecar(instance) => instance.foreign.is_none() && row.mood == Mood::Good,
                    What::Build(_) => state == State::Built,
                    _ => false,
                };
                (!quiet).then_some(row)
            })
            .collect();
        let order = |row: &Row| match row.service.as_str() {
            "gateway" => 0,
            "control" => 2,
            _ => 1,
        };
        rows.sort_by(|a, b| (order(a), &a.service, &a.instance).cmp(&(order(b), &b.service, &b.instance)));
        rows
    }

    fn row(&self, unit: UnitId, what: &What, state: State) -> Row {
        let (service, instance, address) = match what {
            What::Control(_) => {
                ("control".to_owned(), "control".to_owned(), self.admin.map(|admin| admin.to_string()))
            }
            What::Gateway(sockets) => (
                "gateway".to_owned(),
                "gateway".to_owned(),
                sockets.addresses().first().map(ToString::to_string),
            ),
            What::Sidecar(instance) => (
                instance.launch.service.clone(),
                format!("{} sidecar", instance.name),
                instance.foreign.map(|address| address.to_string()),
            ),
            What::Service(instance) => (
                instance.launch.service.clone(),
                instance.name.clone(),
                Some(format!("127.0.0.1:{}", instance.told.port)),
            ),
            What::Build(build) => (build.service.clone(), "build".to_owned(), None),
        };
        let (state, mood) = self.state(unit, what, state);
        let restarts = self.machine.restarts(unit);
        Row { service, instance, state, mood, address: address.unwrap_or_default(), restarts }
    }

    fn state(&self, unit: UnitId, what: &What, state: State) -> (String, Mood) {
        let foreign = matches!(what, What::Sidecar(instance) if instance.foreign.is_some());
        match state {
            State::Waiting if self.is_unbuilt(unit) => ("not built".to_owned(), Mood::Bad),
            State::Waiting => (self.waiting_for(unit), Mood::Busy),
            State::Starting if matches!(what, What::Build(_)) => ("building".to_owned(), Mood::Busy),
            State::Starting => ("starting".to_owned(), Mood::Busy),
            State::Up { ill: true, .. } => ("ill".to_owned(), Mood::Bad),
            State::Up { .. } if foreign => ("yours".to_owned(), Mood::Good),
            State::Up { .. } if self.machine.leaves(unit) => ("leaving".to_owned(), Mood::Busy),
            State::Up { .. } | State::Built => ("ready".to_owned(), Mood::Good),
            State::Backoff { until } if self.units.get(&unit).is_some_and(|known| !known.why.is_empty()) => {
                let s = self.now().until(until).as_secs_f64().ceil();
                let text = if s > 0.0 { format!("crashed, again in {s:.0}s") } else { "crashed".to_owned() };
                (text, Mood::Bad)
            }
            State::Backoff { .. } => ("crashed".to_owned(), Mood::Bad),
            State::Retiring { .. } => ("draining".to_owned(), Mood::Busy),
            State::Stopping { .. } => ("stopping".to_owned(), Mood::Busy),
            State::Killed => ("killed".to_owned(), Mood::Bad),
        }
    }

    fn is_unbuilt(&self, unit: UnitId) -> bool {
        self.units.get(&unit).is_some_and(|known| known.given_up == Some(Instead::Unbuilt))
    }

    fn waiting_for(&self, unit: UnitId) -> String {
        let services = self.machine.missing(unit).into_iter().filter_map(|need| match need {
            Need::Built(_) => Some("its build".to_owned()),
            Need::First(group) => Some(group),
            Need::Always(_) | Need::Once(_) | Need::Outlived(_) | Need::Gone(_) => None,
        });
        match services.into_iter().next() {
            Some(service) => format!("waits for {service}"),
            None => "waiting".to_owned(),
        }
    }
}

/// A role's log line, if it is to be shown: what asks for attention, access logs, and everything if `verbose`.
fn of_role(line: &str, verbose: bool) -> Option<String> {
    let Ok(Value::Object(mut event)) = serde_json::from_str::<Value>(line) else {
        return Some(line.to_owned());
    };
    let mut take = |name: &str| match event.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (level, target, message) = (take("level"), take("target"), take("message"));
    if level.is_empty() {
        return Some(line.to_owned());
    }
    take("timestamp");
    // We read the manifest ourselves, and show what is wrong with it.
    if message.starts_with("the manifest is refused") && !verbose {
        return None;
    }
    let asks = matches!(level.as_str(), "WARN" | "ERROR");
    if !verbose && !asks && !target.contains("access") {
        return None;
    }
    let fields = event.iter().map(|(name, value)| match value {
        Value::String(text) => format!(" {name}={text}"),
        other => format!(" {name}={other}"),
    });
    let level = if asks || verbose { format!("{} ", level.to_lowercase()) } else { String::new() };
    // A line of the access log has no message, only fields.
    Some(format!("{level}{}", format!("{message}{}", fields.collect::<String>()).trim_start()))
}

/// How a process ended.
pub(super) fn ending(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        // A keeper tells the signal of its child in the way of a shell.
        Some((Some(code @ 129..=159), _)) => format!("was killed by signal {}", code - 128),
        Some((Some(code), _)) => format!("exited with status {code}"),
        Some((None, Some(number))) => format!("was killed by signal {number}"),
        _ => "ended".to_owned(),
    }
}

/// What a unit is, within a sentence.
pub(super) fn subject(what: &What) -> String {
    match what {
        What::Control(_) => "control".to_owned(),
        What::Gateway(_) => "the gateway".to_owned(),
        What::Sidecar(instance) => format!("the sidecar of {}", instance.name),
        What::Service(instance) => format!("service `{}`", instance.launch.service),
        What::Build(build) => format!("the build of `{}`", build.service),
    }
}

/// Why a unit did not come up: what it is, how it ended, and what it said last.
pub(super) fn failure(what: &What, why: &str, tail: &[String], runs: bool) -> String {
    let command = match what {
        What::Control(_) | What::Gateway(_) | What::Sidecar(_) => None,
        What::Service(instance) => Some(&instance.launch.run),
        What::Build(build) => Some(&build.command),
    };
    let subject = subject(what);
    let how = match what {
        What::Build(_) => format!("failed: it {why}"),
        What::Service(instance) if runs => {
            format!(
                "is not well on port {} (`health` in the manifest says what is asked)",
                instance.told.port
            )
        }
        _ if runs => "did not get ready in time".to_owned(),
        _ => format!("did not come up: {why}"),
    };
    let mut text = format!("{subject} {how}");
    if let Some(command) = command {
        text.push_str(&format!("\n  command: {}", command.trim()));
    }
    if !tail.is_empty() {
        text.push_str("\n  it said last:");
    }
    for line in tail {
        let line = match what {
            What::Service(_) | What::Build(_) => line.clone(),
            _ => of_role(line, true).unwrap_or_default(),
        };
        text.push_str(&format!("\n    {}", crate::screen::neutral(&line, false)));
    }
    text
}

/// What whoever runs a service himself has to know.
pub(super) fn foreign(instance: &Instance) -> String {
    let mut text = format!(
        "{} is yours: start it to listen on 127.0.0.1:{} with this environment; its sidecar lets every process of this machine \
         speak for it",
        instance.launch.service, instance.told.port
    );
    let told = instance.told.variables().into_iter().map(|(name, value)| (name, word(&value)));
    // A variable of the user's stays one: its value may be a secret.
    let manifest = instance.launch.env.iter().filter(|(name, _)| *name != "PORT");
    let manifest = manifest.map(|(name, value)| (name.clone(), word_of_references(value.written())));
    for (name, value) in told.chain(manifest) {
        text.push_str(&format!("\n  export {name}={value}"));
    }
    text
}

/// `value` as one word of a shell, which takes nothing in it for its own.
fn word(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/._,-".contains(&byte));
    if plain && !value.is_empty() { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

/// A value of the manifest as one word of a shell, which fills in each `${NAME}` as we would, and nothing else.
fn word_of_references(written: &str) -> String {
    let (mut words, mut literal, mut rest) = (String::new(), String::new(), written);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = after;
            continue;
        }
        literal.push_str(before);
        if !literal.is_empty() {
            words.push_str(&word(&literal));
            literal.clear();
        }
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        words.push_str(&format!("\"${{{name}}}\""));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || words.is_empty() {
        words.push_str(&word(&literal));
    }
    words
}

/// Where metrics are wanted.
pub(super) fn metrics_of(plans: &Plans) -> Option<String> {
    let any = plans.gateway.as_ref().or_else(|| plans.sidecars.values().next());
    any.and_then(|plan| plan.observe.metrics.clone())
}

/// Whether the edge speaks TLS.
pub(super) fn edge_tls(plans: &Plans) -> bool {
    plans.gateway.as_ref().is_some_and(|plan| match &plan.role {
        RolePlan::Gateway(gateway) => gateway.tls.is_some(),
        RolePlan::Sidecar(_) => false,
    })
}

/// The same for the same path in every run (FNV-1a).
pub(super) fn stable_hash(path: &Path) -> u64 {
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_log_is_shown_where_it_asks_for_attention() {
        let line = |level: &str, target: &str| {
            format!(
                r#"{{"timestamp":"t","level":"{level}","message":"hello","target":"{target}","n":7,"s":"x"}}"#
            )
        };
        assert_eq!(of_role(&line("WARN", "weft"), false).unwrap(), "warn hello n=7 s=x");
        assert_eq!(of_role(&line("INFO", "weft"), false), None);
        assert_eq!(of_role(&line("INFO", "weft"), true).unwrap(), "info hello n=7 s=x");
        assert_eq!(of_role(&line("INFO", "weft::access"), false).unwrap(), "hello n=7 s=x");
        let access = r#"{"level":"INFO","target":"weft::access","status":200}"#;
        assert_eq!(of_role(access, false).unwrap(), "status=200");
        assert_eq!(of_role("thread 'main' panicked", false).unwrap(), "thread 'main' panicked");
        assert_eq!(of_role("[1]", false).unwrap(), "[1]");
    }

    #[test]
    fn what_is_told_to_be_exported_is_what_the_service_would_have_got() {
        let written = [
            ("plain/1.0", "plain/1.0"),
            ("", ""),
            ("a b'c ", "a b'c "),
            ("x${WEFT_A}y", "xone  two$y"),
            ("postgres://u:${WEFT_A}@h/db?x=`y`&z=\"!\"", "postgres://u:one  two$@h/db?x=`y`&z=\"!\""),
            ("$${WEFT_A} $HOME", "${WEFT_A} $HOME"),
        ];
        for (written, value) in written {
            let script = format!("export V={}; printf %s \"$V\"", word_of_references(written));
            let shell =
                std::process::Command::new("sh").args(["-c", &script]).env("WEFT_A", "one  two$").output();
            assert_eq!(String::from_utf8(shell.unwrap().stdout).unwrap(), value, "{script}");
        }
        assert_eq!(word("a b'c "), r"'a b'\''c '");
    }

    #[test]
    fn endings_are_told_in_words() {
        let of = |raw: i32| ending(Some(ExitStatus::from_raw(raw)));
        assert_eq!(of(0), "exited with status 0");
        assert_eq!(of(3 << 8), "exited with status 3");
        assert_eq!(of(9), "was killed by signal 9");
        assert_eq!(of((128 + 11) << 8), "was killed by signal 11");
    }
}
