//! Σ_k π_k · W_k over a run of packed vectors.
#![allow(unsafe_code, reason = "reads banks through pointers whose range is checked first")]

use super::{Bank, Data};
use crate::lanes::{LANES, Lanes};

/// Most vectors side by side in a panel.
const MAX_WIDTH: usize = 3;

/// Largest K whose scaled coefficients of bytes are kept in a table.
const MAX_TABLE: usize = 8;

/// Mixes vectors `first..first + count` of the bank into `out`. The vectors belong in turn to `width` columns from
/// `column` on.
///
/// # Panics
/// When the bank has no such vectors, or `out` does not hold `count` vectors, or there are not K coefficients.
#[inline(always)]
pub(crate) fn mix_vectors<L: Lanes>(
    l: L,
    bank: &Bank,
    coefficients: &[f32],
    [first, count]: [usize; 2],
    [column, width]: [usize; 2],
    out: &mut [f32],
) {
    assert!(
        first + count <= bank.vectors && coefficients.len() == bank.kernels,
        "vectors and coefficients of the bank"
    );
    assert!(out.len() == count * LANES && (1..=MAX_WIDTH).contains(&width), "room for the mixed vectors");
    let out = out.as_mut_ptr();
    // SAFETY: the vectors lie inside the bank, and `out` holds as many, by the assertions above.
    unsafe {
        match &bank.data {
            Data::F32(values) => {
                let from = values.as_ptr().add(first * bank.kernels * LANES);
                match coefficients {
                    [a, b, c, d] => exact(l, from, [*a, *b, *c, *d], count, out),
                    _ => exact_any(l, from, coefficients, count, out),
                }
            }
            Data::Bf16(words) => {
                let from = words.as_ptr().add(first * bank.kernels.div_ceil(2) * LANES);
                match coefficients {
                    [a, b, c, d] => halves(l, from, [*a, *b, *c, *d], count, out),
                    _ => halves_any(l, from, coefficients, count, out),
                }
            }
            Data::Int8(bytes, scales) => {
                let from = bytes.as_ptr().add(first * bank.kernels * LANES);
                let scales = &scales[column * bank.kernels * LANES..][..width * bank.kernels * LANES];
                bytes_any(l, from, coefficients, scales.as_ptr(), [count, width], out);
            }
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K · 16` values, `out` for writing `count · 16`.
#[inline(always)]
unsafe fn exact<L: Lanes, const K: usize>(l: L, from: *const f32, pi: [f32; K], count: usize, out: *mut f32) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let vector = from.add(i * K * LANES);
            let mut sum = l.mul(l.splat(pi[0]), l.read(vector));
            for (k, pi) in pi.iter().enumerate().skip(1) {
                sum = l.mul_add(l.splat(*pi), l.read(vector.add(k * LANES)), sum);
            }
            l.write(sum, out.add(i * LANES));
        }
    }
}

/// # Safety
/// As [`exact`], K being the number of coefficients.
#[inline(always)]
unsafe fn exact_any<L: Lanes>(l: L, from: *const f32, pi: &[f32], count: usize, out: *mut f32) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let mut sum = l.mul(l.splat(pi[0]), l.read(from.add(i * pi.len() * LANES)));
            for (k, p) in pi.iter().enumerate().skip(1) {
                sum = l.mul_add(l.splat(*p), l.read(from.add((i * pi.len() + k) * LANES)), sum);
            }
            l.write(sum, out.add(i * LANES));
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K/2 · 16` words, `out` for writing `count · 16` values.
#[inline(always)]
unsafe fn halves<L: Lanes>(l: L, from: *const u32, pi: [f32; 4], count: usize, out: *mut f32) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let [a, b] = l.read_halves(from.add(i * 2 * LANES));
            let [c, d] = l.read_halves(from.add((i * 2 + 1) * LANES));
            let sum = l.mul_add(l.splat(pi[1]), b, l.mul(l.splat(pi[0]), a));
            let sum = l.mul_add(l.splat(pi[3]), d, l.mul_add(l.splat(pi[2]), c, sum));
            l.write(sum, out.add(i * LANES));
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · ⌈K/2⌉ · 16` words, `out` for writing `count · 16` values.
#[inline(always)]
unsafe fn halves_any<L: Lanes>(l: L, from: *const u32, pi: &[f32], count: usize, out: *mut f32) {
    let pairs = pi.len().div_ceil(2);
    // SAFETY: vector `i` is one of `count`, and `p` one of its pairs.
    unsafe {
        for i in 0..count {
            let mut sum = l.splat(0.0);
            for (p, pi) in pi.chunks(2).enumerate() {
                let [a, b] = l.read_halves(from.add((i * pairs + p) * LANES));
                sum = l.mul_add(l.splat(pi[0]), a, sum);
                if let Some(pi) = pi.get(1) {
                    sum = l.mul_add(l.splat(*pi), b, sum);
                }
            }
            l.write(sum, out.add(i * LANES));
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K · 16` bytes, `scales` for `width · K · 16` values, `out` for writing
/// `count · 16`; `width` is at most [`MAX_WIDTH`].
#[inline(always)]
unsafe fn bytes_any<L: Lanes>(
    l: L,
    from: *const i8,
    pi: &[f32],
    scales: *const f32,
    [count, width]: [usize; 2],
    out: *mut f32,
) {
    let kernels = pi.len();
    // SAFETY: vector `i` is one of `count`, its column one of `width`, and `k` one of K.
    unsafe {
        if kernels <= MAX_TABLE {
            let mut table = [[l.splat(0.0); MAX_TABLE]; MAX_WIDTH];
            for (j, row) in table.iter_mut().take(width).enumerate() {
                for (k, (to, pi)) in row.iter_mut().zip(pi).enumerate() {
                    *to = l.mul(l.splat(*pi), l.read(scales.add((j * kernels + k) * LANES)));
                }
            }
            let mut column = 0;
            for i in 0..count {
                let mut sum = l.splat(0.0);
                for (k, factor) in table[column].iter().enumerate().take(kernels) {
                    sum = l.mul_add(*factor, l.read_bytes(from.add((i * kernels + k) * LANES)), sum);
                }
                l.write(sum, out.add(i * LANES));
                column = if column + 1 == width { 0 } else { column + 1 };
            }
        } else {
            for i in 0..count {
                let mut sum = l.splat(0.0);
                for (k, pi) in pi.iter().enumerate() {
                    let scale = l.read(scales.add((i % width * kernels + k) * LANES));
                    let w = l.read_bytes(from.add((i * kernels + k) * LANES));
                    sum = l.mul_add(l.mul(l.splat(*pi), scale), w, sum);
                }
                l.write(sum, out.add(i * LANES));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packer, Storage};
    use super::*;
    use crate::lanes::{Isa, dispatch};
    use crate::testing::values;

    #[inline(always)]
    fn body<L: Lanes>(l: L, bank: &Bank, pi: &[f32], range: [usize; 2], columns: [usize; 2], out: &mut [f32]) {
        mix_vectors(l, bank, pi, range, columns, out);
    }

    /// Every storage, odd sizes of banks, the middle of a bank: against the sum in f64, as exact as the storage allows.
    #[test]
    fn every_storage_mixes() {
        for (kernels, rows, width) in [(1, 5, 1), (2, 4, 2), (3, 3, 3), (4, 9, 2), (5, 2, 3), (8, 3, 1), (9, 2, 2)] {
            let vectors = 2 * rows * width;
            let columns: Vec<u32> = (0..vectors).map(|v| (v / (rows * width) * width + v % width) as u32).collect();
            let (weights, pi) = (values(kernels * vectors * LANES, 3), values(kernels, 4));
            let expected: Vec<f64> = (vectors / 2 * LANES..vectors * LANES)
                .map(|i| (0..kernels).map(|k| f64::from(pi[k]) * f64::from(weights[k * vectors * LANES + i])).sum())
                .collect();
            // Each kernel's weight is off by half a unit of the storage at most, and |π| < 1.
            let k = kernels as f64;
            for (storage, tolerance) in
                [(Storage::F32, 1e-6), (Storage::Bf16, k * 0.5f64.powi(9)), (Storage::Int8, k / 254.0)]
            {
                let mut packer = Packer::new(kernels, columns.clone());
                for (i, w) in weights.iter().enumerate() {
                    let (k, v) = (i / (vectors * LANES), i % (vectors * LANES));
                    packer.set(k, v / LANES, v % LANES, *w);
                }
                let bank = packer.finish(storage);
                assert_eq!((bank.storage(), bank.kernels(), bank.vectors()), (storage, kernels, vectors));
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; rows * width * LANES];
                    let (bank, pi, out) = (&bank, &pi[..], &mut out[..]);
                    let (range, at) = ([vectors / 2, vectors / 2], [width, width]);
                    dispatch!(isa, body(bank: &Bank, pi: &[f32], range: [usize; 2], at: [usize; 2], out: &mut [f32]));
                    // The sums may be small where the terms are not: measured against one.
                    let error = out.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
                    assert!(error <= tolerance, "{storage:?} {} K={kernels}: {error:e}", isa.name());
                }
            }
        }
    }
}
