//! CPU kernels for convolution networks: slices in, slices out.
//!
//! Maps are channels-last, `[H, W, C]`, one sample at a time. Every kernel is one body over sixteen lanes ([`Isa`] says
//! which instructions carry them), compiled once per instruction set. Public functions are safe: they check lengths at the
//! door and panic on a mismatch, which is always a mistake of the caller. Nothing here allocates except what packs weights.

mod activation;
mod bank;
mod buffer;
mod conv;
mod depthwise;
mod elementwise;
mod geometry;
#[cfg(all(test, target_os = "linux"))]
mod guarded;
mod heap;
mod lanes;
mod layout;
mod linear;
mod mix;
mod pages;
mod peak;
mod pool;
mod softmax;
#[cfg(test)]
mod testing;
mod threads;
#[cfg(feature = "train")]
pub mod train;
mod upsample;
mod winograd;

pub use activation::{Activation, activate};
pub use bank::{Bank, Storage};
pub use buffer::{Buffer, Plain};
pub use conv::{ConvTranspose, PanelConv, TransposedGeometry};
pub use depthwise::DepthwiseConv;
pub use elementwise::{add, affine, scale};
pub use geometry::{ConvGeometry, ConvRun, Epilogue, Exec, Span};
pub use heap::keep_freed_memory;
pub use lanes::{Isa, LANES};
pub use layout::{chw_to_hwc, hwc_to_chw};
pub use linear::{linear, linear_halves, mix_linear, pack_linear_bank, pack_linear_halves};
pub use mix::mix;
pub use pages::settle;
pub use peak::{peak_madds, peak_read};
pub use pool::{PoolGeometry, global_avg_pool, max_pool, mean_of_sums};
pub use softmax::softmax;
pub use threads::Pool;
pub use upsample::Upsample;
pub use winograd::WinogradConv;
