//! A convolution of the plan, and the kernel that computes it.
//!
//! [`ConvAlgorithm::choose`] selects the algorithm; this module passes it the requirements of the layer. The choice
//! depends on sizes, instruction set and options, never on a measurement, so a network always has the same plan.

use dyconv_graph::{Conv2d, Shape};
use dyconv_kernels::{
    Bank, ConvAlgorithm, ConvDemand, ConvRun, DepthwiseConv, Exec, Isa, PanelConv, Storage, WinogradConv,
};

use crate::convert::{self, is_pointwise};
use crate::lowered::Layer;
use crate::options::{Options, Precision, weight_bytes};

/// A convolution that is not equivalent to a linear layer.
#[derive(Debug, Clone)]
pub(crate) enum Conv {
    Panel(PanelConv),
    Depthwise(DepthwiseConv),
    Winograd(WinogradConv),
}

/// Whether a convolution is a matrix-vector product.
pub(super) fn is_linear(layer: &Layer<Conv2d>, input: Shape, output: Shape) -> bool {
    let pixels = (input.pixels(), output.pixels());
    is_pointwise(&layer.spec) && layer.spec.groups == 1 && pixels == (1, 1) && !layer.residual
}

impl Conv {
    /// Chooses the kernel of a layer whose weights are loaded.
    pub(super) fn new(layer: &Layer<Conv2d>, input: Shape, isa: Isa, options: Options) -> Self {
        let geometry = convert::conv(&layer.spec, input);
        let demand = ConvDemand {
            weight_bytes: layer.weight.len() * weight_bytes(storage(layer, options)),
            mixes: layer.mixes,
            scales_input: layer.scaled,
            bf16: options.precision == Precision::Bf16,
        };
        match ConvAlgorithm::choose(&geometry, isa, demand) {
            ConvAlgorithm::Depthwise => Conv::Depthwise(DepthwiseConv::new(geometry)),
            ConvAlgorithm::Winograd => Conv::Winograd(WinogradConv::new(geometry, isa)),
            ConvAlgorithm::Panel => Conv::Panel(PanelConv::new(geometry, isa)),
            ConvAlgorithm::PanelBf16 => Conv::Panel(PanelConv::rounding(geometry, isa)),
        }
    }

    /// Packs the layer's weights for this kernel.
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

    /// Whether the pixels of the input may lie apart.
    pub(super) fn reads_apart(&self) -> bool {
        match self {
            Conv::Panel(conv) => conv.reads_apart(),
            Conv::Depthwise(_) | Conv::Winograd(_) => true,
        }
    }

    /// Elements of scratch on `threads` threads; `mixes` and `scaled` are set if the kernel differs from sample to
    /// sample.
    pub(super) fn scratch_len(&self, mixes: bool, scaled: bool, threads: usize) -> usize {
        match self {
            Conv::Panel(conv) => conv.scratch_len(mixes || scaled, threads),
            Conv::Depthwise(conv) => conv.scratch_len(threads),
            Conv::Winograd(conv) => conv.scratch_len(mixes, threads),
        }
    }

    /// Name in [`Plan::describe`](crate::Plan::describe).
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

/// Storage of the weights: only banks are narrowed.
fn storage(layer: &Layer<Conv2d>, options: Options) -> Storage {
    if layer.mixes { options.bank } else { Storage::F32 }
}
