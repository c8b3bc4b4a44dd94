//! The kernel of a step with its packed weights, chosen once.

mod conv;
mod packed;
mod run;

use dyconv_graph::{Conv2d, ConvTranspose2d, Shape};
use dyconv_kernels::{
    Activation, Bank, Buffer, ConvTranspose, Isa, PoolGeometry, PrefetchRange, Storage, Upsample, pack_linear_bank,
    pack_linear_bf16,
};

use crate::convert::{self, activation, hwc};
use crate::lowered::{Layer, Step, StepOp};
use crate::options::{Options, Precision};

use conv::{Conv, is_linear};
use packed::Packed;
pub(crate) use run::Places;

/// A kernel and its data.
#[derive(Debug, Clone)]
pub(crate) enum Kernel {
    /// Written by the session before the first step.
    Input,
    Conv(Conv, Packed, Bank),
    /// The bias is `[O]` or empty.
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
    /// The mean from the partial sums that the input's step wrote, over this number of pixels.
    Mean {
        pixels: usize,
    },
    MaxPool(PoolGeometry),
    /// And whether pixels outside the map count.
    AvgPool(PoolGeometry, bool),
    Upsample(Upsample, Option<Activation>),
    LeakyRelu {
        slope: f32,
    },
    Multiply {
        activation: Option<Activation>,
    },
    /// The number of channels of each input.
    Concat {
        channels: Vec<usize>,
    },
    /// Consecutive channels of a map with `of` channels.
    Slice {
        start: usize,
        channels: usize,
        of: usize,
    },
    /// Of a map with this number of channels.
    Flatten {
        channels: usize,
    },
    ChannelShuffle {
        channels: usize,
        groups: usize,
    },
    /// Two maps of this number of channels.
    Interleave {
        channels: usize,
    },
}

/// The weights of a linear layer.
#[derive(Debug, Clone)]
pub(crate) enum LinearWeights {
    F32(Buffer<f32>),
    /// bf16, two to a word.
    Bf16(Buffer<u32>),
}

impl LinearWeights {
    fn span(&self) -> PrefetchRange {
        match self {
            LinearWeights::F32(weight) => PrefetchRange::of(weight),
            LinearWeights::Bf16(weight) => PrefetchRange::of(weight),
        }
    }
}

