//! What the environment says of the terminal.

use std::io::IsTerminal;

/// Whether this is a terminal that can move its cursor: `TERM` names one (terminfo(5); `dumb` cannot).
pub(crate) fn draws(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb")
}

/// Whether colours are wanted where they can be shown: `NO_COLOR` is not set, or empty (no-color.org).
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    draws(stream) && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
