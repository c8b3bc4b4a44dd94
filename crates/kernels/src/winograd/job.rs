//! The part of a convolution that each thread computes.
#![allow(unsafe_code, reason = "threads write interleaved parts of one output, through pointers")]

use std::ops::Range;

use dyconv_simd::{LANES, Lanes};

use super::gemm::{Sizes, gemm};
use super::shape::{POINTS, REACH, SIDE, Shape, TAPS};
use super::{small_maps, transform_2d};
use crate::activation::{ActivateRows, Activation, finish};
use crate::bank::{Bank, mix_vectors};
use crate::panel::PanelShape;
use crate::prefetch::{PrefetchRange, Prefetcher};
use crate::threads::share;

/// Mixing prefetches one part in this many of what is read next; the products prefetch the rest.
const PREFETCHED_BY_MIXING: usize = 3;

/// State shared by all threads. Made by [`WinogradConv::run`](super::WinogradConv::run), which has checked every
/// length.
pub(super) struct Job<'a> {
    pub(super) shape: &'a Shape,
    pub(super) parts: usize,
    /// The blocks of tiles of the current round; at most as many as fit into `v`.
    pub(super) round: Range<usize>,
    pub(super) bank: &'a Bank,
    pub(super) coefficients: &'a [f32],
    pub(super) mixes: bool,
    pub(super) bias: &'a [f32],
    pub(super) activation: Option<Activation>,
    pub(super) x: &'a [f32],
    /// Values outside the map, for all channels.
    pub(super) zeros: &'a [f32],
    /// Distances in values between the pixels of input, residual and output.
    pub(super) pixel_steps: [usize; 3],
    /// Or null.
    pub(super) residual: *const f32,
    pub(super) y: *mut f32,
    /// `[rows of tiles, O rounded up]`, or null.
    pub(super) sums: *mut f32,
    /// `[block of the round, block of channels, point, tile, depth]`
    pub(super) v: *mut f32,
    /// `[panel, block of channels, point, channel, width, 16]`, or one row of points of a block per part.
    pub(super) u: *mut f32,
    /// `[point, tile, width, 16]` per part.
    pub(super) m: *mut f32,
    /// The mixed taps of a block of channels, per part.
    pub(super) mixed: *mut f32,
    pub(super) prefetch: [PrefetchRange; 2],
}

// SAFETY: in each of the three steps every unit belongs to one part, which alone writes its places of `v` and `u`, or its
// pixels and channels of `y` and `sums`; every part has its own stretch of `m` and `mixed`, and of `u` where it is not whole.
unsafe impl Sync for Job<'_> {}

/// Transforms all kernels.
#[inline(always)]
pub(super) fn kernels<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let (shape, blocks) = (job.shape, job.shape.channel_blocks());
    for unit in share(shape.panels.len() * blocks, part, job.parts) {
        let (panel, block) = (&shape.panels[unit / blocks], unit % blocks);
        let channels = shape.channels[block]..shape.channels[block + 1];
        let taps = job.taps(l, part, panel, channels.clone(), &mut PrefetchRange::default());
        for row in 0..REACH {
            let to = job.u.wrapping_add((unit * POINTS + row * REACH) * shape.steps()[1]);
            // SAFETY: the taps are those of the block, and `u` has 36 points for every panel and block.
            unsafe { job.kernel_row(l, row, taps, [channels.len(), panel.width], to) };
        }
    }
}

/// Transforms the inputs of a round.
#[inline(always)]
pub(super) fn inputs<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let shape = job.shape;
    let first = shape.blocks[job.round.start];
    let rows = shape.blocks[job.round.end] - first;
    let [columns, blocks] = [shape.tiles[1], shape.channel_blocks()];
    // If there are few tiles, the threads share their channels too.
    let pieces = if rows * columns < 4 * job.parts { blocks } else { 1 };
    let mut unit = share(rows * columns * pieces, part, job.parts);
    let mut block = job.round.start;
    while unit.start < unit.end {
        let (tile, piece) = (unit.start / pieces, unit.start % pieces);
        let (row, column) = (first + tile / columns, tile % columns);
        while row >= shape.blocks[block + 1] {
            block += 1;
        }
        let at = (row - shape.blocks[block]) * columns + column;
        job.transform_inputs(l, [row, column], [block - job.round.start, at], share(blocks, piece, pieces));
        unit.start += 1;
    }
}

