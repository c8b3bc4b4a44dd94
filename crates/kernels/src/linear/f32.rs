//! Linear layers with f32 weights, fixed or mixed.
#![allow(unsafe_code, reason = "rows are read through pointers")]

use dyconv_simd::{Buffer, Isa, LANES, Lanes, dispatch};

use super::rows::{ROWS, finish, shared};
use crate::exec::Exec;
use crate::mix::mixed;
use crate::run::Epilogue;

/// y = activation(W·x + bias), `weight` `[O, I]`.
///
/// # Panics
/// If a length does not match.
pub fn linear(exec: Exec<'_>, weight: &[f32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]) {
    check(weight.len(), 1, epilogue, x, y);
    let inputs = x.len();
    shared(exec, weight.len(), epilogue, y, &|rows, epilogue, y| {
        let weight = &weight[rows.start * inputs..rows.end * inputs];
        dispatch!(exec.isa, linear_body(weight: &[f32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]));
    });
}

/// y = activation((Σ_k π_k W_k)·x + bias) with `bank` from [`pack_linear_bank`]; `scratch` holds one row (I values).
///
/// # Panics
/// If a length does not match.
pub fn mix_linear(
    isa: Isa,
    bank: &[f32],
    coefficients: &[f32],
    epilogue: Epilogue<'_>,
    x: &[f32],
    scratch: &mut [f32],
    y: &mut [f32],
) {
    check(bank.len(), coefficients.len(), epilogue, x, y);
    assert_eq!(scratch.len(), x.len(), "scratch of one row");
    dispatch!(isa, mix_body(bank: &[f32], coefficients: &[f32], epilogue: Epilogue<'_>, x: &[f32], scratch: &mut [f32], y: &mut [f32]));
}

/// Reorders a bank `[K, O, I]` into `[O, K, I]`, so that the K versions of a row are adjacent.
///
/// # Panics
/// If the length is not K·O·I.
pub fn pack_linear_bank(kernels: usize, outputs: usize, bank: &[f32]) -> Buffer<f32> {
    assert!(kernels * outputs > 0 && bank.len().is_multiple_of(kernels * outputs), "a bank [K, O, I]");
    let inputs = bank.len() / (kernels * outputs);
    let mut packed = Buffer::zeroed(bank.len());
    for (i, row) in packed.chunks_exact_mut(inputs.max(1)).enumerate() {
        let (o, k) = (i / kernels, i % kernels);
        row.copy_from_slice(&bank[(k * outputs + o) * inputs..][..inputs]);
    }
    packed
}

fn check(weights: usize, kernels: usize, epilogue: Epilogue<'_>, x: &[f32], y: &[f32]) {
    assert!(kernels > 0 && !x.is_empty(), "a bank and an input that are not empty");
    assert_eq!(weights, kernels * x.len() * y.len(), "K·O·I weights");
    assert!(epilogue.bias.is_empty() || epilogue.bias.len() == y.len(), "one bias per output or none");
}

#[inline(always)]
fn linear_body<L: Lanes>(l: L, weight: &[f32], epilogue: Epilogue<'_>, x: &[f32], y: &mut [f32]) {
    let n = x.len();
    let (blocks, rest) = y.as_chunks_mut::<ROWS>();
    let (whole, tail) = weight.split_at(blocks.len() * ROWS * n);
    for (rows, y) in whole.chunks_exact(ROWS * n).zip(blocks) {
        *y = products::<L, ROWS>(l, rows, x);
    }
    for (row, y) in tail.chunks_exact(n).zip(rest) {
        [*y] = products::<L, 1>(l, row, x);
    }
    finish(l, epilogue, y);
}

#[inline(always)]
fn mix_body<L: Lanes>(
    l: L,
    bank: &[f32],
    coefficients: &[f32],
    epilogue: Epilogue<'_>,
    x: &[f32],
    scratch: &mut [f32],
    y: &mut [f32],
) {
    for (kernels, y) in bank.chunks_exact(coefficients.len() * x.len()).zip(y.iter_mut()) {
        mixed(l, coefficients, kernels, scratch);
        [*y] = products::<L, 1>(l, scratch, x);
    }
    finish(l, epilogue, y);
}

/// Dot products with `x` of R rows, which follow each other in `rows`.
#[inline(always)]
fn products<L: Lanes, const R: usize>(l: L, rows: &[f32], x: &[f32]) -> [f32; R] {
    let n = x.len();
    assert_eq!(rows.len(), R * n, "rows as long as the input");
    let mut sums = [[l.splat(0.0); 2]; R];
    let mut out = [0.0; R];
    let (whole, tail) = (n / LANES, n % LANES);
    let (rows, x) = (rows.as_ptr(), x.as_ptr());
    // SAFETY: block `i` of row `r` lies inside the rows, and block `i` inside the input; the tail is what is left of each.
    unsafe {
        for i in 0..whole {
            let v = l.read(x.add(i * LANES));
            for (r, sum) in sums.iter_mut().enumerate() {
                let w = l.read(rows.add(r * n + i * LANES));
                *sum = [l.mul_add(w, v, sum[1]), sum[0]];
            }
        }
        let v = l.read_partial(x.add(whole * LANES), tail);
        for (r, (sum, out)) in sums.iter().zip(&mut out).enumerate() {
            let w = l.read_partial(rows.add(r * n + whole * LANES), tail);
            *out = l.sum(l.add(l.mul_add(w, v, sum[0]), sum[1]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;
    use crate::activation::Activation;
    use crate::activation::tests::naive;
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agree_with_naive_sums(i in 1usize..70, o in 1usize..40, k in 1usize..9, bias in any::<bool>()) {
            let (bank, pi, x) = (values(k * o * i, 1), values(k, 2), values(i, 3));
            let bias = if bias { values(o, 4) } else { vec![] };
            let epilogue = Epilogue { bias: &bias, activation: Some(Activation::HardSwish) };
            let row = |w: &dyn Fn(usize) -> f64, r: usize| {
                let sum: f64 = (0..i).map(|c| w(r * i + c) * f64::from(x[c])).sum();
                naive(Activation::HardSwish, sum + bias.get(r).map_or(0.0, |b| f64::from(*b)))
            };
            let first = |at: usize| f64::from(bank[at]);
            let mixture = |at: usize| (0..k).map(|j| f64::from(pi[j]) * f64::from(bank[j * o * i + at])).sum::<f64>();
            let expected: Vec<f64> = (0..o).map(|r| row(&first, r)).collect();
            let expected_mix: Vec<f64> = (0..o).map(|r| row(&mixture, r)).collect();
            let packed = pack_linear_bank(k, o, &bank);
            let pool = Pool::new(1);
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; o];
                linear(Exec { isa, pool: &pool }, &bank[..o * i], epilogue, &x, &mut y);
                assert_close(&y, &expected, 1e-5, isa.name());
                mix_linear(isa, &packed, &pi, epilogue, &x, &mut vec![0.0; i], &mut y);
                assert_close(&y, &expected_mix, 1e-5, isa.name());
            }
        }
    }

    #[test]
    fn threads_share_the_rows() {
        let (weight, x) = (values(250 * 301, 1), values(301, 2));
        for isa in Isa::available() {
            let [mut one, mut three] = [[f32::NAN; 250]; 2];
            linear(Exec { isa, pool: &Pool::new(1) }, &weight, Epilogue::default(), &x, &mut one);
            linear(Exec { isa, pool: &Pool::new(3) }, &weight, Epilogue::default(), &x, &mut three);
            assert_eq!(one, three);
        }
    }

    #[test]
    #[should_panic(expected = "K·O·I weights")]
    fn lengths_are_checked() {
        linear(
            Exec { isa: Isa::detect(), pool: &Pool::new(1) },
            &[0.0; 5],
            Epilogue::default(),
            &[0.0; 3],
            &mut [0.0; 2],
        );
    }
}
