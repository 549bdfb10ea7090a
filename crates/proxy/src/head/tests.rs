//! Tests of the head.
