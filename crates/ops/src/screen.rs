//! One calm screen. On a terminal: a table that is drawn again in its place, with the logs of the services scrolling
//! above it. Elsewhere: plain lines. For programs: a JSON object a line.
//!
//! Text of services is not trusted: what could move the cursor, set the title or hide other text is taken out, colours may
//! stay on a terminal.

mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

pub use text::neutral;

/// Letters to which names are padded at most.
const NAME_LETTERS_MAX: usize = 24;
/// Rows of the table at most; a taller one is cut, so that the logs stay visible.
const ROWS_MAX: usize = 40;
/// Bytes of logs that wait for the next drawing.
const PENDING_BYTES_MAX: usize = 256 * 1024;
/// Colours of names (SGR foregrounds); red is for trouble.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// How to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A terminal: table and colours.
    Live {
        /// Whether colours are wanted (`NO_COLOR` is not set).
        colour: bool,
    },
    /// Lines of text.
    Plain,
    /// A JSON object a line.
    Json,
}

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Service, `gateway` or `control`.
    pub service: String,
    /// Instance.
    pub instance: String,
    /// A word or two.
    pub state: String,
    /// How it is meant.
    pub mood: Mood,
    /// Where it listens.
    pub address: String,
    /// How often it was started again.
    pub restarts: u32,
}

/// Good, bad, or in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// On its way.
    #[default]
    Busy,
    /// In trouble.
    Bad,
}

/// What the table shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The first line.
    pub title: String,
    /// What is reached where, most important first.
    pub addresses: Vec<(String, String)>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Rows and columns of a terminal.
type Size = (usize, usize);

/// Of a terminal that does not say.
const SIZE: Size = (24, 80);

/// Size of the terminal on standard output, if it is one and says.
pub fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// A text that is drawn again in the place of the one before, from the first row of the terminal on; what does not fit is
/// left out.
pub fn page(text: &str, size: Option<(usize, usize)>) -> String {
    let (rows, columns) = size.unwrap_or(SIZE);
    // No line is taken away before its successor is there: nothing flickers.
    let mut page = "\x1b[H".to_owned();
    for line in text.lines().take(rows.saturating_sub(1)) {
        page.push_str(&cut(line, columns));
        page.push_str("\x1b[K\n");
    }
    page.push_str("\x1b[J");
    page
}

/// The screen. Nothing is written before [`Screen::flush`].
pub struct Screen<W> {
    out: W,
    mode: Mode,
    names: usize,
    pending: String,
    table: Table,
    /// Lines of the table as they stand on the terminal, whose size was this.
    drawn: Vec<String>,
    size: Size,
    dirty: bool,
}

impl<W: Write> Screen<W> {
    /// An empty screen on `out`.
    pub fn new(out: W, mode: Mode) -> Self {
        let table = Table::default();
        Self {
            out,
            mode,
            names: 7,
            pending: String::new(),
            table,
            drawn: Vec::new(),
            size: SIZE,
            dirty: false,
        }
    }

