//! Hostile bytes as a request of HTTP/1.1: no panic, no verdict that depends on how the network cut the bytes, and what is
//! written, for HTTP/1.1 and for HTTP/2, always reads as what was parsed.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_request(data));
