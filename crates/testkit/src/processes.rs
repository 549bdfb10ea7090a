//! What runs below a process, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// A tick of `/proc/PID/stat`: a hundredth of a second on every Linux of our kind (`sysconf(_SC_CLK_TCK)`).
const MS_PER_TICK: u64 = 10;

/// A process that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line, words separated by spaces.
    pub command: String,
}

/// The processes below `root`, at any depth, that still run; those that ended and wait to be asked for do not count.
pub fn below(root: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some((parent, state)) = parent_and_state(pid)
            && !matches!(state, 'Z' | 'X')
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(Process { pid: child, command: command(child) });
            open.push(child);
        }
    }
    found
}

/// `proc(5)`: the fields after the name, which is in parentheses and may hold anything.
fn parent_and_state(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// Whether a process was started with this variable, as far as it lets itself be looked at.
pub fn has_variable(pid: u32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// The value of a variable with which a process was started, as far as it lets itself be looked at.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    variables.find_map(|one| Some(one.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Descriptors that a process has open: files, pipes and sockets.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Time on a core that all threads of a process used so far, to ten milliseconds.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `utime` and `stime` are fields 14 and 15, after the name in parentheses (proc(5)).
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * MS_PER_TICK)
}

/// Memory of a process that is in use, KiB.
pub fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Memory that a process wrote, heap and stacks, KiB: what grows when something is kept. Pages of the executable do not
/// count; they come as its code is first used, and the kernel takes them back when it needs the room.
pub fn private_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon:")
}

/// A line of `/proc/<pid>/status`, KiB; 0 when the process is gone.
fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// Sends a signal; whether there was somebody to get it.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = Pid::from_raw(pid.cast_signed());
    pid.is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Ends a process at once, without a word to it; when this returns it is gone, and the kernel has closed what it had open.
pub fn kill(pid: u32) -> bool {
    // A signal is only a promise: on a busy machine the process still answers for some milliseconds.
    let process = Pid::from_raw(pid.cast_signed())
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let Some(process) = process else { return false };
    if rustix::process::pidfd_send_signal(&process, Signal::KILL).is_err() {
        return false;
    }
    let limit = Timespec { tv_sec: crate::LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = loop {
        match rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)) {
            Err(Errno::INTR) => {}
            ended => break ended,
        }
    };
    // Only tests kill: one whose process outlives that must not go on as if it were gone.
    assert_eq!(ended, Ok(1), "process {pid} does not end");
    true
}

/// Makes this process the parent of all that lose theirs, so that nothing below it can get out of sight.
pub fn adopt_orphans() {
    // An old kernel refuses; what is left behind is then only seen while its parent lives.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Takes note of the end of these, where they were adopted. Of no others: somebody else may be waiting for those.
pub fn reap(adopted: &[Process]) {
    for pid in adopted.iter().filter_map(|process| Pid::from_raw(process.pid.cast_signed())) {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_killed_is_gone_when_that_is_said() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(kill(child.id()));
        assert!(child.try_wait().unwrap().is_some(), "it has ended");
        assert!(!kill(child.id()), "nobody is left to kill");
    }

    #[test]
    fn a_child_is_seen_until_it_ends() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mine = || below(std::process::id()).into_iter().find(|process| process.pid == child.id());
        assert!(mine().is_some());
        assert!(kill(child.id()));
        child.wait().unwrap();
        assert!(below(std::process::id()).iter().all(|process| process.pid != child.id()));
    }
}
