//! The sizes of a convolution over a batch.

use std::ops::Range;

/// Sizes of a convolution over a batch of feature maps `[N, C, H, W]`; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConv {
    /// Samples N.
    pub batch: usize,
    /// One sample `[C, H, W]`.
    pub input: [usize; 3],
    /// Output channels O.
    pub out_channels: usize,
    /// Kernel size in taps.
    pub kernel: [usize; 2],
    /// Distance between adjacent outputs, in pixels.
    pub stride: [usize; 2],
    /// Zeros added at the beginning of each axis (top, left), in pixels.
    pub padding: [usize; 2],
    /// Zeros added at its end (bottom, right), in pixels.
    pub end_padding: [usize; 2],
    /// Distance between adjacent taps, in pixels.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl BatchConv {
    /// Output `[H', W']`.
    ///
    /// # Panics
    /// If the kernel does not fit into the padded input, or a stride is zero.
    pub fn output(&self) -> [usize; 2] {
        let side = |a: usize| {
            let padded = self.input[a + 1] + self.padding[a] + self.end_padding[a];
            (padded - self.dilation[a] * (self.kernel[a] - 1) - 1) / self.stride[a] + 1
        };
        [side(0), side(1)]
    }

    /// Number of pixels of an output map.
    pub fn pixels(&self) -> usize {
        self.output().iter().product()
    }

    /// Number of values of the whole output.
    pub(crate) fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.pixels()
    }

    /// Whether each channel has its own kernel.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups == self.input[0] && self.groups == self.out_channels
    }

    /// Whether the pixels themselves are the columns of the product.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.end_padding == [0, 0]
    }

    /// Number of pixels of an input map.
    pub(crate) fn input_pixels(&self) -> usize {
        self.input[1] * self.input[2]
    }

    /// Number of taps of a kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Number of input channels of a group.
    pub(crate) fn group_in(&self) -> usize {
        self.input[0] / self.groups
    }

    /// Number of output channels of a group.
    pub(crate) fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Number of weights of one output channel: the length of a row of the kernel matrix.
    pub(crate) fn row(&self) -> usize {
        self.group_in() * self.taps()
    }

    /// Number of weights of one kernel.
    pub(crate) fn weights(&self) -> usize {
        self.out_channels * self.row()
    }

    /// Number K of kernels that `pi` `[N, K]` mixes.
    pub(crate) fn kernels(&self, pi: &[f32]) -> usize {
        assert!(self.batch > 0 && !pi.is_empty() && pi.len().is_multiple_of(self.batch), "pi must be [N, K]");
        pi.len() / self.batch
    }

    pub(crate) fn check(&self, x: usize, y: usize, bank: usize, kernels: usize) {
        assert!(self.batch > 0 && self.groups > 0, "a batch holds samples and channels stand in groups");
        assert!(
            self.input[0].is_multiple_of(self.groups) && self.out_channels.is_multiple_of(self.groups),
            "groups must divide the channels"
        );
        assert_eq!(x, self.batch * self.input.iter().product::<usize>(), "x must be [N, C, H, W]");
        assert_eq!(y, self.batch * self.out_channels * self.pixels(), "y must be [N, O, H', W']");
        assert_eq!(bank, kernels * self.weights(), "the bank must be [K, O, C / groups, kh, kw]");
    }

    /// Splits the batch into at least `pieces` runs of samples, if it has that many.
    pub(crate) fn sample_runs(&self, pieces: usize) -> Vec<Range<usize>> {
        split(self.batch, pieces.clamp(1, self.batch))
    }

    /// The blocks of one sample.
    pub(crate) fn blocks_of(&self, n: usize) -> Vec<Block> {
        let [height, width] = self.output();
        let rows = if self.is_pointwise() { height } else { BLOCK.div_ceil(width).min(height) };
        let cut = |rows| Block { samples: n..n + 1, rows };
        split(height, height.div_ceil(rows)).into_iter().map(cut).collect()
    }

    /// Divides samples into blocks of pixels for one product each: several small maps together, or some rows of a large
    /// one.
    pub(crate) fn blocks(&self, samples: Range<usize>) -> Vec<Block> {
        let height = self.output()[0];
        if self.pixels() < BLOCK {
            let together = BLOCK.div_ceil(self.pixels());
            let runs = samples.len().div_ceil(together);
            return split(samples.len(), runs)
                .into_iter()
                .map(|r| Block { samples: samples.start + r.start..samples.start + r.end, rows: 0..height })
                .collect();
        }
        samples.flat_map(|n| self.blocks_of(n)).collect()
    }
}

/// Number of pixels of a block: enough to amortize packing the kernel.
const BLOCK: usize = 384;

/// Output pixels of one product: the rows `rows` of each of `samples`; only whole maps are combined.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub samples: Range<usize>,
    pub rows: Range<usize>,
}

impl Block {
    /// Number of output pixels of one sample in the block.
    pub fn pixels_each(&self, c: &BatchConv) -> usize {
        self.rows.len() * c.output()[1]
    }

    /// Number of output pixels of the block.
    pub fn pixels(&self, c: &BatchConv) -> usize {
        self.samples.len() * self.pixels_each(c)
    }
}

/// Splits `0..len` into `pieces` runs whose lengths differ by at most one.
pub(crate) fn split(len: usize, pieces: usize) -> Vec<Range<usize>> {
    (0..pieces).map(|i| i * len / pieces..(i + 1) * len / pieces).collect()
}
