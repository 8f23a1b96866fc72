//! The fuzz target `records`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vipd_fuzz::records::judge(data));
