//! What a person sees at a terminal: the screen of `weft up`, the table of `weft top`, and what is left when the terminal
//! goes away. The terminal is a real one, held by Python.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use weft_testkit::{LIMIT, Manifest, System, ports, processes, tool, until};

use super::{ONE, WEFT};

/// What makes the cursor go up and takes away what is below it.
const ERASED: &str = "\u{1b}[J";
const CTRL_C: &str = "key 3";

/// A program at a terminal.
struct Terminal {
    holder: Child,
    drawn: Receiver<Vec<u8>>,
    text: String,
    /// How much of the text was looked at.
    seen: usize,
}

impl Terminal {
    fn start(python: &Path, folder: &Path, size: (u32, u32), kind: &str, words: &[&str]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/journeys/terminal/terminal.py");
        let mut holder = Command::new(python)
            .arg(script)
            .args([size.0.to_string(), size.1.to_string(), WEFT.to_owned()])
            .args(words)
            .current_dir(folder)
            .env("TERM", kind)
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = holder.stdout.take().unwrap();
        let (send, drawn) = sync_channel(1024);
        std::thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(read @ 1..) = out.read(&mut piece) {
                if send.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { holder, drawn, text: String::new(), seen: 0 }
    }

    fn does(&mut self, what: &str) {
        let stdin = self.holder.stdin.as_mut().unwrap();
        stdin.write_all(format!("{what}\n").as_bytes()).unwrap();
        self.seen = self.text.len();
    }

    /// Waits for something to be drawn since the last deed, and returns all of it.
    fn shows(&mut self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            if matches(&self.text[self.seen..]) {
                return self.text[self.seen..].to_owned();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.drawn.recv_timeout(left) {
                Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Err(error) => panic!("{what} is not shown ({error}): {:?}", self.text),
            }
        }
    }

    fn ends(mut self) -> ExitStatus {
        until("the program ends", || self.holder.try_wait().unwrap())
    }
}

/// A folder with a manifest, and where its edge is.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let port = ports::free();
    let manifest = format!(
        "system: seen\nservices:\n  pages: {{ run: \"sh -c 'exec python3 -m http.server --bind 127.0.0.1 $PORT'\" }}\n\
         gateway: {{ listen: \"127.0.0.1:{port}\", auth: none, routes: {{ ANY /**: pages }} }}\n\
         observe: {{ metrics: none }}\n"
    );
    std::fs::write(folder.join("weft.yaml"), manifest).unwrap();
    folder
}

/// The last picture: what was drawn after the cursor last went back.
fn picture(drawn: &str) -> Vec<&str> {
    drawn.rsplit(ERASED).next().unwrap_or_default().lines().collect()
}

/// Letters that take room.
fn width(line: &str) -> usize {
    let mut escape = false;
    let visible = |letter: &char| {
        let hidden = escape || *letter == '\u{1b}';
        escape = hidden && !letter.is_ascii_alphabetic();
        !hidden && *letter != '\r'
    };
    line.chars().filter(visible).count()
}

#[test]
fn the_screen_is_drawn_follows_the_window_and_leaves_nothing_when_that_is_closed() {
    let Some(python) = tool("python3") else { return };
    let folder = folder("terminal-up");
    processes::adopt_orphans();
    let mut terminal = Terminal::start(&python, &folder, (40, 120), "xterm", &["up"]);
    let ready = |drawn: &str| {
        let picture = picture(drawn);
        picture.iter().any(|line| line.contains("seen is up in"))
            && picture.iter().any(|line| line.contains("pages-1") && line.contains("ready"))
    };
    let drawn = terminal.shows("the table", ready);
    assert!(drawn.contains("\u{1b}[32mready\u{1b}[0m"), "{drawn:?}");
    // Nothing happens in the system: the window alone makes it draw anew.
    terminal.does("size 7 50");
    let drawn = terminal.shows("the smaller table", |drawn| drawn.contains(ERASED) && drawn.ends_with('\n'));
    let rows: usize = picture(&drawn).iter().map(|line| width(line).div_ceil(50).max(1)).sum();
    assert!(rows < 7, "{drawn:?}");
    assert!(drawn.contains("seen is up in"), "{drawn:?}");

    let family = processes::below(terminal.holder.id());
    assert!(family.len() > 4, "{family:?}");
    terminal.does("hang-up");
    assert!(terminal.ends().success());
    until("nothing survives", || {
        processes::reap(&family);
        let left = processes::below(std::process::id());
        (!left.iter().any(|process| family.contains(process))).then_some(())
    });
}

#[test]
fn a_terminal_that_cannot_draw_gets_lines() {
    let Some(python) = tool("python3") else { return };
    let folder = folder("terminal-dumb");
    let mut terminal = Terminal::start(&python, &folder, (24, 80), "dumb", &["up"]);
    let drawn = terminal.shows("that it is up", |drawn| drawn.contains("pages-1 : ready"));
    assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    terminal.does(CTRL_C);
    terminal.shows("the end", |drawn| drawn.contains("nothing is left running"));
    assert!(terminal.ends().success());
}

#[test]
fn the_table_of_edges_fits_the_window() {
    let Some(python) = tool("python3") else { return };
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let mut terminal = Terminal::start(&python, system.folder(), (24, 80), "xterm", &["top"]);
    let drawn = terminal.shows("the edge", |drawn| drawn.contains("gateway  one"));
    assert!(drawn.contains("CALLS/S"), "{drawn:?}");
    terminal.does("size 2 12");
    let drawn = terminal.shows("a second picture", |drawn| drawn.matches(ERASED).count() >= 2);
    let last = drawn.trim_end_matches(ERASED).rsplit("\u{1b}[H").next().unwrap_or_default();
    assert!(last.lines().count() < 2 && last.lines().all(|line| width(line) <= 12), "{last:?}");
    terminal.does(CTRL_C);
    assert!(terminal.ends().success());
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
