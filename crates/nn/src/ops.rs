//! The new operator as functions on tensors, built from Burn's own operations so that they run on every device.

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

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
    fn options(self) -> ConvOptions<2> {
        ConvOptions::new(self.stride, self.padding, self.dilation, self.groups)
    }
}

/// Static convolution: `x` `[N, C_in, H, W]`, `weight` `[C_out, C_in / groups, kh, kw]`, `bias` `[C_out]`.
pub fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    conv2d(x, weight, bias, geometry.options())
}

/// Mixture convolution (paper §3.2): sample n is convolved with Σ_k π_nk·W_k and shifted by Σ_k π_nk·b_k.
///
/// `x` `[N, C_in, H, W]`, `pi` `[N, K]`, `bank` `[K, C_out, C_in / groups, kh, kw]`, `bias` `[K, C_out]`; the result is
/// `[N, C_out, H', W']`.
///
/// Pointwise layers mix the kernels and run a batched matrix product. All others use that convolution is linear in its
/// kernel: they convolve with all K kernels at once and mix the K results, which needs no kernel per sample.
pub fn mix_conv(
    x: Tensor<4>,
    pi: Tensor<2>,
    bank: Tensor<5>,
    bias: Option<Tensor<2>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let y = if is_pointwise(&bank, geometry) {
        mix_then_multiply(x, pi.clone(), bank)
    } else {
        convolve_then_mix(x, pi.clone(), bank, geometry)
    };
    match bias {
        Some(bias) => {
            let [n, c, _, _] = y.dims();
            y + pi.matmul(bias).reshape([n, c, 1, 1])
        }
        None => y,
    }
}

fn is_pointwise(bank: &Tensor<5>, g: ConvGeometry) -> bool {
    let [_, _, _, kh, kw] = bank.dims();
    (kh, kw, g.groups) == (1, 1, 1) && g.stride == [1, 1] && g.padding == [0, 0]
}

fn mix_then_multiply(x: Tensor<4>, pi: Tensor<2>, bank: Tensor<5>) -> Tensor<4> {
    let [n, c_in, h, w] = x.dims();
    let [k, c_out, _, _, _] = bank.dims();
    let kernels = pi.matmul(bank.reshape([k, c_out * c_in])).reshape([n, c_out, c_in]);
    kernels.matmul(x.reshape([n, c_in, h * w])).reshape([n, c_out, h, w])
}

fn convolve_then_mix(x: Tensor<4>, pi: Tensor<2>, bank: Tensor<5>, g: ConvGeometry) -> Tensor<4> {
    let n = x.dims()[0];
    let [k, c_out, c_group, kh, kw] = bank.dims();
    let out_group = c_out / g.groups;
    // Output channels of a grouped convolution are ordered by group, so the K kernels stand inside each group.
    let weight = if g.groups == 1 {
        bank.reshape([k * c_out, c_group, kh, kw])
    } else {
        bank.reshape([k, g.groups, out_group, c_group * kh * kw]).swap_dims(0, 1).reshape([k * c_out, c_group, kh, kw])
    };
    let y = conv2d(x, weight, None, g.options());
    let [_, _, h, w] = y.dims();
    if g.groups == 1 {
        let mixed = pi.reshape([n, 1, k]).matmul(y.reshape([n, k, c_out * h * w]));
        return mixed.reshape([n, c_out, h, w]);
    }
    let y = y.reshape([n, g.groups, k, out_group * h * w]) * pi.reshape([n, 1, k, 1]);
    y.sum_dim(2).reshape([n, c_out, h, w])
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

/// Mean over all pixels: `[N, C, H, W]` → `[N, C]`.
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
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
