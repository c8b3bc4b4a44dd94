//! Kernel banks in memory: K kernels, interleaved vector by vector, so that mixing reads one stream.
//!
//! A packed kernel is a list of vectors of sixteen weights. For each vector, a bank holds the K versions one after the
//! other: as f32; as bf16, two kernels per word (the first in the low half); or as bytes with one scale per kernel and
//! output channel. The mixture Σ_k π_k·W_k is always computed in f32. A weight beyond the range of its storage is
//! clamped to the largest representable value, so a narrow bank of finite weights is finite.
//!
//! Convolutions that multiply bf16 round the mixture when they write it. A kernel that is never mixed is rounded once,
//! when it is packed.

mod mixing;
mod packer;
mod storage;

pub(crate) use mixing::mix_vectors;
pub(crate) use packer::Packer;
pub use storage::{Bank, Storage};
