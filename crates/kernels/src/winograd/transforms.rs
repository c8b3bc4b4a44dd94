//! The three linear maps of F(4×4, 3×3), one vector of sixteen channels at a time.
//!
//! ```text
//! kernel  U = G·g·Gᵀ     3×3 taps     → 6×6
//! input   V = Bᵀ·d·B     6×6 pixels   → 6×6
//! output  Y = Aᵀ·M·A     6×6 products → 4×4 pixels
//! ```
//!
//! A product of polynomials of degree 3 and 2 is known from its values at six points, here 0, ±a, ±b and ∞. With a·b = 1 and
//! a = √½ the maps' entries stay close to one, which keeps rounding errors small: with the usual points 1 and 2 they are
//! about twice as large.
#![allow(unsafe_code, reason = "reads and writes through pointers, as the callers promise")]

use super::{POINTS, SIDE};
use crate::lanes::{LANES, Lanes};

/// Points ±a and ±b, with a·b = 1.
pub(crate) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
pub(crate) const B: f32 = std::f32::consts::SQRT_2;
pub(crate) const A2: f32 = 0.5;
pub(crate) const B2: f32 = 2.0;

/// What the products at ±a and ±b are divided by: Π(pᵢ - pⱼ) over all other points.
pub(crate) const NEAR: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
pub(crate) const FAR: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// Three taps at the six points: g0 + pᵢ·g1 + pᵢ²·g2.
#[inline(always)]
pub(crate) fn kernel_line<L: Lanes>(l: L, [g0, g1, g2]: [L::V; 3]) -> [L::V; 6] {
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

/// Six inputs, each combined with the product of (x - pⱼ) over all points but its own.
#[inline(always)]
pub(crate) fn input_line<L: Lanes>(l: L, [d0, d1, d2, d3, d4, d5]: [L::V; 6]) -> [L::V; 6] {
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

/// Six products, divided, back to four outputs.
#[inline(always)]
pub(crate) fn output_line<L: Lanes>(l: L, [m0, m1, m2, m3, m4, m5]: [L::V; 6]) -> [L::V; 4] {
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

/// Maps the nine vectors at `from`, `step` values apart, to the six points of row Y.
///
/// # Safety
/// All of those vectors are valid for reading.
#[inline(always)]
pub(super) unsafe fn kernel_row<L: Lanes, const Y: usize>(l: L, from: *const f32, step: usize) -> [L::V; 6] {
    let (p, squared) = [(0.0, 0.0), (A, A2), (-A, A2), (B, B2), (-B, B2)][Y % 5];
    let mut taps = [l.splat(0.0); 3];
    for (x, tap) in taps.iter_mut().enumerate() {
        // SAFETY: each is one of the nine.
        unsafe {
            *tap = if Y == 5 {
                l.read(from.wrapping_add((6 + x) * step))
            } else if Y == 0 {
                l.read(from.wrapping_add(x * step))
            } else {
                let (g1, g2) = (l.read(from.wrapping_add((3 + x) * step)), l.read(from.wrapping_add((6 + x) * step)));
                let even = l.mul_add(l.splat(squared), g2, l.read(from.wrapping_add(x * step)));
                l.mul_add(l.splat(p), g1, even)
            };
        }
    }
    kernel_line(l, taps)
}

/// Maps `n` channels (at most sixteen) of 36 pixels to 36 vectors at `to`, `point_step` values apart.
///
/// # Safety
/// `pixels[i]` + `offset` is valid for reading `n` values, all vectors at `to` for writing.
#[inline(always)]
pub(super) unsafe fn input<L: Lanes>(
    l: L,
    pixels: &[*const f32; POINTS],
    [offset, n]: [usize; 2],
    to: *mut f32,
    point_step: usize,
) {
    let mut columns = [[l.splat(0.0); 6]; 6];
    for x in 0..6 {
        let mut d = [l.splat(0.0); 6];
        for (y, d) in d.iter_mut().enumerate() {
            let from = pixels[6 * y + x].wrapping_add(offset);
            // SAFETY: by the caller's promise.
            *d = unsafe { if n == LANES { l.read(from) } else { l.read_partial(from, n) } };
        }
        let line = input_line(l, d);
        for (row, v) in columns.iter_mut().zip(line) {
            row[x] = v;
        }
    }
    for (y, row) in columns.iter().enumerate() {
        let line = input_line(l, *row);
        for (x, v) in line.iter().enumerate() {
            // SAFETY: one of the 36.
            unsafe { l.write(*v, to.wrapping_add((6 * y + x) * point_step)) };
        }
    }
}

/// Maps 36 vectors at `from`, `point_step` values apart, to 4×4 outputs.
///
/// # Safety
/// All of those vectors are valid for reading.
#[inline(always)]
pub(super) unsafe fn output<L: Lanes>(l: L, from: *const f32, point_step: usize) -> [[L::V; SIDE]; SIDE] {
    let mut columns = [[l.splat(0.0); 6]; SIDE];
    for x in 0..6 {
        let mut m = [l.splat(0.0); 6];
        for (y, m) in m.iter_mut().enumerate() {
            // SAFETY: one of the 36.
            *m = unsafe { l.read(from.wrapping_add((6 * y + x) * point_step)) };
        }
        let line = output_line(l, m);
        for (row, v) in columns.iter_mut().zip(line) {
            row[x] = v;
        }
    }
    let mut out = [[l.splat(0.0); SIDE]; SIDE];
    for (out, row) in out.iter_mut().zip(columns) {
        *out = output_line(l, row);
    }
    out
}
