//! The part of a convolution that each thread computes.
#![allow(unsafe_code, reason = "threads write interleaved parts of one output, through pointers")]

use std::ops::Range;

use dyconv_simd::{LANES, Lanes, dispatch, dispatch_bf16};

use super::shape::{Block, Shape, first_vector};
use super::tile::{MAX_ROWS, Panel, Place, run_tile};
use crate::activation::Activation;
use crate::bank::{Bank, mix_vectors};
use crate::exec::Exec;
use crate::panel::PanelShape;
use crate::prefetch::{PrefetchRange, Prefetcher};
use crate::threads::share;

/// State shared by all threads. Made by `PanelConv::run` or `ConvTranspose::run`, which have checked every length.
pub(super) struct Job<'a> {
    pub(super) shape: &'a Shape,
    pub(super) parts: usize,
    pub(super) bank: &'a Bank,
    pub(super) coefficients: &'a [f32],
    /// The kernel, if it is not mixed.
    pub(super) fixed: Option<&'a [f32]>,
    /// Factors of the kernels' rows, or empty.
    pub(super) input_scale: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) activation: Option<Activation>,
    /// The padded input.
    pub(super) x: &'a [f32],
    /// Distance in values between the pixels of the input.
    pub(super) x_step: usize,
    /// Pixels `residual_step` values apart, or null.
    pub(super) residual: *const f32,
    pub(super) residual_step: usize,
    /// Distances in values from an output pixel to its right neighbour, and from a row of outputs to the next.
    pub(super) out: [usize; 2],
    pub(super) y: *mut f32,
    /// `[chunks, O rounded up]`, or null.
    pub(super) sums: *mut f32,
    /// `mixed_len` values for each part.
    pub(super) mixed: *mut f32,
    pub(super) prefetch: [PrefetchRange; 2],
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
    let shape = job.shape;
    let (panels, chunks) = (shape.panels.len(), shape.chunks.len() - 1);
    let units = share(panels * chunks, part, job.parts);
    let mut prefetcher = Prefetcher::new(job.prefetch, part, job.parts);
    let mixes = job.fixed.is_none();
    let mixed = if mixes {
        // SAFETY: `mixed` holds `mixed_len` values for each part.
        unsafe { std::slice::from_raw_parts_mut(job.mixed.add(part * shape.mixed_len()), shape.mixed_len()) }
    } else {
        &mut []
    };
    if shape.pixel_major {
        let whole = &shape.blocks[0];
        if mixes && !units.is_empty() {
            let mut rest = &mut *mixed;
            for panel in &shape.panels {
                let (to, behind) = rest.split_at_mut(panel.width * shape.rows * LANES);
                job.mix::<L, PAIRS>(l, panel, whole, to);
                rest = behind;
            }
        }
        for unit in units {
            let panel = &shape.panels[unit % panels];
            let weights = job.weights(panel, whole, &mixed[(panel.vector * LANES).min(mixed.len())..]);
            job.run_panel::<L, PAIRS>(l, panel, whole, weights, unit / panels, prefetcher.next());
        }
        return;
    }
    let per = shape.per_value();
    let mut unit = units.start;
    while unit < units.end {
        let at = unit / chunks;
        let panel = &shape.panels[at];
        let here = unit % chunks..chunks.min(units.end - at * chunks);
        for (i, block) in shape.blocks.iter().enumerate() {
            if mixes {
                job.mix::<L, PAIRS>(l, panel, block, &mut mixed[..panel.width * block.rows.len() * LANES]);
            }
            let weights = job.weights(panel, block, mixed);
            let next = match (shape.blocks.get(i + 1), shape.panels.get(at + 1)) {
                (Some(block), _) => Some((panel, block)),
                (None, Some(panel)) if (at + 1) * chunks < units.end => Some((panel, &shape.blocks[0])),
                _ => None,
            };
            let mut prefetch = PrefetchRange::default();
            if let Some((panel, block)) = next {
                prefetch = job.bank.range(first_vector(panel, block) * per, panel.width * block.rows.len() * per);
            }
            for chunk in here.clone() {
                let prefetch = if next.is_some() { &mut prefetch } else { prefetcher.next() };
                job.run_panel::<L, PAIRS>(l, panel, block, weights, chunk, prefetch);
            }
        }
        unit = at * chunks + here.end;
    }
}

impl Job<'_> {
    /// Runs all parts of the job.
    pub(super) fn launch(&self, exec: Exec<'_>) {
        let job = self;
        exec.pool.run(self.parts, &|part| {
            if self.shape.rounds {
                dispatch_bf16!(exec.isa, body_bf16(job: &Job<'_>, part: usize));
            } else {
                dispatch!(exec.isa, body_f32(job: &Job<'_>, part: usize));
            }
        });
    }

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

    /// The weights of a block of a panel: the packed ones, or the mixture.
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
        outputs: &PanelShape,
        block: &Block,
        weights: &[f32],
        chunk: usize,
        prefetch: &mut PrefetchRange,
    ) {
        let (shape, g) = (self.shape, &self.shape.geometry);
        let (o, [_, ow, _]) = (g.out_channels, g.output());
        let mut bias = [[0.0; LANES]; 3];
        if !self.bias.is_empty() {
            bias.as_flattened_mut()[..outputs.channels]
                .copy_from_slice(&self.bias[outputs.channel..][..outputs.channels]);
        }
        let panel = Panel {
            segments: &shape.segments[block.segments.clone()],
            begins: block.rows.start == 0,
            ends: block.rows.end == shape.rows,
            weights: weights.as_ptr(),
            bias,
            activation: self.activation,
            out_step: self.out[0],
            residual_step: self.residual_step,
            last: outputs.channels - (N - 1) * LANES,
        };
        assert!(
            weights.len() == N * block.rows.len() * LANES && (1..=LANES).contains(&panel.last),
            "weights of the panel"
        );
        // Distances in values from one pixel to its right neighbour, and from one row of pixels to the next.
        let step = g.stride[1] * self.x_step;
        let row_step = g.stride[0] * shape.padded[1] * self.x_step;
        let Range { start: first, end } = shape.chunks[chunk]..shape.chunks[chunk + 1];
        let mut pixel = first;
        let (mut ox, oy) = (pixel % ow, pixel / ow);
        let mut row_start = outputs.group * (shape.padded[2] / g.groups) + oy * row_step;
        // Whether the distance between outputs is the same across rows.
        let dense = self.out[1] == ow * self.out[0];
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
            let at = if dense { pixel * self.out[0] } else { pixel / ow * self.out[1] + pixel % ow * self.out[0] };
            let at = at + outputs.channel;
            let beside = pixel * self.residual_step + outputs.channel;
            let sums_step = o.next_multiple_of(LANES);
            let offset = |p: *const f32, n: usize| if p.is_null() { p } else { p.wrapping_add(n) };
            let place = Place {
                starts,
                y: self.y.wrapping_add(at),
                residual: offset(self.residual, beside),
                sums: offset(self.sums, chunk * sums_step + outputs.channel).cast_mut(),
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
