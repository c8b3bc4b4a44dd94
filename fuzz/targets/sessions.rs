#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dyconv_fuzz::sessions(bytes));
