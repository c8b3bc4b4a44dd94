//! The numbers of a convolution, named.

use crate::activation::Activation;
use crate::bank::Bank;
use crate::lanes::Isa;
use crate::threads::{Pool, share};

/// Sizes of a convolution over a channels-last map; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Input `[H, W, C]`.
    pub input: [usize; 3],
    /// Number O of output channels.
    pub out_channels: usize,
    /// Kernel size in taps.
    pub kernel: [usize; 2],
    /// Step between neighbouring outputs, in pixels.
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis, in pixels.
    pub padding: [usize; 2],
    /// Step between neighbouring taps, in pixels.
    pub dilation: [usize; 2],
    /// Independent groups of channels; divides both channel counts.
    pub groups: usize,
}

impl ConvGeometry {
    /// Output `[H', W', O]`.
    ///
    /// # Panics
    /// When the kernel does not fit into the padded input, or a stride is zero.
    pub fn output(&self) -> [usize; 3] {
        let side = |a: usize| {
            (self.input[a] + 2 * self.padding[a] - self.dilation[a] * (self.kernel[a] - 1) - 1) / self.stride[a] + 1
        };
        [side(0), side(1), self.out_channels]
    }

    /// Number of input values.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Number of output values.
    pub fn output_len(&self) -> usize {
        self.output().iter().product()
    }

    /// Number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Number of weights of one kernel `[O, C/groups, kh, kw]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * (self.input[2] / self.groups) * self.taps()
    }
}

/// Range of taps along one axis that land inside the map for the output at `position`.
pub(crate) fn taps_inside(
    position: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    taps: usize,
    size: usize,
) -> std::ops::Range<usize> {
    let start = position * stride;
    let first = padding.saturating_sub(start).div_ceil(dilation).min(taps);
    let end = (size + padding).saturating_sub(start).div_ceil(dilation).min(taps);
    first..end.max(first)
}

/// Where and by how many threads a kernel runs.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// The instructions.
    pub isa: Isa,
    /// The threads.
    pub pool: &'a Pool,
}

/// A stretch of memory that the next kernel will read; the present one asks for it in passing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// The memory of these values.
    pub fn of<T>(values: &[T]) -> Self {
        let range = values.as_ptr_range();
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    pub(crate) fn new(range: std::ops::Range<*const u8>) -> Self {
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    /// The first address.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// Bytes of the stretch.
    #[expect(clippy::len_without_is_empty, reason = "a number of bytes, of no collection")]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// The part of a thread, when all threads read equal shares.
    pub(crate) fn share(self, part: usize, parts: usize) -> Self {
        let share = share(self.len(), part, parts);
        Self { start: self.start + share.start, end: self.start + share.end }
    }

    /// Cuts `bytes` off the front, as far as there are so many.
    #[inline(always)]
    pub(crate) fn take(&mut self, bytes: usize) -> *const u8 {
        let front = self.start;
        self.start = self.end.min(front + bytes);
        std::ptr::without_provenance(front)
    }
}

/// What a thread asks for while it computes: its share of what comes next.
pub(crate) struct Upcoming([Span; 2]);

impl Upcoming {
    /// Bytes of each stretch that are worth asking for.
    const LIMIT: usize = 512 << 10;

    pub(crate) fn new(spans: [Span; 2], part: usize, parts: usize) -> Self {
        Self(spans.map(|span| {
            let mut share = span.share(part, parts);
            share.end = share.end.min(share.start + Self::LIMIT);
            share
        }))
    }

    /// The stretch to cut from now.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> &mut Span {
        let [first, second] = &mut self.0;
        if first.len() > 0 { first } else { second }
    }
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One value per output channel, or empty.
    pub bias: &'a [f32],
    /// Applied last; convolutions take only [short](Activation::is_short) ones.
    pub activation: Option<Activation>,
}

/// One run of a convolution: what it reads and what it writes.
#[derive(Debug)]
pub struct ConvRun<'a> {
    /// The packed kernels.
    pub bank: &'a Bank,
    /// One coefficient π_k per kernel; empty for the one kernel of a static layer.
    pub coefficients: &'a [f32],
    /// A factor per input channel, or empty. Only for [`PanelConv`](crate::PanelConv) without groups or padding.
    pub input_scale: &'a [f32],
    /// Bias and activation.
    pub epilogue: Epilogue<'a>,
    /// `[H', W', O]`, added before the activation, or empty.
    pub residual: &'a [f32],
    /// `[H, W, C]`
    pub x: &'a [f32],
    /// `[H', W', O]`
    pub y: &'a mut [f32],
    /// Receives sums over the pixels of `y`, from which [`mean_of_sums`](crate::mean_of_sums) makes the means; or empty.
    pub sums: &'a mut [f32],
    /// Working memory.
    pub scratch: &'a mut [f32],
    /// What will be read next, and after that. A convolution that is bound by arithmetic asks for it in passing.
    pub upcoming: [Span; 2],
}

impl ConvRun<'_> {
    /// Checks every length that does not depend on the kernel.
    ///
    /// # Panics
    /// When one does not fit.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn taps_inside_is_a_count(o in 0usize..9, s in 1usize..4, p in 0usize..5, d in 1usize..4, k in 1usize..6, n in 1usize..9) {
            let inside = |t: &usize| (p..p + n).contains(&(o * s + t * d));
            let expected: Vec<usize> = (0..k).filter(inside).collect();
            prop_assert_eq!(taps_inside(o, s, p, d, k, n).collect::<Vec<_>>(), expected);
        }
    }
}
