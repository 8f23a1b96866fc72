//! The fuzz target `frames`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vipd_fuzz::frames::judge(data));
