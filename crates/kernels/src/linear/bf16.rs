//! Linear layers with bf16 weights: matrices that are read once from memory take half the time to read.
//!
//! A row is divided into blocks of 32 weights, the last one padded with zeros. Word i of a block holds weight i in its
//! low half and weight 16 + i in its high half, so that each half of sixteen words matches sixteen contiguous inputs.

#![allow(unsafe_code, reason = "reads rows through pointers")]

use dyconv_simd::{Buffer, LANES, Lanes, bf16_weight, dispatch};

use super::rows::{ROWS, finish, shared};
use crate::exec::Exec;
use crate::run::Epilogue;

/// Number of weights of a block.
const BLOCK: usize = 2 * LANES;

/// Packs a matrix `[O, I]` for [`linear_bf16`].
///
/// # Panics
/// If the length is not a multiple of the number of outputs.
pub fn pack_linear_bf16(outputs: usize, weight: &[f32]) -> Buffer<u32> {
    assert!(outputs > 0 && weight.len().is_multiple_of(outputs), "a matrix [O, I]");
    let inputs = weight.len() / outputs;
    let words = inputs.div_ceil(BLOCK) * LANES;
    let mut packed = Buffer::zeroed(outputs * words);
    for (o, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
        for (i, w) in row.iter().enumerate() {
            let word = &mut packed[o * words + i / BLOCK * LANES + i % LANES];
            *word |= bf16_weight(*w) << (i % BLOCK / LANES * 16);
        }
    }
    packed
}

/// y = activation(W·x + bias) with `weight` `[O, I]` from [`pack_linear_bf16`].
///
/// # Panics
/// If a length does not match.
pub fn linear_bf16(exec: Exec<'_>, weight: &[u32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]) {
    let words = x.len().div_ceil(BLOCK) * LANES;
    assert!(!x.is_empty(), "an input that is not empty");
    assert_eq!(weight.len(), y.len() * words, "O·I weights");
    assert!(epilogue.bias.is_empty() || epilogue.bias.len() == y.len(), "one bias per output or none");
    shared(exec, weight.len(), epilogue, y, &|rows, epilogue, y| {
        let weight = &weight[rows.start * words..rows.end * words];
        dispatch!(exec.isa, body(weight: &[u32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]));
    });
}

#[inline(always)]
fn body<L: Lanes>(l: L, weight: &[u32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]) {
    let words = x.len().div_ceil(BLOCK) * LANES;
    let (blocks, rest) = y.as_chunks_mut::<ROWS>();
    let (whole, tail) = weight.split_at(blocks.len() * ROWS * words);
    for (rows, y) in whole.chunks_exact(ROWS * words).zip(blocks) {
        *y = products::<L, ROWS>(l, rows, x);
    }
    for (row, y) in tail.chunks_exact(words).zip(rest) {
        [*y] = products::<L, 1>(l, row, x);
    }
    finish(l, epilogue, y);
}

/// Dot products with `x` of R rows, which follow each other in `rows`.
#[inline(always)]
fn products<L: Lanes, const R: usize>(l: L, rows: &[u32], x: &[f32]) -> [f32; R] {
    let words = x.len().div_ceil(BLOCK) * LANES;
    assert_eq!(rows.len(), R * words, "rows as long as the input");
    let mut sums = [[l.splat(0.0); 2]; R];
    let mut out = [0.0; R];
    let (whole, tail) = x.as_chunks::<BLOCK>();
    let mut last = [0.0; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    let last = if tail.is_empty() { &[][..] } else { std::slice::from_ref(&last) };
    for (i, x) in whole.iter().chain(last).enumerate() {
        let (low, high) = (l.load_partial(&x[..LANES]), l.load_partial(&x[LANES..]));
        for (r, sum) in sums.iter_mut().enumerate() {
            let block = &rows[r * words + i * LANES..][..LANES];
            // SAFETY: the block holds sixteen words.
            let [a, b] = l.unpack_bf16(unsafe { l.read(block.as_ptr().cast()) });
            *sum = [l.mul_add(a, low, sum[0]), l.mul_add(b, high, sum[1])];
        }
    }
    for (sum, out) in sums.iter().zip(&mut out) {
        *out = l.sum(l.add(sum[0], sum[1]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::activation::tests::naive;
    use crate::{Isa, Pool};
    use dyconv_simd::bf16;
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agree_with_naive_sums_of_rounded_weights(i in 1usize..140, o in 1usize..40, bias in any::<bool>()) {
            let (weight, x) = (values(o * i, 1), values(i, 3));
            let bias = if bias { values(o, 4) } else { vec![] };
            let epilogue = Epilogue { bias: &bias, activation: Some(Activation::Relu) };
            let rounded = |w: f32| f64::from(f32::from_bits(bf16(w) << 16));
            let row = |r: usize| {
                let sum: f64 = (0..i).map(|c| rounded(weight[r * i + c]) * f64::from(x[c])).sum();
                naive(Activation::Relu, sum + bias.get(r).map_or(0.0, |b| f64::from(*b)))
            };
            let expected: Vec<f64> = (0..o).map(row).collect();
            let packed = pack_linear_bf16(o, &weight);
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; o];
                linear_bf16(Exec { isa, pool: &Pool::new(1) }, &packed, epilogue, &x, &mut y);
                assert_close(&y, &expected, 1e-5, isa.name());
            }
        }
    }

    #[test]
    fn extreme_weights_stay_finite() {
        for isa in Isa::available() {
            let mut y = [f32::NAN; 2];
            let weight = pack_linear_bf16(2, &[f32::MAX, 0.0, f32::MIN, 1.0]);
            linear_bf16(Exec { isa, pool: &Pool::new(1) }, &weight, Epilogue::default(), &[0.5, 0.25], &mut y);
            assert!(y[0] > 1.6e38 && y[1] < -1.6e38 && y.iter().all(|v| v.is_finite()), "{y:?}");
        }
    }

    #[test]
    fn threads_share_the_rows() {
        let (weight, x) = (pack_linear_bf16(250, &values(250 * 301, 1)), values(301, 2));
        for isa in Isa::available() {
            let [mut one, mut three] = [[f32::NAN; 250]; 2];
            linear_bf16(Exec { isa, pool: &Pool::new(1) }, &weight, Epilogue::default(), &x, &mut one);
            linear_bf16(Exec { isa, pool: &Pool::new(3) }, &weight, Epilogue::default(), &x, &mut three);
            assert_eq!(one, three);
        }
    }
}
