//! How a convolution is divided: chunks of pixels, panels of output channels, segments and blocks of kernel values.

use std::ops::Range;

use dyconv_simd::{Isa, LANES, bf16_range};

use super::tile::{MAX_ROWS, Segment};
use crate::bank::Packer;
use crate::geometry::ConvGeometry;
use crate::panel::PanelShape;
use crate::threads::share;

/// Largest kernel in bytes that stays in the L1 cache while pixels stream through.
const SMALL_KERNEL: usize = 32 << 10;
/// Input bytes of a chunk of pixels that is multiplied by all panels.
const CHUNK_BYTES: usize = 24 << 10;
/// Minimum number of (panel, chunk) pairs, so that threads can share them evenly.
const UNITS: usize = 16;
/// Maximum number of rows of a block, if a panel is split into blocks.
const BLOCK_ROWS: usize = 384;
/// Maximum number of pixels of a convolution whose panels are split into blocks: every block stores and reloads their
/// sums.
const BLOCK_PIXELS: usize = 400;

/// The sizes of a convolution and of its parts.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) geometry: ConvGeometry,
    /// Whether input and kernels are rounded to bf16. If so, a "value" below is a word of two channels.
    pub(super) rounds: bool,
    /// Padded input `[H, W, C]`, as the tiles read it.
    pub(super) padded: [usize; 3],
    /// Distances in values from an output pixel to its right neighbour, and from a row of outputs to the next.
    pub(super) out: [usize; 2],
    pub(super) segments: Vec<Segment>,
    pub(super) blocks: Vec<Block>,
    /// Number of values of the kernel of one output channel.
    pub(super) rows: usize,
    pub(super) panels: Vec<PanelShape>,
    /// First pixel of each chunk, then the end of the last chunk.
    pub(super) chunks: Vec<usize>,
    /// Whether a chunk is multiplied by all panels before the next chunk.
    pub(super) pixel_major: bool,
}

/// Rows of a panel that are multiplied by all pixels before the next rows are mixed.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) segments: Range<usize>,
    /// Range of the block's rows.
    pub(super) rows: Range<usize>,
}

impl Shape {
    /// For an input that is already padded, or a window of a map `padded` `[H, W, C]`, and for outputs at the distances
    /// `out`.
    pub(super) fn new(geometry: ConvGeometry, isa: Isa, rounds: bool, padded: [usize; 3], out: [usize; 2]) -> Self {
        let ConvGeometry { kernel: [kh, kw], dilation, groups, .. } = geometry;
        let [h, w, c] = padded;
        assert!(groups > 0 && c.is_multiple_of(groups), "groups divide the input channels");
        assert!(geometry.out_channels.is_multiple_of(groups), "groups divide the output channels");
        let c = if rounds { c.div_ceil(2) } else { c };
        let padded = [h, w, c];
        let row = |ky: usize| ky * dilation[0] * padded[1] * c;
        let (segments, segment_len): (Vec<usize>, usize) = if groups == 1 && (dilation[1] == 1 || kw == 1) {
            ((0..kh).map(row).collect(), kw * c)
        } else {
            ((0..kh).flat_map(|ky| (0..kw).map(move |kx| row(ky) + kx * dilation[1] * c)).collect(), c / groups)
        };
        let rows = segments.len() * segment_len;
        let panels = panels(&geometry, isa, rows);
        let [oh, ow, o] = geometry.output();
        let pixels = oh * ow;
        let pixel_major = groups == 1 && pixels >= 28 * MAX_ROWS && rows * o * 4 <= SMALL_KERNEL;
        let block_rows = if pixels <= BLOCK_PIXELS && !pixel_major { BLOCK_ROWS } else { rows };
        let pieces = segment_len.div_ceil(block_rows);
        let cut = |start: usize| {
            let piece = move |i| share(segment_len, i, pieces);
            (0..pieces).map(move |i| Segment { start: start + piece(i).start, len: piece(i).len() })
        };
        let segments: Vec<Segment> = segments.into_iter().flat_map(cut).collect();
        let blocks = blocks(&segments, block_rows);
        let tiles = pixels.div_ceil(MAX_ROWS);
        let (count, grain) = if pixel_major {
            let per_chunk = (CHUNK_BYTES / (4 * c * geometry.stride[1]) / MAX_ROWS).min(tiles.div_ceil(UNITS)).max(3);
            (tiles.div_ceil(per_chunk), MAX_ROWS)
        } else {
            (UNITS.div_ceil(panels.len()).min(tiles), if tiles >= MAX_ROWS { MAX_ROWS } else { 1 })
        };
        // If tiles end at the end of their row, chunks do too.
        let (count, grain) = if out[1] == ow * out[0] { (count, grain) } else { (count.min(oh), ow) };
        let chunks = (0..=count).map(|i| (pixels.div_ceil(grain) * i / count * grain).min(pixels)).collect();
        Self { geometry, rounds, padded, out, segments, blocks, rows, panels, chunks, pixel_major }
    }

