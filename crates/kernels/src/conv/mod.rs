//! Convolution as products of packed panels, without writing the patches out.
//!
//! ```text
//! pad the input, unless no padding is asked for
//! cut the pixels into chunks, the output channels into panels of 16 to 48; each thread takes a share of all pairs
//! for each panel, for each chunk:                               <- or, where the kernel is small, for each chunk, panel
//!     for each block of the panel:
//!         mix the block from the K blocks of the bank, if it is a mixture     <- "mix into the panel"
//!         for each tile of output pixels:
//!             sums[pixel] = bias, or what the block before has stored
//!             for each segment of the block, for each of its values c:
//!                 sums[pixel] += input[start of pixel + start of segment + c] · panel[segment][c]
//!                 prefetch a few bytes of the bank's next block               <- or of the next layer
//!             store the sums; the last block stores activation(sums + residual), and adds it to the sums over the pixels
//! ```
//!
//! 1. A *segment* is a run of kernel values that lie next to each other in the padded channels-last input: a whole kernel
//!    row of kw·C values, or one tap of C/groups where dilation or groups tear the row apart. A 1×1 convolution is one
//!    segment, hence a plain matrix product. Long segments are cut where the blocks are.
//! 2. All tiles of a layer have nearly the same number of pixels, so no tile is left with too few sums in flight.
//! 3. Each pixel's sum is formed in the same order whatever tile it is in.
//! 4. Where the whole kernel fits into the first-level cache, a chunk of pixels meets all panels before the next chunk is
//!    read; otherwise a panel meets all pixels before the next panel is mixed.
//! 5. A panel of many values is cut into *blocks*: a mixed block stays in the first-level cache, and the K blocks that the
//!    next one is mixed from fit into the second level beside everything else, so the bank is read from memory once.
//! 6. A convolution that multiplies bf16 first rounds its input to words of two neighbouring channels, and its kernels
//!    when they are mixed or packed. To the loops above a word is a value: there are half as many.
#![allow(unsafe_code, reason = "threads write interleaved parts of one output, through pointers")]

#[cfg(test)]
mod bf16_tests;
mod rounding;
#[cfg(test)]
pub(crate) mod tests;
mod tile;
mod transpose;

use std::ops::Range;

use dyconv_simd::{Isa, LANES, Lanes, bf16_range, dispatch, dispatch_bf16};

use crate::activation::Activation;
use crate::bank::{Bank, Packer, Storage, mix_vectors};
use crate::exec::Exec;
use crate::geometry::ConvGeometry;
use crate::panel::PanelShape;
use crate::prefetch::{PrefetchRange, Prefetcher};
use crate::run::ConvRun;
use crate::threads::share;
use rounding::round_map;
use tile::{MAX_ROWS, Panel, Place, Segment, run_tile};

pub use transpose::{ConvTranspose, TransposedGeometry};

/// Bytes of a kernel that may stay in the first-level cache while pixels stream by.
const SMALL_KERNEL: usize = 32 << 10;
/// Bytes of input of a chunk of pixels that meets all panels.
const CHUNK_BYTES: usize = 24 << 10;
/// Pairs of panel and chunk to have at least, so that threads can share them evenly.
const UNITS: usize = 16;
/// Most rows of a block, where a panel is cut into blocks.
const BLOCK_ROWS: usize = 384;
/// Most pixels of a convolution whose panels are cut into blocks: their sums go to memory and back with every block.
const BLOCK_PIXELS: usize = 400;

/// A convolution of fixed sizes, any grouping, stride, padding and dilation.
#[derive(Debug, Clone)]
pub struct PanelConv {
    geometry: ConvGeometry,
    isa: Isa,
    /// Whether input and kernels are rounded to bf16, and a value below is a word of two channels.
    rounds: bool,
    /// Input as the tiles see it, padded: `[H, W, C]`.
    padded: [usize; 3],
    /// Values from an output pixel to its right neighbour, and from a row of outputs to the next.
    out: [usize; 2],
    segments: Vec<Segment>,
    blocks: Vec<Block>,
    /// Values of one output channel's kernel.
    rows: usize,
    panels: Vec<PanelShape>,
    /// First pixel of each chunk, and the end of the last.
    chunks: Vec<usize>,
    /// Whether a chunk meets all panels before the next chunk.
    pixel_major: bool,
}

