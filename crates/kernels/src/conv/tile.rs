//! The innermost loop: a few output pixels times one panel or two, all sums in registers.

use crate::activation::{Activation, activated};
use crate::lanes::{LANES, Lanes};

/// Most pixels of a tile on any instruction set.
pub(super) const MAX_ROWS: usize = 12;

/// What a tile of pixels is computed from, N panels wide.
pub(super) struct Tile<'a, V, const N: usize> {
    /// The padded input.
    pub(super) x: &'a [f32],
    /// Where each segment starts, in values from the pixel's first.
    pub(super) segments: &'a [usize],
    /// Values per segment.
    pub(super) segment_len: usize,
    /// Panels `[segments · segment_len]` of sixteen output channels.
    pub(super) panels: [&'a [[f32; LANES]]; N],
    pub(super) bias: [V; N],
    pub(super) activation: Option<Activation>,
    /// Values from one output pixel to the next.
    pub(super) out_step: usize,
    /// Output channels of the panels, those that are only padding left out.
    pub(super) channels: usize,
}

/// Computes `rows` pixels whose input begins at `starts`; `y` begins at the first output channel of the first pixel.
#[inline(always)]
pub(super) fn run_tile<L: Lanes, const N: usize>(
    l: L,
    rows: usize,
    tile: &Tile<'_, L::V, N>,
    starts: &[usize; MAX_ROWS],
    y: &mut [f32],
) {
    macro_rules! arms {
        ($($rows:literal)*) => {
            match rows {
                $($rows if $rows <= L::TILE_ROWS => tile.run::<L, $rows>(l, starts, y),)*
                _ => unreachable!("a tile of {rows} pixels"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12);
}

impl<V: Copy, const N: usize> Tile<'_, V, N> {
    #[inline(always)]
    fn run<L: Lanes<V = V>, const M: usize>(&self, l: L, starts: &[usize; MAX_ROWS], y: &mut [f32]) {
        let mut sums = [self.bias; M];
        let n = self.segment_len;
        for (i, segment) in self.segments.iter().enumerate() {
            let mut rows: [&[f32]; M] = [&[]; M];
            for (row, start) in rows.iter_mut().zip(starts) {
                *row = &self.x[start + segment..][..n];
            }
            let mut panels: [&[[f32; LANES]]; N] = [&[]; N];
            for (to, panel) in panels.iter_mut().zip(self.panels) {
                *to = &panel[i * n..][..n];
            }
            for c in 0..n {
                let mut weights = self.bias;
                for (v, panel) in weights.iter_mut().zip(panels) {
                    *v = l.load(&panel[c]);
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let v = l.splat(row[c]);
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = l.mul_add(v, w, *sum);
                    }
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (to, sum) in y[m * self.out_step..][..self.channels].chunks_mut(LANES).zip(sums) {
                let v = activated(l, self.activation, *sum);
                match <&mut [f32; LANES]>::try_from(&mut *to) {
                    Ok(whole) => l.store(v, whole),
                    Err(_) => l.store_partial(v, to),
                }
            }
        }
    }
}
