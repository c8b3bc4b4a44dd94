//! The innermost loop of a product: a few rows times a panel one or two vectors wide, with all sums in registers.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the product has checked")]

use dyconv_kernels::share;
use dyconv_simd::{Isa, LANES, Lanes, dispatch};

/// Number of rows of a right matrix that are multiplied at a time.
pub(crate) const DEPTH: usize = 256;

/// Number of columns of a panel.
pub(crate) fn panel_width(isa: Isa) -> usize {
    if isa.tile_rows()[1] > 0 { 2 * LANES } else { LANES }
}

/// to (+)= a · b for a panel of b.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip {
    /// Number of rows of a and of the result.
    pub rows: usize,
    /// Length of a row of a, and number of rows of b.
    pub depth: usize,
    /// Distances in values from one row of a to the next, and from one value of a row to the next; one of them is 1.
    pub a_steps: [usize; 2],
    /// Distance in values from one row of b to the next.
    pub b_step: usize,
    /// Distance in values from one row of the result to the next.
    pub to_step: usize,
    /// Number of columns in the last vector of the result.
    pub last: usize,
    /// Whether to add to the result instead of overwriting it.
    pub add: bool,
}

/// Computes a panel of one or two vectors.
///
/// # Safety
/// `a` and `b` are valid for reading what the strip describes, b in whole vectors; the result for reading and writing
/// `rows` rows of all vectors but the last and `last` values.
pub(crate) unsafe fn strip(isa: Isa, s: Strip, vectors: usize, a: *const f32, b: *const f32, to: *mut f32) {
    dispatch!(isa, vectors_of(s: Strip, vectors: usize, a: *const f32, b: *const f32, to: *mut f32));
}

#[inline(always)]
fn vectors_of<L: Lanes>(l: L, s: Strip, vectors: usize, a: *const f32, b: *const f32, to: *mut f32) {
    // SAFETY: by the promise of the caller of `strip`.
    unsafe {
        match vectors {
            1 => groups::<L, 1>(l, &s, a, b, to),
            2 if const { L::TILE_ROWS[1] > 0 } => groups::<L, 2>(l, &s, a, b, to),
            n => unreachable!("a panel of {n} vectors"),
        }
    }
}

/// # Safety
/// As [`strip`].
#[inline(always)]
unsafe fn groups<L: Lanes, const N: usize>(l: L, s: &Strip, a: *const f32, b: *const f32, to: *mut f32) {
    let groups = s.rows.div_ceil(L::TILE_ROWS[N - 1]);
    for group in 0..groups {
        let rows = share(s.rows, group, groups);
        let (a, to) = (a.wrapping_add(rows.start * s.a_steps[0]), to.wrapping_add(rows.start * s.to_step));
        macro_rules! arms {
            ($($rows:literal)*) => {
                match rows.len() {
                    // SAFETY: by the caller's promise.
                    $($rows if const { $rows <= L::TILE_ROWS[N - 1] } => unsafe {
                        if s.a_steps[1] == 1 {
                            tile::<L, N, $rows, true>(l, s, a, b, to);
                        } else {
                            tile::<L, N, $rows, false>(l, s, a, b, to);
                        }
                    },)*
                    rows => unreachable!("a group of {rows} rows"),
                }
            };
        }
        arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

/// Computes M rows. If ALONG, the values of a row of a are contiguous; otherwise its columns are.
///
/// # Safety
/// As [`strip`].
#[inline(always)]
unsafe fn tile<L: Lanes, const N: usize, const M: usize, const ALONG: bool>(
    l: L,
    s: &Strip,
    a: *const f32,
    b: *const f32,
    to: *mut f32,
) {
    let mut sums = [[l.splat(0.0); N]; M];
    let mut from = [a; M];
    for (m, from) in from.iter_mut().enumerate() {
        *from = a.wrapping_add(m * if ALONG { s.a_steps[0] } else { 1 });
    }
    let (step, mut b) = (if ALONG { 1 } else { s.a_steps[1] }, b);
    // SAFETY: the pointers stay in the ranges that the caller promises.
    unsafe {
        for i in 0..s.depth {
            let mut vectors = [l.splat(0.0); N];
            for (j, v) in vectors.iter_mut().enumerate() {
                *v = l.read(b.wrapping_add(j * LANES));
            }
            b = b.wrapping_add(s.b_step);
            for (sums, from) in sums.iter_mut().zip(from) {
                let value = l.splat(from.wrapping_add(i * step).read());
                for (sum, v) in sums.iter_mut().zip(vectors) {
                    *sum = l.mul_add(value, v, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let to = to.wrapping_add(m * s.to_step + j * LANES);
                if j + 1 < N || s.last == LANES {
                    l.write(if s.add { l.add(l.read(to), *sum) } else { *sum }, to);
                } else {
                    let sum = if s.add { l.add(l.read_partial(to, s.last), *sum) } else { *sum };
                    l.write_partial(sum, to, s.last);
                }
            }
        }
    }
}
