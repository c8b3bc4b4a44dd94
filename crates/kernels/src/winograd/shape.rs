//! How a convolution is divided: tiles and blocks of tiles, panels of output channels, blocks of input channels, and
//! the scratch memory they need.

use dyconv_simd::{Isa, LANES};

use crate::geometry::ConvGeometry;
use crate::panel::PanelShape;
use crate::threads::share;

/// Outputs of a tile along each axis.
pub(crate) const SIDE: usize = 4;
/// Inputs of a tile along each axis.
pub(super) const REACH: usize = SIDE + 2;
/// Number of points at which the polynomials are evaluated.
pub(crate) const POINTS: usize = REACH * REACH;
/// Number of taps of the kernel.
pub(crate) const TAPS: usize = 9;
/// Maximum number of input channels of a block whose kernels are transformed row by row, into the L1 cache.
pub(super) const DEPTH: usize = 16;
/// Maximum number of input channels of a block if all kernels are transformed first.
pub(super) const WHOLE_DEPTH: usize = 64;
/// Approximate number of tiles of a block.
pub(super) const BLOCK_TILES: usize = 42;
/// Maximum number of tiles of a map whose kernels are transformed in registers.
pub(crate) const SMALL_TILES: usize = 4;
/// Number of input channels of a block of a small map; a constant, so that distances are known at compile time.
pub(super) const SMALL_DEPTH: usize = 32;

/// The sizes of a convolution and of its parts.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) geometry: ConvGeometry,
    /// Number of rows and columns of tiles.
    pub(super) tiles: [usize; 2],
    /// First row of tiles of each block, then the end of the last block.
    pub(super) blocks: Vec<usize>,
    pub(super) panels: Vec<PanelShape>,
    /// Width of the widest panel, in vectors.
    pub(super) width: usize,
    /// First input channel of each block, a multiple of sixteen, then the end of the last block.
    pub(super) channels: Vec<usize>,
    /// Maximum number of input channels of a block, rounded up to vectors.
    pub(super) depth: usize,
}

impl Shape {
    /// The sizes of a convolution for an instruction set.
    pub(super) fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        let ([oh, ow, o], c) = (geometry.output(), geometry.input[2]);
        let tiles = [oh.div_ceil(SIDE), ow.div_ceil(SIDE)];
        let count = tiles[0].div_ceil((BLOCK_TILES / tiles[1]).max(1));
        let count = if tiles[0] * tiles[1] <= BLOCK_TILES + BLOCK_TILES / 4 { 1 } else { count };
        let blocks: Vec<usize> = (0..=count).map(|i| tiles[0] * i / count).collect();
        let small = tiles[0] * tiles[1] <= SMALL_TILES;
        let width = match isa.tile_rows() {
            _ if small => 1,
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
                let (width, vector, column) = (at.len(), at.start * c * TAPS, at.start);
                PanelShape { width, group: 0, channel, channels, vector, column }
            })
            .collect();
        let most = match blocks.len() - 1 {
            1 if small => SMALL_DEPTH,
            1 => DEPTH,
            _ => WHOLE_DEPTH,
        };
        let (lines, count) = (c.div_ceil(LANES), c.div_ceil(most));
        let channels = (0..=count).map(|i| (lines * i / count * LANES).min(c)).collect();
        let depth = if small { most } else { lines.div_ceil(count) * LANES };
        Self { geometry, tiles, blocks, panels, width, channels, depth }
    }

    /// Number of vectors of one packed kernel.
    pub(super) fn vectors(&self) -> usize {
        self.geometry.out_channels.div_ceil(LANES) * self.geometry.input[2] * TAPS
    }

    /// Whether kernels are transformed in registers.
    pub(super) fn is_small(&self) -> bool {
        self.tiles[0] * self.tiles[1] <= SMALL_TILES
    }

    /// Whether all kernels are transformed before the first product.
    pub(super) fn whole(&self) -> bool {
        self.blocks.len() > 2
    }

    pub(super) fn channel_blocks(&self) -> usize {
        self.channels.len() - 1
    }

    /// Number of tiles of the largest block.
    pub(super) fn block_tiles(&self) -> usize {
        let rows = self.blocks.windows(2).map(|b| b[1] - b[0]).max();
        rows.unwrap_or(0) * self.tiles[1]
    }

    /// Distances between points in V, U and M. The odd cache line keeps the points of one position from colliding in
    /// the cache.
    pub(super) fn steps(&self) -> [usize; 3] {
        let tiles = self.block_tiles();
        [tiles * self.depth, self.depth * self.width * LANES, tiles * self.width * LANES].map(|n| n + LANES)
    }

    /// Sizes of the parts of the scratch memory for `threads` threads: zeros, V, U, M, mixed taps.
    pub(super) fn parts(&self, mixes: bool, threads: usize) -> [usize; 5] {
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

    /// Number of values of the mixed taps of a block.
    pub(super) fn mixed_len(&self) -> usize {
        self.depth * TAPS * self.width * LANES
    }
}