    /// The names that will come, so that they are padded alike from the beginning.
    pub fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.names =
            names.map(|name| name.chars().count()).fold(self.names, usize::max).min(NAME_LETTERS_MAX);
    }

    /// A line of somebody's log.
    pub fn log(&mut self, name: &str, line: &str) {
        match self.mode {
            Mode::Json => self.event(&json!({ "event": "log", "name": name, "line": neutral(line, false) })),
            Mode::Plain => {
                self.line(&format!("{name:width$} | {}", neutral(line, false), width = self.names));
            }
            Mode::Live { colour } => {
                let text = neutral(line, colour);
                let name = format!("{name:width$}", width = self.names);
                let (on, off) = if colour {
                    (format!("\x1b[{}m", colour_of(name.trim_end())), "\x1b[0m")
                } else {
                    Default::default()
                };
                self.line(&format!("{on}{name} |{off} {text}"));
            }
        }
    }

    /// Something that we say ourselves; `kind` is its name for programs. Several lines are fine.
    pub fn say(&mut self, kind: &str, text: &str, more: Value) {
        if self.mode == Mode::Json {
            let mut event = json!({ "event": kind, "text": text });
            if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
                event.extend(more);
            }
            return self.event(&event);
        }
        for line in text.lines() {
            self.line(&neutral(line, matches!(self.mode, Mode::Live { colour: true })));
        }
    }

    /// What the table shows from now on. For programs and in plain text: the rows that changed.
    pub fn table(&mut self, table: Table) {
        if table == self.table {
            return;
        }
        let before = std::mem::replace(&mut self.table, table);
        if matches!(self.mode, Mode::Live { .. }) {
            self.dirty = true;
            return;
        }
        let known: BTreeMap<&str, &Row> =
            before.rows.iter().map(|row| (row.instance.as_str(), row)).collect();
        for row in self.table.rows.clone() {
            if known.get(row.instance.as_str()).is_none_or(|old| old.state != row.state) {
                self.changed(&row);
            }
        }
    }

    fn changed(&mut self, row: &Row) {
        let Row { service, instance, state, address, restarts, .. } = row;
        match self.mode {
            Mode::Json => self.event(&json!({
                "event": "state", "service": service, "instance": instance, "state": state,
                "address": address, "restarts": restarts,
            })),
            _ => self.line(&format!("{:width$} : {state}", instance, width = self.names)),
        }
    }

    fn event(&mut self, event: &Value) {
        self.line(&event.to_string());
    }

    fn line(&mut self, line: &str) {
        if self.pending.len() > PENDING_BYTES_MAX {
            // Nobody reads so fast; better to write late than to hold more.
            let _ = self.flush(None);
        }
        self.pending.push_str(line);
        self.pending.push('\n');
        self.dirty = true;
    }

    /// Writes what waits, and draws the table for a terminal of `size` (rows, columns), if it is one; nothing where nothing
    /// changed, the size neither.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn flush(&mut self, size: Option<(usize, usize)>) -> io::Result<()> {
        let size = size.unwrap_or(SIZE);
        if !self.dirty && (size == self.size || self.drawn.is_empty()) {
            return Ok(());
        }
        self.dirty = false;
        self.size = size;
        let Mode::Live { colour } = self.mode else {
            self.out.write_all(self.pending.as_bytes())?;
            self.pending.clear();
            return self.out.flush();
        };
        let mut all = self.erase();
        all.push_str(&self.pending);
        self.pending.clear();
        let (rows, columns) = size;
        self.drawn = draw(&self.table, rows.saturating_sub(2).min(ROWS_MAX), columns, colour);
        // Of a table that is taller than the window, what scrolls out could not be taken away again.
        while covered(&self.drawn, columns) >= rows && self.drawn.pop().is_some() {}
        for line in &self.drawn {
            all.push_str(line);
            all.push('\n');
        }
        self.out.write_all(all.as_bytes())?;
        self.out.flush()
    }

    /// Takes the table away and stops drawing it, for the last words.
    pub fn end(&mut self) {
        if let Mode::Live { .. } = self.mode {
            let erase = self.erase();
            self.pending.insert_str(0, &erase);
            self.table = Table::default();
            self.mode = match self.mode {
                Mode::Live { .. } => Mode::Plain,
                other => other,
            };
            self.dirty = true;
        }
    }

    /// Goes back to where the table begins, in a window that may have another width by now.
    fn erase(&mut self) -> String {
        let lines = std::mem::take(&mut self.drawn);
        match covered(&lines, self.size.1) {
            0 => String::new(),
            rows => format!("\x1b[{rows}F\x1b[J"),
        }
    }
}

/// Rows that lines of ours cover.
fn covered(lines: &[String], columns: usize) -> usize {
    lines.iter().map(|line| height(line, columns)).sum()
}

/// Rows that a line of ours covers: a link is never cut, so that it can be followed, and may be longer than a row.
fn height(line: &str, columns: usize) -> usize {
    let letters = neutral(line, false).chars().count();
    letters.div_ceil(columns.max(1)).max(1)
}

/// The same name has the same colour in every run.
fn colour_of(name: &str) -> u8 {
    // FNV-1a.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let index = usize::try_from(hash % COLOURS.len() as u64).unwrap_or(0);
    COLOURS.get(index).copied().unwrap_or(36)
}

