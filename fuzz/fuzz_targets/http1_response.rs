//! Hostile bytes as the answer of an upstream: no panic, no verdict that depends on how the network cut the bytes, and
//! what is written always parses to what was written.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_response(data));