/// Computes the products of a round and transforms the outputs.
#[inline(always)]
pub(super) fn products<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let shape = job.shape;
    let panels = shape.panels.len();
    let mut prefetcher = Prefetcher::new(job.prefetch, part, job.parts);
    let units = share(job.round.len() * panels, part, job.parts);
    for unit in units.clone() {
        let (block, panel) = (unit / panels, &shape.panels[unit % panels]);
        let next = if unit + 1 < units.end { shape.panels.get(unit % panels + 1) } else { None };
        match panel.width {
            1 => job.run_panel::<L, 1>(l, part, block, unit % panels, next, &mut prefetcher),
            2 if const { L::TILE_ROWS[1] > 0 } => {
                job.run_panel::<L, 2>(l, part, block, unit % panels, next, &mut prefetcher)
            }
            3 if const { L::TILE_ROWS[2] > 0 } => {
                job.run_panel::<L, 3>(l, part, block, unit % panels, next, &mut prefetcher)
            }
            width => unreachable!("a panel of {width} vectors"),
        }
    }
}

impl Job<'_> {
    /// The vectors of the bank for some channels of a panel.
    fn vectors(&self, panel: &PanelShape, channels: Range<usize>) -> [usize; 2] {
        let row = TAPS * panel.width;
        [panel.vector + channels.start * row, channels.len() * row]
    }

    /// The taps of a block of channels of a panel: those of the bank, or mixed a few channels at a time. Mixing
    /// prefetches a part of what is read next.
    #[inline(always)]
    fn taps<L: Lanes>(
        &self,
        l: L,
        part: usize,
        panel: &PanelShape,
        channels: Range<usize>,
        prefetch: &mut PrefetchRange,
    ) -> *const f32 {
        let [first, count] = self.vectors(panel, channels.clone());
        match self.bank.single() {
            Some(bank) if !self.mixes => bank[first * LANES..][..count * LANES].as_ptr(),
            _ => {
                let len = self.shape.mixed_len();
                // SAFETY: `mixed` holds so many values for each part.
                let mixed = unsafe { std::slice::from_raw_parts_mut(self.mixed.wrapping_add(part * len), len) };
                let taps = &mut mixed[..count * LANES];
                let (piece, columns) = (TAPS * panel.width * LANES, [panel.column, panel.width]);
                let bytes = prefetch.len() / PREFETCHED_BY_MIXING / channels.len();
                for (c, to) in taps.chunks_exact_mut(piece).enumerate() {
                    let range = [first + c * TAPS * panel.width, TAPS * panel.width];
                    mix_vectors::<L, false>(l, self.bank, self.coefficients, range, columns, to);
                    let from = prefetch.take(bytes);
                    for offset in (0..bytes).step_by(64) {
                        l.prefetch(from.wrapping_add(offset));
                    }
                }
                taps.as_ptr()
            }
        }
    }

    /// Transforms the taps of `channels` channels, `width` vectors wide, at the points of one row.
    ///
    /// # Safety
    /// There are `[channels, 9, width, 16]` taps, and `to` has room for `[6, channels, width, 16]` values, [`steps`] apart.
    ///
    /// [`steps`]: Shape::steps
    #[inline(always)]
    unsafe fn kernel_row<L: Lanes>(
        &self,
        l: L,
        row: usize,
        taps: *const f32,
        [channels, width]: [usize; 2],
        to: *mut f32,
    ) {
        let point_step = self.shape.steps()[1];
        macro_rules! rows {
            ($($row:literal)*) => {
                match row {
                    $($row => {
                        for c in 0..channels {
                            for j in 0..width {
                                let from = taps.wrapping_add((c * TAPS * width + j) * LANES);
                                let to = to.wrapping_add((c * width + j) * LANES);
                                // SAFETY: by the caller's promise.
                                unsafe {
                                    let line = transform_2d::kernel_row::<L, $row>(l, from, width * LANES);
                                    for (x, v) in line.iter().enumerate() {
                                        l.write(*v, to.wrapping_add(x * point_step));
                                    }
                                }
                            }
                        }
                    })*
                    row => unreachable!("row {row} of the points"),
                }
            };
        }
        rows!(0 1 2 3 4 5);
    }

    /// Transforms some blocks of channels of the tile in this row and column, into tile `tile` of block `block`.
    #[inline(always)]
    fn transform_inputs<L: Lanes>(
        &self,
        l: L,
        [row, column]: [usize; 2],
        [block, tile]: [usize; 2],
        blocks: Range<usize>,
    ) {
        let shape = self.shape;
        let ([h, w, _], padding) = (shape.geometry.input, shape.geometry.padding);
        let mut pixels = [self.zeros.as_ptr(); POINTS];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let y = (SIDE * row + i / REACH).checked_sub(padding[0]).filter(|y| *y < h);
            let x = (SIDE * column + i % REACH).checked_sub(padding[1]).filter(|x| *x < w);
            if let (Some(y), Some(x)) = (y, x) {
                *pixel = self.x[(y * w + x) * self.pixel_steps[0]..].as_ptr();
            }
        }
        let point_step = shape.steps()[0];
        for index in blocks {
            let [first, end] = [shape.channels[index], shape.channels[index + 1]];
            let place = (block * shape.channel_blocks() + index) * POINTS * point_step + tile * shape.depth;
            for c in (first..end).step_by(LANES) {
                let to = self.v.wrapping_add(place + c - first);
                // SAFETY: every pixel has all channels, as have the zeros; a place of `v` has `depth` channels at 36 points.
                unsafe { transform_2d::input(l, &pixels, [c, LANES.min(end - c)], to, point_step) };
            }
        }
    }

    /// Computes all products of a panel, N vectors wide, with a block of tiles, and its outputs.
    #[inline(always)]
    fn run_panel<L: Lanes, const N: usize>(
        &self,
        l: L,
        part: usize,
        block: usize,
        index: usize,
        next: Option<&PanelShape>,
        prefetcher: &mut Prefetcher,
    ) {
        let shape = self.shape;
        let panel = &shape.panels[index];
        let [v_step, u_step, m_step] = shape.steps();
        let rows = shape.blocks[self.round.start + block]..shape.blocks[self.round.start + block + 1];
        let m = self.m.wrapping_add(part * POINTS * m_step);
        let channel_blocks = shape.channel_blocks();
        let tiles = rows.len() * shape.tiles[1];
        for i in 0..channel_blocks {
            let channels = shape.channels[i]..shape.channels[i + 1];
            let mut prefetch = PrefetchRange::default();
            let mut taps = std::ptr::null();
            if !shape.whole() {
                let next = if i + 1 < channel_blocks { Some((panel, i + 1)) } else { next.map(|panel| (panel, 0)) };
                if let Some((panel, i)) = next {
                    let [first, count] = self.vectors(panel, shape.channels[i]..shape.channels[i + 1]);
                    prefetch = self.bank.range(first, count);
                }
                taps = self.taps(l, part, panel, channels.clone(), &mut prefetch);
            }
            // Prefetching is spread evenly over the products.
            let own = prefetch.len() > 0;
            let prefetch = if own { &mut prefetch } else { prefetcher.next() };
            let v = self.v.wrapping_add((block * channel_blocks + i) * POINTS * v_step);
            if shape.is_small() {
                let step = if own { prefetch.len().div_ceil(REACH * channels.len()) } else { 64 };
                let block = small_maps::Block { channels: channels.len(), begins: i == 0, taps, v, m };
                // SAFETY: the taps are those of the block, one vector wide; `v` holds SMALL_DEPTH channels for every tile, `m` a
                // vector.
                unsafe { small_maps::products(l, tiles, &block, prefetch, step) };
                continue;
            }
            let groups = tiles.div_ceil(L::TILE_ROWS[N - 1]);
            let step = if own { prefetch.len().div_ceil(POINTS * groups * channels.len()) } else { 64 };
            let sizes = Sizes { tiles, channels: channels.len(), step: shape.depth, begins: i == 0, prefetch: step };
            for point_row in 0..REACH {
                let u = if shape.whole() {
                    self.u.wrapping_add(((index * channel_blocks + i) * POINTS + point_row * REACH) * u_step)
                } else {
                    let u = self.u.wrapping_add(part * REACH * u_step);
                    // SAFETY: the taps are those of the block, and `u` has a row of points for each part.
                    unsafe { self.kernel_row(l, point_row, taps, [sizes.channels, N], u) };
                    u
                };
                for x in 0..REACH {
                    let point = point_row * REACH + x;
                    let (v, m) = (v.wrapping_add(point * v_step), m.wrapping_add(point * m_step));
                    // SAFETY: at each point `v` holds `depth` channels for every tile of a block, `u` as many rows of N
                    // vectors, and `m` N vectors for every tile.
                    unsafe { gemm::<L, N>(l, sizes, v, u.wrapping_add(x * u_step), m, prefetch) };
                }
            }
        }
        for row in rows.clone() {
            for j in 0..N {
                let m = m.wrapping_add(((row - rows.start) * shape.tiles[1] * N + j) * LANES);
                self.finish_row(l, row, panel.channel + j * LANES, m, [N * LANES, m_step]);
            }
        }
    }

    /// Transforms sixteen output channels of a row of tiles. Tiles of `m` are `tile_step` values apart, points
    /// `point_step` values.
    #[inline(always)]
    fn finish_row<L: Lanes>(
        &self,
        l: L,
        row: usize,
        channel: usize,
        m: *const f32,
        [tile_step, point_step]: [usize; 2],
    ) {
        let [oh, ow, o] = self.shape.geometry.output();
        let n = LANES.min(o - channel);
        let bias = if self.bias.is_empty() { l.splat(0.0) } else { l.load_partial(&self.bias[channel..][..n]) };
        let rows = SIDE.min(oh - SIDE * row);
        let mut total = l.splat(0.0);
        let long = self.activation.filter(|a| !a.is_short());
        let mut activated = [0.0; LANES];
        let sums = activated.as_mut_ptr();
        for column in 0..self.shape.tiles[1] {
            let columns = SIDE.min(ow - SIDE * column);
            // SAFETY: `m` holds a vector for every tile and point.
            let mut out = unsafe { transform_2d::output(l, m.wrapping_add(column * tile_step), point_step) };
            let pixel = SIDE * row * ow + SIDE * column;
            let [_, residual_step, step] = self.pixel_steps;
            for (y, line) in out.iter_mut().enumerate() {
                for (x, v) in line.iter_mut().enumerate() {
                    *v = l.add(*v, bias);
                    if !self.residual.is_null() && y < rows && x < columns {
                        let from = self.residual.wrapping_add((pixel + y * ow + x) * residual_step + channel);
                        // SAFETY: the pixel lies inside the map, and `n` channels from this one on exist.
                        *v = l.add(*v, unsafe { if n == LANES { l.read(from) } else { l.read_partial(from, n) } });
                    }
                }
            }
            let out = finish(l, self.activation, out);
            for (y, line) in out.iter().enumerate().take(rows) {
                for (x, v) in line.iter().enumerate().take(columns) {
                    let to = self.y.wrapping_add((pixel + y * ow + x) * step + channel);
                    // SAFETY: as above; this part alone writes these channels of this row of tiles.
                    unsafe { if n == LANES { l.write(*v, to) } else { l.write_partial(*v, to, n) } };
                    total = l.add(total, *v);
                }
                if let Some(activation) = long {
                    let y = self.y.wrapping_add((pixel + y * ow) * step + channel);
                    l.outlined(ActivateRows { activation, y, rows: columns, step, lanes: n, sums, first: false });
                }
            }
        }
        if long.is_some() {
            total = l.load(&activated);
        }
        if !self.sums.is_null() {
            let to = self.sums.wrapping_add(row * o.next_multiple_of(LANES) + channel);
            // SAFETY: there is a row of sums for every row of tiles, and each row has whole vectors.
            unsafe { l.write(total, to) };
        }
    }
}
