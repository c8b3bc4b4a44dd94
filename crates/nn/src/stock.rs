//! The network's operations as plain Burn, with Burn's own gradients: what the fast ones are compared with.

use std::cell::Cell;

use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose2d, conv2d, interpolate};

use crate::fast::generic::bilinear;
use crate::ops::{ConvGeometry, TransposedGeometry};

thread_local! {
    static CHOSEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with Burn's own operations instead of ours in everything that this thread computes forward.
pub fn with_stock_operations<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(true));
    work()
}

/// Whether Burn's own operations are wanted.
pub(crate) fn chosen() -> bool {
    CHOSEN.get()
}

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
pub(crate) fn upsample(x: Tensor<4>, scale: usize) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    interpolate(x, bilinear().with_output_size([scale * h, scale * w]))
}

/// As [`crate::ops::mix_conv`] without a bias.
///
/// Pointwise layers mix the kernels and run a batched matrix product. All others use that convolution is linear in its
/// kernel: they convolve with all K kernels at once and mix the K results, which needs no kernel per sample.
pub(crate) fn mix_conv(x: Tensor<4>, pi: Tensor<2>, bank: Tensor<5>, geometry: ConvGeometry) -> Tensor<4> {
    if is_pointwise(&bank, geometry) {
        mix_then_multiply(x, pi, bank)
    } else {
        convolve_then_mix(x, pi, bank, geometry)
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
