//! Σ_k π_k · W_k over a run of packed vectors.
#![allow(unsafe_code, reason = "reads banks through pointers whose range is checked first")]

use dyconv_simd::{LANES, Lanes};

use super::storage::{Bank, Data};

/// Largest width of a panel in vectors.
const MAX_WIDTH: usize = 6;

/// Largest K for which the scaled coefficients of an int8 bank are kept in a table.
const MAX_TABLE: usize = 8;

/// Mixes the vectors `first..first + count` of the bank into `out`; if ROUND, as bf16, two to a word. The vectors cycle
/// through `width` columns, starting at `column`.
///
/// # Panics
/// If the bank does not have these vectors or cannot be mixed, `out` does not hold `count` vectors, or the number of
/// coefficients is not K.
#[inline(always)]
pub(crate) fn mix_vectors<L: Lanes, const ROUND: bool>(
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
    let len = if ROUND { count * LANES / 2 } else { count * LANES };
    assert!(out.len() == len && (1..=MAX_WIDTH).contains(&width), "room for the mixed vectors");
    let out = out.as_mut_ptr();
    // SAFETY: the vectors lie inside the bank, and `out` holds as many, by the assertions above.
    unsafe {
        match &bank.data {
            Data::F32(values) => {
                let from = values.as_ptr().add(first * bank.kernels * LANES);
                match coefficients {
                    [a, b, c, d] => f32_const::<L, 4, ROUND>(l, from, [*a, *b, *c, *d], count, out),
                    _ => f32_any::<L, ROUND>(l, from, coefficients, count, out),
                }
            }
            Data::Bf16(words) => {
                let from = words.as_ptr().add(first * bank.kernels.div_ceil(2) * LANES);
                match coefficients {
                    [a, b, c, d] => bf16_four::<L, ROUND>(l, from, [*a, *b, *c, *d], count, out),
                    _ => bf16_any::<L, ROUND>(l, from, coefficients, count, out),
                }
            }
            Data::Int8(bytes, scales) => {
                let from = bytes.as_ptr().add(first * bank.kernels * LANES);
                let scales = &scales[column * bank.kernels * LANES..][..width * bank.kernels * LANES];
                bytes_any::<L, ROUND>(l, from, coefficients, scales.as_ptr(), [count, width], out);
            }
            Data::Rounded(_) => unreachable!("a kernel that was rounded for products is not mixed"),
        }
    }
}

