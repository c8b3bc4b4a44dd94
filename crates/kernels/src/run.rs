//! One call of a convolution: everything that is known only at run time.

use crate::activation::Activation;
use crate::bank::Bank;
use crate::geometry::ConvGeometry;
use crate::prefetch::PrefetchRange;

/// Applied to a sum before it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One value per output channel, or empty for none.
    pub bias: &'a [f32],
    /// Applied last.
    pub activation: Option<Activation>,
}

/// Distances in values between adjacent pixels of maps whose pixels do not lie side by side, since they are some channels
/// of a larger map. Zero, the default, stands for pixels side by side. Such a map is a slice from the first value of
/// its first pixel to the last value of its last pixel.
#[derive(Debug, Clone, Copy, Default)]
pub struct PixelSteps {
    /// Of the input.
    pub x: usize,
    /// Of the residual.
    pub residual: usize,
    /// Of the output.
    pub y: usize,
}

impl PixelSteps {
    /// Of input, residual and output, without zeros.
    pub(crate) fn of(self, g: &ConvGeometry) -> [usize; 3] {
        let (inputs, outputs) = (g.input[2], g.out_channels);
        [(self.x, inputs), (self.residual, outputs), (self.y, outputs)]
            .map(|(step, n)| if step == 0 { n } else { step })
    }
}

/// Length of the slice that holds `len` values, `channels` for each pixel, of pixels `step` values apart.
pub(crate) fn span(len: usize, channels: usize, step: usize) -> usize {
    assert!(step >= channels, "pixels do not overlap");
    (len / channels - 1) * step + channels
}

/// One run of a convolution: its inputs and outputs.
#[derive(Debug)]
pub struct ConvRun<'a> {
    /// The packed kernels.
    pub bank: &'a Bank,
    /// One coefficient π_k per kernel; empty for a static layer, which has one kernel.
    pub coefficients: &'a [f32],
    /// One factor per input channel, or empty. Only for [`PanelConv`](crate::PanelConv) without groups or padding.
    pub input_scale: &'a [f32],
    /// Bias and activation.
    pub epilogue: Epilogue<'a>,
    /// `[H', W', O]`, added before the activation, or empty.
    pub residual: &'a [f32],
    /// `[H, W, C]`
    pub x: &'a [f32],
    /// `[H', W', O]`
    pub y: &'a mut [f32],
    /// Where the pixels of `x`, `residual` and `y` lie.
    pub steps: PixelSteps,
    /// Receives partial sums over the pixels of `y`, from which [`mean_of_sums`](crate::mean_of_sums) computes the
    /// means. May be empty.
    pub sums: &'a mut [f32],
    /// Working memory.
    pub scratch: &'a mut [f32],
    /// The memory that will be read next, and the memory after that. A convolution that is compute bound prefetches it.
    pub prefetch: [PrefetchRange; 2],
}

impl ConvRun<'_> {
    /// Checks every length that does not depend on the choice of kernel.
    ///
    /// # Panics
    /// If a length does not match.
    pub(crate) fn check(&self, g: &ConvGeometry, vectors: usize, sums: usize, scratch: usize) {
        let [x, residual, y] = self.steps.of(g);
        assert_eq!(self.x.len(), span(g.input_len(), g.input[2], x), "input of the convolution");
        assert_eq!(self.y.len(), span(g.output_len(), g.out_channels, y), "output of the convolution");
        assert_eq!(self.bank.vectors(), vectors, "packed kernels");
        let fixed = self.coefficients.is_empty() && self.bank.single().or(self.bank.rounded()).is_some();
        assert!(fixed || self.coefficients.len() == self.bank.kernels(), "one coefficient per kernel");
        let fits = |len: usize, whole: usize| len == 0 || len == whole;
        assert!(fits(self.epilogue.bias.len(), g.out_channels), "one bias per channel or none");
        assert!(fits(self.input_scale.len(), g.input[2]), "one factor per input channel or none");
        let residual = span(g.output_len(), g.out_channels, residual);
        assert!(fits(self.residual.len(), residual), "a residual like the output or none");
        assert!(fits(self.sums.len(), sums), "room for the sums or none");
        assert!(self.scratch.len() >= scratch, "working memory of the convolution");
    }
}
