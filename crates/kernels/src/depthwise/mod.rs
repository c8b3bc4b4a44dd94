//! Depthwise convolution: every channel has its own small kernel.
//!
//! Channels are in the lanes. Strips of up to eight adjacent outputs, as many as registers can sum, are summed tap by tap, so that
//! the outputs of a strip share the loads of weights. At the border, some taps are outside the map; the outputs at the ends of
//! a strip skip them.
//!
//! A unit of work is a few rows. If the whole kernel stays in the cache, a strip is computed for all channels before the next
//! one, so that maps are read and written from front to back. Otherwise a unit is sixteen channels of these rows, whose part
//! of the kernel stays in the cache.
#![allow(unsafe_code, reason = "threads write interleaved parts of one output, through pointers")]

mod strip;

use std::ops::Range;

use dyconv_simd::{LANES, Lanes, dispatch};

use crate::activation::Activation;
use crate::bank::{Bank, Packer, Storage, mix_vectors};
use crate::exec::Exec;
use crate::geometry::{ConvGeometry, taps_inside};
use crate::run::ConvRun;
use crate::threads::share;
use strip::{Strip, run_strip};

/// Output rows of one unit: what they read stays in the L2 cache.
const ROWS: usize = 8;

/// Largest kernel in bytes that stays in the L2 cache, beside the pixels that are read with it.
const CACHED_KERNEL: usize = 64 << 10;

/// A depthwise convolution of fixed sizes: C = O = groups.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    geometry: ConvGeometry,
    /// Number of chunks of rows.
    chunks: usize,
    /// For every output row, the rows of taps that are inside the map.
    rows: Vec<Range<usize>>,
    /// The strips of an output row: of at most [`strip::SHORT`] and of at most [`strip::MAX`] outputs.
    strips: [Vec<Outputs>; 2],
}

/// Adjacent outputs of a row.
#[derive(Debug, Clone)]
struct Outputs {
    first: usize,
    count: usize,
    /// See [`Strip`].
    left: [usize; strip::ENDS],
    right: [usize; strip::ENDS],
}

/// Divides an output row into strips of at most `most` outputs, of nearly equal length if few outputs lack taps.
fn strips(g: &ConvGeometry, most: usize) -> Vec<Outputs> {
    let ([_, w, _], [_, ow, _], columns) = (g.input, g.output(), g.kernel[1]);
    let taps = |ox| taps_inside(ox, g.stride[1], g.padding[1], g.dilation[1], columns, w);
    let lacks = |ox: usize| [taps(ox).start, columns - taps(ox).end];
    let cut = |first: usize, count: usize| {
        let [mut left, mut right] = [[0; strip::ENDS]; 2];
        for i in 0..strip::ENDS.min(count) {
            [left[i], right[i]] = [lacks(first + i)[0], lacks(first + count - 1 - i)[1]];
        }
        Outputs { first, count, left, right }
    };
    // Whether only the outer outputs of a strip lack taps, each on its own side, and every output has at least one.
    let fits = |outputs: &Outputs| {
        (0..outputs.count).all(|i| {
            let ([left, right], from_end) = (lacks(outputs.first + i), outputs.count - 1 - i);
            (left == 0 || i < strip::ENDS) && (right == 0 || from_end < strip::ENDS) && left + right < columns
        })
    };
    let mut strips = Vec::new();
    let mut first = 0;
    while first < ow {
        let left = ow - first;
        let even = cut(first, left.div_ceil(left.div_ceil(most)));
        let outputs = if fits(&even) { even } else { cut(first, 1) };
        first += outputs.count;
        strips.push(outputs);
    }
    strips
}

