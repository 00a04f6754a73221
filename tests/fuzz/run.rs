//! One target under libFuzzer: the one that this binary is named after.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| membrana_targets::run(env!("CARGO_BIN_NAME"), data));
