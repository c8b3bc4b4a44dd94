//! The closed list of operations, their shape rules and their parameters.
//!
//! Shapes are those of one sample: the batch axis belongs to whoever runs the graph.

use serde::{Deserialize, Serialize};

/// Largest channel count, feature count or kernel-bank size that a graph may name.
const MAX_CHANNELS: usize = 1 << 16;
/// Largest height or width of a map, in pixels.
const MAX_SIDE: usize = 1 << 14;
/// Largest stride of a transposed convolution: each remainder modulo the stride is computed in its own way.
const MAX_UPSCALE: usize = 64;
/// Most elements that one tensor (activation or parameter) may hold.
const MAX_ELEMENTS: usize = 1 << 31;

/// Shape of one sample's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A feature map `[channels, height, width]`.
    Map([usize; 3]),
    /// A vector of features.
    Vector(usize),
}

impl Shape {
    /// The dimensions as a list: `[C, H, W]` or `[C]`.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Shape::Map(dims) => dims.to_vec(),
            Shape::Vector(n) => vec![*n],
        }
    }

    /// Channels of a map, features of a vector.
    pub fn channels(&self) -> usize {
        match self {
            Shape::Map([c, _, _]) => *c,
            Shape::Vector(n) => *n,
        }
    }

    /// Pixels of a map; 1 for a vector.
    pub fn pixels(&self) -> usize {
        match self {
            Shape::Map([_, h, w]) => h * w,
            Shape::Vector(_) => 1,
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.channels() * self.pixels()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Map([c, h, w]) => write!(f, "[{c}, {h}, {w}]"),
            Shape::Vector(n) => write!(f, "[{n}]"),
        }
    }
}

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
    /// Step between neighbouring outputs.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis.
    #[serde(default)]
    pub padding: [usize; 2],
    /// Step between neighbouring kernel taps.
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
        Self { out_channels, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, bias: false }
    }

    /// Number of weights of one kernel for `in_channels` input channels.
    pub fn weights(&self, in_channels: usize) -> usize {
        self.out_channels * (in_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn weight_shape(&self, in_channels: usize) -> Vec<usize> {
        vec![self.out_channels, in_channels / self.groups, self.kernel[0], self.kernel[1]]
    }

    fn infer(&self, input: Shape) -> Result<Shape, String> {
        let Shape::Map([c, h, w]) = input else {
            return Err(format!("expects a map [C, H, W], got {input}"));
        };
        check_channels(c, self.out_channels, self.groups)?;
        let spatial = |axis: usize, size: usize| {
            window(size, self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis])
        };
        let shape = Shape::Map([self.out_channels, spatial(0, h)?, spatial(1, w)?]);
        check_elements(shape)?;
        Ok(shape)
    }
}

/// A 2-D transposed convolution over a map `[C_in, H, W]`, with the semantics of `torch.nn.ConvTranspose2d`: every input
/// pixel is multiplied by the kernel and added where the convolution of the same sizes would have read it.
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
    /// Outputs between what neighbouring inputs are added to.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Outputs cut off on both sides of each axis.
    #[serde(default)]
    pub padding: [usize; 2],
    /// Outputs added at the end of each axis, fewer than the stride.
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

    fn infer(&self, input: Shape) -> Result<Shape, String> {
        let Shape::Map([c, h, w]) = expect_map(input)? else { unreachable!("expect_map returns a map") };
        check_channels(c, self.out_channels, self.groups)?;
        let spatial = |axis: usize, size: usize| {
            let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
            check_side("kernel", kernel)?;
            if !(1..=MAX_UPSCALE).contains(&stride) {
                return Err(format!("stride must lie in 1..={MAX_UPSCALE}, got {stride}"));
            }
            if padding > MAX_SIDE {
                return Err(format!("padding must be at most {MAX_SIDE}, got {padding}"));
            }
            let added = self.output_padding[axis];
            if added >= stride {
                return Err(format!("output_padding {added} must be smaller than the stride {stride}"));
            }
            let whole = (size - 1) * stride + kernel + added;
            if whole <= 2 * padding {
                return Err(format!("padding {padding} leaves nothing of {whole} pixels"));
            }
            check_side("output side", whole - 2 * padding).map(|()| whole - 2 * padding)
        };
        let shape = Shape::Map([self.out_channels, spatial(0, h)?, spatial(1, w)?]);
        check_elements(shape)?;
        check_bank(1, self.weights(c))?;
        Ok(shape)
    }
}