impl DepthwiseConv {
    /// Whether these sizes are those of a depthwise convolution.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        geometry.groups == geometry.input[2] && geometry.groups == geometry.out_channels
    }

    /// Creates a depthwise convolution of these sizes.
    ///
    /// # Panics
    /// If they are not [supported](Self::supports).
    pub fn new(geometry: ConvGeometry) -> Self {
        assert!(Self::supports(&geometry), "as many groups as input and output channels");
        let g = &geometry;
        let oh = g.output()[0];
        let row = |oy| taps_inside(oy, g.stride[0], g.padding[0], g.dilation[0], g.kernel[0], g.input[0]);
        let strips = [strip::SHORT, strip::MAX].map(|most| strips(g, most));
        Self { geometry, chunks: oh.div_ceil(ROWS), rows: (0..oh).map(row).collect(), strips }
    }

    fn blocks(&self) -> usize {
        self.geometry.out_channels.div_ceil(LANES)
    }

    /// Packs a bank `[K, C, 1, kh, kw]` (a static kernel is K = 1) into `[C/16, kh, kw, 16]`, padded with zeros.
    ///
    /// # Panics
    /// If the length is not that of K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32], storage: Storage) -> Bank {
        let taps = self.geometry.taps();
        assert_eq!(weight.len(), kernels * self.geometry.weight_len(), "a bank [K, C, 1, kh, kw]");
        let columns = (0..self.blocks() * taps).map(|v| (v / taps) as u32).collect();
        let mut packer = Packer::new(kernels, columns, storage);
        for (k, kernel) in weight.chunks_exact(self.geometry.weight_len()).enumerate() {
            for (i, w) in kernel.iter().enumerate() {
                let (c, tap) = (i / taps, i % taps);
                packer.set(k, c / LANES * taps + tap, c % LANES, *w);
            }
        }
        packer.finish()
    }

    /// Number of values of the packed kernel of sixteen channels.
    fn block_len(&self) -> usize {
        self.geometry.taps() * LANES
    }

    /// Number of blocks of sixteen channels whose kernels are mixed and applied together.
    fn together(&self) -> usize {
        let blocks = self.blocks();
        if blocks * self.block_len() * size_of::<f32>() <= CACHED_KERNEL { blocks } else { 1 }
    }

    /// Scratch size in values for [`run`](Self::run) on `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.together() * self.block_len() * threads
    }

    /// Length of [`ConvRun::sums`].
    pub fn sums_len(&self) -> usize {
        self.chunks * self.blocks() * LANES
    }

    /// Runs the convolution; `bank` comes from [`pack`](Self::pack).
    ///
    /// # Panics
    /// If a length does not match, or there are input factors.
    pub fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        let (g, threads) = (&self.geometry, exec.pool.threads());
        run.check(g, self.blocks() * g.taps(), self.sums_len(), self.scratch_len(threads));
        assert!(run.input_scale.is_empty(), "no input factors in a depthwise convolution");
        let job = &Job {
            conv: self,
            parts: threads,
            bank: run.bank,
            coefficients: run.coefficients,
            bias: run.epilogue.bias,
            activation: run.epilogue.activation,
            x: run.x,
            steps: run.steps.of(g),
            residual: if run.residual.is_empty() { std::ptr::null() } else { run.residual.as_ptr() },
            y: run.y.as_mut_ptr(),
            sums: if run.sums.is_empty() { std::ptr::null_mut() } else { run.sums.as_mut_ptr() },
            mixed: run.scratch.as_mut_ptr(),
        };
        exec.pool.run(threads, &|part| dispatch!(exec.isa, body(job: &Job<'_>, part: usize)));
    }
}

/// State shared by all threads. Made by [`DepthwiseConv::run`], which has checked every length.
struct Job<'a> {
    conv: &'a DepthwiseConv,
    parts: usize,
    bank: &'a Bank,
    coefficients: &'a [f32],
    bias: &'a [f32],
    activation: Option<Activation>,
    x: &'a [f32],
    /// Distances in values between the pixels of input, residual and output.
    steps: [usize; 3],
    /// Or null.
    residual: *const f32,
    y: *mut f32,
    /// `[chunks, C rounded up]`, or null.
    sums: *mut f32,
    /// The kernels of [`DepthwiseConv::together`] blocks for each part.
    mixed: *mut f32,
}

// SAFETY: every pair of a row chunk and sixteen channels belongs to one part, which alone writes its places of `y` and
// `sums` and its own stretch of `mixed`.
unsafe impl Sync for Job<'_> {}

#[inline(always)]
fn body<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let conv = job.conv;
    let (blocks, room) = (conv.blocks(), conv.together() * conv.block_len());
    // SAFETY: `mixed` holds as many kernels for each part.
    let mixed = unsafe { std::slice::from_raw_parts_mut(job.mixed.add(part * room), room) };
    // Few chunks on many threads are divided by channels, too.
    if conv.together() == blocks && (job.parts == 1 || conv.chunks >= 2 * job.parts) {
        let weights = job.weights(l, 0..blocks, mixed);
        for chunk in share(conv.chunks, part, job.parts) {
            job.run_unit(l, weights, chunk, 0..blocks);
        }
        return;
    }
    for unit in share(conv.chunks * blocks, part, job.parts) {
        let (chunk, block) = (unit / blocks, unit % blocks);
        let weights = job.weights(l, block..block + 1, mixed);
        job.run_unit(l, weights, chunk, block..block + 1);
    }
}

