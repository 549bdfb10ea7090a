//! The hub, told what happens in an order that a network would choose.
use super::*;
