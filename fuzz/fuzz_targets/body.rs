//! Hostile bytes as a chunked body: however they are cut, the same data, end and trailers; written anew, the same again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_body(data));
