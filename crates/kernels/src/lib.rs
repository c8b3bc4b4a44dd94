//! CPU kernels for convolution networks: slices in, slices out.
#![forbid(unsafe_code)]
