//! Winograd's F(4, 3) along one axis, one vector of sixteen channels at a time: the kernel, input and output transforms.
//!
//! The product of two polynomials of degrees 3 and 2 is determined by its values at six points, here 0, ±a, ±b and ∞.
//! With a·b = 1 and a = √½ the entries of the transforms stay close to one, which keeps rounding errors small: about
//! half of those with the usual points 1 and 2.

use dyconv_simd::Lanes;

/// Points ±a and ±b, with a·b = 1.
pub const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// See [`A`].
pub const B: f32 = std::f32::consts::SQRT_2;
/// a²
pub const A2: f32 = 0.5;
/// b²
pub const B2: f32 = 2.0;

/// Divisors of the products at ±a and ±b: Π(pᵢ - pⱼ) over all other points. The constants are their reciprocals.
pub const NEAR: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
/// See [`NEAR`].
pub const FAR: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// Three taps at the six points: g0 + pᵢ·g1 + pᵢ²·g2.
#[inline(always)]
pub fn kernel<L: Lanes>(l: L, [g0, g1, g2]: [L::V; 3]) -> [L::V; 6] {
    let near = l.mul_add(l.splat(A2), g2, g0);
    let far = l.mul_add(l.splat(B2), g2, g0);
    [
        g0,
        l.mul_add(l.splat(A), g1, near),
        l.mul_add(l.splat(-A), g1, near),
        l.mul_add(l.splat(B), g1, far),
        l.mul_add(l.splat(-B), g1, far),
        g2,
    ]
}

/// Six inputs, each combined with the product of (x - pⱼ) over all other points.
#[inline(always)]
pub fn input<L: Lanes>(l: L, [d0, d1, d2, d3, d4, d5]: [L::V; 6]) -> [L::V; 6] {
    let (a2, b2, both) = (l.splat(-A2), l.splat(-B2), l.splat(-A2 - B2));
    let (near, near_odd) = (l.mul_add(b2, d2, d4), l.mul_add(b2, d1, d3));
    let (far, far_odd) = (l.mul_add(a2, d2, d4), l.mul_add(a2, d1, d3));
    [
        l.add(l.mul_add(both, d2, d0), d4),
        l.mul_add(l.splat(A), near_odd, near),
        l.mul_add(l.splat(-A), near_odd, near),
        l.mul_add(l.splat(B), far_odd, far),
        l.mul_add(l.splat(-B), far_odd, far),
        l.add(l.mul_add(both, d3, d1), d5),
    ]
}

/// Six products, divided, transformed back to four outputs.
#[inline(always)]
pub fn output<L: Lanes>(l: L, [m0, m1, m2, m3, m4, m5]: [L::V; 6]) -> [L::V; 4] {
    let minus = l.splat(-1.0);
    let (near, near_odd) = (l.add(m1, m2), l.mul_add(minus, m2, m1));
    let (far, far_odd) = (l.add(m3, m4), l.mul_add(minus, m4, m3));
    [
        l.mul_add(l.splat(FAR), far, l.mul_add(l.splat(NEAR), near, m0)),
        l.mul_add(l.splat(FAR * B), far_odd, l.mul(l.splat(NEAR * A), near_odd)),
        l.mul_add(l.splat(FAR * B2), far, l.mul(l.splat(NEAR * A2), near)),
        l.mul_add(l.splat(FAR * B2 * B), far_odd, l.mul_add(l.splat(NEAR * A2 * A), near_odd, m5)),
    ]
}
