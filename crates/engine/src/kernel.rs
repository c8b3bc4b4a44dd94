//! What a step runs: a kernel with its packed weights, chosen once.

use dyconv_graph::{Activation as GraphActivation, Conv2d, Pool2d, Shape};
use dyconv_kernels::{
    Activation, ConvGeometry, DepthwiseConv, Epilogue, Isa, Kernels, PanelConv, PoolGeometry, activate, add, affine,
    global_avg_pool, linear, max_pool, mix, mix_linear, pack_linear_bank, scale, softmax,
};

use crate::arena::Slot;
use crate::lowered::{Layer, StepOp};

/// A kernel and what it owns.
#[derive(Debug, Clone)]
pub(crate) enum Kernel {
    /// Written by the session before the first step.
    Input,
    Panel(PanelConv, Packed),
    Depthwise(DepthwiseConv, Packed),
    Linear(Packed),
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        activation: Option<Activation>,
    },
    Activate(Activation),
    Softmax {
        tau: f32,
    },
    Add {
        activation: Option<Activation>,
    },
    Scale {
        activation: Option<Activation>,
    },
    GlobalAvgPool,
    MaxPool(PoolGeometry),
}

/// Packed weights of a layer; see [`Layer`].
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Size of the bank.
    kernels: usize,
    /// Whether coefficients are read, as opposed to a static layer.
    mixes: bool,
    weight: Vec<f32>,
    /// `[K, O]` or empty.
    mixed_bias: Vec<f32>,
    /// `[O]` or empty.
    bias: Vec<f32>,
    activation: Option<Activation>,
    /// Scratch of the kernel itself, in elements.
    kernel_scratch: usize,
}

impl Packed {
    fn new<S>(layer: &Layer<S>, mixes: bool, weight: Vec<f32>, kernel_scratch: usize) -> Self {
        Self {
            kernels: layer.kernels,
            mixes,
            weight,
            mixed_bias: layer.mixed_bias.clone(),
            bias: layer.bias.clone(),
            activation: layer.activation.map(activation),
            kernel_scratch,
        }
    }

    /// Coefficients, mixed bias, and what the kernel needs.
    fn scratch_len(&self) -> usize {
        self.kernels + self.mixed_bias.len() / self.kernels + self.kernel_scratch
    }

    /// Reads the coefficients, mixes the bias, and runs `kernel(kernels, epilogue, x, scratch, y)`.
    fn run(
        &self,
        isa: Isa,
        arena: &mut [f32],
        inputs: &[Slot],
        output: Slot,
        scratch: &mut [f32],
        kernel: impl FnOnce(Kernels<'_>, Epilogue<'_>, &[f32], &mut [f32], &mut [f32]),
    ) {
        let (pi, scratch) = scratch.split_at_mut(self.kernels);
        let (mixed_bias, scratch) = scratch.split_at_mut(self.mixed_bias.len() / self.kernels);
        let kernels = if self.mixes {
            pi.copy_from_slice(&arena[inputs[1].range()]);
            Kernels::Mixed { bank: &self.weight, coefficients: pi }
        } else {
            Kernels::Fixed(&self.weight)
        };
        let mut bias: &[f32] = &self.bias;
        if !self.mixed_bias.is_empty() {
            mix(isa, pi, &self.mixed_bias, mixed_bias);
            if !self.bias.is_empty() {
                add(isa, mixed_bias, &self.bias, None);
            }
            bias = mixed_bias;
        }
        let [x, y] = apart(arena, inputs[0], output);
        kernel(kernels, Epilogue { bias, activation: self.activation }, x, &mut scratch[..self.kernel_scratch], y);
    }
}