impl Job<'_> {
    /// The kernels of some blocks, mixed into `mixed` unless there is only one.
    #[inline(always)]
    fn weights<'a, L: Lanes>(&'a self, l: L, blocks: Range<usize>, mixed: &'a mut [f32]) -> &'a [f32] {
        let len = self.conv.block_len();
        match self.bank.single() {
            Some(bank) if self.coefficients.is_empty() => &bank[blocks.start * len..blocks.end * len],
            _ => {
                for (block, mixed) in blocks.zip(mixed.chunks_exact_mut(len)) {
                    let vectors = [block * len / LANES, len / LANES];
                    mix_vectors::<L, false>(l, self.bank, self.coefficients, vectors, [block, 1], mixed);
                }
                mixed
            }
        }
    }

    /// Computes the rows of a chunk for some blocks of sixteen channels, whose kernels are `weights`.
    #[inline(always)]
    fn run_unit<L: Lanes>(&self, l: L, weights: &[f32], chunk: usize, blocks: Range<usize>) {
        let g = &self.conv.geometry;
        let ([_, w, c], [oh, ow, _]) = (g.input, g.output());
        let [x_step, residual_step, out_step] = self.steps;
        // The bias of channels that may be fewer than sixteen, or have none.
        let mut padded = [0.0; LANES];
        if !self.bias.is_empty() {
            let last = &self.bias[(blocks.end - 1) * LANES..];
            padded[..last.len().min(LANES)].copy_from_slice(&last[..last.len().min(LANES)]);
        }
        let sums =
            if self.sums.is_null() { self.sums } else { self.sums.wrapping_add(chunk * self.conv.blocks() * LANES) };
        if !sums.is_null() {
            for block in blocks.clone() {
                // SAFETY: `sums` holds sixteen values for each chunk and block.
                unsafe { l.write(l.splat(0.0), sums.add(block * LANES)) };
            }
        }
        let strips = &self.conv.strips[usize::from(L::TILE_ROWS[0] >= strip::MAX)];
        for oy in share(oh, chunk, self.conv.chunks) {
            let taps_y = &self.conv.rows[oy];
            // The input row of the first tap; nothing is read if no tap is inside.
            let y0 = (oy * g.stride[0] + taps_y.start * g.dilation[0]).saturating_sub(g.padding[0]);
            for outputs in strips {
                let ox = outputs.first;
                // This is before the map if the first output lacks taps; those taps are not read.
                let x0 = (ox * g.stride[1]).wrapping_sub(g.padding[1]);
                let pixel = oy * ow + ox;
                let first = (y0 * w).wrapping_add(x0).wrapping_mul(x_step);
                for block in blocks.clone() {
                    let channel = block * LANES;
                    let lanes = (c - channel).min(LANES);
                    let whole = !self.bias.is_empty() && lanes == LANES;
                    let kernel = (block - blocks.start) * self.conv.block_len() + taps_y.start * g.kernel[1] * LANES;
                    let strip = Strip {
                        x: self.x.as_ptr().wrapping_add(first.wrapping_add(channel)),
                        row: g.dilation[0] * w * x_step,
                        column: g.dilation[1] * x_step,
                        step: g.stride[1] * x_step,
                        weights: weights.as_ptr().wrapping_add(kernel),
                        weight_row: g.kernel[1] * LANES,
                        taps: [taps_y.len(), g.kernel[1]],
                        left: outputs.left,
                        right: outputs.right,
                        bias: if whole { self.bias.as_ptr().wrapping_add(channel) } else { padded.as_ptr() },
                        activation: self.activation,
                        residual: if self.residual.is_null() {
                            self.residual
                        } else {
                            self.residual.wrapping_add(pixel * residual_step + channel)
                        },
                        residual_step,
                        y: self.y.wrapping_add(pixel * out_step + channel),
                        out_step,
                        lanes,
                    };
                    // SAFETY: the taps that an output does not lack lie inside the map, the first row of them being y0; the
                    // outputs and their sixteen (or `lanes`) channels lie in `y` and `residual`.
                    let sum = unsafe { run_strip(l, &strip, outputs.count) };
                    if !sums.is_null() {
                        // SAFETY: as above.
                        unsafe { l.write(l.add(l.read(sums.add(channel)), sum), sums.add(channel)) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{Sizes, check_against_naive, geometry};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn agrees_with_naive_loops(g in geometry(), c in 1usize..40, kernels in 1usize..5) {
            let g = ConvGeometry { input: [g.input[0], g.input[1], c], out_channels: c, groups: c, ..g };
            let conv = DepthwiseConv::new(g);
            let sizes = |_| Sizes { scratch: conv.scratch_len(2), sums: conv.sums_len(), apart: true, tolerance: 1e-5 };
            check_against_naive(&g, kernels, sizes, |w, storage, _| conv.pack(kernels, w, storage), |exec, run| conv.run(exec, run));
        }
    }
}
