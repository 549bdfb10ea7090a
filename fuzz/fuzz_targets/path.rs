//! Hostile targets and authorities: what is canonical stays so, names the same resource, and holds nothing that two servers
//! read in two ways.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_path(data));