impl Kernel {
    /// Chooses a kernel for `op` on these shapes and packs its weights.
    pub(crate) fn new(op: &StepOp, mixes: bool, input: Shape, output: Shape, tau: f32) -> Self {
        match op {
            StepOp::Input => Kernel::Input,
            StepOp::Conv(layer) => Self::conv(layer, mixes, input, output),
            StepOp::Linear(layer) => Self::linear(layer, mixes, input, output),
            StepOp::Affine { scale, shift, activation: a } => {
                Kernel::Affine { scale: scale.clone(), shift: shift.clone(), activation: a.map(activation) }
            }
            StepOp::Activation(function) => Kernel::Activate(activation(*function)),
            StepOp::Softmax => Kernel::Softmax { tau },
            StepOp::Add { activation: a } => Kernel::Add { activation: a.map(activation) },
            StepOp::Scale { activation: a } => Kernel::Scale { activation: a.map(activation) },
            StepOp::GlobalAvgPool => Kernel::GlobalAvgPool,
            StepOp::MaxPool(Pool2d { kernel, stride, padding }) => {
                let geometry = PoolGeometry { input: hwc(input), kernel: *kernel, stride: *stride, padding: *padding };
                Kernel::MaxPool(geometry)
            }
            StepOp::Dropout => unreachable!("dropout was dropped"),
        }
    }

    fn conv(layer: &Layer<Conv2d>, mixes: bool, input: Shape, output: Shape) -> Self {
        let Conv2d { out_channels, kernel, stride, padding, dilation, groups, .. } = layer.spec;
        // A product with a vector: one pixel in, one tap, one pixel out.
        if kernel == [1, 1] && groups == 1 && input.pixels() == 1 && output.pixels() == 1 && padding == [0, 0] {
            return Self::linear(layer, mixes, input, output);
        }
        let geometry = ConvGeometry { input: hwc(input), out_channels, kernel, stride, padding, dilation, groups };
        if groups > 1 && DepthwiseConv::supports(&geometry) {
            let conv = DepthwiseConv::new(geometry);
            let packed = Packed::new(layer, mixes, conv.pack(layer.kernels, &layer.weight), conv.scratch_len(mixes));
            Kernel::Depthwise(conv, packed)
        } else {
            let conv = PanelConv::new(geometry);
            let packed = Packed::new(layer, mixes, conv.pack(layer.kernels, &layer.weight), conv.scratch_len(mixes));
            Kernel::Panel(conv, packed)
        }
    }

    fn linear<S>(layer: &Layer<S>, mixes: bool, input: Shape, output: Shape) -> Self {
        let weight = pack_linear_bank(layer.kernels, output.channels(), &layer.weight);
        Kernel::Linear(Packed::new(layer, mixes, weight, if mixes { input.channels() } else { 0 }))
    }

    /// Whether the output may replace the first input in its place.
    pub(crate) fn in_place(&self) -> bool {
        matches!(
            self,
            Kernel::Affine { .. }
                | Kernel::Activate(_)
                | Kernel::Softmax { .. }
                | Kernel::Add { .. }
                | Kernel::Scale { .. }
        )
    }

    /// Elements of scratch that [`run`](Self::run) needs.
    pub(crate) fn scratch_len(&self) -> usize {
        self.packed().map_or(0, Packed::scratch_len)
    }

    /// Elements of all weights it owns.
    pub(crate) fn weight_len(&self) -> usize {
        match self {
            Kernel::Affine { scale, shift, .. } => scale.len() + shift.len(),
            _ => self.packed().map_or(0, |p| p.weight.len() + p.mixed_bias.len() + p.bias.len()),
        }
    }

    fn packed(&self) -> Option<&Packed> {
        match self {
            Kernel::Panel(_, packed) | Kernel::Depthwise(_, packed) | Kernel::Linear(packed) => Some(packed),
            _ => None,
        }
    }

