//! `cargo xtask tidy`: house rules that no lint knows. Every breach is shown at once.

mod arrows;
mod sources;

use anyhow::bail;

use crate::bless;
use crate::shell::Shell;

/// Checks all rules.
///
/// # Errors
/// Says how many breaches there are; each was shown.
pub(crate) fn tidy(shell: &Shell) -> anyhow::Result<()> {
    let mut breaches = arrows::check(shell);
    breaches.extend(sources::check(shell)?);
    if let Err(stale) = bless::check(shell) {
        breaches.push(format!("{stale:#}"));
    }
    for breach in &breaches {
        shell.say(breach);
    }
    match breaches.len() {
        0 => Ok(()),
        1 => bail!("one breach of the house rules"),
        many => bail!("{many} breaches of the house rules"),
    }
}
