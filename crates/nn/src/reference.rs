//! The operations of a network in plain Burn, with Burn's own gradients: the reference for ours.

use burn::tensor::Tensor;
use burn::tensor::module::{batch_norm_train, conv_transpose2d, conv2d, interpolate};
use dyconv_graph::{Activation, UpsampleMode};

use crate::geometry::{ConvGeometry, TransposedGeometry, bilinear, nearest};
use crate::ops;

/// As [`crate::ops::conv`].
pub(crate) fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    conv2d(x, weight, bias, geometry.options())
}

/// As [`crate::ops::conv_transpose`].
pub(crate) fn conv_transpose(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    g: TransposedGeometry,
) -> Tensor<4> {
    conv_transpose2d(x, weight, bias, g.options())
}

/// As [`crate::ops::upsample`].
pub(crate) fn upsample(x: Tensor<4>, scale: usize, mode: UpsampleMode) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let options = match mode {
        UpsampleMode::Bilinear => bilinear(),
        UpsampleMode::Nearest => nearest(),
    };
    interpolate(x, options.with_output_size([scale * h, scale * w]))
}

/// As [`crate::ops::mix_conv`].
///
/// Pointwise layers mix the kernels and compute a batched matrix product. All others use that a convolution is linear
/// in its kernel: they convolve with all K kernels at once and mix the K results, so no kernel per sample is needed.
pub(crate) fn mix_conv(
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
    ops::add_mixed_bias(y, pi, bias)
}

/// As [`crate::ops::global_avg_pool`].
pub(crate) fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

/// As [`crate::operations::Operations::norm_act`].
pub(crate) fn norm_act(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: Option<Activation>,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let batch = batch_norm_train(x, scale, shift, eps);
    (ops::activated(batch.output, activation), batch.mean.detach(), batch.variance.detach())
}

fn is_pointwise(bank: &Tensor<5>, g: ConvGeometry) -> bool {
    let [_, _, _, kh, kw] = bank.dims();
    (kh, kw, g.groups) == (1, 1, 1) && g.stride == [1, 1] && [g.padding, g.end_padding] == [[0, 0]; 2]
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
    // The output channels of a grouped convolution are ordered by group, so each group contains its K kernels.
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
