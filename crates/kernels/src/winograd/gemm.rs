//! The products at one point: tiles × channels × output channels, with all sums in registers.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the convolution has checked")]

use dyconv_simd::{LANES, Lanes};

use crate::prefetch::PrefetchRange;
use crate::threads::share;

/// State shared by the products of all points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) tiles: usize,
    /// Number of channels of the block.
    pub(super) channels: usize,
    /// Distance in values from the channels of one tile to those of the next.
    pub(super) step: usize,
    /// Whether the sums start with this block.
    pub(super) begins: bool,
    /// Bytes of upcoming weights to prefetch while one channel of a group of tiles is multiplied; at most two cache
    /// lines.
    pub(super) prefetch: usize,
}

/// sums[tile] (+)= Σ_c v[tile][c] · u[c], N vectors wide.
///
/// # Safety
/// `v` holds `channels` values for every tile, `step` apart; `u` `[channels, N, 16]`; `sums` `[tiles, N, 16]`, written
/// unless the sums begin.
#[inline(always)]
pub(super) unsafe fn gemm<L: Lanes, const N: usize>(
    l: L,
    sizes: Sizes,
    v: *const f32,
    u: *const f32,
    sums: *mut f32,
    prefetch: &mut PrefetchRange,
) {
    let groups = sizes.tiles.div_ceil(L::TILE_ROWS[N - 1]);
    for group in 0..groups {
        let tiles = share(sizes.tiles, group, groups);
        let (v, sums) = (v.wrapping_add(tiles.start * sizes.step), sums.wrapping_add(tiles.start * N * LANES));
        macro_rules! arms {
            ($($rows:literal)*) => {
                match tiles.len() {
                    // SAFETY: by the caller's promise.
                    $($rows if const { $rows <= L::TILE_ROWS[N - 1] } => unsafe { rows::<L, N, $rows>(l, sizes, v, u, sums, prefetch) },)*
                    rows => unreachable!("a group of {rows} tiles"),
                }
            };
        }
        arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

/// # Safety
/// As [`gemm`], for M tiles.
#[inline(always)]
unsafe fn rows<L: Lanes, const N: usize, const M: usize>(
    l: L,
    sizes: Sizes,
    v: *const f32,
    u: *const f32,
    to: *mut f32,
    prefetch: &mut PrefetchRange,
) {
    let mut sums = [[l.splat(0.0); N]; M];
    // SAFETY: the pointers stay in the ranges that the caller promises; prefetching may point anywhere.
    unsafe {
        if !sizes.begins {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = l.read(to.wrapping_add((m * N + j) * LANES));
                }
            }
        }
        // When nothing is left to prefetch, the last address is prefetched again and again, which costs nothing.
        let step = if prefetch.len() > 0 { sizes.prefetch } else { 0 };
        let mut pf = prefetch.take(step * sizes.channels);
        let mut w = u;
        let mut x = [std::ptr::null::<f32>(); M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = v.wrapping_add(m * sizes.step);
        }
        for c in 0..sizes.channels {
            let mut weights = [l.splat(0.0); N];
            for (j, weight) in weights.iter_mut().enumerate() {
                *weight = l.read(w.wrapping_add(j * LANES));
            }
            w = w.wrapping_add(N * LANES);
            l.prefetch(pf);
            l.prefetch(pf.wrapping_add(64));
            pf = pf.wrapping_add(step);
            for (sums, x) in sums.iter_mut().zip(x) {
                let v = l.splat(x.wrapping_add(c).read());
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = l.mul_add(v, weight, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                l.write(*sum, to.wrapping_add((m * N + j) * LANES));
            }
        }
    }
}
