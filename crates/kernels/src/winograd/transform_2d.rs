//! The three transforms of F(4×4, 3×3), one vector of sixteen channels at a time.
//!
//! ```text
//! kernel  U = G·g·Gᵀ     3×3 taps     → 6×6
//! input   V = Bᵀ·d·B     6×6 pixels   → 6×6
//! output  Y = Aᵀ·M·A     6×6 products → 4×4 pixels
//! ```
#![allow(unsafe_code, reason = "reads and writes through pointers, as the callers promise")]

use dyconv_simd::{LANES, Lanes};

use super::shape::{POINTS, SIDE};
use super::transform_1d::{self, A, A2, B, B2};

/// Transforms the nine vectors at `from`, `step` values apart, to the six points of row Y.
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
    transform_1d::kernel(l, taps)
}

/// Transforms `n` channels (at most sixteen) of 36 pixels to 36 vectors at `to`, `point_step` values apart.
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
        let line = transform_1d::input(l, d);
        for (row, v) in columns.iter_mut().zip(line) {
            row[x] = v;
        }
    }
    for (y, row) in columns.iter().enumerate() {
        let line = transform_1d::input(l, *row);
        for (x, v) in line.iter().enumerate() {
            // SAFETY: one of the 36.
            unsafe { l.write(*v, to.wrapping_add((6 * y + x) * point_step)) };
        }
    }
}

/// Transforms 36 vectors at `from`, `point_step` values apart, to 4×4 outputs.
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
        let line = transform_1d::output(l, m);
        for (row, v) in columns.iter_mut().zip(line) {
            row[x] = v;
        }
    }
    let mut out = [[l.splat(0.0); SIDE]; SIDE];
    for (out, row) in out.iter_mut().zip(columns) {
        *out = transform_1d::output(l, row);
    }
    out
}
