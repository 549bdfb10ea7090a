//! Hostile values of `traceparent`, `weft-deadline`, `grpc-timeout`, and text of gRPC-Web.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_proxy::fuzzing::check_fields(data));