/// A pooling window; pairs are (height, width).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Step between neighbouring windows.
    pub stride: [usize; 2],
    /// Border that never wins a maximum, at most half the window.
    #[serde(default)]
    pub padding: [usize; 2],
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
/// Inputs: the map, and the coefficients π `[kernels]` from any node. Weight `[kernels, …]` in front of the shape of
/// [`Conv2d`]'s; the bias, if any, is mixed by the same π: `[kernels, out_channels]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixConv {
    /// Number K of kernels in the bank.
    pub kernels: usize,
    /// The convolution that is run with the mixed kernel.
    pub conv: Conv2d,
}

/// The dynamic perceptron (paper §3.1): a linear layer whose weight and bias are Σ_k π_k·W_k and Σ_k π_k·b_k.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixLinear {
    /// Number K of weight matrices in the bank.
    pub kernels: usize,
    /// The linear layer that is run with the mixed weight.
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
}

impl Activation {
    /// The function itself; NaN stays NaN.
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
        }
    }
}

/// One operation of the closed list. Growing it is described in `docs/adding-an-op.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The network's input; always and only the first node.
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
    /// Batch normalisation over the channels of a map, running statistics in evaluation.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// An element-wise function of a map or a vector.
    Activation(Activation),
    /// softmax(z / τ) over a vector; τ is the temperature of the whole network, run state kept beside the weights.
    Softmax,
    /// Element-wise sum of two equal shapes (residual connection).
    Add,
    /// A map times one factor per channel: (map, vector) → map (squeeze-and-excitation).
    Scale,
    /// Mean over all pixels: map → vector.
    GlobalAvgPool,
    /// Largest value in a window: map → map.
    MaxPool(Pool2d),
    /// Bilinear upsampling by a whole factor: map → map, with the semantics of `torch.nn.functional.interpolate` in mode
    /// `bilinear` without aligned corners. Output pixel o lies at (o + ½) / scale − ½ of the input, and beyond the outermost
    /// pixel centres the map goes on as it ends.
    Upsample {
        /// Output pixels per input pixel on each axis.
        scale: usize,
    },
    /// Zeroes elements with this probability in training; the identity in evaluation.
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
            Op::Activation(Activation::Relu) => "relu",
            Op::Activation(Activation::Relu6) => "relu6",
            Op::Activation(Activation::HardSwish) => "hard_swish",
            Op::Activation(Activation::HardSigmoid) => "hard_sigmoid",
            Op::Activation(Activation::Sigmoid) => "sigmoid",
            Op::Softmax => "softmax",
            Op::Add => "add",
            Op::Scale => "scale",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::MaxPool(_) => "max_pool",
            Op::Upsample { .. } => "upsample",
            Op::Dropout { .. } => "dropout",
        }
    }

    /// How many inputs the op takes.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input => 0,
            Op::MixConv(_) | Op::MixLinear(_) | Op::Add | Op::Scale => 2,
            _ => 1,
        }
    }

    /// Shape of the output for these input shapes, or what is wrong with them.
    pub(crate) fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        if inputs.len() != self.arity() {
            return Err(format!("`{}` takes {} inputs, got {}", self.name(), self.arity(), inputs.len()));
        }
        match self {
            Op::Input => Err("`input` is written by the graph itself".into()),
            Op::Conv(conv) => conv.infer(inputs[0]),
            Op::MixConv(mix) => {
                check_coefficients(mix.kernels, inputs[1])?;
                let shape = mix.conv.infer(inputs[0])?;
                check_bank(mix.kernels, mix.conv.weights(inputs[0].channels()))?;
                Ok(shape)
            }
            Op::ConvTranspose(conv) => conv.infer(inputs[0]),
            Op::Linear(linear) => infer_linear(linear, inputs[0]),
            Op::MixLinear(mix) => {
                check_coefficients(mix.kernels, inputs[1])?;
                let shape = infer_linear(&mix.linear, inputs[0])?;
                check_bank(mix.kernels, mix.linear.out_features * inputs[0].channels())?;
                Ok(shape)
            }
            Op::BatchNorm { eps } => {
                if !(eps.is_finite() && *eps > 0.0) {
                    return Err(format!("eps must be positive, got {eps}"));
                }
                expect_map(inputs[0])
            }
            Op::Activation(_) => Ok(inputs[0]),
            Op::Softmax => match inputs[0] {
                Shape::Vector(_) => Ok(inputs[0]),
                other => Err(format!("expects a vector, got {other}")),
            },
            Op::Add => {
                if inputs[0] == inputs[1] {
                    Ok(inputs[0])
                } else {
                    Err(format!("adds equal shapes, got {} and {}", inputs[0], inputs[1]))
                }
            }
            Op::Scale => {
                let map = expect_map(inputs[0])?;
                if inputs[1] == Shape::Vector(map.channels()) {
                    Ok(map)
                } else {
                    Err(format!("expects one factor for each of the {} channels, got {}", map.channels(), inputs[1]))
                }
            }
            Op::GlobalAvgPool => Ok(Shape::Vector(expect_map(inputs[0])?.channels())),
            Op::MaxPool(pool) => {
                let Shape::Map([c, h, w]) = expect_map(inputs[0])? else { unreachable!("expect_map returns a map") };
                let spatial = |axis: usize, size: usize| {
                    if 2 * pool.padding[axis] > pool.kernel[axis] {
                        return Err(format!(
                            "padding {} is more than half the window {}",
                            pool.padding[axis], pool.kernel[axis]
                        ));
                    }
                    window(size, pool.kernel[axis], pool.stride[axis], pool.padding[axis], 1)
                };
                Ok(Shape::Map([c, spatial(0, h)?, spatial(1, w)?]))
            }
            Op::Upsample { scale } => {
                let Shape::Map([c, h, w]) = expect_map(inputs[0])? else { unreachable!("expect_map returns a map") };
                check_side("scale", *scale)?;
                let shape = Shape::Map([c, h * scale, w * scale]);
                check_side("output side", (h * scale).max(w * scale))?;
                check_elements(shape)?;
                Ok(shape)
            }
            Op::Dropout { rate } => {
                if (0.0..1.0).contains(rate) {
                    Ok(inputs[0])
                } else {
                    Err(format!("rate must lie in [0, 1), got {rate}"))
                }
            }
        }
    }

    /// Names and shapes of the op's tensors for an input with `in_channels` channels; `true` marks a trained parameter,
    /// `false` a running statistic.
    pub(crate) fn tensors(&self, in_channels: usize) -> Vec<(&'static str, Vec<usize>, bool)> {
        let with_bank = |kernels: usize, mut shape: Vec<usize>| {
            shape.insert(0, kernels);
            shape
        };
        let mut list = Vec::new();
        match self {
            Op::Conv(conv) => {
                list.push(("weight", conv.weight_shape(in_channels), true));
                if conv.bias {
                    list.push(("bias", vec![conv.out_channels], true));
                }
            }
            Op::MixConv(MixConv { kernels, conv }) => {
                list.push(("weight", with_bank(*kernels, conv.weight_shape(in_channels)), true));
                if conv.bias {
                    list.push(("bias", vec![*kernels, conv.out_channels], true));
                }
            }
            Op::ConvTranspose(conv) => {
                let [kh, kw] = conv.kernel;
                list.push(("weight", vec![in_channels, conv.out_channels / conv.groups, kh, kw], true));
                if conv.bias {
                    list.push(("bias", vec![conv.out_channels], true));
                }
            }
            Op::Linear(linear) => {
                list.push(("weight", vec![linear.out_features, in_channels], true));
                if linear.bias {
                    list.push(("bias", vec![linear.out_features], true));
                }
            }
            Op::MixLinear(MixLinear { kernels, linear }) => {
                list.push(("weight", vec![*kernels, linear.out_features, in_channels], true));
                if linear.bias {
                    list.push(("bias", vec![*kernels, linear.out_features], true));
                }
            }
            Op::BatchNorm { .. } => {
                list.push(("weight", vec![in_channels], true));
                list.push(("bias", vec![in_channels], true));
                list.push(("running_mean", vec![in_channels], false));
                list.push(("running_var", vec![in_channels], false));
            }
            _ => {}
        }
        list
    }
}

