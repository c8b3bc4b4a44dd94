//! Element-wise sums and products, in place. They are memory bound, so each reads its inputs only once.

use dyconv_simd::{Isa, LANES, Lanes, dispatch};

use crate::activation::{Activation, activated};
use crate::run::span;

/// y = activation(y + x).
///
/// # Panics
/// If the lengths differ.
pub fn add(isa: Isa, y: &mut [f32], x: &[f32], activation: Option<Activation>) {
    assert_eq!(y.len(), x.len(), "adds equal lengths");
    dispatch!(isa, add_body(y: &mut [f32], x: &[f32], activation: Option<Activation>));
}

/// y = activation(y · x), element by element.
///
/// # Panics
/// If the lengths differ.
pub fn multiply(isa: Isa, y: &mut [f32], x: &[f32], activation: Option<Activation>) {
    assert_eq!(y.len(), x.len(), "multiplies equal lengths");
    dispatch!(isa, multiply_body(y: &mut [f32], x: &[f32], activation: Option<Activation>));
}

#[inline(always)]
fn add_body<L: Lanes>(l: L, y: &mut [f32], x: &[f32], activation: Option<Activation>) {
    combine(l, y, x, activation, |a, b| l.add(a, b));
}

#[inline(always)]
fn multiply_body<L: Lanes>(l: L, y: &mut [f32], x: &[f32], activation: Option<Activation>) {
    combine(l, y, x, activation, |a, b| l.mul(a, b));
}

#[inline(always)]
fn combine<L: Lanes>(l: L, y: &mut [f32], x: &[f32], activation: Option<Activation>, of: impl Fn(L::V, L::V) -> L::V) {
    let ((y, y_tail), (x, x_tail)) = (y.as_chunks_mut::<LANES>(), x.as_chunks::<LANES>());
    for (y, x) in y.iter_mut().zip(x) {
        l.store(activated(l, activation, of(l.load(y), l.load(x))), y);
    }
    let value = of(l.load_partial(y_tail), l.load_partial(x_tail));
    l.store_partial(activated(l, activation, value), y_tail);
}

/// `y[p, c] = activation(y[p, c] · factors[c])` over a channels-last map.
///
/// # Panics
/// If the length of `y` is not a multiple of the number of channels.
pub fn scale(isa: Isa, y: &mut [f32], factors: &[f32], activation: Option<Activation>) {
    affine(isa, y, factors, &[], activation);
}

/// `y[p, c] = activation(y[p, c] · factors[c] + shifts[c])` over a channels-last map; empty `shifts` means zero.
///
/// # Panics
/// If the length of `y` is not a multiple of the number of channels, or `shifts` is neither empty nor one per channel.
pub fn affine(isa: Isa, y: &mut [f32], factors: &[f32], shifts: &[f32], activation: Option<Activation>) {
    assert!(!factors.is_empty() && y.len().is_multiple_of(factors.len()), "one factor per channel");
    assert!(shifts.is_empty() || shifts.len() == factors.len(), "one shift per channel or none");
    dispatch!(isa, affine_body(y: &mut [f32], factors: &[f32], shifts: &[f32], activation: Option<Activation>));
}

#[inline(always)]
fn affine_body<L: Lanes>(l: L, y: &mut [f32], factors: &[f32], shifts: &[f32], activation: Option<Activation>) {
    for pixel in y.chunks_exact_mut(factors.len()) {
        for (i, (y, f)) in pixel.chunks_mut(LANES).zip(factors.chunks(LANES)).enumerate() {
            let mut shift = l.splat(0.0);
            if !shifts.is_empty() {
                shift = l.load_partial(&shifts[i * LANES..][..f.len()]);
            }
            let v = match (<&[f32; LANES]>::try_from(&*y), <&[f32; LANES]>::try_from(f)) {
                (Ok(y), Ok(f)) => l.mul_add(l.load(y), l.load(f), shift),
                _ => l.mul_add(l.load_partial(y), l.load_partial(f), shift),
            };
            l.store_partial(activated(l, activation, v), y);
        }
    }
}

