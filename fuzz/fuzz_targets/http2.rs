//! A hostile request of HTTP/2, behind the frame codec: what is forwarded over HTTP/1.1 says the same and nothing more.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_http2(data));
