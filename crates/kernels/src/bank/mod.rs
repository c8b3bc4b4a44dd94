//! Kernel banks in memory: K kernels interleaved vector by vector, so that mixing reads one stream.
//!
//! A packed kernel is a list of vectors of sixteen weights. A bank holds, for vector after vector, the K versions of it:
//! as f32; as bf16, two kernels to a word (the first in the low half); or as bytes with one scale for each kernel and
//! output channel. The mix Σ_k π_k·W_k is always formed in f32. A weight beyond the range of its storage becomes the largest
//! that there is, so a narrow bank of finite weights is finite.
//!
//! Convolutions that multiply bf16 round the mixture when it is written. A kernel that is never mixed is kept rounded.

mod mixing;

use dyconv_simd::{Buffer, LANES, bf16_weight};

use crate::prefetch::PrefetchRange;

pub(crate) use mixing::mix_vectors;

/// How the weights of a bank are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// Exact.
    #[default]
    F32,
    /// Eight bits of precision.
    Bf16,
    /// A byte, with a scale per kernel and output channel.
    Int8,
}

/// K packed kernels; made by a convolution or `pack_linear_bank`.
#[derive(Debug, Clone)]
pub struct Bank {
    kernels: usize,
    vectors: usize,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    /// `[vector, K, 16]`
    F32(Buffer<f32>),
    /// `[vector, ⌈K/2⌉, 16]` words of two kernels.
    Bf16(Buffer<u32>),
    /// `[vector, K, 16]` bytes, and `[column, K, 16]` scales.
    Int8(Buffer<i8>, Buffer<f32>),
    /// One kernel `[vector, 16]` of bf16, as products read it: the bits of a value are two of them.
    Rounded(Buffer<f32>),
}

/// A bank in the making.
#[derive(Debug)]
pub(crate) struct Packer {
    kernels: usize,
    weights: Packing,
    /// The column of each vector: vectors of one column belong to the same sixteen output channels.
    columns: Vec<u32>,
}

/// Weights that are packed one by one, in as little memory as they can be.
#[derive(Debug)]
enum Packing {
    /// `[vector, K, 16]`; bytes too begin here, since their scales are known last.
    Exact(Buffer<f32>, Storage),
    /// As in [`Data::Bf16`].
    Halves(Buffer<u32>),
}

impl Packer {
    /// Zeros; `columns` says for every vector to which sixteen output channels it belongs.
    pub(crate) fn new(kernels: usize, columns: Vec<u32>, storage: Storage) -> Self {
        let weights = match storage {
            Storage::Bf16 => Packing::Halves(Buffer::zeroed(kernels.div_ceil(2) * columns.len() * LANES)),
            exact => Packing::Exact(Buffer::zeroed(kernels * columns.len() * LANES), exact),
        };
        Self { kernels, weights, columns }
    }

    /// Sets one weight, once.
    #[inline]
    pub(crate) fn set(&mut self, kernel: usize, vector: usize, lane: usize, weight: f32) {
        match &mut self.weights {
            Packing::Exact(values, _) => values[(vector * self.kernels + kernel) * LANES + lane] = weight,
            Packing::Halves(words) => {
                let word = &mut words[(vector * self.kernels.div_ceil(2) + kernel / 2) * LANES + lane];
                *word |= bf16_weight(weight) << (kernel % 2 * 16);
            }
        }
    }

    /// The one kernel, rounded to bf16, for products that read it so.
    ///
    /// # Panics
    /// When the packer is not one of a single exact kernel.
    pub(crate) fn finish_rounded(self) -> Bank {
        assert_eq!(self.kernels, 1, "one kernel");
        let Packing::Exact(values, Storage::F32) = self.weights else { panic!("an exact kernel") };
        let word = |pair: &[f32; 2]| f32::from_bits(bf16_weight(pair[0]) | bf16_weight(pair[1]) << 16);
        let mut words = Buffer::zeroed(values.len() / 2);
        for (to, pair) in words.iter_mut().zip(values.as_chunks::<2>().0) {
            *to = word(pair);
        }
        Bank { kernels: 1, vectors: self.columns.len(), data: Data::Rounded(words) }
    }

    /// The bank.
    pub(crate) fn finish(self) -> Bank {
        let (kernels, vectors) = (self.kernels, self.columns.len());
        let data = match self.weights {
            Packing::Halves(words) => Data::Bf16(words),
            Packing::Exact(values, Storage::Int8) => bytes(kernels, &self.columns, &values),
            Packing::Exact(values, _) => Data::F32(values),
        };
        Bank { kernels, vectors, data }
    }
}

/// Largest scale: any byte times it is finite.
const MAX_SCALE: f32 = f32::MAX / 128.0;

/// Bytes and scales of the weights `[vector, K, 16]`.
fn bytes(kernels: usize, columns: &[u32], values: &[f32]) -> Data {
    let row = kernels * LANES;
    let mut scales = Buffer::<f32>::zeroed(columns.iter().max().map_or(0, |c| *c as usize + 1) * row);
    for (vector, column) in values.chunks_exact(row).zip(columns) {
        for (scale, w) in scales[*column as usize * row..][..row].iter_mut().zip(vector) {
            *scale = scale.max(w.abs() / 127.0).min(MAX_SCALE);
        }
    }
    let mut bytes = Buffer::<i8>::zeroed(values.len());
    for ((vector, column), to) in values.chunks_exact(row).zip(columns).zip(bytes.chunks_exact_mut(row)) {
        for ((w, scale), to) in vector.iter().zip(&scales[*column as usize * row..]).zip(to) {
            *to = if *scale > 0.0 { (w / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
        }
    }
    Data::Int8(bytes, scales)
}

impl Bank {
    /// Size K of the bank.
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

    /// The one kernel itself, `[vector, 16]`, where the bank is exact and holds no other.
    pub(crate) fn single(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) if self.kernels == 1 => Some(values),
            _ => None,
        }
    }

    /// The one kernel itself in words of two bf16, where it was rounded for products that read it so.
    pub(crate) fn rounded(&self) -> Option<&[f32]> {
        match &self.data {
            Data::Rounded(words) => Some(words),
            _ => None,
        }
    }

    /// The whole bank, as memory.
    pub fn all(&self) -> PrefetchRange {
        PrefetchRange::new(self.span(0, self.vectors))
    }

    /// The memory of `count` vectors from `first` on, as far as it exists: for prefetching.
    pub(crate) fn span(&self, first: usize, count: usize) -> std::ops::Range<*const u8> {
        let (start, per) = match &self.data {
            Data::F32(values) => (values.as_ptr().cast::<u8>(), self.kernels * LANES * 4),
            Data::Bf16(words) => (words.as_ptr().cast(), self.kernels.div_ceil(2) * LANES * 4),
            Data::Int8(bytes, _) => (bytes.as_ptr().cast(), self.kernels * LANES),
            Data::Rounded(words) => (words.as_ptr().cast(), LANES * 2),
        };
        let (first, end) = (first.min(self.vectors), (first + count).min(self.vectors));
        start.wrapping_add(first * per)..start.wrapping_add(end * per)
    }
}
