#![no_main]
libfuzzer_sys::fuzz_target!(init: dyconv_fuzz::init(), |bytes: &[u8]| dyconv_fuzz::onnx(bytes));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dyconv_fuzz::mutate_onnx(data, size, max_size, seed)
});
