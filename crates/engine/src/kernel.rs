//! What a step runs: a kernel with its packed weights, chosen once.

use dyconv_graph::{Activation as GraphActivation, Conv2d, ConvTranspose2d, Pool2d, Shape};
use dyconv_kernels::{
    Activation, Bank, Buffer, ConvAlgorithm, ConvDemand, ConvGeometry, ConvRun, ConvTranspose, DepthwiseConv, Epilogue,
    Exec, Isa, PanelConv, PoolGeometry, PrefetchRange, Storage, TransposedGeometry, Upsample, WinogradConv, activate,
    add, affine, global_avg_pool, linear, linear_bf16, max_pool, mean_of_sums, mix, mix_linear, pack_linear_bank,
    pack_linear_bf16, scale, softmax,
};

use crate::arena::Slot;
use crate::lowered::{Layer, Step, StepOp};
use crate::plan::{Options, Precision};

/// Values of a cache line: what is carved from scratch begins on one.
const LINE: usize = 16;

/// A kernel and what it owns.
#[derive(Debug, Clone)]
pub(crate) enum Kernel {
    /// Written by the session before the first step.
    Input,
    Conv(Conv, Packed, Bank),
    /// With a bias `[O]` or none.
    ConvTranspose {
        conv: ConvTranspose,
        bank: Bank,
        bias: Vec<f32>,
        activation: Option<Activation>,
    },
    Linear(Packed, LinearWeights),
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
    /// From the sums that the input's step left behind, over so many pixels.
    Mean {
        pixels: usize,
    },
    MaxPool(PoolGeometry),
    Upsample(Upsample, Option<Activation>),
}

/// How a convolution is computed.
#[derive(Debug, Clone)]
pub(crate) enum Conv {
    Panel(PanelConv),
    Depthwise(DepthwiseConv),
    Winograd(WinogradConv),
}

/// The weights of a linear layer.
#[derive(Debug, Clone)]
pub(crate) enum LinearWeights {
    F32(Buffer<f32>),
    /// Two to a word.
    Bf16(Buffer<u32>),
}

/// What surrounds the packed weights of a layer; see [`Layer`].
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Size of the bank.
    kernels: usize,
    /// Input channels.
    inputs: usize,
    mixes: bool,
    scaled: bool,
    residual: bool,
    /// `[K, O]` or empty.
    mixed_bias: Vec<f32>,
    /// `[O]` or empty.
    bias: Vec<f32>,
    activation: Option<Activation>,
}

/// What a kernel reads besides its weights and where it writes.
pub(crate) struct Places<'a> {
    pub(crate) inputs: &'a [Slot],
    pub(crate) output: Slot,
    /// The step's own sums, or those that it reads.
    pub(crate) sums: Slot,
    /// What will be read after this step.
    pub(crate) prefetch: [PrefetchRange; 2],
}

/// The parts of a layer's scratch.
struct Carved<'a> {
    coefficients: &'a [f32],
    factors: &'a [f32],
    bias: &'a [f32],
    rest: &'a mut [f32],
}

impl Packed {
    fn new<S>(layer: &Layer<S>, input: Shape) -> Self {
        Self {
            kernels: layer.kernels,
            inputs: input.channels(),
            mixes: layer.mixes,
            scaled: layer.scaled,
            residual: layer.residual,
            mixed_bias: layer.mixed_bias.clone(),
            bias: layer.bias.clone(),
            activation: layer.activation.map(activation),
        }
    }

    /// Coefficients, factors and mixed bias.
    fn carved_len(&self) -> usize {
        let parts = [self.kernels, if self.scaled { self.inputs } else { 0 }, self.mixed_bias.len() / self.kernels];
        parts.iter().map(|n| n.next_multiple_of(LINE)).sum()
    }

    /// Reads coefficients and factors, and mixes the bias.
    fn carve<'a>(&'a self, isa: Isa, arena: &[f32], inputs: &[Slot], scratch: &'a mut [f32]) -> Carved<'a> {
        let mut inputs = inputs[1..].iter();
        let mut copy = |wanted: bool, to: &mut [f32]| {
            let slot = if wanted { inputs.next() } else { None };
            if let Some(slot) = slot {
                to.copy_from_slice(&arena[slot.range()]);
            }
        };
        let (pi, scratch) = scratch.split_at_mut(self.kernels.next_multiple_of(LINE));
        let pi = &mut pi[..if self.mixes { self.kernels } else { 0 }];
        copy(self.mixes, pi);
        let factors = if self.scaled { self.inputs } else { 0 };
        let (to, scratch) = scratch.split_at_mut(factors.next_multiple_of(LINE));
        copy(self.scaled, &mut to[..factors]);
        let outputs = self.mixed_bias.len() / self.kernels;
        let (mixed, rest) = scratch.split_at_mut(outputs.next_multiple_of(LINE));
        let mut bias: &[f32] = &self.bias;
        if outputs > 0 {
            let mixed = &mut mixed[..outputs];
            mix(isa, pi, &self.mixed_bias, mixed);
            if !self.bias.is_empty() {
                add(isa, mixed, &self.bias, None);
            }
            bias = mixed;
        }
        Carved { coefficients: pi, factors: &to[..factors], bias, rest }
    }
}

