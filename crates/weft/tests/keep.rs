//! Start processes that run away, under the keeper: nothing of them survives, whatever ends first.
//!
//! A program of its own beside the journeys: those adopt and count every process below them, these make some that run away.

#[cfg(test)]
mod keep {
    //! Each ends something else first.

    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::process::{Child, ChildStdin, Command, Stdio};

    use rustix::process::Signal;
    use weft_testkit::{processes, until};

    /// The executable under test.
    const WEFT: &str = env!("CARGO_BIN_EXE_weft");

    /// A child that starts a grandchild in a session of its own which does not care for SIGTERM, and loses track of it.
    const RUNAWAY: &str = "setsid sh -c 'trap \"\" TERM; echo away $$ >&2; while :; do sleep 1000; done' & \
                       exec 2>/dev/null; while :; do sleep 1000; done";

    struct Kept {
        keeper: Child,
        life_line: Option<ChildStdin>,
        log: BufReader<std::process::ChildStderr>,
    }

    impl Kept {
        fn start(words: &[&str], command: &[&str]) -> Self {
            let mut keeper = Command::new(WEFT)
                .arg("keep")
                .args(words)
                .arg("--")
                .args(command)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let log = BufReader::new(keeper.stderr.take().unwrap());
            Self { life_line: keeper.stdin.take(), keeper, log }
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.log.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }

        /// Waits for the end; gives status, words of the keeper and the rest of the log.
        fn end(mut self) -> (Option<i32>, String, String) {
            let status = until("the keeper ends", || self.keeper.try_wait().unwrap());
            let (mut words, mut log) = (String::new(), String::new());
            self.keeper.stdout.take().unwrap().read_to_string(&mut words).unwrap();
            self.log.read_to_string(&mut log).unwrap();
            (status.code(), words, log)
        }
    }

    fn runaway(words: &[&str]) -> (Kept, u32) {
        let mut kept = Kept::start(words, &["sh", "-c", RUNAWAY]);
        let line = kept.line();
        let away = line.strip_prefix("away ").and_then(|pid| pid.parse().ok());
        (kept, away.unwrap_or_else(|| panic!("{line}")))
    }

    fn gone(pid: u32) -> Option<()> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    }

    #[test]
    fn a_runaway_grandchild_ends_with_sigterm_to_the_keeper() {
        let (kept, away) = runaway(&["--grace-ms", "50"]);
        processes::signal(kept.keeper.id(), Signal::TERM);
        let (status, ..) = kept.end();
        assert_eq!(status, Some(128 + 15), "the child's own end");
        until("the grandchild is gone", || gone(away));
    }

    #[test]
    fn a_runaway_grandchild_ends_with_the_life_line() {
        let (mut kept, away) = runaway(&[]);
        drop(kept.life_line.take());
        kept.end();
        until("the grandchild is gone", || gone(away));
    }

    #[test]
    fn a_word_kills_all_at_once() {
        let (mut kept, away) = runaway(&["--grace-ms", "600000"]);
        kept.life_line.as_mut().unwrap().write_all(b"kill\n").unwrap();
        kept.end();
        until("the grandchild is gone", || gone(away));
    }

    #[test]
    fn a_runaway_grandchild_ends_with_the_parent_of_the_keeper() {
        // Nothing but the kernel tells this keeper: its standard input is no pipe.
        let script = format!(
            "\"$0\" keep --parent $$ -- sh -c '{}' </dev/null & wait",
            RUNAWAY.replace('\'', "'\\''")
        );
        let mut parent = Command::new("sh")
            .args(["-c", &script, WEFT])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(parent.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let away: u32 = line.trim_end().strip_prefix("away ").unwrap().parse().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("the grandchild is gone", || gone(away));
    }

    #[test]
    fn the_child_does_not_survive_a_killed_keeper() {
        let mut kept = Kept::start(&[], &["sh", "-c", "echo $$ >&2; while :; do sleep 1000; done"]);
        let child: u32 = kept.line().parse().unwrap();
        kept.keeper.kill().unwrap();
        kept.keeper.wait().unwrap();
        until("the child is gone", || gone(child));
    }

    #[test]
    fn the_status_of_the_child_is_the_keepers() {
        for (script, status) in [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)] {
            assert_eq!(Kept::start(&[], &["sh", "-c", script]).end().0, Some(status), "{script}");
        }
        let (status, _, log) = Kept::start(&[], &["/nowhere/nothing"]).end();
        assert_eq!(status, Some(1));
        assert!(log.contains("/nowhere/nothing"), "{log}");
    }

    #[test]
    fn signals_reach_the_child() {
        let script = "trap 'echo got >&2; exit 5' USR1; echo up >&2; while :; do sleep 0.01; done";
        let mut kept = Kept::start(&[], &["sh", "-c", script]);
        assert_eq!(kept.line(), "up");
        processes::signal(kept.keeper.id(), Signal::USR1);
        assert_eq!(kept.line(), "got");
        assert_eq!(kept.end().0, Some(5));
    }

    #[test]
    fn the_child_gets_no_descriptor_that_was_leaked_to_us_and_no_way_to_more_rights() {
        let script = "exec 9</dev/null; exec \"$0\" keep -- sh -c 'ls /proc/self/fd; grep NoNewPrivs /proc/self/status'";
        let run = Command::new("sh").args(["-c", script, WEFT]).stdin(Stdio::null()).output().unwrap();
        let log = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(log.lines().any(|line| line == "2") && !log.lines().any(|line| line == "9"), "{log}");
        assert!(log.contains("NoNewPrivs:\t1"), "{log}");
    }

    #[test]
    fn forbidden_ports_cannot_be_reached_where_the_kernel_can_see_to_it() {
        let (one, two) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        let script = format!(
            "import socket\nfor p in ({},{}):\n  try: socket.create_connection(('127.0.0.1',p)).close(); print('in')\n  \
         except PermissionError: print('out')",
            port(&one),
            port(&two)
        );
        let kept = Kept::start(&["--forbid", &port(&one)], &["python3", "-c", &script]);
        let (status, words, log) = kept.end();
        assert_eq!(status, Some(0), "{log}");
        let word: serde_json::Value = serde_json::from_str(&words).unwrap();
        let seen: Vec<&str> = log.lines().collect();
        if word["started"]["confined"] == true {
            assert_eq!(seen, ["out", "in"]);
        } else {
            assert!(word["started"]["why_not"].is_string(), "{words}");
            assert_eq!(seen, ["in", "in"]);
        }
    }
}
