//! A packed bank.

use dyconv_simd::{Buffer, LANES};

use crate::prefetch::PrefetchRange;

/// How the weights of a bank are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// f32, exact.
    #[default]
    F32,
    /// bf16, with eight bits of precision.
    Bf16,
    /// One byte per weight, with a scale per kernel and output channel.
    Int8,
}

/// K packed kernels, made by a convolution or by `pack_linear_bank`.
#[derive(Debug, Clone)]
pub struct Bank {
    pub(super) kernels: usize,
    pub(super) vectors: usize,
    pub(super) data: Data,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    /// `[vector, K, 16]`
    F32(Buffer<f32>),
    /// `[vector, ⌈K/2⌉, 16]` words of two kernels.
    Bf16(Buffer<u32>),
    /// `[vector, K, 16]` bytes, and `[column, K, 16]` scales.
    Int8(Buffer<i8>, Buffer<f32>),
    /// One kernel `[vector, 16]` of bf16 in the layout that products read: each f32 holds the bits of two bf16.
    Rounded(Buffer<f32>),
}

impl Bank {
    /// Number K of kernels in the bank.
    pub fn kernels(&self) -> usize {
        self.kernels
    }

    /// Vectors of one packed kernel.
    pub(crate) fn vectors(&self) -> usize {
        self.vectors
    }

    /// How the weights are stored.
    pub fn storage(&self) -> Storage {
        match self.data {
            Data::F32(_) => Storage::F32,
            Data::Bf16(_) | Data::Rounded(_) => Storage::Bf16,
            Data::Int8(..) => Storage::Int8,
        }
    }

    /// Bytes of the bank.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(values) => values.len() * 4,
            Data::Bf16(words) => words.len() * 4,
            Data::Rounded(words) => words.len() * 4,
            Data::Int8(bytes, scales) => bytes.len() + scales.len() * 4,
        }
    }

    /// The kernel as `[vector, 16]`, if the bank holds exactly one, in f32.
    pub(crate) fn single(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) if self.kernels == 1 => Some(values),
            _ => None,
        }
    }

    /// The kernel in words of two bf16, if it was rounded when it was packed.
    pub(crate) fn rounded(&self) -> Option<&[f32]> {
        match &self.data {
            Data::Rounded(words) => Some(words),
            _ => None,
        }
    }

    /// The memory of the whole bank, for prefetching.
    pub fn all(&self) -> PrefetchRange {
        self.range(0, self.vectors)
    }

    /// The memory of `count` vectors from `first` on, clamped to the bank, for prefetching.
    pub(crate) fn range(&self, first: usize, count: usize) -> PrefetchRange {
        let (start, per) = match &self.data {
            Data::F32(values) => (values.as_ptr().cast::<u8>(), self.kernels * LANES * 4),
            Data::Bf16(words) => (words.as_ptr().cast(), self.kernels.div_ceil(2) * LANES * 4),
            Data::Int8(bytes, _) => (bytes.as_ptr().cast(), self.kernels * LANES),
            Data::Rounded(words) => (words.as_ptr().cast(), LANES * 2),
        };
        let (first, end) = (first.min(self.vectors), (first + count).min(self.vectors));
        PrefetchRange::new(start.wrapping_add(first * per)..start.wrapping_add(end * per))
    }
}