fn draw(table: &Table, rows_max: usize, columns: usize, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if table.rows.is_empty() && table.title.is_empty() {
        return lines;
    }
    let paint =
        |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    lines.push(String::new());
    lines.push(paint("1", &cut(&table.title, columns)));
    for (name, address) in &table.addresses {
        lines.push(format!("  {} {address}", paint("2", &format!("{name:<8}"))));
    }
    lines.push(String::new());
    let width = |of: fn(&Row) -> usize, least: usize| table.rows.iter().map(of).fold(least, usize::max);
    let services = width(|row| row.service.chars().count(), 7);
    let instances = width(|row| row.instance.chars().count(), 8);
    let states = width(|row| row.state.chars().count(), 8);
    let addresses = width(|row| row.address.chars().count(), 7);
    let line = |service: &str, instance: &str, state: &str, address: &str, restarts: &str| {
        let text = format!(
            "  {service:services$}  {instance:instances$}  {state:states$}  {address:addresses$}  {restarts}"
        );
        cut(text.trim_end(), columns)
    };
    lines.push(paint("2", &line("SERVICE", "INSTANCE", "STATE", "ADDRESS", "RESTARTS")));
    let room = rows_max.saturating_sub(lines.len() + 1).max(3);
    for row in table.rows.iter().take(room) {
        let restarts = if row.restarts == 0 { String::new() } else { row.restarts.to_string() };
        let text = line(&row.service, &row.instance, &row.state, &row.address, &restarts);
        let code = match row.mood {
            Mood::Good => "32",
            Mood::Busy => "33",
            Mood::Bad => "31",
        };
        lines.push(text.replacen(&row.state, &paint(code, &row.state), usize::from(!row.state.is_empty())));
    }
    if table.rows.len() > room {
        lines.push(format!("  … {} more: `weft status`", table.rows.len() - room));
    }
    lines
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(instance: &str, state: &str) -> Row {
        Row {
            service: instance.to_owned(),
            instance: instance.to_owned(),
            state: state.to_owned(),
            ..Row::default()
        }
    }

    fn shown(mode: Mode, show: impl FnOnce(&mut Screen<Vec<u8>>)) -> String {
        let mut screen = Screen::new(Vec::new(), mode);
        show(&mut screen);
        screen.flush(Some((24, 60))).unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn plain_lines_are_prefixed_padded_and_without_any_escape() {
        let text = shown(Mode::Plain, |screen| {
            screen.names(["greeter"].into_iter());
            screen.log("api", "\x1b[31mhello\x1b[0m \x1b]0;title\x07world");
            screen.table(Table { rows: vec![row("greeter", "ready")], ..Table::default() });
            screen.say("up", "shop is up", Value::Null);
        });
        assert_eq!(text, "api     | hello world\ngreeter : ready\nshop is up\n");
    }

    #[test]
    fn for_programs_every_line_is_an_object() {
        let text = shown(Mode::Json, |screen| {
            screen.log("api", "a\x1b[2J\"b\"");
            screen.say("up", "shop is up", json!({ "took_ms": 7 }));
            screen.table(Table { rows: vec![row("api", "ready")], ..Table::default() });
            screen.table(Table { rows: vec![row("api", "ready")], title: "x".into(), ..Table::default() });
        });
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 3, "a row that did not change is not told again");
        assert_eq!(events[0]["line"], "a\"b\"");
        assert_eq!((events[1]["event"].as_str(), events[1]["took_ms"].as_u64()), (Some("up"), Some(7)));
        assert_eq!(events[2]["state"], "ready");
    }

    #[test]
    fn the_table_stays_below_the_logs() {
        let mut screen = Screen::new(Vec::new(), Mode::Live { colour: false });
        screen.table(Table { title: "shop".into(), rows: vec![row("api", "ready")], ..Table::default() });
        screen.flush(Some((24, 60))).unwrap();
        let drawn = String::from_utf8(std::mem::take(&mut screen.out)).unwrap();
        assert!(!drawn.contains('\x1b'), "nothing to erase yet, no colour wanted: {drawn:?}");
        let lines = drawn.lines().count();
        screen.log("api", "hello");
        screen.flush(Some((24, 60))).unwrap();
        let again = String::from_utf8(std::mem::take(&mut screen.out)).unwrap();
        assert_eq!(again, format!("\x1b[{lines}F\x1b[Japi     | hello\n{drawn}"));
        screen.flush(Some((24, 60))).unwrap();
        assert!(screen.out.is_empty(), "nothing new is nothing drawn");
    }

    #[test]
    fn a_table_that_is_too_large_is_cut_in_both_directions() {
        let rows = (0..100).map(|n| row(&format!("service-with-a-long-name-{n}"), "starting")).collect();
        let lines = draw(&Table { title: "t".into(), rows, ..Table::default() }, 12, 40, false);
        assert!(lines.len() <= 12, "{}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        assert!(lines.last().unwrap().contains("more"));
    }

    #[test]
    fn a_link_is_whole_and_counted_as_the_rows_that_it_covers() {
        let link = format!("http://127.0.0.1:7700/#token={}", "a".repeat(64));
        let addresses = vec![("console".to_owned(), link.clone())];
        let table = Table { title: "t".into(), addresses, rows: vec![row("api", "ready")] };
        let lines = draw(&table, 20, 60, true);
        assert!(lines.iter().any(|line| line.contains(&link)));
        let mut screen = Screen::new(Vec::new(), Mode::Live { colour: true });
        screen.table(table);
        screen.flush(Some((24, 60))).unwrap();
        assert_eq!(covered(&screen.drawn, 60), lines.len() + 1);
    }

    #[test]
    fn a_name_keeps_its_colour() {
        assert_eq!(colour_of("orders"), colour_of("orders"));
        assert!(COLOURS.contains(&colour_of("")));
    }
}
