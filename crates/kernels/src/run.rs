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
    /// Applied last. Convolutions support only [short](Activation::is_short) ones.
    pub activation: Option<Activation>,
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
        assert_eq!(self.x.len(), g.input_len(), "input of the convolution");
        assert_eq!(self.y.len(), g.output_len(), "output of the convolution");
        assert_eq!(self.bank.vectors(), vectors, "packed kernels");
        let fixed = self.coefficients.is_empty() && self.bank.single().or(self.bank.rounded()).is_some();
        assert!(fixed || self.coefficients.len() == self.bank.kernels(), "one coefficient per kernel");
        let fits = |len: usize, whole: usize| len == 0 || len == whole;
        assert!(fits(self.epilogue.bias.len(), g.out_channels), "one bias per channel or none");
        assert!(fits(self.input_scale.len(), g.input[2]), "one factor per input channel or none");
        assert!(fits(self.residual.len(), g.output_len()), "a residual like the output or none");
        assert!(fits(self.sums.len(), sums), "room for the sums or none");
        assert!(
            self.epilogue.activation.is_none_or(Activation::is_short),
            "a convolution ends with a short activation"
        );
        assert!(self.scratch.len() >= scratch, "working memory of the convolution");
    }
}
