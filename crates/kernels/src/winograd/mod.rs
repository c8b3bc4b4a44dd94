//! Winograd convolution F(4×4, 3×3): 36 products for sixteen outputs, where the direct convolution has 144.
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
//!                 for each of the six points: M[point] += V[point] · U[point]  <- prefetches the bank's next block
//!         for each tile: y = activation(transform of M + bias + residual), and its sum over the tile row's pixels
//! ```
//!
//! 1. The kernel is transformed where it is used, in static layers too: the 36 transformed values of nine weights are
//!    four times as many bytes to read, and computing them takes less time than the products of two tiles. A row of
//!    points of a block stays in the L1 cache. If the map has at most four tiles, the kernel is transformed in
//!    registers.
//! 2. A map with several blocks of tiles would transform each kernel several times; for such maps all of U is computed
//!    first.
//! 3. Each sum is computed in the same order for any number of threads: over channels within a tile, over pixels within
//!    a row of tiles.

mod gemm;
mod job;
pub(crate) mod shape;
mod small_maps;
#[cfg(test)]
mod tests;
pub mod transform_1d;
mod transform_2d;

use dyconv_simd::{Isa, LANES, dispatch};

use crate::bank::{Bank, Packer, Storage};
use crate::exec::Exec;
use crate::geometry::ConvGeometry;
use crate::panel::PanelShape;
use crate::prefetch::PrefetchRange;
use crate::run::ConvRun;
use crate::threads::share;
use job::{Job, inputs, kernels, products};
use shape::{Shape, TAPS};

/// A convolution with 3×3 taps at stride one, without groups or dilation.
#[derive(Debug, Clone)]
pub struct WinogradConv {
    isa: Isa,
    shape: Shape,
}

impl WinogradConv {
    /// Whether a convolution of these sizes is supported.
    pub fn supports(g: &ConvGeometry) -> bool {
        g.kernel == [3, 3] && g.stride == [1, 1] && g.dilation == [1, 1] && g.groups == 1
    }

    /// Creates a convolution of these sizes for an instruction set.
    ///
    /// # Panics
    /// If it is not [supported](Self::supports).
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        assert!(Self::supports(&geometry), "3×3 taps at stride one, neither groups nor dilation");
        Self { isa, shape: Shape::new(geometry, isa) }
    }

    /// Packs a bank `[K, O, C, 3, 3]` (a static kernel is K = 1) into panels `[panel, C, 3, 3, width, 16]`, padded with zeros.
    ///
    /// # Panics
    /// If the length is not that of K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32], storage: Storage) -> Bank {
        let (len, c) = (self.shape.geometry.weight_len(), self.shape.geometry.input[2]);
        assert_eq!(weight.len(), kernels * len, "a bank [K, O, C, 3, 3]");
        let columns = |p: &PanelShape| {
            let (width, column) = (p.width, p.column);
            (0..c * TAPS * width).map(move |v| (column + v % width) as u32)
        };
        let mut packer = Packer::new(kernels, self.shape.panels.iter().flat_map(columns).collect(), storage);
        for (k, kernel) in weight.chunks_exact(len).enumerate() {
            for panel in &self.shape.panels {
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

    /// Scratch size in values for [`run`](Self::run) on `threads` threads, given whether kernels are mixed.
    pub fn scratch_len(&self, mixes: bool, threads: usize) -> usize {
        self.shape.parts(mixes, threads).iter().sum()
    }

    /// Length of [`ConvRun::sums`].
    pub fn sums_len(&self) -> usize {
        self.shape.tiles[0] * self.shape.geometry.out_channels.next_multiple_of(LANES)
    }

    /// Runs the convolution; `bank` comes from [`pack`](Self::pack).
    ///
    /// # Panics
    /// If a length does not match, input factors are given, or the instruction set is not that of [`new`](Self::new).
    pub fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        let (g, threads) = (&self.shape.geometry, exec.pool.threads());
        let mixes = run.bank.single().is_none() || !run.coefficients.is_empty();
        run.check(g, self.shape.vectors(), self.sums_len(), self.scratch_len(mixes, threads));
        assert!(run.input_scale.is_empty(), "no input factors");
        assert_eq!(self.isa.name(), exec.isa.name(), "the instruction set that the panels are made for");
        let [zeros, v, u, m, _] = self.shape.parts(mixes, threads);
        let (zeros, rest) = run.scratch.split_at_mut(zeros);
        let (v, rest) = rest.split_at_mut(v);
        let (u, rest) = rest.split_at_mut(u);
        let (m, mixed) = rest.split_at_mut(m);
        zeros.fill(0.0);
        let blocks = self.shape.blocks.len() - 1;
        let rounds = blocks.div_ceil(threads);
        let mut job = Job {
            shape: &self.shape,
            parts: threads,
            round: 0..0,
            bank: run.bank,
            // A single kernel in narrow storage is mixed with coefficient one.
            coefficients: if run.coefficients.is_empty() { &[1.0] } else { run.coefficients },
            mixes,
            bias: run.epilogue.bias,
            activation: run.epilogue.activation,
            x: run.x,
            pixel_steps: run.steps.of(g),
            zeros,
            residual: if run.residual.is_empty() { std::ptr::null() } else { run.residual.as_ptr() },
            y: run.y.as_mut_ptr(),
            sums: if run.sums.is_empty() { std::ptr::null_mut() } else { run.sums.as_mut_ptr() },
            v: v.as_mut_ptr(),
            u: u.as_mut_ptr(),
            m: m.as_mut_ptr(),
            mixed: mixed.as_mut_ptr(),
            prefetch: [PrefetchRange::default(); 2],
        };
        if self.shape.whole() {
            let job = &job;
            exec.pool.run(threads, &|part| dispatch!(exec.isa, kernels(job: &Job<'_>, part: usize)));
        }
        for round in 0..rounds {
            job.round = share(blocks, round, rounds);
            job.prefetch = run.prefetch.map(|range| range.share(round, rounds));
            let job = &job;
            exec.pool.run(threads, &|part| dispatch!(exec.isa, inputs(job: &Job<'_>, part: usize)));
            exec.pool.run(threads, &|part| dispatch!(exec.isa, products(job: &Job<'_>, part: usize)));
        }
    }
}
