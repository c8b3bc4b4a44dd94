//! How a convolution is computed: chosen here and nowhere else.
//!
//! ```text
//! one pixel in, one tap, one pixel out             a linear layer: a product with a vector
//! as many groups as input and output channels      depthwise
//! 3×3 taps at stride one, where it pays            Winograd: fewer products against the weights' transforms
//! everything else                                  panels, of bf16 where that is asked for and pays
//! ```
//!
//! What is weighed is products, and bytes of weights that must be read ([`WinogradConv::pays`]); rounding to bf16 costs a pass
//! over the input ([`rounding_pays`]). The choice depends on sizes, instruction set and options, never on a measurement, so a
//! network has the same plan every time.

use dyconv_graph::{Conv2d, Shape};
use dyconv_kernels::{Bank, ConvGeometry, ConvRun, DepthwiseConv, Exec, Isa, PanelConv, Storage, WinogradConv};

use crate::convert;
use crate::lowered::Layer;
use crate::options::{Options, Precision, weight_bytes};

/// A convolution that is not a linear layer.
#[derive(Debug, Clone)]
pub(crate) enum Conv {
    Panel(PanelConv),
    Depthwise(DepthwiseConv),
    Winograd(WinogradConv),
}

/// Whether a convolution is the product of a matrix and a vector.
pub(super) fn is_linear(layer: &Layer<Conv2d>, input: Shape, output: Shape) -> bool {
    let Conv2d { kernel, padding, groups, .. } = layer.spec;
    let pixels = (input.pixels(), output.pixels());
    kernel == [1, 1] && padding == [0, 0] && groups == 1 && pixels == (1, 1) && !layer.residual
}

impl Conv {
    /// Chooses for a layer with loaded weights.
    pub(super) fn new(layer: &Layer<Conv2d>, input: Shape, isa: Isa, options: Options) -> Self {
        let geometry = convert::conv(&layer.spec, input);
        if geometry.groups > 1 && DepthwiseConv::supports(&geometry) {
            return Conv::Depthwise(DepthwiseConv::new(geometry));
        }
        // Where kernels are mixed, transforming them costs less than rounding them; fixed ones are half as large in bf16.
        let in_f32 = options.precision == Precision::F32 || layer.mixes;
        let bytes = layer.weight.len() * weight_bytes(storage(layer, options));
        if !layer.scaled && in_f32 && WinogradConv::pays(&geometry, isa, bytes) {
            return Conv::Winograd(WinogradConv::new(geometry, isa));
        }
        Conv::Panel(match options.precision {
            Precision::Bf16 if rounding_pays(&geometry) => PanelConv::rounding(geometry, isa),
            Precision::Bf16 | Precision::F32 => PanelConv::new(geometry, isa),
        })
    }

    /// The layer's weights as this kernel reads them.
    pub(super) fn pack(&self, layer: &Layer<Conv2d>, options: Options) -> Bank {
        let (kernels, weight, storage) = (layer.kernels, &layer.weight, storage(layer, options));
        match self {
            Conv::Depthwise(conv) => conv.pack(kernels, weight, storage),
            Conv::Winograd(conv) => conv.pack(kernels, weight, storage),
            Conv::Panel(conv) if layer.mixes => conv.pack(kernels, weight, storage),
            Conv::Panel(conv) => conv.pack_fixed(weight),
        }
    }

    pub(super) fn sums_len(&self) -> usize {
        match self {
            Conv::Panel(conv) => conv.sums_len(),
            Conv::Depthwise(conv) => conv.sums_len(),
            Conv::Winograd(conv) => conv.sums_len(),
        }
    }

    /// Elements of scratch on so many threads; `mixes` and `scaled` tell whether the kernel differs from sample to sample.
    pub(super) fn scratch_len(&self, mixes: bool, scaled: bool, threads: usize) -> usize {
        match self {
            Conv::Panel(conv) => conv.scratch_len(mixes || scaled, threads),
            Conv::Depthwise(conv) => conv.scratch_len(threads),
            Conv::Winograd(conv) => conv.scratch_len(mixes, threads),
        }
    }

    /// Name for listings.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Conv::Panel(conv) if conv.rounds() => "bf16_panel_conv",
            Conv::Panel(_) => "panel_conv",
            Conv::Depthwise(_) => "depthwise_conv",
            Conv::Winograd(_) => "winograd4_conv",
        }
    }

    pub(super) fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        match self {
            Conv::Panel(conv) => conv.run(exec, run),
            Conv::Depthwise(conv) => conv.run(exec, run),
            Conv::Winograd(conv) => conv.run(exec, run),
        }
    }
}

/// Only banks are stored narrower.
fn storage(layer: &Layer<Conv2d>, options: Options) -> Storage {
    if layer.mixes { options.bank } else { Storage::F32 }
}

/// Whether a convolution is faster in bf16. An odd number of channels is rounded pixel by pixel, which must be repaid by
/// many products of each value: 36 and 72 (MobileNets' stems) do not, 784 (ResNet's) do.
fn rounding_pays(g: &ConvGeometry) -> bool {
    let [h, w, c] = g.input;
    let products = g.output_len() * g.taps() / (h * w);
    g.groups == 1 && (c.is_multiple_of(2) || products >= 256)
}