/// Writes vector `i` of a mixture.
///
/// # Safety
/// `out` is valid for writing vectors `0..=i`.
#[inline(always)]
unsafe fn put<L: Lanes, const ROUND: bool>(l: L, v: L::V, out: *mut f32, i: usize) {
    // SAFETY: by the caller's promise; a rounded vector has half the length.
    unsafe {
        if ROUND {
            l.write_bf16(v, out.cast::<u32>().add(i * LANES / 2), LANES / 2);
        } else {
            l.write(v, out.add(i * LANES));
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K · 16` values, `out` for writing `count` vectors.
#[inline(always)]
unsafe fn f32_const<L: Lanes, const K: usize, const ROUND: bool>(
    l: L,
    from: *const f32,
    pi: [f32; K],
    count: usize,
    out: *mut f32,
) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let vector = from.add(i * K * LANES);
            let mut sum = l.mul(l.splat(pi[0]), l.read(vector));
            for (k, pi) in pi.iter().enumerate().skip(1) {
                sum = l.mul_add(l.splat(*pi), l.read(vector.add(k * LANES)), sum);
            }
            put::<L, ROUND>(l, sum, out, i);
        }
    }
}

/// # Safety
/// As for [`exact`]; K is the number of coefficients.
#[inline(always)]
unsafe fn f32_any<L: Lanes, const ROUND: bool>(l: L, from: *const f32, pi: &[f32], count: usize, out: *mut f32) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let mut sum = l.mul(l.splat(pi[0]), l.read(from.add(i * pi.len() * LANES)));
            for (k, p) in pi.iter().enumerate().skip(1) {
                sum = l.mul_add(l.splat(*p), l.read(from.add((i * pi.len() + k) * LANES)), sum);
            }
            put::<L, ROUND>(l, sum, out, i);
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K/2 · 16` words, `out` for writing `count` vectors.
#[inline(always)]
unsafe fn bf16_four<L: Lanes, const ROUND: bool>(l: L, from: *const u32, pi: [f32; 4], count: usize, out: *mut f32) {
    // SAFETY: vector `i` is one of `count`.
    unsafe {
        for i in 0..count {
            let [a, b] = l.unpack_bf16(l.read(from.add(i * 2 * LANES).cast()));
            let [c, d] = l.unpack_bf16(l.read(from.add((i * 2 + 1) * LANES).cast()));
            let sum = l.mul_add(l.splat(pi[1]), b, l.mul(l.splat(pi[0]), a));
            let sum = l.mul_add(l.splat(pi[3]), d, l.mul_add(l.splat(pi[2]), c, sum));
            put::<L, ROUND>(l, sum, out, i);
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · ⌈K/2⌉ · 16` words, `out` for writing `count` vectors.
#[inline(always)]
unsafe fn bf16_any<L: Lanes, const ROUND: bool>(l: L, from: *const u32, pi: &[f32], count: usize, out: *mut f32) {
    let pairs = pi.len().div_ceil(2);
    // SAFETY: vector `i` is one of `count`, and `p` one of its pairs.
    unsafe {
        for i in 0..count {
            let mut sum = l.splat(0.0);
            for (p, pi) in pi.chunks(2).enumerate() {
                let [a, b] = l.unpack_bf16(l.read(from.add((i * pairs + p) * LANES).cast()));
                sum = l.mul_add(l.splat(pi[0]), a, sum);
                if let Some(pi) = pi.get(1) {
                    sum = l.mul_add(l.splat(*pi), b, sum);
                }
            }
            put::<L, ROUND>(l, sum, out, i);
        }
    }
}

/// # Safety
/// `from` is valid for reading `count · K · 16` bytes, `scales` for `width · K · 16` values, `out` for writing
/// `count` vectors; `width` is at most [`MAX_WIDTH`].
#[inline(always)]
unsafe fn bytes_any<L: Lanes, const ROUND: bool>(
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
                put::<L, ROUND>(l, sum, out, i);
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
                put::<L, ROUND>(l, sum, out, i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::{Packer, Storage};
    use dyconv_simd::testing::values;
    use dyconv_simd::{Isa, bf16, dispatch, dispatch_bf16};

    #[inline(always)]
    fn body<L: Lanes>(l: L, bank: &Bank, pi: &[f32], range: [usize; 2], columns: [usize; 2], out: &mut [f32]) {
        mix_vectors::<L, false>(l, bank, pi, range, columns, out);
    }

    #[inline(always)]
    fn rounded<L: Lanes>(l: L, bank: &Bank, pi: &[f32], range: [usize; 2], columns: [usize; 2], out: &mut [f32]) {
        mix_vectors::<L, true>(l, bank, pi, range, columns, out);
    }

    /// Mixes the largest, the smallest and infinite weights, one kernel at a time. The result is finite in every narrow
    /// storage, and close to the weight if that is finite. The same holds for rounded mixtures.
    #[test]
    fn extreme_weights_stay_finite() {
        let extremes = [f32::MAX, f32::MIN, 3.4e38, 3.39e38, -3.3895e38, 1e38, f32::MIN_POSITIVE, 1e-45, 0.0];
        let weights: Vec<f32> = extremes.into_iter().chain([f32::INFINITY, f32::NEG_INFINITY]).collect();
        for kernels in [1, 4, 9] {
            for storage in [Storage::Bf16, Storage::Int8] {
                let mut packer = Packer::new(kernels, vec![0; weights.len()], storage);
                for (k, (v, w)) in (0..kernels).flat_map(|k| weights.iter().enumerate().map(move |w| (k, w))) {
                    (0..LANES).for_each(|lane| packer.set(k, v, lane, *w));
                }
                let bank = packer.finish();
                for (isa, k) in Isa::available().into_iter().flat_map(|isa| (0..kernels).map(move |k| (isa, k))) {
                    let one: Vec<f32> = (0..kernels).map(|i| f32::from(u8::from(i == k))).collect();
                    let mut out = vec![f32::NAN; weights.len() * LANES];
                    let (bank, pi, to) = (&bank, &one[..], &mut out[..]);
                    let (range, at) = ([0, weights.len()], [0, 1]);
                    dispatch!(isa, body(bank: &Bank, pi: &[f32], range: [usize; 2], at: [usize; 2], to: &mut [f32]));
                    for (found, w) in out.iter().zip(weights.iter().flat_map(|w| [*w; LANES])) {
                        // With bytes, all weights share the scale of the largest.
                        let largest = f64::from(f32::MAX) / 127.9;
                        let near = f64::from(w.abs()) / 256.0 + 1e-40;
                        let unit = if storage == Storage::Bf16 { near.min(largest) } else { largest };
                        let error = (f64::from(*found) - f64::from(w.clamp(f32::MIN, f32::MAX))).abs();
                        assert!(found.is_finite(), "{storage:?} {} {w:e}: {found}", isa.name());
                        assert!(error <= unit, "{storage:?} {w:e}: {found:e}");
                    }
                    let mut words = vec![f32::NAN; out.len() / 2];
                    let to = &mut words[..];
                    dispatch_bf16!(isa, rounded(bank: &Bank, pi: &[f32], range: [usize; 2], at: [usize; 2], to: &mut [f32]));
                    let halves = words.iter().flat_map(|w| [w.to_bits() << 16, w.to_bits() & 0xffff_0000]);
                    assert!(halves.into_iter().all(|h| f32::from_bits(h).is_finite()), "{storage:?} {}", isa.name());
                }
            }
        }
    }

    /// Every storage, odd bank sizes and ranges inside a bank, compared with the sum in f64 to the precision of the
    /// storage.
    #[test]
    fn every_storage_mixes() {
        for (kernels, rows, width) in [(1, 5, 1), (2, 4, 2), (3, 3, 3), (4, 9, 2), (5, 2, 3), (8, 3, 1), (9, 2, 2)] {
            let vectors = 2 * rows * width;
            let columns: Vec<u32> = (0..vectors).map(|v| (v / (rows * width) * width + v % width) as u32).collect();
            let (weights, pi) = (values(kernels * vectors * LANES, 3), values(kernels, 4));
            let expected: Vec<f64> = (vectors / 2 * LANES..vectors * LANES)
                .map(|i| (0..kernels).map(|k| f64::from(pi[k]) * f64::from(weights[k * vectors * LANES + i])).sum())
                .collect();
            // Each weight is off by at most half a unit of the storage, and |π| < 1.
            let k = kernels as f64;
            for (storage, tolerance) in
                [(Storage::F32, 1e-6), (Storage::Bf16, k * 0.5f64.powi(9)), (Storage::Int8, k / 254.0)]
            {
                let mut packer = Packer::new(kernels, columns.clone(), storage);
                for (i, w) in weights.iter().enumerate() {
                    let (k, v) = (i / (vectors * LANES), i % (vectors * LANES));
                    packer.set(k, v / LANES, v % LANES, *w);
                }
                let bank = packer.finish();
                assert_eq!((bank.storage(), bank.kernels(), bank.vectors()), (storage, kernels, vectors));
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; rows * width * LANES];
                    let (bank, pi, out) = (&bank, &pi[..], &mut out[..]);
                    let (range, at) = ([vectors / 2, vectors / 2], [width, width]);
                    dispatch!(isa, body(bank: &Bank, pi: &[f32], range: [usize; 2], at: [usize; 2], out: &mut [f32]));
                    // The sums may be small although the terms are not, so the error is measured relative to one.
                    let error = out.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
                    assert!(error <= tolerance, "{storage:?} {} K={kernels}: {error:e}", isa.name());
                    let mut words = vec![f32::NAN; out.len() / 2];
                    let to = &mut words[..];
                    dispatch_bf16!(isa, rounded(bank: &Bank, pi: &[f32], range: [usize; 2], at: [usize; 2], to: &mut [f32]));
                    for (word, pair) in words.iter().zip(out.as_chunks::<2>().0) {
                        assert_eq!(word.to_bits(), bf16(pair[0]) | bf16(pair[1]) << 16, "{storage:?} {}", isa.name());
                    }
                }
            }
        }
    }
}