/// Like [`affine`], from `x`, whose pixels are `x_step` values apart, to `y`, whose pixels lie side by side.
///
/// # Panics
/// If a length does not match.
pub fn affine_from(
    isa: Isa,
    x: &[f32],
    x_step: usize,
    y: &mut [f32],
    factors: &[f32],
    shifts: &[f32],
    activation: Option<Activation>,
) {
    let channels = factors.len();
    assert!(channels > 0 && !y.is_empty() && y.len().is_multiple_of(channels), "one factor per channel");
    assert_eq!(shifts.len(), channels, "one shift per channel");
    assert_eq!(x.len(), span(y.len(), channels, x_step), "as many pixels in as out");
    let from = From { x, x_step, factors, shifts, activation };
    dispatch!(isa, affine_from_body(from: From<'_>, y: &mut [f32]));
}

/// What [`affine_from`] reads.
struct From<'a> {
    x: &'a [f32],
    x_step: usize,
    factors: &'a [f32],
    shifts: &'a [f32],
    activation: Option<Activation>,
}

#[inline(always)]
fn affine_from_body<L: Lanes>(l: L, from: From<'_>, y: &mut [f32]) {
    let ((factors, f_rest), (shifts, s_rest)) = (from.factors.as_chunks::<LANES>(), from.shifts.as_chunks::<LANES>());
    let channels = from.factors.len();
    for (y, x) in y.chunks_exact_mut(channels).zip(from.x.chunks(from.x_step)) {
        let ((y, y_rest), (x, x_rest)) = (y.as_chunks_mut::<LANES>(), x[..channels].as_chunks::<LANES>());
        for (((y, x), f), s) in y.iter_mut().zip(x).zip(factors).zip(shifts) {
            let v = l.mul_add(l.load(x), l.load(f), l.load(s));
            l.store(activated(l, from.activation, v), y);
        }
        if !y_rest.is_empty() {
            let v = l.mul_add(l.load_partial(x_rest), l.load_partial(f_rest), l.load_partial(s_rest));
            l.store_partial(activated(l, from.activation, v), y_rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::tests::{ALL, naive};
    use dyconv_simd::testing::{assert_close, values};

    #[test]
    fn agree_with_the_definitions() {
        for isa in Isa::available() {
            for (pixels, channels) in [(1, 1), (3, 5), (4, 16), (7, 24), (2, 33)] {
                for activation in ALL.map(Some).into_iter().chain([None]) {
                    let what = format!("{} {pixels}x{channels} {activation:?}", isa.name());
                    let n = pixels * channels;
                    let (a, b) = (values(n, 1), values(n, 2));
                    let (f, s) = (values(channels, 3), values(channels, 4));
                    let end = |v: f64| activation.map_or(v, |a| naive(a, v));
                    let mut y = a.clone();
                    add(isa, &mut y, &b, activation);
                    let expected: Vec<f64> = (0..n).map(|i| end(f64::from(a[i]) + f64::from(b[i]))).collect();
                    assert_close(&y, &expected, 1e-6, &what);
                    let mut y = a.clone();
                    multiply(isa, &mut y, &b, activation);
                    let expected: Vec<f64> = (0..n).map(|i| end(f64::from(a[i]) * f64::from(b[i]))).collect();
                    assert_close(&y, &expected, 1e-6, &what);
                    let at = |i: usize| f64::from(a[i]) * f64::from(f[i % channels]);
                    let mut y = a.clone();
                    scale(isa, &mut y, &f, activation);
                    assert_close(&y, &(0..n).map(|i| end(at(i))).collect::<Vec<_>>(), 1e-6, &what);
                    let mut y = a.clone();
                    affine(isa, &mut y, &f, &s, activation);
                    let expected: Vec<f64> = (0..n).map(|i| end(at(i) + f64::from(s[i % channels]))).collect();
                    assert_close(&y, &expected, 1e-6, &what);
                    for step in [channels, channels + 3] {
                        let mut apart = vec![f32::NAN; (pixels - 1) * step + channels];
                        for (to, from) in apart.chunks_mut(step).zip(a.chunks(channels)) {
                            to[..channels].copy_from_slice(from);
                        }
                        let mut y = vec![f32::NAN; n];
                        affine_from(isa, &apart, step, &mut y, &f, &s, activation);
                        assert_close(&y, &expected, 1e-6, &what);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "adds equal lengths")]
    fn lengths_are_checked() {
        add(Isa::detect(), &mut [0.0; 3], &[0.0; 4], None);
    }
}
