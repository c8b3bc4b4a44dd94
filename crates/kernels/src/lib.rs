//! CPU kernels for convolutional networks that read and write plain slices.
//!
//! Feature maps are channels-last, `[H, W, C]`, one sample at a time. Every kernel is one generic body over sixteen
//! lanes, compiled once per instruction set ([`Isa`]). Public functions are safe: they check lengths on entry and panic
//! on a mismatch, which is always a bug of the caller. Nothing here allocates except the functions that pack weights.

mod activation;
mod algorithm;
mod bank;
mod channels;
mod conv;
mod depthwise;
mod elementwise;
mod exec;
mod geometry;
#[cfg(all(test, target_os = "linux"))]
mod guarded;
mod layout;
mod linear;
mod mix;
mod panel;
mod peak;
mod pool;
mod prefetch;
mod run;
mod softmax;
mod threads;
mod upsample;
mod winograd;

pub use activation::{Activation, activate, leaky_relu};
pub use algorithm::{ConvAlgorithm, ConvDemand};
pub use bank::{Bank, Storage};
pub use channels::{copy_channels, interleave_channels, shuffle_channels};
pub use conv::{ConvTranspose, PanelConv, TransposedGeometry};
pub use depthwise::DepthwiseConv;
pub use elementwise::{add, affine, affine_from, multiply, scale};
pub use exec::Exec;
pub use geometry::ConvGeometry;
pub use layout::{chw_to_hwc, hwc_to_chw};
pub use linear::{linear, linear_bf16, mix_linear, pack_linear_bank, pack_linear_bf16};
pub use mix::mix;
pub use peak::{peak_madds, peak_read};
pub use pool::{PoolGeometry, avg_pool, global_avg_pool, max_pool, mean_of_sums};
pub use prefetch::PrefetchRange;
pub use run::{ConvRun, Epilogue, PixelSteps};
pub use softmax::softmax;
pub use threads::{Pool, share};
pub use upsample::{Between, Upsample, Upsampling};
pub use winograd::{WinogradConv, transform_1d};

pub use dyconv_simd::{Buffer, Isa, LANES, Plain, advise_huge_pages};
