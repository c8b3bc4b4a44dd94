//! Small maps: if a kernel is used for at most four tiles, it is transformed in registers, right where it is
//! multiplied.
//!
//! ```text
//! for each row of six points:
//!     for each channel of the block:
//!         U[six points] = transform of the taps
//!         for each point, for each tile: sums[tile][point] += V[point][tile][channel] · U[point]
//! ```
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the convolution has checked")]

use dyconv_simd::{LANES, Lanes};

use super::shape::{REACH, SMALL_DEPTH};
use super::transform_2d;
use crate::prefetch::PrefetchRange;

/// Maximum number of cache lines of upcoming weights that are prefetched while one channel is multiplied.
const LINES: usize = 4;

/// A block of channels.
pub(super) struct Block {
    pub(super) channels: usize,
    /// Whether the sums start with this block.
    pub(super) begins: bool,
    /// `[channels, 9, 16]`
    pub(super) taps: *const f32,
    /// `[36 points, tiles, SMALL_DEPTH]`, with one vector between points.
    pub(super) v: *const f32,
    /// `[36 points, tiles, 16]`, with one vector between points.
    pub(super) m: *mut f32,
}

/// Adds the products of a block at all points, prefetching `step` bytes for every channel of every row.
///
/// # Safety
/// The block's pointers are valid for what they are said to hold; `m` is written, unless the sums begin.
#[inline(always)]
pub(super) unsafe fn products<L: Lanes>(l: L, tiles: usize, block: &Block, prefetch: &mut PrefetchRange, step: usize) {
    macro_rules! arms {
        ($($tiles:literal)*) => {
            match tiles {
                $($tiles => {
                    // SAFETY: by the caller's promise.
                    unsafe {
                        row::<L, $tiles, 0>(l, block, prefetch, step);
                        row::<L, $tiles, 1>(l, block, prefetch, step);
                        row::<L, $tiles, 2>(l, block, prefetch, step);
                        row::<L, $tiles, 3>(l, block, prefetch, step);
                        row::<L, $tiles, 4>(l, block, prefetch, step);
                        row::<L, $tiles, 5>(l, block, prefetch, step);
                    }
                })*
                tiles => unreachable!("{tiles} tiles are too many"),
            }
        };
    }
    arms!(1 2 3 4);
}

/// # Safety
/// As [`products`], for M tiles.
#[inline(always)]
unsafe fn row<L: Lanes, const M: usize, const Y: usize>(
    l: L,
    block: &Block,
    prefetch: &mut PrefetchRange,
    step: usize,
) {
    let (v_step, m_step) = (M * SMALL_DEPTH + LANES, M * LANES + LANES);
    let (v, m) = (block.v.wrapping_add(Y * REACH * v_step), block.m.wrapping_add(Y * REACH * m_step));
    let step = if prefetch.len() > 0 { step } else { 0 };
    let mut pf = prefetch.take(step * block.channels);
    let mut sums = [[l.splat(0.0); REACH]; M];
    // SAFETY: the pointers stay in the ranges that the caller promises; prefetching may point anywhere.
    unsafe {
        if !block.begins {
            for (t, sums) in sums.iter_mut().enumerate() {
                for (x, sum) in sums.iter_mut().enumerate() {
                    *sum = l.read(m.wrapping_add(x * m_step + t * LANES));
                }
            }
        }
        for c in 0..block.channels {
            let u = transform_2d::kernel_row::<L, Y>(l, block.taps.wrapping_add(c * 9 * LANES), LANES);
            for line in 0..LINES {
                l.prefetch(pf.wrapping_add(line * 64));
            }
            pf = pf.wrapping_add(step);
            let v = v.wrapping_add(c);
            for (t, sums) in sums.iter_mut().enumerate() {
                for (x, sum) in sums.iter_mut().enumerate() {
                    *sum = l.mul_add(l.splat(v.wrapping_add(x * v_step + t * SMALL_DEPTH).read()), u[x], *sum);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (x, sum) in sums.iter().enumerate() {
                l.write(*sum, m.wrapping_add(x * m_step + t * LANES));
            }
        }
    }
}