impl Kernel {
    /// Chooses a kernel for a step whose inputs have these shapes, and packs its weights.
    pub(crate) fn new(step: &Step, inputs: &[Shape], tau: f32, isa: Isa, options: Options) -> Self {
        let input = inputs.first().copied().unwrap_or(step.shape);
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
            StepOp::MaxPool(pool) => Kernel::MaxPool(convert::pool(pool, input)),
            StepOp::AvgPool(pool) => Kernel::AvgPool(convert::pool(&pool.pool, input), pool.count_padding),
            StepOp::Upsample { scale, mode, activation: a } => {
                Kernel::Upsample(Upsample::new(hwc(input), *scale, convert::upsampling(*mode)), a.map(activation))
            }
            StepOp::LeakyRelu { slope } => Kernel::LeakyRelu { slope: *slope },
            StepOp::Mul { activation: a } => Kernel::Multiply { activation: a.map(activation) },
            StepOp::Concat => Kernel::Concat { channels: inputs.iter().map(|shape| shape.channels()).collect() },
            StepOp::Slice { start, channels } => {
                Kernel::Slice { start: *start, channels: *channels, of: input.channels() }
            }
            StepOp::Flatten => Kernel::Flatten { channels: input.channels() },
            StepOp::ChannelShuffle { groups } => Kernel::ChannelShuffle { channels: input.channels(), groups: *groups },
            StepOp::Interleave => Kernel::Interleave { channels: input.channels() },
            StepOp::Dropout => unreachable!("dropout was dropped"),
        }
    }

    fn conv(layer: &Layer<Conv2d>, input: Shape, output: Shape, isa: Isa, options: Options) -> Self {
        if is_linear(layer, input, output) {
            return Self::linear(layer, input, output, false);
        }
        let conv = Conv::new(layer, input, isa, options);
        let bank = conv.pack(layer, options);
        Kernel::Conv(conv, Packed::new(layer, input), bank)
    }

    fn conv_transpose(layer: &Layer<ConvTranspose2d>, input: Shape, isa: Isa, options: Options) -> Self {
        let geometry = convert::conv_transpose(&layer.spec, input);
        let conv = match options.precision {
            Precision::Bf16 if geometry.groups == 1 => ConvTranspose::rounding(geometry, isa),
            Precision::Bf16 | Precision::F32 => ConvTranspose::new(geometry, isa),
        };
        let bank = conv.pack(&layer.weight);
        Kernel::ConvTranspose { conv, bank, bias: layer.bias.clone(), activation: layer.activation.map(activation) }
    }

    /// Unless banks are exact, the linear layers of routers are stored as bf16 too: they hold a fifth of the weights of a
    /// dynamic network.
    fn linear<S>(layer: &Layer<S>, input: Shape, output: Shape, narrow: bool) -> Self {
        let rows = if narrow && !layer.mixes {
            LinearWeights::Bf16(pack_linear_bf16(output.channels(), &layer.weight))
        } else {
            LinearWeights::F32(pack_linear_bank(layer.kernels, output.channels(), &layer.weight))
        };
        Kernel::Linear(Packed { inputs: input.elements(), ..Packed::new(layer, input) }, rows)
    }

    /// Whether the output may overwrite the first input.
    pub(crate) fn in_place(&self) -> bool {
        match self {
            Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. } => true,
            Kernel::Input
            | Kernel::Conv(..)
            | Kernel::ConvTranspose { .. }
            | Kernel::Linear(..)
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::Upsample(..)
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::Interleave { .. }
            | Kernel::ChannelShuffle { .. } => false,
        }
    }

    /// Whether the pixels of the input in this position may lie apart.
    pub(crate) fn reads_apart(&self, position: usize) -> bool {
        match self {
            // The other inputs are vectors, and a residual.
            Kernel::Conv(conv, ..) => position > 0 || conv.reads_apart(),
            Kernel::Affine { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Interleave { .. }
            // It reads sums.
            | Kernel::Mean { .. } => true,
            // Their first input is copied first.
            Kernel::Activate(_)
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. } => position == 0,
            Kernel::Input
            | Kernel::ConvTranspose { .. }
            | Kernel::Linear(..)
            | Kernel::Softmax { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Upsample(..)
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. } => false,
        }
    }

    /// Whether the pixels of the output may lie apart.
    pub(crate) fn writes_apart(&self) -> bool {
        match self {
            Kernel::Conv(..)
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::Concat { .. }
            | Kernel::Slice { .. } => true,
            Kernel::Input
            | Kernel::ConvTranspose { .. }
            | Kernel::Linear(..)
            | Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::Upsample(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Interleave { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. } => false,
        }
    }

    /// Elements of scratch that [`run`](Self::run) needs on `threads` threads.
    pub(crate) fn scratch_len(&self, threads: usize) -> usize {
        match self {
            Kernel::Conv(conv, packed, _) => {
                packed.carved_len() + conv.scratch_len(packed.mixes, packed.scaled, threads)
            }
            Kernel::ConvTranspose { conv, .. } => conv.scratch_len(),
            Kernel::Linear(packed, _) => packed.carved_len() + packed.inputs,
            Kernel::Input
            | Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. }
            | Kernel::Interleave { .. }
            | Kernel::Upsample(..) => 0,
        }
    }

    /// Number of elements of the partial sums that a convolution or an upsampling can write.
    pub(crate) fn sums_len(&self) -> usize {
        match self {
            Kernel::Conv(conv, ..) => conv.sums_len(),
            Kernel::Upsample(upsample, _) => upsample.sums_len(),
            Kernel::Input
            | Kernel::ConvTranspose { .. }
            | Kernel::Linear(..)
            | Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::AvgPool(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. }
            | Kernel::Interleave { .. }
            | Kernel::MaxPool(_) => 0,
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
            Kernel::Input
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. }
            | Kernel::Interleave { .. }
            | Kernel::Upsample(..) => 0,
        }
    }

    /// The memory of the weights, for prefetching.
    pub(crate) fn span(&self) -> Option<PrefetchRange> {
        match self {
            Kernel::Conv(_, _, bank) | Kernel::ConvTranspose { bank, .. } => Some(bank.all()),
            Kernel::Linear(_, rows) => Some(rows.span()),
            Kernel::Input
            | Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. }
            | Kernel::Interleave { .. }
            | Kernel::Upsample(..) => None,
        }
    }

    fn packed(&self) -> Option<&Packed> {
        match self {
            Kernel::Conv(_, packed, _) | Kernel::Linear(packed, _) => Some(packed),
            Kernel::Input
            | Kernel::ConvTranspose { .. }
            | Kernel::Affine { .. }
            | Kernel::Activate(_)
            | Kernel::Softmax { .. }
            | Kernel::Add { .. }
            | Kernel::Scale { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Mean { .. }
            | Kernel::MaxPool(_)
            | Kernel::AvgPool(..)
            | Kernel::LeakyRelu { .. }
            | Kernel::Multiply { .. }
            | Kernel::Concat { .. }
            | Kernel::Slice { .. }
            | Kernel::Flatten { .. }
            | Kernel::ChannelShuffle { .. }
            | Kernel::Interleave { .. }
            | Kernel::Upsample(..) => None,
        }
    }

    /// The name in listings, e.g. `mix_depthwise+relu6`.
    pub(crate) fn name(&self) -> String {
        let (name, activation) = match self {
            Kernel::Input => ("input", None),
            Kernel::Conv(conv, p, _) => (conv.name(), p.activation),
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
            Kernel::AvgPool(..) => ("avg_pool", None),
            Kernel::Upsample(_, activation) => ("upsample", *activation),
            Kernel::LeakyRelu { .. } => ("leaky_relu", None),
            Kernel::Multiply { activation } => ("mul", *activation),
            Kernel::Concat { .. } => ("concat", None),
            Kernel::Slice { .. } => ("slice", None),
            Kernel::Flatten { .. } => ("flatten", None),
            Kernel::ChannelShuffle { .. } => ("channel_shuffle", None),
            Kernel::Interleave { .. } => ("interleave", None),
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
}

fn activation_name(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::HardSwish => "hard_swish",
        Activation::HardSigmoid => "hard_sigmoid",
        Activation::Sigmoid => "sigmoid",
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
    }
}
