//! Mixing a bank: out = Σ_k π_k · bank_k. Reading the K kernels is the whole cost, so this is one pass over all of
//! them.

use dyconv_simd::{Isa, LANES, Lanes, dispatch};

/// Number of values that are mixed at a time, to keep several sums in flight.
const STRIP: usize = 4 * LANES;

/// out = Σ_k π_k · bank_k, where π is `coefficients` and the bank is `[K, out.len()]`.
///
/// # Panics
/// If the bank does not hold K times as many values as `out`.
pub fn mix(isa: Isa, coefficients: &[f32], bank: &[f32], out: &mut [f32]) {
    assert_eq!(bank.len(), coefficients.len() * out.len(), "a bank of K kernels of the length of the output");
    dispatch!(isa, mixed(coefficients: &[f32], bank: &[f32], out: &mut [f32]));
}

/// [`mix`] on lanes.
#[inline(always)]
pub(crate) fn mixed<L: Lanes>(l: L, coefficients: &[f32], bank: &[f32], out: &mut [f32]) {
    let len = out.len();
    let (strips, rest) = out.as_chunks_mut::<STRIP>();
    let done = strips.len() * STRIP;
    for (i, strip) in strips.iter_mut().enumerate() {
        let mut sums = [l.splat(0.0); STRIP / LANES];
        for (k, pi) in coefficients.iter().enumerate() {
            let kernel = &bank[k * len + i * STRIP..][..STRIP];
            for (sum, w) in sums.iter_mut().zip(kernel.as_chunks::<LANES>().0) {
                *sum = l.mul_add(l.splat(*pi), l.load(w), *sum);
            }
        }
        for (sum, to) in sums.iter().zip(strip.as_chunks_mut::<LANES>().0) {
            l.store(*sum, to);
        }
    }
    for (i, to) in rest.chunks_mut(LANES).enumerate() {
        let mut sum = l.splat(0.0);
        for (k, pi) in coefficients.iter().enumerate() {
            let kernel = &bank[k * len + done + i * LANES..][..to.len()];
            sum = l.mul_add(l.splat(*pi), l.load_partial(kernel), sum);
        }
        l.store_partial(sum, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::{assert_close, values};

    #[test]
    fn is_the_weighted_sum() {
        for isa in Isa::available() {
            for (kernels, len) in [(1, 5), (2, 16), (4, 64), (4, 65), (8, 200), (3, 0)] {
                let (pi, bank) = (values(kernels, 1), values(kernels * len, 2));
                let mut out = vec![f32::NAN; len];
                mix(isa, &pi, &bank, &mut out);
                let expected: Vec<f64> = (0..len)
                    .map(|i| (0..kernels).map(|k| f64::from(pi[k]) * f64::from(bank[k * len + i])).sum())
                    .collect();
                assert_close(&out, &expected, 1e-6, &format!("{} K={kernels} len={len}", isa.name()));
            }
            let w = values(70, 3);
            let mut out = vec![0.0; 70];
            mix(isa, &[1.0], &w, &mut out);
            assert_eq!(out, w, "one kernel of weight one is the kernel itself");
        }
    }

    #[test]
    #[should_panic(expected = "a bank of K kernels")]
    fn lengths_are_checked() {
        mix(Isa::detect(), &[0.5, 0.5], &[0.0; 9], &mut [0.0; 5]);
    }
}