/// Rows of a panel that all pixels meet before the next rows are mixed.
#[derive(Debug, Clone)]
struct Block {
    segments: Range<usize>,
    /// Rows of the segments.
    rows: Range<usize>,
}

impl PanelConv {
    /// A convolution of these sizes for an instruction set.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        let [_, ow, o] = geometry.output();
        Self::build(geometry, isa, false, Self::padded(&geometry), [o, ow * o])
    }

    /// Like [`new`](Self::new), rounding input and kernels to bf16; their products are summed in f32.
    ///
    /// # Panics
    /// When there are groups.
    pub fn rounding(geometry: ConvGeometry, isa: Isa) -> Self {
        assert_eq!(geometry.groups, 1, "products of bf16 only without groups");
        let [_, ow, o] = geometry.output();
        Self::build(geometry, isa, true, Self::padded(&geometry), [o, ow * o])
    }

    /// The padded input `[H, W, C]`.
    fn padded(g: &ConvGeometry) -> [usize; 3] {
        [g.input[0] + 2 * g.padding[0], g.input[1] + 2 * g.padding[1], g.input[2]]
    }

    /// For an input that is padded already, or a window of a map `padded` `[H, W, C]`, and outputs that are `out` values apart.
    fn build(geometry: ConvGeometry, isa: Isa, rounds: bool, padded: [usize; 3], out: [usize; 2]) -> Self {
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
        // Where tiles end with their row, chunks do too.
        let (count, grain) = if out[1] == ow * out[0] { (count, grain) } else { (count.min(oh), ow) };
        let chunks = (0..=count).map(|i| (pixels.div_ceil(grain) * i / count * grain).min(pixels)).collect();
        Self { geometry, isa, rounds, padded, out, segments, blocks, rows, panels, chunks, pixel_major }
    }

    /// Whether input and kernels are rounded to bf16.
    pub fn rounds(&self) -> bool {
        self.rounds
    }

    /// Channels in a value.
    fn per_value(&self) -> usize {
        if self.rounds { 2 } else { 1 }
    }

    /// Vectors of one packed kernel, before they are rounded.
    fn vectors(&self) -> usize {
        self.panels.iter().map(|p| p.width * self.rows).sum::<usize>() * self.per_value()
    }

    /// Packs a bank `[K, O, C/groups, kh, kw]` into panels `[panel, kh, kw, C/groups, width, 16]`, padded with zeros; for
    /// bf16 into `[panel, kh, kw, ⌈C/2⌉, width, 16, 2]`, the last axis being neighbouring channels.
    ///
    /// # Panics
    /// When the length is not K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32], storage: Storage) -> Bank {
        self.packer(kernels, weight, storage).finish()
    }

    /// Packs a kernel `[O, C/groups, kh, kw]` that is never mixed, and for bf16 rounds it.
    ///
    /// # Panics
    /// When the length does not fit.
    pub fn pack_fixed(&self, weight: &[f32]) -> Bank {
        let packer = self.packer(1, weight, Storage::F32);
        if self.rounds { packer.finish_rounded() } else { packer.finish() }
    }

    fn packer(&self, kernels: usize, weight: &[f32], storage: Storage) -> Packer {
        let g = &self.geometry;
        assert_eq!(weight.len(), kernels * g.weight_len(), "a bank [K, O, C/groups, kh, kw]");
        let mut packer = Packer::new(kernels, self.columns().collect(), storage);
        for (k, kernel) in weight.chunks_exact(g.weight_len()).enumerate() {
            self.pack_kernel(&mut packer, k, kernel);
        }
        packer
    }

    /// The column of each vector.
    fn columns(&self) -> impl Iterator<Item = u32> {
        let per = self.per_value();
        self.panels.iter().flat_map(move |p| {
            let (width, column) = (p.width * per, p.column * per);
            (0..self.rows * width).map(move |v| (column + v % width) as u32)
        })
    }

    /// Packs kernel `k` `[O, C/groups, kh, kw]`.
    fn pack_kernel(&self, packer: &mut Packer, k: usize, kernel: &[f32]) {
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
                    // A mixture of kernels in the range is in it too, and rounds to finite values.
                    packer.set(k, vector, lane % LANES, if self.rounds { bf16_range(*w) } else { *w });
                }
            }
        }
    }

    fn pads(&self) -> bool {
        self.geometry.padding != [0, 0]
    }

    fn padded_len(&self) -> usize {
        if self.pads() || self.rounds { self.padded.iter().product() } else { 0 }
    }

    /// Values of a thread's mixed panels.
    fn mixed_len(&self) -> usize {
        let widths = self.panels.iter().map(|p| p.width);
        if self.pixel_major {
            widths.sum::<usize>() * self.rows * LANES
        } else {
            let rows = self.blocks.iter().map(|b| b.rows.len()).max();
            widths.max().unwrap_or(0) * rows.unwrap_or(0) * LANES
        }
    }

    /// Values of scratch that [`run`](Self::run) needs on so many threads, when kernels are mixed or the input is scaled.
    pub fn scratch_len(&self, mixes: bool, threads: usize) -> usize {
        self.padded_len().next_multiple_of(LANES) + if mixes { self.mixed_len() * threads } else { 0 }
    }

    /// Values of [`ConvRun::sums`], which only convolutions without groups can fill.
    pub fn sums_len(&self) -> usize {
        (self.chunks.len() - 1) * self.geometry.out_channels.next_multiple_of(LANES)
    }

    /// Convolves; `bank` as [`pack`](Self::pack) or [`pack_fixed`](Self::pack_fixed) makes it.
    ///
    /// # Panics
    /// When a length does not fit, or the bank is rounded and should be mixed, or the instruction set is not that of [`new`](Self::new).
    pub fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        let (g, threads) = (&self.geometry, exec.pool.threads());
        // Products of bf16 scale the input; those of f32 the kernels, which they need not copy otherwise.
        let fixed = if self.rounds { run.bank.rounded() } else { run.bank.single() };
        let scales_kernels = !self.rounds && !run.input_scale.is_empty();
        let mixes = fixed.is_none() || !run.coefficients.is_empty() || scales_kernels;
        run.check(g, self.vectors(), self.sums_len(), self.scratch_len(mixes, threads));
        assert!(run.sums.is_empty() || g.groups == 1, "sums only without groups");
        assert!(run.input_scale.is_empty() || g.groups == 1, "input factors only without groups");
        assert!(run.bank.rounded().is_none() || !mixes, "a kernel that is never mixed");
        assert_eq!(self.isa.name(), exec.isa.name(), "the instruction set that the panels are made for");
        let (padded, mixed) = run.scratch.split_at_mut(self.padded_len().next_multiple_of(LANES));
        let x = if self.rounds {
            let to = &mut padded[..self.padded_len()];
            round_map(exec, g.input, g.padding, run.input_scale, run.x, to);
            &*to
        } else if self.pads() {
            pad(exec, g.input, g.padding, run.x, padded);
            &padded[..self.padded_len()]
        } else {
            run.x
        };
        self.launch(
            exec,
            &Job {
                conv: self,
                parts: threads,
                bank: run.bank,
                // One kernel that must still be scaled is mixed with the coefficient one.
                coefficients: if run.coefficients.is_empty() { &[1.0] } else { run.coefficients },
                fixed: if mixes { None } else { fixed },
                input_scale: if scales_kernels { run.input_scale } else { &[] },
                bias: run.epilogue.bias,
                activation: run.epilogue.activation,
                x,
                residual: if run.residual.is_empty() { std::ptr::null() } else { run.residual.as_ptr() },
                y: run.y.as_mut_ptr(),
                sums: if run.sums.is_empty() { std::ptr::null_mut() } else { run.sums.as_mut_ptr() },
                mixed: mixed.as_mut_ptr(),
                prefetch: run.prefetch,
            },
        );
    }

    /// All parts of a job.
    fn launch(&self, exec: Exec<'_>, job: &Job<'_>) {
        exec.pool.run(job.parts, &|part| {
            if self.rounds {
                dispatch_bf16!(exec.isa, body_bf16(job: &Job<'_>, part: usize));
            } else {
                dispatch!(exec.isa, body_f32(job: &Job<'_>, part: usize));
            }
        });
    }
}

/// Copies a map `[H, W, C]` into the middle of a map of zeros.
fn pad(exec: Exec<'_>, [h, w, c]: [usize; 3], [top, left]: [usize; 2], x: &[f32], to: &mut [f32]) {
    let (rows, row) = (h + 2 * top, (w + 2 * left) * c);
    let out = Out(to[..rows * row].as_mut_ptr());
    let parts = exec.pool.threads();
    exec.pool.run(parts, &|part| {
        let out = &out;
        for y in share(rows, part, parts) {
            // SAFETY: row `y` lies inside `to`, and no other part has it.
            let to = unsafe { std::slice::from_raw_parts_mut(out.0.add(y * row), row) };
            match y.checked_sub(top).filter(|y| *y < h) {
                None => to.fill(0.0),
                Some(y) => {
                    to[..left * c].fill(0.0);
                    to[left * c..][..w * c].copy_from_slice(&x[y * w * c..][..w * c]);
                    to[(left + w) * c..].fill(0.0);
                }
            }
        }
    });
}

/// Joins segments to blocks of so many rows at most, where segments are no longer.
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

/// Cuts the output channels of every group into panels: two vectors wide where the registers suffice, a last one of three
/// where the number of vectors is odd.
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

/// An output that several threads write.
struct Out(*mut f32);

// SAFETY: each thread writes its own part.
unsafe impl Sync for Out {}

/// What all threads share. Made by [`PanelConv::run`] or [`ConvTranspose::run`], which have checked every length.
struct Job<'a> {
    conv: &'a PanelConv,
    parts: usize,
    bank: &'a Bank,
    coefficients: &'a [f32],
    /// The kernel, where none is mixed.
    fixed: Option<&'a [f32]>,
    /// Factors of the kernels' rows, or empty.
    input_scale: &'a [f32],
    bias: &'a [f32],
    activation: Option<Activation>,
    /// The padded input.
    x: &'a [f32],
    /// Like the output, or null.
    residual: *const f32,
    y: *mut f32,
    /// `[chunks, O rounded up]`, or null.
    sums: *mut f32,
    /// `mixed_len` values for each part.
    mixed: *mut f32,
    prefetch: [PrefetchRange; 2],
}

// SAFETY: every pair of panel and chunk belongs to one part, which alone writes its pixels and channels of `y` and `sums`
// and its own stretch of `mixed`.
unsafe impl Sync for Job<'_> {}

#[inline(always)]
fn body_f32<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    body::<L, false>(l, job, part);
}

#[inline(always)]
fn body_bf16<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    body::<L, true>(l, job, part);
}

