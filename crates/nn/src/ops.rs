//! Dynamic convolution and the other layers as functions on tensors. On the CPU the expensive ones are custom
//! operations; elsewhere they are composed of Burn's.

use std::f64::consts::SQRT_2;

use burn::tensor::Tensor;
use burn::tensor::activation::{hard_sigmoid, relu, sigmoid, silu};
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use dyconv_graph::{Activation, AvgPool2d, Pool2d, UpsampleMode};
use dyconv_train_kernels::NormActivation;
pub use dyconv_train_kernels::SgdRule;

use crate::custom_ops;
use crate::geometry::both_ends;
pub use crate::geometry::{ConvGeometry, TransposedGeometry};

/// Static convolution: `x` `[N, C_in, H, W]`, `weight` `[C_out, C_in / groups, kh, kw]`, `bias` `[C_out]`.
pub fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    let y = custom_ops::conv(x, weight, geometry);
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
/// On the CPU no kernel per sample is stored, in either direction. Elsewhere all K kernels are convolved at once and
/// the K results mixed.
pub fn mix_conv(
    x: Tensor<4>,
    pi: Tensor<2>,
    bank: Tensor<5>,
    bias: Option<Tensor<2>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let y = custom_ops::mix_conv(x, pi.clone(), bank, geometry);
    add_mixed_bias(y, pi, bias)
}

/// Adds Σ_k π_nk·b_k, `pi` `[N, K]`, `bias` `[K, C]`, to a feature map `[N, C, H, W]`.
pub(crate) fn add_mixed_bias(y: Tensor<4>, pi: Tensor<2>, bias: Option<Tensor<2>>) -> Tensor<4> {
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
    let y = custom_ops::conv_transpose(x, weight, geometry);
    match bias {
        Some(bias) => {
            let [c] = bias.dims();
            y + bias.reshape([1, c, 1, 1])
        }
        None => y,
    }
}

/// Upsampling by an integer factor: `[N, C, H, W]` → `[N, C, scale · H, scale · W]`.
pub fn upsample(x: Tensor<4>, scale: usize, mode: UpsampleMode) -> Tensor<4> {
    match mode {
        UpsampleMode::Bilinear => custom_ops::upsample(x, scale),
        UpsampleMode::Nearest => {
            let [n, c, h, w] = x.dims();
            let repeated = x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, scale, w, scale]);
            repeated.reshape([n, c, scale * h, scale * w])
        }
    }
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
/// `[N, O]`. All K products are computed and mixed, so that no matrix per sample is stored.
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
        Activation::Silu => silu(x),
        Activation::Gelu => gelu(x),
    }
}

/// x · Φ(x). Burn's own function has an approximate gradient on some devices.
fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let twice = x.clone().div_scalar(SQRT_2).erf().add_scalar(1.0);
    (x * twice).mul_scalar(0.5)
}

/// x for x ≥ 0, slope · x below.
pub fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f32) -> Tensor<D> {
    burn::tensor::activation::leaky_relu(x, f64::from(slope))
}

/// Transposes the channels of `[N, C, H, W]` seen as a matrix of `groups` rows.
pub fn channel_shuffle(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, groups, c / groups, h * w]).swap_dims(1, 2).reshape([n, c, h, w])
}

/// Maximum of each window of `[N, C, H, W]`.
pub fn max_pool(x: Tensor<4>, pool: &Pool2d) -> Tensor<4> {
    let mut options = MaxPoolOptions::new(pool.kernel);
    options.stride = pool.stride;
    options.padding = both_ends(pool.padding, pool.end_padding());
    max_pool2d(x, options)
}

/// Mean of each window of `[N, C, H, W]`.
pub fn avg_pool(x: Tensor<4>, AvgPool2d { pool, count_padding }: &AvgPool2d) -> Tensor<4> {
    let mut options = AvgPoolOptions::new(pool.kernel);
    options.stride = pool.stride;
    options.padding = both_ends(pool.padding, pool.end_padding());
    options.count_include_pad = *count_padding;
    avg_pool2d(x, options)
}

/// Mean over all pixels: `[N, C, H, W]` → `[N, C]`.
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    custom_ops::pool(x, false)
}

/// Like [`global_avg_pool`], if a reader of `x` depends on the means: `x` receives the gradient of that reader first,
/// and the gradient of the means is added to it in place.
pub(crate) fn pool_beside_reader(x: Tensor<4>) -> Tensor<2> {
    custom_ops::pool(x, true)
}

/// Batch norm with batch statistics and the activation after it; see `Operations::norm_act`.
pub(crate) fn norm_act(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: Option<Activation>,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let (fused, after) = match activation {
        None => (NormActivation::None, None),
        Some(Activation::Relu) => (NormActivation::Relu, None),
        Some(Activation::Relu6) => (NormActivation::Relu6, None),
        Some(Activation::HardSwish) => (NormActivation::HardSwish, None),
        Some(Activation::HardSigmoid | Activation::Sigmoid | Activation::Silu | Activation::Gelu) => {
            (NormActivation::None, activation)
        }
    };
    let (y, mean, variance) = custom_ops::norm_act(x, scale, shift, eps, fused);
    (activated(y, after), mean, variance)
}

/// Applies the activation, if there is one.
pub(crate) fn activated(y: Tensor<4>, after: Option<Activation>) -> Tensor<4> {
    after.into_iter().fold(y, |y, a| activation(a, y))
}

/// The flat weights after a step of stochastic gradient descent with momentum, and the new velocity; in one pass on the
/// CPU.
pub fn sgd(weight: Tensor<1>, gradient: Tensor<1>, velocity: Tensor<1>, rule: SgdRule) -> (Tensor<1>, Tensor<1>) {
    custom_ops::sgd(weight, gradient, velocity, rule)
}

/// softmax(z / τ) over the last axis of `[N, K]`.
///
/// The gradient is accurate even if the attention is nearly one-hot, where the textbook form π_k·(g_k − Σ_j π_j·g_j)
/// subtracts two almost equal numbers. Here the gradient is that of Σ_{j≠k} π_k·π_j·(z_k − z_j)/τ with π held constant,
/// which has the same Jacobian and sums only small terms.
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
