//! Keeps a process from the TCP ports of other services, by Landlock (`landlock(7)`, network rules since Linux 6.7).
//!
//! Landlock lists what is allowed, one port a rule; what is forbidden is said by allowing all other ports. That costs
//! 65 thousand small calls and some MiB of kernel memory for each confined service, a few hundredths of a second at its
//! start, and nothing afterwards. The way round, to ask services for the ports they need, would end what
//! every laptop does today: connecting to a database at some port that no manifest knows.

use std::fmt;
use std::str::FromStr;

use landlock::{
    AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus,
};

/// Some TCP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Box<[u64; 1024]>);

/// Not ports: `20000-20255,7001` is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of ports such as `20000-20255,7001`")]
pub struct NotPorts(String);

/// Why a process cannot be confined.
#[derive(Debug, thiserror::Error)]
pub enum NotConfined {
    /// An old kernel, or one without Landlock.
    #[error("this kernel cannot keep a process from TCP ports (Landlock of Linux 6.7 or later, switched on)")]
    Kernel,
    /// It could, and refused.
    #[error("Landlock refused: {0}")]
    Refused(String),
}

impl Ports {
    /// No port.
    pub fn none() -> Self {
        Self(Box::new([0; 1024]))
    }

    /// Adds one.
    pub fn insert(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word &= !(1 << (port & 63));
        }
    }

    /// Whether it is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

impl fmt::Display for Ports {
    /// `20000-20255,7001`, ascending.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut port = 0_u32;
        let within = |port: u32| u16::try_from(port).is_ok_and(|port| self.contains(port));
        while port <= u32::from(u16::MAX) {
            if !within(port) {
                port += 1;
                continue;
            }
            let first = port;
            while within(port + 1) {
                port += 1;
            }
            if first == port {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{port}")?;
            }
            comma = ",";
            port += 1;
        }
        Ok(())
    }
}

impl FromStr for Ports {
    type Err = NotPorts;

    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let wrong = || NotPorts(text.chars().take(64).collect());
        let mut ports = Self::none();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) =
                (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
            if first > last {
                return Err(wrong());
            }
            (first..=last).for_each(|port| ports.insert(port));
        }
        Ok(ports)
    }
}

/// From now on this thread, and what it starts, may connect over TCP to every port but these. Call it before the process
/// has other threads. It cannot be undone. `no_new_privs` must be set.
///
/// # Errors
/// The kernel cannot, or would not; then nothing is confined.
pub fn confine(forbidden: &Ports) -> Result<(), NotConfined> {
    let refused = |error: &dyn fmt::Display| NotConfined::Refused(error.to_string());
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessNet::ConnectTcp)
        .and_then(Ruleset::create)
        .map_err(|_| NotConfined::Kernel)?;
    let allowed = (0..=u16::MAX).filter(|port| !forbidden.contains(*port));
    let rules =
        allowed.map(|port| Ok::<_, landlock::RulesetError>(NetPort::new(port, AccessNet::ConnectTcp)));
    let restricted = ruleset.add_rules(rules).and_then(landlock::RulesetCreated::restrict_self);
    match restricted.map_err(|error| refused(&error))?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        status => Err(NotConfined::Refused(format!("{status:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_they_are_read() {
        for text in ["", "7001", "20000-20255,7001", "0-65535", "1,3,5-6,65535"] {
            let ports: Ports = text.parse().unwrap();
            assert_eq!(ports.to_string().parse::<Ports>().unwrap(), ports, "{text}");
        }
        let ports: Ports = "7001,20000-20255".parse().unwrap();
        assert_eq!(ports.to_string(), "7001,20000-20255");
        assert!(ports.contains(20_255) && !ports.contains(20_256) && !ports.contains(7_000));
        for text in ["x", "5-", "-5", "7-3", "65536", "1;2", "1-2-3"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_taken_out_is_no_longer_in() {
        let mut ports: Ports = "10-12".parse().unwrap();
        ports.remove(11);
        assert_eq!(ports.to_string(), "10,12");
    }
}