    /// A name for listings, e.g. `mix_depthwise+relu6`.
    pub(crate) fn name(&self) -> String {
        let (name, activation) = match self {
            Kernel::Input => ("input", None),
            Kernel::Panel(_, p) => ("panel_conv", p.activation),
            Kernel::Depthwise(_, p) => ("depthwise_conv", p.activation),
            Kernel::Linear(p) => ("linear", p.activation),
            Kernel::Affine { activation, .. } => ("affine", *activation),
            Kernel::Activate(function) => (activation_name(*function), None),
            Kernel::Softmax { .. } => ("softmax", None),
            Kernel::Add { activation } => ("add", *activation),
            Kernel::Scale { activation } => ("scale", *activation),
            Kernel::GlobalAvgPool => ("global_avg_pool", None),
            Kernel::MaxPool(_) => ("max_pool", None),
        };
        let mix = if self.packed().is_some_and(|p| p.mixes) { "mix_" } else { "" };
        let end = activation.map(|a| format!("+{}", activation_name(a))).unwrap_or_default();
        format!("{mix}{name}{end}")
    }

    /// Runs on one sample: reads the slots `inputs` of the arena, writes the slot `output`.
    pub(crate) fn run(&self, isa: Isa, arena: &mut [f32], inputs: &[Slot], output: Slot, scratch: &mut [f32]) {
        match self {
            Kernel::Input => {}
            Kernel::Panel(conv, packed) => {
                packed.run(isa, arena, inputs, output, scratch, |kernels, end, x, scratch, y| {
                    conv.run(isa, kernels, end, x, scratch, y);
                })
            }
            Kernel::Depthwise(conv, packed) => {
                packed.run(isa, arena, inputs, output, scratch, |kernels, end, x, scratch, y| {
                    conv.run(isa, kernels, end, x, scratch, y);
                });
            }
            Kernel::Linear(packed) => {
                packed.run(isa, arena, inputs, output, scratch, |kernels, end, x, scratch, y| match kernels {
                    Kernels::Fixed(weight) => linear(isa, weight, end, x, y),
                    Kernels::Mixed { bank, coefficients } => mix_linear(isa, bank, coefficients, end, x, scratch, y),
                });
            }
            Kernel::Affine { scale, shift, activation } => {
                affine(isa, start_from(arena, inputs[0], output), scale, shift, *activation);
            }
            Kernel::Activate(function) => activate(isa, *function, start_from(arena, inputs[0], output)),
            Kernel::Softmax { tau } => softmax(start_from(arena, inputs[0], output), *tau),
            Kernel::Add { activation } => {
                start_from(arena, inputs[0], output);
                let [x, y] = apart(arena, inputs[1], output);
                add(isa, y, x, *activation);
            }
            Kernel::Scale { activation } => {
                start_from(arena, inputs[0], output);
                let [factors, y] = apart(arena, inputs[1], output);
                scale(isa, y, factors, *activation);
            }
            Kernel::GlobalAvgPool => {
                let [x, y] = apart(arena, inputs[0], output);
                global_avg_pool(isa, x, y);
            }
            Kernel::MaxPool(geometry) => {
                let [x, y] = apart(arena, inputs[0], output);
                max_pool(isa, geometry, x, y);
            }
        }
    }
}

/// Two values of the arena that the plan placed apart.
fn apart(arena: &mut [f32], a: Slot, b: Slot) -> [&mut [f32]; 2] {
    arena.get_disjoint_mut([a.range(), b.range()]).expect("the plan keeps values apart that live together")
}

/// The slot `to`, holding the value of `from`: copied, unless they are the same place.
fn start_from(arena: &mut [f32], from: Slot, to: Slot) -> &mut [f32] {
    if from != to {
        arena.copy_within(from.range(), to.offset);
    }
    &mut arena[to.range()]
}

/// `[H, W, C]` of a map.
fn hwc(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Map([c, h, w]) => [h, w, c],
        Shape::Vector(n) => [1, 1, n],
    }
}

fn activation(function: GraphActivation) -> Activation {
    match function {
        GraphActivation::Relu => Activation::Relu,
        GraphActivation::Relu6 => Activation::Relu6,
        GraphActivation::HardSwish => Activation::HardSwish,
        GraphActivation::HardSigmoid => Activation::HardSigmoid,
        GraphActivation::Sigmoid => Activation::Sigmoid,
    }
}

fn activation_name(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::HardSwish => "hard_swish",
        Activation::HardSigmoid => "hard_sigmoid",
        Activation::Sigmoid => "sigmoid",
    }
}
