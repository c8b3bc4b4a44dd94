//! The sizes of a convolution.

/// Sizes of a convolution over a channels-last map; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Input `[H, W, C]`.
    pub input: [usize; 3],
    /// Number O of output channels.
    pub out_channels: usize,
    /// Kernel size in taps.
    pub kernel: [usize; 2],
    /// Distance between adjacent outputs, in pixels.
    pub stride: [usize; 2],
    /// Zeros added at the beginning of each axis (top, left), in pixels.
    pub padding: [usize; 2],
    /// Zeros added at the end of each axis (bottom, right), in pixels.
    pub end_padding: [usize; 2],
    /// Distance between adjacent taps, in pixels.
    pub dilation: [usize; 2],
    /// Independent groups of channels; divides both channel counts.
    pub groups: usize,
}

impl ConvGeometry {
    /// Output `[H', W', O]`.
    ///
    /// # Panics
    /// If the kernel does not fit into the padded input, or a stride is zero.
    pub fn output(&self) -> [usize; 3] {
        let side = |a: usize| (self.padded()[a] - self.dilation[a] * (self.kernel[a] - 1) - 1) / self.stride[a] + 1;
        [side(0), side(1), self.out_channels]
    }

    /// Padded input `[H, W, C]`.
    pub fn padded(&self) -> [usize; 3] {
        let ([height, width, channels], begin, end) = (self.input, self.padding, self.end_padding);
        [height + begin[0] + end[0], width + begin[1] + end[1], channels]
    }

    /// Whether zeros are added anywhere.
    pub fn pads(&self) -> bool {
        [self.padding, self.end_padding] != [[0, 0]; 2]
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

/// Range of taps along one axis that are inside the map for the output at `position`.
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
