//! Two patterns and paths: the route table agrees with the patterns, and what is said of two patterns holds at each path.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_patterns(data));