impl LinearWeights {
    fn span(&self) -> PrefetchRange {
        match self {
            LinearWeights::F32(weight) => PrefetchRange::of(weight),
            LinearWeights::Bf16(weight) => PrefetchRange::of(weight),
        }
    }
}

impl Conv {
    fn sums_len(&self) -> usize {
        match self {
            Conv::Panel(conv) => conv.sums_len(),
            Conv::Depthwise(conv) => conv.sums_len(),
            Conv::Winograd(conv) => conv.sums_len(),
        }
    }

    fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        match self {
            Conv::Panel(conv) => conv.run(exec, run),
            Conv::Depthwise(conv) => conv.run(exec, run),
            Conv::Winograd(conv) => conv.run(exec, run),
        }
    }
}

impl Kernel {
    /// Chooses a kernel for a step whose input has this shape, and packs its weights.
    pub(crate) fn new(step: &Step, input: Shape, tau: f32, isa: Isa, options: Options) -> Self {
        match &step.op {
            StepOp::Input => Kernel::Input,
            StepOp::Conv(layer) => Self::conv(layer, input, step.shape, isa, options),
            StepOp::ConvTranspose(layer) => Self::conv_transpose(layer, input, isa, options),
            StepOp::Linear(layer) => {
                Self::linear(layer, input, step.shape, step.router && options.bank != Storage::F32)
            }
            StepOp::Affine { scale, shift, activation: a } => {
                Kernel::Affine { scale: scale.clone(), shift: shift.clone(), activation: a.map(activation) }
            }
            StepOp::Activation(function) => Kernel::Activate(activation(*function)),
            StepOp::Softmax => Kernel::Softmax { tau },
            StepOp::Add { activation: a } => Kernel::Add { activation: a.map(activation) },
            StepOp::Scale { activation: a } => Kernel::Scale { activation: a.map(activation) },
            StepOp::GlobalAvgPool => Kernel::GlobalAvgPool,
            StepOp::Mean => Kernel::Mean { pixels: input.pixels() },
            StepOp::MaxPool(Pool2d { kernel, stride, padding }) => {
                let geometry = PoolGeometry { input: hwc(input), kernel: *kernel, stride: *stride, padding: *padding };
                Kernel::MaxPool(geometry)
            }
            StepOp::Upsample { scale, activation: a } => {
                Kernel::Upsample(Upsample::new(hwc(input), *scale), a.map(activation))
            }
            StepOp::Dropout => unreachable!("dropout was dropped"),
        }
    }

    fn conv(layer: &Layer<Conv2d>, input: Shape, output: Shape, isa: Isa, options: Options) -> Self {
        let Conv2d { out_channels, kernel, stride, padding, dilation, groups, .. } = layer.spec;
        // A product with a vector: one pixel in, one tap, one pixel out.
        let vector = kernel == [1, 1] && groups == 1 && input.pixels() == 1 && output.pixels() == 1;
        if vector && padding == [0, 0] && !layer.residual {
            return Self::linear(layer, input, output, false);
        }
        let geometry = ConvGeometry { input: hwc(input), out_channels, kernel, stride, padding, dilation, groups };
        let packed = Packed::new(layer, input);
        let storage = if layer.mixes { options.bank } else { Storage::F32 };
        let bits = match storage {
            Storage::F32 => 32,
            Storage::Bf16 => 16,
            Storage::Int8 => 8,
        };
        let demand = ConvDemand {
            weight_bytes: layer.weight.len() * bits / 8,
            mixes: layer.mixes,
            scales_input: layer.scaled,
            bf16: options.precision == Precision::Bf16,
        };
        let panel = |conv: PanelConv| {
            let bank = if layer.mixes {
                conv.pack(layer.kernels, &layer.weight, storage)
            } else {
                conv.pack_fixed(&layer.weight)
            };
            (Conv::Panel(conv), bank)
        };
        let (conv, bank) = match ConvAlgorithm::choose(&geometry, isa, demand) {
            ConvAlgorithm::Depthwise => {
                let conv = DepthwiseConv::new(geometry);
                let bank = conv.pack(layer.kernels, &layer.weight, storage);
                (Conv::Depthwise(conv), bank)
            }
            ConvAlgorithm::Winograd => {
                let conv = WinogradConv::new(geometry, isa);
                let bank = conv.pack(layer.kernels, &layer.weight, storage);
                (Conv::Winograd(conv), bank)
            }
            ConvAlgorithm::Panel => panel(PanelConv::new(geometry, isa)),
            ConvAlgorithm::PanelBf16 => panel(PanelConv::rounding(geometry, isa)),
        };
        Kernel::Conv(conv, packed, bank)
    }

