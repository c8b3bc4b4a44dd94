//! Packs a bank weight by weight.

use dyconv_simd::{Buffer, LANES, bf16_weight};

use super::storage::{Bank, Data, Storage};

/// A bank under construction.
#[derive(Debug)]
pub(crate) struct Packer {
    kernels: usize,
    weights: Packing,
    /// The column of each vector: vectors of one column belong to the same sixteen output channels.
    columns: Vec<u32>,
}

/// Weights that are packed one by one, in as little memory as their storage allows.
#[derive(Debug)]
enum Packing {
    /// `[vector, K, 16]`. Int8 banks start here too, since their scales are known only at the end.
    F32(Buffer<f32>, Storage),
    /// As in [`Data::Bf16`].
    Bf16(Buffer<u32>),
}

impl Packer {
    /// A bank of zeros; `columns` gives the group of sixteen output channels of every vector.
    pub(crate) fn new(kernels: usize, columns: Vec<u32>, storage: Storage) -> Self {
        let weights = match storage {
            Storage::Bf16 => Packing::Bf16(Buffer::zeroed(kernels.div_ceil(2) * columns.len() * LANES)),
            storage => Packing::F32(Buffer::zeroed(kernels * columns.len() * LANES), storage),
        };
        Self { kernels, weights, columns }
    }

    /// Sets one weight. Must be called at most once per weight.
    #[inline]
    pub(crate) fn set(&mut self, kernel: usize, vector: usize, lane: usize, weight: f32) {
        match &mut self.weights {
            Packing::F32(values, _) => values[(vector * self.kernels + kernel) * LANES + lane] = weight,
            Packing::Bf16(words) => {
                let word = &mut words[(vector * self.kernels.div_ceil(2) + kernel / 2) * LANES + lane];
                *word |= bf16_weight(weight) << (kernel % 2 * 16);
            }
        }
    }

    /// Finishes a bank of one kernel, rounded to bf16 in the layout that bf16 products read.
    ///
    /// # Panics
    /// If the packer does not hold a single f32 kernel.
    pub(crate) fn finish_rounded(self) -> Bank {
        assert_eq!(self.kernels, 1, "one kernel");
        let Packing::F32(values, Storage::F32) = self.weights else { panic!("an exact kernel") };
        let word = |pair: &[f32; 2]| f32::from_bits(bf16_weight(pair[0]) | bf16_weight(pair[1]) << 16);
        let mut words = Buffer::zeroed(values.len() / 2);
        for (to, pair) in words.iter_mut().zip(values.as_chunks::<2>().0) {
            *to = word(pair);
        }
        Bank { kernels: 1, vectors: self.columns.len(), data: Data::Rounded(words) }
    }

    /// Finishes the bank.
    pub(crate) fn finish(self) -> Bank {
        let (kernels, vectors) = (self.kernels, self.columns.len());
        let data = match self.weights {
            Packing::Bf16(words) => Data::Bf16(words),
            Packing::F32(values, Storage::Int8) => bytes(kernels, &self.columns, &values),
            Packing::F32(values, _) => Data::F32(values),
        };
        Bank { kernels, vectors, data }
    }
}

/// Largest scale: its product with any byte is finite.
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
