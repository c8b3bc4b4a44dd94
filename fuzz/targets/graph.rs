#![no_main]
libfuzzer_sys::fuzz_target!(init: dyconv_fuzz::init(), |bytes: &[u8]| dyconv_fuzz::graph(bytes));
