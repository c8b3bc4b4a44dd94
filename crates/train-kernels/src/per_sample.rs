//! Dense mixture convolution that mixes the kernel of each sample, one cached tile at a time.

use std::ops::Range;

use dyconv_simd::Isa;

use crate::columns::{gather, scatter};
use crate::gemm::{View, gemm};
use crate::geometry::{BatchConv, split};
use crate::gradients::Gradients;
use crate::job::{ENOUGH, Scratch, Shared, run, sum_parts};
use crate::mix::{self, Tile};

/// Number of weights of all K kernels together in a forward tile: half a megabyte, which fits into an L2 cache.
const TILE: usize = 1 << 17;
/// Number of weights of one kernel in a backward tile. K of the bank, K of its gradient, the mixed kernel and its
/// gradient share the cache.
const BACKWARD_TILE: usize = 1 << 15;

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) fn forward(isa: Isa, c: &BatchConv, x: &[f32], pi: &[f32], bank: &[f32], y: Shared<'_>) {
    let kernels = c.kernels(pi);
    let (row, outputs, pixels) = (c.row(), c.group_out(), c.pixels());
    let height = (TILE / (row * kernels)).clamp(32, outputs.max(32));
    let tiles = split(outputs, outputs.div_ceil(height));
    let samples = c.sample_runs(ENOUGH.div_ceil(tiles.len() * c.groups));
    run(c.groups * tiles.len() * samples.len(), |job, s| {
        let (group, rest) = (job % c.groups, job / c.groups);
        let (tile, samples) = (&tiles[rest % tiles.len()], &samples[rest / tiles.len()]);
        let first = group * outputs + tile.start;
        let channels = group * c.group_in()..(group + 1) * c.group_in();
        let weights = Tile { at: first * row, rows: tile.len(), columns: row, row_step: row, kernel_step: c.weights() };
        for n in samples.clone() {
            let kernel = s.kernel.ensure_len(tile.len() * row);
            mix::mix(isa, bank, weights, &pi[n * kernels..][..kernels], kernel);
            let kernel = View::new(kernel, tile.len(), row, row);
            for block in c.blocks_of(n) {
                let all = block.pixels(c);
                let columns = if c.is_pointwise() {
                    View::new(&x[(n * c.input[0] + channels.start) * pixels..], row, all, pixels)
                } else {
                    let to = s.columns.ensure_len(row * all);
                    gather(isa, c, x, channels.clone(), &block, to);
                    View::new(to, row, all, all)
                };
                let at = (n * c.out_channels + first) * pixels + block.rows.start * c.output()[1];
                // SAFETY: these output channels of this sample belong to this job alone.
                unsafe { y.gemm(isa, at, pixels, [tile.len(), all], false, kernel, columns) };
            }
        }
    });
}

pub(super) fn backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
    dy: &[f32],
    gradients: Gradients<'_>,
) {
    let kernels = c.kernels(pi);
    let width = (BACKWARD_TILE / (c.group_out() * c.taps())).clamp(16, c.group_in().max(16));
    let runs = split(c.group_in(), c.group_in().div_ceil(width));
    let samples = c.sample_runs(ENOUGH.div_ceil(runs.len() * c.groups));
    let jobs = c.groups * runs.len() * samples.len();
    let Gradients { dx: Some(dx), dbank: Some(dbank), dpi: Some(dpi) } = gradients else {
        unreachable!("a mixture computes all its gradients")
    };
    let mut dpi_parts = vec![0.0; jobs * c.batch * kernels];
    let parts = Shared::new(&mut dpi_parts);
    let mut partial = vec![0.0; if samples.len() > 1 { samples.len() * bank.len() } else { 0 }];
    let to = Shared::new(if samples.len() > 1 { &mut partial } else { &mut *dbank });
    run(jobs, |job, scratch| {
        let (group, rest) = (job % c.groups, job / c.groups);
        let (part, channels) = (rest / runs.len(), &runs[rest % runs.len()]);
        let work = Backward {
            isa,
            c,
            x,
            pi,
            bank,
            dy,
            dx,
            dpi: (parts, job * c.batch * kernels),
            dbank: (to, part * bank.len()),
            group,
            channels: channels.clone(),
        };
        for n in samples[part].clone() {
            work.sample(n, n > samples[part].start, scratch);
        }
    });
    if samples.len() > 1 {
        sum_parts(dbank, &partial);
    }
    sum_parts(dpi, &dpi_parts);
}

/// One job of the backward pass: a run of input channels of a group.
struct Backward<'a> {
    isa: Isa,
    c: &'a BatchConv,
    x: &'a [f32],
    pi: &'a [f32],
    bank: &'a [f32],
    dy: &'a [f32],
    dx: Shared<'a>,
    /// Where this job accumulates ∂L/∂π.
    dpi: (Shared<'a>, usize),
    /// Where the bank gradient of this job starts.
    dbank: (Shared<'a>, usize),
    group: usize,
    channels: Range<usize>,
}

impl Backward<'_> {
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    fn sample(&self, n: usize, add: bool, s: &mut Scratch) {
        let c = self.c;
        let (row, outputs, pixels, taps) = (c.row(), c.group_out(), c.pixels(), c.taps());
        let (channels, columns) = (self.channels.len(), self.channels.len() * taps);
        let first = self.group * c.group_in() + self.channels.start;
        let kernels = self.bank.len() / c.weights();
        let pi = &self.pi[n * kernels..][..kernels];
        let at = self.group * outputs * row + self.channels.start * taps;
        let tile = Tile { at, rows: outputs, columns, row_step: row, kernel_step: c.weights() };
        let kernel = s.kernel.ensure_len(outputs * columns);
        mix::mix(self.isa, self.bank, tile, pi, kernel);
        let kernel = View::new(kernel, outputs, columns, columns).t();
        let gradient = s.gradient.ensure_len(outputs * columns);
        let input = (n * c.input[0] + first) * c.input_pixels();
        for (i, block) in c.blocks_of(n).into_iter().enumerate() {
            let all = block.pixels(c);
            let start = (n * c.out_channels + self.group * outputs) * pixels + block.rows.start * c.output()[1];
            let dy = View::new(&self.dy[start..], outputs, all, pixels);
            let seen = if c.is_pointwise() {
                // SAFETY: these input channels of this sample belong to this job alone.
                unsafe { self.dx.gemm(self.isa, input, pixels, [columns, all], false, kernel, dy) };
                View::new(&self.x[input..], columns, all, pixels)
            } else {
                let back = s.product.ensure_len(columns * all);
                gemm(self.isa, back, all, false, kernel, dy);
                let len = channels * c.input_pixels();
                // SAFETY: as above; zeros come first.
                let dx = unsafe { if i == 0 { self.dx.zeroed(input, len) } else { self.dx.slice(input, len) } };
                scatter(self.isa, c, back, all, 0, channels, &block.rows, dx);
                let to = s.columns.ensure_len(columns * all);
                gather(self.isa, c, self.x, first..first + channels, &block, to);
                View::new(to, columns, all, all)
            };
            gemm(self.isa, gradient, columns, i > 0, dy, seen.t());
        }
        let (parts, part) = self.dpi;
        let (to, to_at) = self.dbank;
        // SAFETY: every job has its own part, and its own columns of the bank gradient.
        unsafe {
            let dpi = parts.slice(part + n * kernels, kernels);
            mix::unmix(self.isa, self.bank, tile, pi, gradient, to, to_at + at, add, dpi);
        }
    }
}
