//! The fuzz target `election`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vipd_fuzz::election::judge(data));
