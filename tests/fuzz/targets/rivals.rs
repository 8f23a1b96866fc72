//! The fuzz target `rivals`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vipd_fuzz::rivals::judge(data));
