//! Kernel banks in memory: K kernels interleaved vector by vector, so that mixing reads one stream.
//!
//! A packed kernel is a list of vectors of sixteen weights. A bank holds, for vector after vector, the K versions of it:
//! as f32; as bf16, two kernels to a word (the first in the low half); or as bytes with one scale for each kernel and
//! output channel. The mix Σ_k π_k·W_k is always formed in f32. A weight beyond the range of its storage becomes the largest
//! that there is, so a narrow bank of finite weights is finite.
//!
//! Convolutions that multiply bf16 round the mixture when it is written. A kernel that is never mixed is kept rounded.

mod mixing;
mod packer;
mod storage;

pub(crate) use mixing::mix_vectors;
pub(crate) use packer::Packer;
pub use storage::{Bank, Storage};