#[inline(always)]
fn body<L: Lanes, const PAIRS: bool>(l: L, job: &Job<'_>, part: usize) {
    let conv = job.conv;
    let (panels, chunks) = (conv.panels.len(), conv.chunks.len() - 1);
    let units = share(panels * chunks, part, job.parts);
    let mut prefetcher = Prefetcher::new(job.prefetch, part, job.parts);
    let mixes = job.fixed.is_none();
    let mixed = if mixes {
        // SAFETY: `mixed` holds `mixed_len` values for each part.
        unsafe { std::slice::from_raw_parts_mut(job.mixed.add(part * conv.mixed_len()), conv.mixed_len()) }
    } else {
        &mut []
    };
    if conv.pixel_major {
        let whole = &conv.blocks[0];
        if mixes && !units.is_empty() {
            let mut rest = &mut *mixed;
            for panel in &conv.panels {
                let (to, behind) = rest.split_at_mut(panel.width * conv.rows * LANES);
                job.mix::<L, PAIRS>(l, panel, whole, to);
                rest = behind;
            }
        }
        for unit in units {
            let panel = &conv.panels[unit % panels];
            let weights = job.weights(panel, whole, &mixed[(panel.vector * LANES).min(mixed.len())..]);
            job.run_panel::<L, PAIRS>(l, panel, whole, weights, unit / panels, prefetcher.next());
        }
        return;
    }
    let per = conv.per_value();
    let mut unit = units.start;
    while unit < units.end {
        let at = unit / chunks;
        let panel = &conv.panels[at];
        let here = unit % chunks..chunks.min(units.end - at * chunks);
        for (i, block) in conv.blocks.iter().enumerate() {
            if mixes {
                job.mix::<L, PAIRS>(l, panel, block, &mut mixed[..panel.width * block.rows.len() * LANES]);
            }
            let weights = job.weights(panel, block, mixed);
            let next = match (conv.blocks.get(i + 1), conv.panels.get(at + 1)) {
                (Some(block), _) => Some((panel, block)),
                (None, Some(panel)) if (at + 1) * chunks < units.end => Some((panel, &conv.blocks[0])),
                _ => None,
            };
            let mut prefetch = PrefetchRange::default();
            if let Some((panel, block)) = next {
                prefetch = PrefetchRange::new(
                    job.bank.span(first_vector(panel, block) * per, panel.width * block.rows.len() * per),
                );
            }
            for chunk in here.clone() {
                let prefetch = if next.is_some() { &mut prefetch } else { prefetcher.next() };
                job.run_panel::<L, PAIRS>(l, panel, block, weights, chunk, prefetch);
            }
        }
        unit = at * chunks + here.end;
    }
}