/// Checks the shape of a network input.
pub(crate) fn check_input(dims: [usize; 3]) -> Result<Shape, String> {
    check_count("input channels", dims[0])?;
    for side in &dims[1..] {
        if *side == 0 || *side > MAX_SIDE {
            return Err(format!("input sides must lie in 1..={MAX_SIDE} pixels, got {} × {}", dims[1], dims[2]));
        }
    }
    let shape = Shape::Map(dims);
    check_elements(shape)?;
    Ok(shape)
}

fn infer_linear(linear: &Linear, input: Shape) -> Result<Shape, String> {
    check_count("out_features", linear.out_features)?;
    match input {
        Shape::Vector(_) => Ok(Shape::Vector(linear.out_features)),
        other => Err(format!("expects a vector, got {other}; put `global_avg_pool` before it")),
    }
}

fn expect_map(shape: Shape) -> Result<Shape, String> {
    match shape {
        Shape::Map(_) => Ok(shape),
        other => Err(format!("expects a map [C, H, W], got {other}")),
    }
}

fn check_coefficients(kernels: usize, coefficients: Shape) -> Result<(), String> {
    check_count("kernels", kernels)?;
    if coefficients == Shape::Vector(kernels) {
        Ok(())
    } else {
        Err(format!("expects one coefficient for each of its {kernels} kernels, got {coefficients}"))
    }
}

