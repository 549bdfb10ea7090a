//! Toward whom we call: which endpoint, and over which connection.

pub(crate) mod balance;
