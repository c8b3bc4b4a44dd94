//! The closed list of operations with their parameters. Their shape rules are in `infer.rs`.
//!
//! [`Op`], [`Activation`] and [`Gate`](crate::Gate) are not `#[non_exhaustive]`, and matches on them have no wildcard
//! where a new variant could be handled wrongly: the compiler points out every place that must handle a new variant.

use serde::{Deserialize, Serialize};

/// A 2-D convolution over a map `[C_in, H, W]`, with the semantics of `torch.nn.Conv2d` and zero padding.
///
/// Weight `[out_channels, C_in / groups, kernel[0], kernel[1]]`; pairs are (height, width).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Number of output channels.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Distance between adjacent outputs.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis, or at its beginning (top, left) if [`end_padding`](Self::end_padding) is
    /// set.
    #[serde(default)]
    pub padding: [usize; 2],
    /// Zeros added at the end of each axis (bottom, right), if they differ from `padding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_padding: Option<[usize; 2]>,
    /// Distance between adjacent kernel taps.
    #[serde(default = "ones")]
    pub dilation: [usize; 2],
    /// Independent groups of channels; `groups == C_in` is a depthwise convolution.
    #[serde(default = "one")]
    pub groups: usize,
    /// Whether a bias per output channel is added.
    #[serde(default)]
    pub bias: bool,
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn one() -> usize {
    1
}

impl Conv2d {
    /// A convolution with stride 1, no padding, no dilation, one group and no bias.
    pub fn new(out_channels: usize, kernel: [usize; 2]) -> Self {
        Self {
            out_channels,
            kernel,
            stride: [1, 1],
            padding: [0, 0],
            end_padding: None,
            dilation: [1, 1],
            groups: 1,
            bias: false,
        }
    }

    /// Zeros added at the end of each axis.
    pub fn end_padding(&self) -> [usize; 2] {
        self.end_padding.unwrap_or(self.padding)
    }

    /// Number of weights of one kernel for `in_channels` input channels.
    pub fn weights(&self, in_channels: usize) -> usize {
        self.out_channels * (in_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn weight_shape(&self, in_channels: usize) -> Vec<usize> {
        vec![self.out_channels, in_channels / self.groups, self.kernel[0], self.kernel[1]]
    }
}

/// TensorFlow's "same" padding of an axis of `size` pixels, for windows that reach over `reach` pixels: as many outputs
/// as pixels divided by the stride, rounded up. At the beginning and at the end, which gets what does not divide by two.
///
/// # Panics
/// If the stride is zero.
pub fn same_padding(size: usize, reach: usize, stride: usize) -> [usize; 2] {
    let outputs = size.div_ceil(stride);
    let total = (outputs.saturating_sub(1) * stride + reach).saturating_sub(size);
    [total / 2, total - total / 2]
}

/// A 2-D transposed convolution over a map `[C_in, H, W]`, with the semantics of `torch.nn.ConvTranspose2d`: every
/// input pixel is multiplied by the kernel, and the products are added to the outputs from which the convolution with
/// the same parameters would read.
///
/// Weight `[C_in, out_channels / groups, kernel[0], kernel[1]]`; pairs are (height, width). The output has
/// (size − 1) · stride − 2 · padding + kernel + output_padding pixels on each axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose2d {
    /// Number of output channels.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Distance in outputs between the contributions of adjacent inputs.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Outputs cropped from both ends of each axis.
    #[serde(default)]
    pub padding: [usize; 2],
    /// Outputs appended at the end of each axis, fewer than the stride.
    #[serde(default)]
    pub output_padding: [usize; 2],
    /// Independent groups of channels.
    #[serde(default = "one")]
    pub groups: usize,
    /// Whether a bias per output channel is added.
    #[serde(default)]
    pub bias: bool,
}

impl ConvTranspose2d {
    /// A transposed convolution with stride 1, no padding, one group and no bias.
    pub fn new(out_channels: usize, kernel: [usize; 2]) -> Self {
        Self { out_channels, kernel, stride: [1, 1], padding: [0, 0], output_padding: [0, 0], groups: 1, bias: false }
    }

    /// Number of weights of the kernel for `in_channels` input channels.
    pub fn weights(&self, in_channels: usize) -> usize {
        in_channels * (self.out_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }
}

/// A pooling window; pairs are (height, width).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Distance between adjacent windows.
    pub stride: [usize; 2],
    /// Pixels outside the map that windows may cover on both sides of each axis, or at its beginning (top, left) if
    /// [`end_padding`](Self::end_padding) is set; smaller than the window. A maximum ignores them.
    #[serde(default)]
    pub padding: [usize; 2],
    /// The same at the end of each axis (bottom, right), if it differs from `padding`. So the last window can start
    /// where PyTorch's `ceil_mode` starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_padding: Option<[usize; 2]>,
}

impl Pool2d {
    /// Square windows of `kernel` pixels without padding.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: [0, 0], end_padding: None }
    }