    fn conv_transpose(layer: &Layer<ConvTranspose2d>, input: Shape, isa: Isa, options: Options) -> Self {
        let ConvTranspose2d { out_channels, kernel, stride, padding, output_padding, groups, .. } = layer.spec;
        let geometry =
            TransposedGeometry { input: hwc(input), out_channels, kernel, stride, padding, output_padding, groups };
        let conv = match options.precision {
            Precision::Bf16 if groups == 1 => ConvTranspose::rounding(geometry, isa),
            _ => ConvTranspose::new(geometry, isa),
        };
        let bank = conv.pack(&layer.weight);
        Kernel::ConvTranspose { conv, bank, bias: layer.bias.clone(), activation: layer.activation.map(activation) }
    }

    /// Of the routers' layers two bytes a weight are kept, where banks are not exact either: they are as many.
    fn linear<S>(layer: &Layer<S>, input: Shape, output: Shape, narrow: bool) -> Self {
        let rows = if narrow && !layer.mixes {
            LinearWeights::Bf16(pack_linear_bf16(output.channels(), &layer.weight))
        } else {
            LinearWeights::F32(pack_linear_bank(layer.kernels, output.channels(), &layer.weight))
        };
        Kernel::Linear(Packed::new(layer, input), rows)
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

    /// Elements of scratch that [`run`](Self::run) needs on so many threads.
    pub(crate) fn scratch_len(&self, threads: usize) -> usize {
        match self {
            Kernel::Conv(Conv::Panel(conv), packed, _) => {
                packed.carved_len() + conv.scratch_len(packed.mixes || packed.scaled, threads)
            }
            Kernel::Conv(Conv::Depthwise(conv), packed, _) => packed.carved_len() + conv.scratch_len(threads),
            Kernel::Conv(Conv::Winograd(conv), packed, _) => {
                packed.carved_len() + conv.scratch_len(packed.mixes, threads)
            }
            Kernel::ConvTranspose { conv, .. } => conv.scratch_len(),
            Kernel::Linear(packed, _) => packed.carved_len() + packed.inputs,
            _ => 0,
        }
    }

    /// Elements of the sums that a convolution or an upsampling can leave behind.
    pub(crate) fn sums_len(&self) -> usize {
        match self {
            Kernel::Conv(conv, ..) => conv.sums_len(),
            Kernel::Upsample(upsample, _) => upsample.sums_len(),
            _ => 0,
        }
    }

    /// Bytes of all weights it owns.
    pub(crate) fn weight_bytes(&self) -> usize {
        let biases = |p: &Packed| (p.mixed_bias.len() + p.bias.len()) * size_of::<f32>();
        match self {
            Kernel::Affine { scale, shift, .. } => (scale.len() + shift.len()) * size_of::<f32>(),
            Kernel::Conv(_, packed, bank) => bank.bytes() + biases(packed),
            Kernel::ConvTranspose { bank, bias, .. } => bank.bytes() + bias.len() * size_of::<f32>(),
            Kernel::Linear(packed, rows) => rows.span().len() + biases(packed),
            _ => 0,
        }
    }

    /// The weights, as memory.
    pub(crate) fn span(&self) -> Option<PrefetchRange> {
        match self {
            Kernel::Conv(_, _, bank) | Kernel::ConvTranspose { bank, .. } => Some(bank.all()),
            Kernel::Linear(_, rows) => Some(rows.span()),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&Packed> {
        match self {
            Kernel::Conv(_, packed, _) | Kernel::Linear(packed, _) => Some(packed),
            _ => None,
        }
    }

    /// A name for listings, e.g. `mix_depthwise+relu6`.
    pub(crate) fn name(&self) -> String {
        let (name, activation) = match self {
            Kernel::Input => ("input", None),
            Kernel::Conv(Conv::Panel(conv), p, _) if conv.rounds() => ("bf16_panel_conv", p.activation),
            Kernel::Conv(Conv::Panel(_), p, _) => ("panel_conv", p.activation),
            Kernel::Conv(Conv::Depthwise(_), p, _) => ("depthwise_conv", p.activation),
            Kernel::Conv(Conv::Winograd(_), p, _) => ("winograd4_conv", p.activation),
            Kernel::ConvTranspose { conv, activation, .. } => {
                (if conv.rounds() { "bf16_conv_transpose" } else { "conv_transpose" }, *activation)
            }
            Kernel::Linear(p, _) => ("linear", p.activation),
            Kernel::Affine { activation, .. } => ("affine", *activation),
            Kernel::Activate(function) => (activation_name(*function), None),
            Kernel::Softmax { .. } => ("softmax", None),
            Kernel::Add { activation } => ("add", *activation),
            Kernel::Scale { activation } => ("scale", *activation),
            Kernel::GlobalAvgPool => ("global_avg_pool", None),
            Kernel::Mean { .. } => ("mean", None),
            Kernel::MaxPool(_) => ("max_pool", None),
            Kernel::Upsample(_, activation) => ("upsample", *activation),
        };
        let packed = self.packed();
        let mix = if packed.is_some_and(|p| p.mixes) { "mix_" } else { "" };
        let storage = match self {
            Kernel::Conv(_, p, bank) if p.mixes && bank.storage() == Storage::Bf16 => "-bf16",
            Kernel::Conv(_, p, bank) if p.mixes && bank.storage() == Storage::Int8 => "-int8",
            Kernel::Linear(_, LinearWeights::Bf16(_)) => "-bf16",
            _ => "",
        };
        let scale = if packed.is_some_and(|p| p.scaled) { "+scale" } else { "" };
        let add = if packed.is_some_and(|p| p.residual) { "+add" } else { "" };
        let end = activation.map(|a| format!("+{}", activation_name(a))).unwrap_or_default();
        format!("{mix}{name}{storage}{scale}{add}{end}")
    }

    /// Runs on one sample: reads and writes places of the arena.
    pub(crate) fn run(&self, exec: Exec<'_>, arena: &mut [f32], places: &Places<'_>, scratch: &mut [f32]) {
        let Places { inputs, output, sums, prefetch } = *places;
        let isa = exec.isa;
        match self {
            Kernel::Input => {}
            Kernel::Conv(conv, packed, bank) => {
                let Carved { coefficients, factors, bias, rest } = packed.carve(isa, arena, inputs, scratch);
                let epilogue = Epilogue { bias, activation: packed.activation };
                let nothing = Slot { offset: 0, len: 0 };
                let residual = if packed.residual { inputs[inputs.len() - 1] } else { nothing };
                // The residual may be the input itself.
                let own = if residual == inputs[0] { nothing } else { residual };
                let [x, y, sums, own] = arena
                    .get_disjoint_mut([inputs[0].range(), output.range(), sums.range(), own.range()])
                    .expect("the plan keeps values apart that live together");
                let residual = if packed.residual && residual == inputs[0] { &*x } else { &*own };
                conv.run(
                    exec,
                    ConvRun {
                        bank,
                        coefficients,
                        input_scale: factors,
                        epilogue,
                        residual,
                        x,
                        y,
                        sums,
                        scratch: rest,
                        prefetch,
                    },
                );
            }
            Kernel::ConvTranspose { conv, bank, bias, activation } => {
                let [x, y] = apart(arena, inputs[0], output);
                let end = Epilogue { bias, activation: *activation };
                conv.run(exec, bank, end, x, y, scratch, prefetch);
            }
            Kernel::Linear(packed, weight) => {
                let Carved { coefficients, bias, rest, .. } = packed.carve(isa, arena, inputs, scratch);
                let end = Epilogue { bias, activation: packed.activation };
                let [x, y] = apart(arena, inputs[0], output);
                match weight {
                    LinearWeights::F32(bank) if packed.mixes => {
                        mix_linear(isa, bank, coefficients, end, x, &mut rest[..packed.inputs], y);
                    }
                    LinearWeights::F32(weight) => linear(exec, weight, end, x, y),
                    LinearWeights::Bf16(weight) => linear_bf16(exec, weight, end, x, y),
                }
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
            Kernel::Mean { pixels } => {
                let [sums, y] = apart(arena, sums, output);
                mean_of_sums(isa, sums, *pixels, y);
            }
            Kernel::MaxPool(geometry) => {
                let [x, y] = apart(arena, inputs[0], output);
                max_pool(isa, geometry, x, y);
            }
            Kernel::Upsample(upsample, activation) => {
                let [x, y, sums] = arena
                    .get_disjoint_mut([inputs[0].range(), output.range(), sums.range()])
                    .expect("the plan keeps values apart that live together");
                upsample.run(exec, *activation, x, y, sums);
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