fn check_bank(kernels: usize, weights: usize) -> Result<(), String> {
    match kernels.checked_mul(weights) {
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(format!("a bank of {kernels} kernels of {weights} weights is too large")),
    }
}

fn check_count(what: &str, n: usize) -> Result<(), String> {
    if (1..=MAX_CHANNELS).contains(&n) {
        Ok(())
    } else {
        Err(format!("{what} must lie in 1..={MAX_CHANNELS}, got {n}"))
    }
}

fn check_channels(inputs: usize, outputs: usize, groups: usize) -> Result<(), String> {
    check_count("out_channels", outputs)?;
    check_count("groups", groups)?;
    if inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        Ok(())
    } else {
        Err(format!("groups {groups} must divide the {inputs} input and {outputs} output channels"))
    }
}

fn check_side(what: &str, n: usize) -> Result<(), String> {
    if (1..=MAX_SIDE).contains(&n) { Ok(()) } else { Err(format!("{what} must lie in 1..={MAX_SIDE}, got {n}")) }
}

fn check_elements(shape: Shape) -> Result<(), String> {
    let n = shape.dims().iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    match n {
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(format!("a tensor of shape {shape} is too large")),
    }
}

/// Number of positions of a sliding window along one axis.
fn window(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Result<usize, String> {
    for (what, n) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        check_side(what, n)?;
    }
    if padding > MAX_SIDE {
        return Err(format!("padding must be at most {MAX_SIDE}, got {padding}"));
    }
    let padded = size + 2 * padding;
    let reach = dilation * (kernel - 1) + 1;
    if reach > padded {
        return Err(format!(
            "a window reaching over {reach} pixels does not fit into {size} pixels padded to {padded}"
        ));
    }
    Ok((padded - reach) / stride + 1)
}
