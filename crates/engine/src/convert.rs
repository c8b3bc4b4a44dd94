//! Converts the graph's sizes and functions to those of the kernels, where feature maps are `[H, W, C]`.

use dyconv_graph::{Activation, Conv2d, ConvTranspose2d, Pool2d, Shape, UpsampleMode};
use dyconv_kernels::{Activation as KernelActivation, ConvGeometry, PoolGeometry, TransposedGeometry, Upsampling};

/// `[H, W, C]` of a feature map.
pub(crate) fn hwc(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Map([c, h, w]) => [h, w, c],
        Shape::Vector(n) => [1, 1, n],
    }
}

/// The geometry of a convolution for an input of this shape.
pub(crate) fn conv(spec: &Conv2d, input: Shape) -> ConvGeometry {
    let Conv2d { out_channels, kernel, stride, padding, end_padding: _, dilation, groups, bias: _ } = *spec;
    let (input, end_padding) = (hwc(input), spec.end_padding());
    ConvGeometry { input, out_channels, kernel, stride, padding, end_padding, dilation, groups }
}

/// The geometry of a transposed convolution for an input of this shape.
pub(crate) fn conv_transpose(spec: &ConvTranspose2d, input: Shape) -> TransposedGeometry {
    let ConvTranspose2d { out_channels, kernel, stride, padding, output_padding, groups, bias: _ } = *spec;
    TransposedGeometry { input: hwc(input), out_channels, kernel, stride, padding, output_padding, groups }
}

/// The geometry of a pooling for an input of this shape.
pub(crate) fn pool(spec: &Pool2d, input: Shape) -> PoolGeometry {
    let Pool2d { kernel, stride, padding, end_padding: _ } = *spec;
    PoolGeometry { input: hwc(input), kernel, stride, padding, end_padding: spec.end_padding() }
}

pub(crate) fn activation(function: Activation) -> KernelActivation {
    match function {
        Activation::Relu => KernelActivation::Relu,
        Activation::Relu6 => KernelActivation::Relu6,
        Activation::HardSwish => KernelActivation::HardSwish,
        Activation::HardSigmoid => KernelActivation::HardSigmoid,
        Activation::Sigmoid => KernelActivation::Sigmoid,
        Activation::Silu => KernelActivation::Silu,
        Activation::Gelu => KernelActivation::Gelu,
    }
}

pub(crate) fn upsampling(mode: UpsampleMode) -> Upsampling {
    match mode {
        UpsampleMode::Bilinear => Upsampling::Bilinear,
        UpsampleMode::Nearest => Upsampling::Nearest,
    }
}

/// Whether a convolution reads only one pixel for each output, and no padding.
pub(crate) fn is_pointwise(spec: &Conv2d) -> bool {
    spec.kernel == [1, 1] && pads_nothing(spec)
}

pub(crate) fn pads_nothing(spec: &Conv2d) -> bool {
    [spec.padding, spec.end_padding()] == [[0, 0]; 2]
}
