//! Connections: what turns bytes of an accepted socket into exchanges, one module for each protocol.

pub(crate) mod http1;
