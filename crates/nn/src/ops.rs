//! The new operator as functions on tensors. On the CPU the heavy ones are our own operations; elsewhere they are built
//! from Burn's.

use burn::tensor::Tensor;
use burn::tensor::activation::{hard_sigmoid, relu, sigmoid};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use dyconv_graph::Activation;
pub use dyconv_train_kernels::SgdRule;

use crate::{fast, stock};

/// Geometry of a convolution; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step between neighbouring outputs.
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis.
    pub padding: [usize; 2],
    /// Step between neighbouring kernel taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvGeometry {
    pub(crate) fn options(self) -> ConvOptions<2> {
        ConvOptions::new(self.stride, self.padding, self.dilation, self.groups)
    }
}

/// Geometry of a transposed convolution; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransposedGeometry {
    /// Outputs between what neighbouring inputs are added to.
    pub stride: [usize; 2],
    /// Outputs cut off on both sides of each axis.
    pub padding: [usize; 2],
    /// Outputs added at the end of each axis, fewer than the stride.
    pub output_padding: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl TransposedGeometry {
    pub(crate) fn options(self) -> ConvTransposeOptions<2> {
        ConvTransposeOptions::new(self.stride, self.padding, self.output_padding, [1, 1], self.groups)
    }

    /// The convolution that goes back, from the output's size to the input's.
    pub(crate) fn convolution(self) -> ConvGeometry {
        ConvGeometry { stride: self.stride, padding: self.padding, dilation: [1, 1], groups: self.groups }
    }

    /// Height and width of the output.
    pub(crate) fn output(self, input: [usize; 2], kernel: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|a| {
            let whole = (input[a] - 1) * self.stride[a] + kernel[a] + self.output_padding[a];
            whole - 2 * self.padding[a]
        })
    }
}

/// Static convolution: `x` `[N, C_in, H, W]`, `weight` `[C_out, C_in / groups, kh, kw]`, `bias` `[C_out]`.
pub fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    if stock::chosen() {
        return stock::conv(x, weight, bias, geometry);
    }
    let y = fast::conv(x, weight, geometry);
    match bias {
        Some(bias) => {
            let [c] = bias.dims();
            y + bias.reshape([1, c, 1, 1])
        }
        None => y,
    }
}

/// Mixture convolution (paper §3.2): sample n is convolved with Σ_k π_nk·W_k and shifted by Σ_k π_nk·b_k.
///
/// `x` `[N, C_in, H, W]`, `pi` `[N, K]`, `bank` `[K, C_out, C_in / groups, kh, kw]`, `bias` `[K, C_out]`; the result is
/// `[N, C_out, H', W']`.
///
/// On the CPU no kernel outlives its sample, in either direction. Elsewhere all K kernels are convolved at once and the K
/// results mixed.
pub fn mix_conv(
    x: Tensor<4>,
    pi: Tensor<2>,
    bank: Tensor<5>,
    bias: Option<Tensor<2>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let y = if stock::chosen() {
        stock::mix_conv(x, pi.clone(), bank, geometry)
    } else {
        fast::mix_conv(x, pi.clone(), bank, geometry)
    };
    match bias {
        Some(bias) => {
            let [n, c, _, _] = y.dims();
            y + pi.matmul(bias).reshape([n, c, 1, 1])
        }
        None => y,
    }
}

/// Transposed convolution: `x` `[N, C_in, H, W]`, `weight` `[C_in, C_out / groups, kh, kw]`, `bias` `[C_out]`.
pub fn conv_transpose(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: TransposedGeometry,
) -> Tensor<4> {
    if stock::chosen() {
        return stock::conv_transpose(x, weight, bias, geometry);
    }
    let y = fast::conv_transpose(x, weight, geometry);
    match bias {
        Some(bias) => {
            let [c] = bias.dims();
            y + bias.reshape([1, c, 1, 1])
        }
        None => y,
    }
}

/// Bilinear upsampling by a whole factor, corners not aligned: `[N, C, H, W]` → `[N, C, scale · H, scale · W]`.
pub fn upsample(x: Tensor<4>, scale: usize) -> Tensor<4> {
    if stock::chosen() { stock::upsample(x, scale) } else { fast::upsample(x, scale) }
}

/// Linear layer: `x` `[N, I]`, `weight` `[O, I]`, `bias` `[O]`; the result is `[N, O]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// Dynamic perceptron (paper §3.1): `x` `[N, I]`, `pi` `[N, K]`, `bank` `[K, O, I]`, `bias` `[K, O]`; the result is
/// `[N, O]`. All K products are formed and mixed, so that no matrix per sample is held.
pub fn mix_linear(x: Tensor<2>, pi: Tensor<2>, bank: Tensor<3>, bias: Option<Tensor<2>>) -> Tensor<2> {
    let [n, _] = x.dims();
    let [k, o, i] = bank.dims();
    let products = x.matmul(bank.reshape([k * o, i]).transpose()).reshape([n, k, o]);
    let y = pi.clone().reshape([n, 1, k]).matmul(products).reshape([n, o]);
    match bias {
        Some(bias) => y + pi.matmul(bias),
        None => y,
    }
}

/// An element-wise function.
pub fn activation<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HardSwish => x.clone() * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::HardSigmoid => hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::Sigmoid => sigmoid(x),
    }
}

/// Mean over all pixels: `[N, C, H, W]` → `[N, C]`.
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    pool(x, false)
}

/// As [`global_avg_pool`], where a reader of `x` depends on the means: `x` receives that reader's gradient first, and that of the
/// means is added to it where it lies.
pub(crate) fn pool_beside_reader(x: Tensor<4>) -> Tensor<2> {
    pool(x, true)
}

fn pool(x: Tensor<4>, joins: bool) -> Tensor<2> {
    if !stock::chosen() {
        return fast::pool(x, joins);
    }
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

/// Flat weights after a step of stochastic gradient descent with momentum, and the new velocity; on the CPU in one pass.
pub fn sgd(weight: Tensor<1>, gradient: Tensor<1>, velocity: Tensor<1>, rule: SgdRule) -> (Tensor<1>, Tensor<1>) {
    fast::sgd(weight, gradient, velocity, rule)
}

/// softmax(z / τ) over the last axis of `[N, K]`.
///
/// The gradient is exact where attention is nearly one-hot. The textbook form π_k·(g_k − Σ_j π_j·g_j) subtracts two
/// almost equal numbers there. Here the result carries no gradient of its own but that of Σ_{j≠k} π_k·π_j·(z_k − z_j)/τ
/// with π held constant, which has the same Jacobian and sums only small terms.
pub fn softmax(z: Tensor<2>, tau: f32) -> Tensor<2> {
    let z = z.div_scalar(tau);
    let pi = burn::tensor::activation::softmax(z.clone().detach(), 1);
    if !z.device().is_autodiff() {
        return pi;
    }
    let [n, k] = pi.dims();
    let off_diagonal = Tensor::<2>::ones([k, k], &z.device()) - Tensor::eye(k, &z.device());
    let pairs = pi.clone().reshape([n, k, 1]) * pi.clone().reshape([n, 1, k]) * off_diagonal.unsqueeze();
    let differences = z.clone().reshape([n, k, 1]) - z.reshape([n, 1, k]);
    let tangent = (pairs * differences).sum_dim(2).reshape([n, k]);
    pi + (tangent.clone() - tangent.detach())
}
