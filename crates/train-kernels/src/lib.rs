//! Kernels for training: whole batches, both gradients, planes.
//!
//! Maps are `[N, C, H, W]`, as Burn keeps them. Every function splits its work by the shapes alone, never by the number of
//! threads, and adds up in a fixed order, so the same numbers come out of one thread and of many. Scratch memory belongs
//! to a job and is small: columns of a block of pixels, one mixed tile of a kernel.
//!
//! A mixture convolution never holds a kernel per sample. Three algorithms share the work ([`ConvAlgorithm`]):
//!
//! - **per sample**: for one tile of the kernel at a time, and inside it sample by sample, the tile is mixed, used and
//!   forgotten; so is its gradient G_n, after π_nk·G_n went into each bank gradient and ⟨G_n, W_k⟩ into ∂L/∂π_nk. The tile
//!   of the bank stays in the second-level cache while all samples pass by.
//! - **per bank**: where maps are so small that mixing costs more than convolving, all samples are convolved with each of
//!   the K kernels in one large product, scaled by π_nk on the way; for 3×3 taps at stride one by Winograd's convolution
//!   (`winograd`), which needs 2.25 to 4 times fewer products, so that it pays on larger maps too.

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
