//! Public codes. (Replaced by what `errors.toml` generates.)

/// A public code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);