    /// Pixels outside the map that windows may cover at the end of each axis.
    pub fn end_padding(&self) -> [usize; 2] {
        self.end_padding.unwrap_or(self.padding)
    }
}

/// The mean of each window of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool2d {
    /// The windows.
    pub pool: Pool2d,
    /// Whether pixels outside the map count as zeros. If not, the sum is divided by the number of pixels inside.
    pub count_padding: bool,
}

/// How an upsampling computes its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpsampleMode {
    /// From the four nearest pixels, with the semantics of `torch.nn.functional.interpolate` in mode `bilinear`
    /// without aligned corners. Output pixel o is at (o + ½) / scale − ½ of the input; beyond the outermost pixel
    /// centres the border pixels are repeated.
    #[default]
    Bilinear,
    /// Every pixel is repeated.
    Nearest,
}

impl UpsampleMode {
    /// Name as in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            UpsampleMode::Bilinear => "bilinear",
            UpsampleMode::Nearest => "nearest",
        }
    }
}

/// A fully connected layer over a vector. Weight `[out_features, in_features]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Number of outputs.
    pub out_features: usize,
    /// Whether a bias is added.
    #[serde(default)]
    pub bias: bool,
}

/// The dynamic convolution (paper §3.2): one convolution whose kernel is Σ_k π_k·W_k, per sample.
///
/// Inputs: the map, and the coefficients π `[kernels]` from any node. The weight has the shape of that of [`Conv2d`]
/// with `kernels` as a leading axis; the bias, if any, is mixed by the same π: `[kernels, out_channels]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixConv {
    /// Number K of kernels in the bank.
    pub kernels: usize,
    /// The convolution, computed with the mixed kernel.
    pub conv: Conv2d,
}

/// The dynamic perceptron (paper §3.1): a linear layer whose weight and bias are Σ_k π_k·W_k and Σ_k π_k·b_k.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixLinear {
    /// Number K of weight matrices in the bank.
    pub kernels: usize,
    /// The linear layer, computed with the mixed weight.
    pub linear: Linear,
}

/// Element-wise functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x · hard_sigmoid(x) (MobileNetV3)
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x · sigmoid(x), also called swish (EfficientNet)
    Silu,
    /// x · Φ(x), with the distribution function Φ of the standard normal distribution: (1 + erf(x / √2)) / 2
    Gelu,
}

impl Activation {
    /// Name as in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::HardSwish => "hard_swish",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::Sigmoid => "sigmoid",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
        }
    }

    /// Applies the function; NaN stays NaN.
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HardSwish => x * ((x + 3.0).clamp(0.0, 6.0) / 6.0),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => (0.5 * f64::from(x) * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2)) as f32,
        }
    }
}

/// One operation of the closed list. `docs/adding-an-op.md` describes how to add one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The network's input; the first node and only that.
    Input,
    /// A static convolution: map → map.
    Conv(Conv2d),
    /// A dynamic convolution: (map, coefficients) → map.
    MixConv(MixConv),
    /// A transposed convolution: map → map.
    ConvTranspose(ConvTranspose2d),
    /// A static linear layer: vector → vector.
    Linear(Linear),
    /// A dynamic linear layer: (vector, coefficients) → vector.
    MixLinear(MixLinear),
    /// Batch normalization over the channels of a map, with running statistics in evaluation.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// An element-wise function of a map or a vector.
    Activation(Activation),
    /// softmax(z / τ) over a vector; τ is the temperature of the whole network, stored beside the weights.
    Softmax,
    /// Element-wise sum of two inputs of equal shape (residual connection).
    Add,
    /// Multiplies a map by one factor per channel: (map, vector) → map (squeeze-and-excitation).
    Scale,
    /// Mean over all pixels: map → vector.
    GlobalAvgPool,
    /// Maximum of each window: map → map.
    MaxPool(Pool2d),
    /// Mean of each window: map → map.
    AvgPool(AvgPool2d),
    /// Upsampling by an integer factor: map → map.
    Upsample {
        /// Output pixels per input pixel on each axis.
        scale: usize,
        /// How its pixels are computed.
        #[serde(default)]
        mode: UpsampleMode,
    },
    /// x for x ≥ 0, slope · x below: of a map or a vector.
    LeakyRelu {
        /// Factor of negative values.
        slope: f32,
    },
    /// Element-wise product of two inputs of equal shape.
    Mul,
    /// Two or more maps of equal height and width, or vectors, one behind the other along the channels.
    Concat,
    /// Consecutive channels of a map or a vector.
    Slice {
        /// The first one.
        start: usize,
        /// How many.
        channels: usize,
    },
    /// All values of a map as a vector, in the order `[C, H, W]`: map → vector.
    Flatten,
    /// Transposes the channels seen as a matrix of `groups` rows: output channel i·groups + g is input channel
    /// g·(C / groups) + i, for g < groups (ShuffleNet).
    ChannelShuffle {
        /// Number of rows; divides the number of channels.
        groups: usize,
    },
    /// Zeroes elements with the given probability in training; the identity in evaluation.
    Dropout {
        /// Probability of a zero, in [0, 1).
        rate: f32,
    },
}

