//! Kernels for training: they process whole batches and compute forward passes and gradients.
//!
//! Feature maps are `[N, C, H, W]`, as in Burn. Every function divides its work by the shapes alone, never by the
//! number of threads, and sums in a fixed order, so the results are identical for any number of threads. Scratch memory
//! belongs to a job and is small: the columns of a block of pixels, or one mixed tile of a kernel.
//!
//! A mixture convolution never stores a kernel per sample. It uses one of three algorithms ([`ConvAlgorithm`]):
//!
//! - **per sample**: for one tile of the kernel at a time, and for each sample, the tile is mixed, used and discarded;
//!   so is its gradient G_n, after π_nk·G_n has been added to each bank gradient and ⟨G_n, W_k⟩ to ∂L/∂π_nk. The tile
//!   of the bank stays in the L2 cache for all samples.
//! - **per bank**: if maps are so small that mixing costs more than convolving, all samples are convolved with each of
//!   the K kernels in one large product and scaled by π_nk. For 3×3 taps at stride one this uses Winograd's convolution
//!   (`winograd`), which needs 2.25 to 4 times fewer products and therefore pays on larger maps too.

mod activation;
mod algorithm;
mod batch_norm;
mod columns;
mod conv;
mod depthwise;
mod gemm;
mod geometry;
mod gradients;
mod job;
mod mix;
mod per_bank;
mod per_sample;
mod phases;
mod pool;
mod sgd;
#[cfg(test)]
mod tests;
mod threads;
mod upsample;
mod winograd;

pub use activation::NormActivation;
pub use algorithm::ConvAlgorithm;
pub use batch_norm::{AllReduce, BatchNorm, batch_norm_backward, batch_norm_forward};
pub use conv::{conv_dweight, conv_dx, conv_forward, mix_conv_backward, mix_conv_forward};
pub use geometry::BatchConv;
pub use pool::{pool_backward, pool_backward_add, pool_forward};
pub use sgd::{SgdRule, sgd};
pub use threads::{start_threads, wanted_threads};
pub use upsample::{upsample_backward, upsample_forward};

pub use dyconv_simd::{Isa, keep_freed_memory};
