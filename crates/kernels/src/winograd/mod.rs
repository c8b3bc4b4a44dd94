//! Winograd's convolution F(4×4, 3×3): 36 products for sixteen outputs, where the definition has 144.
//!
//! ```text
//! cut the map into tiles of 4×4 outputs, rows of tiles into blocks, output channels into panels, input channels into blocks
//! for each block of tiles:
//!     for each tile, each channel: V[point] = the 6×6 inputs, transformed                       (threads share the tiles)
//!     for each panel:                                                                          (threads share the panels)
//!         for each block of channels:
//!             mix the block from the K blocks of the bank, if it is a mixture
//!             for each of the six rows of points:
//!                 U[point] = transform of the 3×3 taps
//!                 for each of the six points: M[point] += V[point] · U[point]  <- asks for the bank's next block in passing
//!         for each tile: y = activation(transform of M + bias + residual), and its sum over the tile row's pixels
//! ```
//!
//! 1. The kernel is transformed where it is used, for static layers too: the 36 values of nine weights are four times the bytes
//!    to read, and computing them takes less time than the products of two tiles. A row of points of a block stays in the
//!    first-level cache.
//!    A kernel that meets four tiles at most is transformed in registers.
//! 2. A map of several blocks of tiles would transform each kernel several times: there all of U is computed first.
//! 3. Each sum is formed in the same order for any number of threads: over channels inside a tile, over pixels inside a row of
//!    tiles.

mod few;
mod job;
mod product;
#[cfg(test)]
mod tests;
pub(crate) mod transforms;

use crate::bank::{Bank, Packer, Storage};
use crate::geometry::{ConvGeometry, ConvRun, Exec, Span};
use crate::lanes::{Isa, LANES, dispatch};
use crate::threads::share;
use job::{Job, inputs, kernels, products};

/// Outputs of a tile on each axis.
const SIDE: usize = 4;
/// Inputs of a tile on each axis.
const REACH: usize = SIDE + 2;
/// Points at which the polynomials are multiplied.
const POINTS: usize = REACH * REACH;
/// Taps of the kernel.
const TAPS: usize = 9;
/// Most input channels of a block whose kernels are transformed row by row, into the first-level cache.
const DEPTH: usize = 16;
/// Most input channels of a block where all kernels are transformed first.
const WHOLE_DEPTH: usize = 64;
/// Tiles of a block, about.
const BLOCK_TILES: usize = 42;
/// Bytes of weights that arrive from memory during one multiply-add of vectors, about.
const BYTES_PER_STEP: usize = 4;
/// Cost of transforming a tile's sixteen input or output channels, in multiply-adds of vectors.
const TILE_COST: usize = 160;
/// Cost of transforming the kernels between an input and sixteen output channels.
const KERNEL_COST: usize = 100;

/// A convolution of 3×3 taps at stride one, without groups or dilation.
#[derive(Debug, Clone)]
pub struct WinogradConv {
    geometry: ConvGeometry,
    isa: Isa,
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    /// First row of tiles of each block, and the end of the last.
    blocks: Vec<usize>,
    panels: Vec<PanelShape>,
    /// Vectors of the widest panel.
    width: usize,
    /// First input channel of each block, a multiple of sixteen, and the end of the last.
    channels: Vec<usize>,
    /// Most input channels of a block, rounded up to vectors.
    depth: usize,
}

/// A panel of output channels.
#[derive(Debug, Clone, Copy)]
struct PanelShape {
    /// Vectors side by side.
    width: usize,
    /// First output channel.
    channel: usize,
    /// Output channels that are not padding.
    channels: usize,
    /// First vector in the bank.
    vector: usize,
}

impl WinogradConv {
    /// Whether it can compute such a convolution.
    pub fn supports(g: &ConvGeometry) -> bool {
        g.kernel == [3, 3] && g.stride == [1, 1] && g.dilation == [1, 1] && g.groups == 1
    }

