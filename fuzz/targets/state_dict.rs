#![no_main]
libfuzzer_sys::fuzz_target!(init: dyconv_fuzz::init(), |bytes: &[u8]| dyconv_fuzz::state_dict(bytes));