    /// Number of channels in a value.
    pub(super) fn per_value(&self) -> usize {
        if self.rounds { 2 } else { 1 }
    }

    /// Number of vectors of one packed kernel, before rounding.
    pub(super) fn vectors(&self) -> usize {
        self.panels.iter().map(|p| p.width * self.rows).sum::<usize>() * self.per_value()
    }

    /// The column of each vector.
    pub(super) fn columns(&self) -> impl Iterator<Item = u32> {
        let per = self.per_value();
        self.panels.iter().flat_map(move |p| {
            let (width, column) = (p.width * per, p.column * per);
            (0..self.rows * width).map(move |v| (column + v % width) as u32)
        })
    }

    /// Packs kernel `k` `[O, C/groups, kh, kw]`.
    pub(super) fn pack_kernel(&self, packer: &mut Packer, k: usize, kernel: &[f32]) {
        let g = &self.geometry;
        let (taps, inputs, per) = (g.taps(), g.input[2] / g.groups, self.per_value());
        let values = self.padded[2] / g.groups;
        for panel in &self.panels {
            for o in 0..panel.channels {
                let channel = &kernel[(panel.channel + o) * inputs * taps..][..inputs * taps];
                for (i, w) in channel.iter().enumerate() {
                    let (tap, c) = (i % taps, i / taps);
                    let row = tap * values + c / per;
                    let lane = o % LANES * per + c % per;
                    let vector = (panel.vector + row * panel.width + o / LANES) * per + lane / LANES;
                    // A mixture of kernels within the range stays within it, and rounds to finite values.
                    packer.set(k, vector, lane % LANES, if self.rounds { bf16_range(*w) } else { *w });
                }
            }
        }
    }

    pub(super) fn pads(&self) -> bool {
        self.geometry.pads()
    }

    pub(super) fn padded_len(&self) -> usize {
        if self.pads() || self.rounds { self.padded.iter().product() } else { 0 }
    }

    /// Number of values of the mixed panels of one thread.
    pub(super) fn mixed_len(&self) -> usize {
        let widths = self.panels.iter().map(|p| p.width);
        if self.pixel_major {
            widths.sum::<usize>() * self.rows * LANES
        } else {
            let rows = self.blocks.iter().map(|b| b.rows.len()).max();
            widths.max().unwrap_or(0) * rows.unwrap_or(0) * LANES
        }
    }
}

/// Index of the first vector of a block in the packed kernel.
#[inline(always)]
pub(super) fn first_vector(panel: &PanelShape, block: &Block) -> usize {
    panel.vector + panel.width * block.rows.start
}

/// Merges segments into blocks of at most `most` rows; a longer segment is a block of its own.
fn blocks(segments: &[Segment], most: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut row = 0;
    for (i, segment) in segments.iter().enumerate() {
        let end = row + segment.len;
        match blocks.last_mut() {
            Some(block) if end - block.rows.start <= most => {
                (block.segments.end, block.rows.end) = (i + 1, end);
            }
            _ => blocks.push(Block { segments: i..i + 1, rows: row..end }),
        }
        row = end;
    }
    blocks
}

/// Divides the output channels of every group into panels: two vectors wide if there are enough registers, with a last
/// panel of three if the number of vectors is odd.
fn panels(g: &ConvGeometry, isa: Isa, rows: usize) -> Vec<PanelShape> {
    let wide = isa.tile_rows().iter().all(|rows| *rows > 0);
    let outputs = g.out_channels / g.groups;
    let mut panels = Vec::new();
    let (mut vector, mut column) = (0, 0);
    for group in 0..g.groups {
        let mut channel = 0;
        while channel < outputs {
            let left = (outputs - channel).div_ceil(LANES);
            let width = match left {
                1 | 3 if wide => left,
                _ if wide => 2,
                _ => 1,
            };
            let channels = (outputs - channel).min(width * LANES);
            panels.push(PanelShape { width, group, channel: group * outputs + channel, channels, vector, column });
            channel += channels;
            vector += width * rows;
            column += width;
        }
    }
    panels
}