/// The first vector of a block in the packed kernel.
#[inline(always)]
fn first_vector(panel: &PanelShape, block: &Block) -> usize {
    panel.vector + panel.width * block.rows.start
}

impl Job<'_> {
    /// Mixes a block of a panel and scales its rows.
    #[inline(always)]
    fn mix<L: Lanes, const PAIRS: bool>(&self, l: L, panel: &PanelShape, block: &Block, to: &mut [f32]) {
        let per = if PAIRS { 2 } else { 1 };
        let range = [first_vector(panel, block), panel.width * block.rows.len()].map(|n| n * per);
        let columns = [panel.column, panel.width].map(|n| n * per);
        mix_vectors::<L, PAIRS>(l, self.bank, self.coefficients, range, columns, to);
        if !self.input_scale.is_empty() {
            let factors = self.input_scale.iter().cycle().skip(block.rows.start % self.input_scale.len());
            for (row, factor) in to.chunks_exact_mut(panel.width * LANES).zip(factors) {
                for v in row.as_chunks_mut::<LANES>().0 {
                    let scaled = l.mul(l.load(v), l.splat(*factor));
                    l.store(scaled, v);
                }
            }
        }
    }

    /// The weights of a block of a panel: as they are packed, or as they were mixed.
    #[inline(always)]
    fn weights<'a>(&'a self, panel: &PanelShape, block: &Block, mixed: &'a [f32]) -> &'a [f32] {
        let len = panel.width * block.rows.len() * LANES;
        match self.fixed {
            Some(kernel) => &kernel[first_vector(panel, block) * LANES..][..len],
            None => &mixed[..len],
        }
    }

    #[inline(always)]
    fn run_panel<L: Lanes, const PAIRS: bool>(
        &self,
        l: L,
        panel: &PanelShape,
        block: &Block,
        weights: &[f32],
        chunk: usize,
        prefetch: &mut PrefetchRange,
    ) {
        match panel.width {
            1 => self.run_chunk::<L, 1, PAIRS>(l, panel, block, weights, chunk, prefetch),
            2 if const { L::TILE_ROWS[1] > 0 } => {
                self.run_chunk::<L, 2, PAIRS>(l, panel, block, weights, chunk, prefetch)
            }
            3 if const { L::TILE_ROWS[2] > 0 } => {
                self.run_chunk::<L, 3, PAIRS>(l, panel, block, weights, chunk, prefetch)
            }
            width => unreachable!("a panel of {width} vectors"),
        }
    }

    /// Convolves one block of a panel, N vectors wide, with one chunk of pixels.
    #[inline(always)]
    fn run_chunk<L: Lanes, const N: usize, const PAIRS: bool>(
        &self,
        l: L,
        shape: &PanelShape,
        block: &Block,
        weights: &[f32],
        chunk: usize,
        prefetch: &mut PrefetchRange,
    ) {
        let (conv, g) = (self.conv, &self.conv.geometry);
        let (o, [_, ow, _]) = (g.out_channels, g.output());
        let mut bias = [[0.0; LANES]; 3];
        if !self.bias.is_empty() {
            bias.as_flattened_mut()[..shape.channels].copy_from_slice(&self.bias[shape.channel..][..shape.channels]);
        }
        let panel = Panel {
            segments: &conv.segments[block.segments.clone()],
            begins: block.rows.start == 0,
            ends: block.rows.end == conv.rows,
            weights: weights.as_ptr(),
            bias,
            activation: self.activation,
            out_step: conv.out[0],
            last: shape.channels - (N - 1) * LANES,
        };
        assert!(
            weights.len() == N * block.rows.len() * LANES && (1..=LANES).contains(&panel.last),
            "weights of the panel"
        );
        // Steps from one pixel's first value to that of its right neighbour, and from one row of pixels to the next.
        let step = g.stride[1] * conv.padded[2];
        let row_step = g.stride[0] * conv.padded[1] * conv.padded[2];
        let Range { start: first, end } = conv.chunks[chunk]..conv.chunks[chunk + 1];
        let mut pixel = first;
        let (mut ox, oy) = (pixel % ow, pixel / ow);
        let mut row_start = shape.group * (conv.padded[2] / g.groups) + oy * row_step;
        // Outputs are equally far apart, or are so in each row.
        let dense = conv.out[1] == ow * conv.out[0];
        let (mut run, mut tiles, mut i) = (pixel..pixel, 0, 0);
        while pixel < end {
            if pixel == run.end {
                run = pixel..if dense { end } else { end.min((pixel / ow + 1) * ow) };
                (tiles, i) = (run.len().div_ceil(L::TILE_ROWS[N - 1]), 0);
            }
            let rows = share(run.len(), i, tiles).len();
            i += 1;
            let mut starts = [std::ptr::null(); MAX_ROWS];
            let mut start = self.x.as_ptr().wrapping_add(row_start + ox * step);
            for to in &mut starts[..rows] {
                *to = start;
                start = start.wrapping_add(step);
                ox += 1;
                if ox == ow {
                    (ox, row_start) = (0, row_start + row_step);
                    start = self.x.as_ptr().wrapping_add(row_start);
                }
            }
            let at = if dense { pixel * conv.out[0] } else { pixel / ow * conv.out[1] + pixel % ow * conv.out[0] };
            let at = at + shape.channel;
            let sums_step = o.next_multiple_of(LANES);
            let offset = |p: *const f32, n: usize| if p.is_null() { p } else { p.wrapping_add(n) };
            let place = Place {
                starts,
                y: self.y.wrapping_add(at),
                residual: offset(self.residual, at),
                sums: offset(self.sums, chunk * sums_step + shape.channel).cast_mut(),
                first: pixel == first,
            };
            // SAFETY: the pixels from `pixel` on, `rows` of them, are pixels of the output, `out_step` apart, and the panel's
            // channels are channels of it: `y`, `residual` and `sums` have room for them by the checked lengths. Each pixel's input
            // begins at `oy · row_step + ox · step` of the padded map, and the last segment ends inside it, since the
            // geometry has a last output there. The weights are as long as the panel (asserted above).
            unsafe { run_tile::<L, N, PAIRS>(l, rows, &panel, &place, prefetch) };
            pixel += rows;
        }
    }
}