impl Op {
    /// Short name as in the JSON form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv(_) => "conv",
            Op::MixConv(_) => "mix_conv",
            Op::ConvTranspose(_) => "conv_transpose",
            Op::Linear(_) => "linear",
            Op::MixLinear(_) => "mix_linear",
            Op::BatchNorm { .. } => "batch_norm",
            Op::Activation(activation) => activation.name(),
            Op::Softmax => "softmax",
            Op::Add => "add",
            Op::Scale => "scale",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool(_) => "avg_pool",
            Op::Upsample { .. } => "upsample",
            Op::LeakyRelu { .. } => "leaky_relu",
            Op::Mul => "mul",
            Op::Concat => "concat",
            Op::Slice { .. } => "slice",
            Op::Flatten => "flatten",
            Op::ChannelShuffle { .. } => "channel_shuffle",
            Op::Dropout { .. } => "dropout",
        }
    }

    /// The op without an `end_padding` that says nothing.
    pub(crate) fn normalized(mut self) -> Self {
        let (padding, end) = match &mut self {
            Op::Conv(conv) | Op::MixConv(MixConv { conv, .. }) => (conv.padding, &mut conv.end_padding),
            Op::MaxPool(pool) | Op::AvgPool(AvgPool2d { pool, .. }) => (pool.padding, &mut pool.end_padding),
            _ => return self,
        };
        *end = end.filter(|end| *end != padding);
        self
    }

    /// Number of inputs of the op; `None` if it takes two or more.
    pub fn arity(&self) -> Option<usize> {
        Some(match self {
            Op::Input => 0,
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Linear(_)
            | Op::BatchNorm { .. }
            | Op::Activation(_)
            | Op::Softmax
            | Op::GlobalAvgPool
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Upsample { .. }
            | Op::LeakyRelu { .. }
            | Op::Slice { .. }
            | Op::Flatten
            | Op::ChannelShuffle { .. }
            | Op::Dropout { .. } => 1,
            Op::MixConv(_) | Op::MixLinear(_) | Op::Add | Op::Scale | Op::Mul => 2,
            Op::Concat => return None,
        })
    }

    /// Names and shapes of the op's tensors for an input with `in_channels` channels; `true` marks a trained parameter,
    /// `false` a running statistic.
    pub(crate) fn tensors(&self, in_channels: usize) -> Vec<(&'static str, Vec<usize>, bool)> {
        let bank = |kernels: usize, shape: &[usize]| [&[kernels], shape].concat();
        let with_bias = |weight: Vec<usize>, bias: Option<Vec<usize>>| {
            let bias = bias.map(|shape| ("bias", shape, true));
            [("weight", weight, true)].into_iter().chain(bias).collect()
        };
        match self {
            Op::Conv(conv) => with_bias(conv.weight_shape(in_channels), conv.bias.then(|| vec![conv.out_channels])),
            Op::MixConv(MixConv { kernels, conv }) => with_bias(
                bank(*kernels, &conv.weight_shape(in_channels)),
                conv.bias.then(|| vec![*kernels, conv.out_channels]),
            ),
            Op::ConvTranspose(conv) => {
                let [kh, kw] = conv.kernel;
                let weight = vec![in_channels, conv.out_channels / conv.groups, kh, kw];
                with_bias(weight, conv.bias.then(|| vec![conv.out_channels]))
            }
            Op::Linear(linear) => {
                with_bias(vec![linear.out_features, in_channels], linear.bias.then(|| vec![linear.out_features]))
            }
            Op::MixLinear(MixLinear { kernels, linear }) => with_bias(
                vec![*kernels, linear.out_features, in_channels],
                linear.bias.then(|| vec![*kernels, linear.out_features]),
            ),
            Op::BatchNorm { .. } => [("weight", true), ("bias", true), ("running_mean", false), ("running_var", false)]
                .map(|(name, trained)| (name, vec![in_channels], trained))
                .to_vec(),
            Op::Input
            | Op::Activation(_)
            | Op::Softmax
            | Op::Add
            | Op::Scale
            | Op::GlobalAvgPool
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Upsample { .. }
            | Op::LeakyRelu { .. }
            | Op::Mul
            | Op::Concat
            | Op::Slice { .. }
            | Op::Flatten
            | Op::ChannelShuffle { .. }
            | Op::Dropout { .. } => Vec::new(),
        }
    }
}
