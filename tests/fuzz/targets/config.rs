//! The fuzz target `config`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vipd_fuzz::config::judge(data));
