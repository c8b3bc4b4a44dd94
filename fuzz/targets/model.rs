#![no_main]
// The first target that `run.sh` starts writes the seeds of all.
libfuzzer_sys::fuzz_target!(init: dyconv_fuzz::write_seeds(), |bytes: &[u8]| dyconv_fuzz::model(bytes));