    /// Whether it is likely to be faster than [`PanelConv`](crate::PanelConv), with so many bytes of weights to read.
    ///
    /// Counts multiply-adds of vectors. Weights that take longer to read than the definition takes to compute leave nothing
    /// to win.
    pub fn pays(g: &ConvGeometry, isa: Isa, weight_bytes: usize) -> bool {
        if !Self::supports(g) {
            return false;
        }
        let [oh, ow, o] = g.output();
        let (c, tiles) = (g.input[2], oh.div_ceil(SIDE) * ow.div_ceil(SIDE));
        // What is transformed in registers needs many of them.
        if tiles <= few::TILES && isa.tile_rows()[1] == 0 {
            return false;
        }
        let (inputs, outputs) = (c.div_ceil(LANES), o.div_ceil(LANES));
        let direct = oh * ow * TAPS * c * outputs;
        let products = tiles * POINTS * c * outputs;
        let transforms = TILE_COST * tiles * (inputs + outputs) + KERNEL_COST * c * outputs;
        (products + transforms).max(weight_bytes / BYTES_PER_STEP) < direct
    }

    /// A convolution of these sizes for an instruction set.
    ///
    /// # Panics
    /// When it is not [supported](Self::supports).
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        assert!(Self::supports(&geometry), "3×3 taps at stride one, neither groups nor dilation");
        let ([oh, ow, o], c) = (geometry.output(), geometry.input[2]);
        let tiles = [oh.div_ceil(SIDE), ow.div_ceil(SIDE)];
        let count = tiles[0].div_ceil((BLOCK_TILES / tiles[1]).max(1));
        let count = if tiles[0] * tiles[1] <= BLOCK_TILES + BLOCK_TILES / 4 { 1 } else { count };
        let blocks: Vec<usize> = (0..=count).map(|i| tiles[0] * i / count).collect();
        let few = tiles[0] * tiles[1] <= few::TILES;
        let width = match isa.tile_rows() {
            _ if few => 1,
            rows if tiles[0] * tiles[1] <= rows[2] => 3,
            rows if rows[1] > 0 => 2,
            _ => 1,
        };
        let vectors = o.div_ceil(LANES);
        let count = vectors.div_ceil(width);
        let panels: Vec<PanelShape> = (0..count)
            .map(|i| {
                let at = share(vectors, i, count);
                let channel = at.start * LANES;
                let channels = (at.end * LANES).min(o) - channel;
                PanelShape { width: at.len(), channel, channels, vector: at.start * c * TAPS }
            })
            .collect();
        let most = match blocks.len() - 1 {
            1 if few => few::DEPTH,
            1 => DEPTH,
            _ => WHOLE_DEPTH,
        };
        let (lines, count) = (c.div_ceil(LANES), c.div_ceil(most));
        let channels = (0..=count).map(|i| (lines * i / count * LANES).min(c)).collect();
        let depth = if few { most } else { lines.div_ceil(count) * LANES };
        Self { geometry, isa, tiles, blocks, panels, width, channels, depth }
    }

    /// Vectors of one packed kernel.
    fn vectors(&self) -> usize {
        self.geometry.out_channels.div_ceil(LANES) * self.geometry.input[2] * TAPS
    }

    /// Packs a bank `[K, O, C, 3, 3]` (a static kernel is K = 1) into panels `[panel, C, 3, 3, width, 16]`, padded with zeros.
    ///
    /// # Panics
    /// When the length is not K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32], storage: Storage) -> Bank {
        let (len, c) = (self.geometry.weight_len(), self.geometry.input[2]);
        assert_eq!(weight.len(), kernels * len, "a bank [K, O, C, 3, 3]");
        let columns = |p: &PanelShape| {
            let (width, column) = (p.width, p.channel / LANES);
            (0..c * TAPS * width).map(move |v| (column + v % width) as u32)
        };
        let mut packer = Packer::new(kernels, self.panels.iter().flat_map(columns).collect(), storage);
        for (k, kernel) in weight.chunks_exact(len).enumerate() {
            for panel in &self.panels {
                for o in 0..panel.channels {
                    let channel = &kernel[(panel.channel + o) * c * TAPS..][..c * TAPS];
                    for (row, w) in channel.iter().enumerate() {
                        packer.set(k, panel.vector + row * panel.width + o / LANES, o % LANES, *w);
                    }
                }
            }
        }
        packer.finish()
    }

    /// Whether kernels are transformed in registers.
    fn few(&self) -> bool {
        self.tiles[0] * self.tiles[1] <= few::TILES
    }

    /// Whether all kernels are transformed before the first product.
    fn whole(&self) -> bool {
        self.blocks.len() > 2
    }

    fn channel_blocks(&self) -> usize {
        self.channels.len() - 1
    }

    /// Tiles of the largest block.
    fn block_tiles(&self) -> usize {
        let rows = self.blocks.windows(2).map(|b| b[1] - b[0]).max();
        rows.unwrap_or(0) * self.tiles[1]
    }

    /// Steps from point to point in V, U and M. The odd line keeps the points of one place apart in the cache.
    fn steps(&self) -> [usize; 3] {
        let tiles = self.block_tiles();
        [tiles * self.depth, self.depth * self.width * LANES, tiles * self.width * LANES].map(|n| n + LANES)
    }

    /// Parts of the working memory for so many threads: zeros, V, U, M, mixed taps.
    fn parts(&self, mixes: bool, threads: usize) -> [usize; 5] {
        let [v, u, m] = self.steps();
        let c = self.channel_blocks();
        [
            self.geometry.input[2].next_multiple_of(LANES),
            v * POINTS * c * threads.min(self.blocks.len() - 1),
            if self.whole() { u * POINTS * c * self.panels.len() } else { u * REACH * threads },
            m * POINTS * threads,
            if mixes { self.mixed_len() * threads } else { 0 },
        ]
    }

    /// Values of a block's mixed taps.
    fn mixed_len(&self) -> usize {
        self.depth * TAPS * self.width * LANES
    }

    /// Values of scratch that [`run`](Self::run) needs on so many threads, when kernels are mixed.
    pub fn scratch_len(&self, mixes: bool, threads: usize) -> usize {
        self.parts(mixes, threads).iter().sum()
    }

    /// Values of [`ConvRun::sums`].
    pub fn sums_len(&self) -> usize {
        self.tiles[0] * self.geometry.out_channels.next_multiple_of(LANES)
    }

    /// Convolves; `bank` as [`pack`](Self::pack) makes it.
    ///
    /// # Panics
    /// When a length does not fit, input factors are given, or the instruction set is not that of [`new`](Self::new).
    pub fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        let (g, threads) = (&self.geometry, exec.pool.threads());
        let mixes = run.bank.single().is_none() || !run.coefficients.is_empty();
        run.check(g, self.vectors(), self.sums_len(), self.scratch_len(mixes, threads));
        assert!(run.input_scale.is_empty(), "no input factors");
        assert_eq!(self.isa.name(), exec.isa.name(), "the instruction set that the panels are made for");
        let [zeros, v, u, m, _] = self.parts(mixes, threads);
        let (zeros, rest) = run.scratch.split_at_mut(zeros);
        let (v, rest) = rest.split_at_mut(v);
        let (u, rest) = rest.split_at_mut(u);
        let (m, mixed) = rest.split_at_mut(m);
        zeros.fill(0.0);
        let blocks = self.blocks.len() - 1;
        let rounds = blocks.div_ceil(threads);
        let mut job = Job {
            conv: self,
            parts: threads,
            round: 0..0,
            bank: run.bank,
            // One kernel in narrow storage is mixed with the coefficient one.
            coefficients: if run.coefficients.is_empty() { &[1.0] } else { run.coefficients },
            mixes,
            bias: run.epilogue.bias,
            activation: run.epilogue.activation,
            x: run.x,
            zeros,
            residual: if run.residual.is_empty() { std::ptr::null() } else { run.residual.as_ptr() },
            y: run.y.as_mut_ptr(),
            sums: if run.sums.is_empty() { std::ptr::null_mut() } else { run.sums.as_mut_ptr() },
            v: v.as_mut_ptr(),
            u: u.as_mut_ptr(),
            m: m.as_mut_ptr(),
            mixed: mixed.as_mut_ptr(),
            upcoming: [Span::default(); 2],
        };
        if self.whole() {
            let job = &job;
            exec.pool.run(threads, &|part| dispatch!(exec.isa, kernels(job: &Job<'_>, part: usize)));
        }
        for round in 0..rounds {
            job.round = share(blocks, round, rounds);
            job.upcoming = run.upcoming.map(|span| span.share(round, rounds));
            let job = &job;
            exec.pool.run(threads, &|part| dispatch!(exec.isa, inputs(job: &Job<'_>, part: usize)));
            exec.pool.run(threads, &|part| dispatch!(exec.isa, products(job: &Job<'_>, part: usize)));
        }
    }
}
