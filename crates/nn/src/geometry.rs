//! Sizes of convolutions in training, converted from the graph's descriptions to those of Burn and the kernels.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions};
use dyconv_graph::{Conv2d, ConvTranspose2d};
use dyconv_train_kernels::BatchConv;

/// Geometry of a convolution; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Distance between adjacent outputs.
    pub stride: [usize; 2],
    /// Zeros added at the beginning of each axis (top, left).
    pub padding: [usize; 2],
    /// Zeros added at its end (bottom, right).
    pub end_padding: [usize; 2],
    /// Distance between adjacent kernel taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl From<&Conv2d> for ConvGeometry {
    fn from(conv: &Conv2d) -> Self {
        let Conv2d { out_channels: _, kernel: _, stride, padding, end_padding: _, dilation, groups, bias: _ } = *conv;
        Self { stride, padding, end_padding: conv.end_padding(), dilation, groups }
    }
}

impl ConvGeometry {
    pub(crate) fn options(self) -> ConvOptions<2> {
        ConvOptions::new_with_padding(
            self.stride,
            both_ends(self.padding, self.end_padding),
            self.dilation,
            self.groups,
        )
    }

    /// The convolution of `x` `[N, C, H, W]` with a kernel `[O, C / groups, kh, kw]`.
    pub(crate) fn over(self, x: [usize; 4], kernel: [usize; 4]) -> BatchConv {
        let Self { stride, padding, end_padding, dilation, groups } = self;
        let ([batch, c, h, w], [out_channels, _, kh, kw]) = (x, kernel);
        BatchConv {
            batch,
            input: [c, h, w],
            out_channels,
            kernel: [kh, kw],
            stride,
            padding,
            end_padding,
            dilation,
            groups,
        }
    }
}

/// Geometry of a transposed convolution; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransposedGeometry {
    /// Distance in outputs between the contributions of adjacent inputs.
    pub stride: [usize; 2],
    /// Outputs cropped from both ends of each axis.
    pub padding: [usize; 2],
    /// Outputs appended at the end of each axis, fewer than the stride.
    pub output_padding: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl From<&ConvTranspose2d> for TransposedGeometry {
    fn from(conv: &ConvTranspose2d) -> Self {
        let ConvTranspose2d { out_channels: _, kernel: _, stride, padding, output_padding, groups, bias: _ } = *conv;
        Self { stride, padding, output_padding, groups }
    }
}

impl TransposedGeometry {
    pub(crate) fn options(self) -> ConvTransposeOptions<2> {
        ConvTransposeOptions::new(self.stride, self.padding, self.output_padding, [1, 1], self.groups)
    }

    /// The convolution in the opposite direction, from the output's size to the input's.
    pub(crate) fn convolution(self) -> ConvGeometry {
        let Self { stride, padding, groups, .. } = self;
        ConvGeometry { stride, padding, end_padding: padding, dilation: [1, 1], groups }
    }

    /// [That convolution](Self::convolution) for an input `x` `[N, C, H, W]` of the transposed one and a kernel `[C, O
    /// / groups, kh, kw]`.
    pub(crate) fn back_to(self, x: [usize; 4], kernel: [usize; 4]) -> BatchConv {
        let ([batch, _, h, w], [_, of_group, kh, kw]) = (x, kernel);
        let [height, width] = self.output([h, w], [kh, kw]);
        self.convolution().over([batch, of_group * self.groups, height, width], kernel)
    }

    /// Height and width of the output.
    fn output(self, input: [usize; 2], kernel: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|a| {
            let whole = (input[a] - 1) * self.stride[a] + kernel[a] + self.output_padding[a];
            whole - 2 * self.padding[a]
        })
    }
}

/// The padding of each axis, as Burn takes it.
pub(crate) fn both_ends(begin: [usize; 2], end: [usize; 2]) -> [(usize, usize); 2] {
    [0, 1].map(|a| (begin[a], end[a]))
}

/// Bilinear upsampling, corners not aligned.
pub(crate) fn bilinear() -> InterpolateOptions {
    InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false)
}

/// Upsampling that repeats pixels.
pub(crate) fn nearest() -> InterpolateOptions {
    InterpolateOptions::new(InterpolateMode::Nearest)
}
