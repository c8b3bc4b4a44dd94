//! Convolutions and mixture convolutions of a batch and their gradients, by the algorithm that suits the sizes.

use dyconv_simd::Isa;

use crate::algorithm::ConvAlgorithm;
use crate::geometry::BatchConv;
use crate::gradients::Gradients;
use crate::job::{Shared, written};
use crate::{depthwise, per_bank, per_sample, winograd};

/// Convolution of a batch: `x` `[N, C, H, W]`, `weight` `[O, C / groups, kh, kw]`; the result is `[N, O, H', W']`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn conv_forward(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32]) -> Vec<f32> {
    c.check(x.len(), c.output_len(), weight.len(), 1);
    map(c.output_len(), |y| match ConvAlgorithm::of_static(c) {
        ConvAlgorithm::Depthwise => depthwise::forward(isa, c, x, None, weight, y),
        ConvAlgorithm::Winograd => winograd::forward(isa, c, x, None, weight, y),
        ConvAlgorithm::PerBank => per_bank::forward(isa, c, x, None, weight, y),
        ConvAlgorithm::PerSample => unreachable!("nothing to mix"),
    })
}

/// Gradient of [`conv_forward`] with respect to `x`, for `dy` `[N, O, H', W']`; this is the transposed convolution of
/// `dy`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn conv_dx(isa: Isa, c: &BatchConv, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let len = c.batch * c.input.iter().product::<usize>();
    c.check(len, dy.len(), weight.len(), 1);
    // The input is not read, since gradients of neither the kernel nor π are computed.
    map(len, |dx| static_backward(isa, c, &[], weight, dy, Gradients { dx: Some(dx), dbank: None, dpi: None }))
}

/// Gradient of [`conv_forward`] with respect to `weight`, for `dy` `[N, O, H', W']`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn conv_dweight(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32], dy: &[f32]) -> Vec<f32> {
    c.check(x.len(), dy.len(), weight.len(), 1);
    let mut dweight = vec![0.0; weight.len()];
    static_backward(isa, c, x, weight, dy, Gradients { dx: None, dbank: Some(&mut dweight), dpi: None });
    dweight
}

fn static_backward(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32], dy: &[f32], gradients: Gradients<'_>) {
    match ConvAlgorithm::of_static(c) {
        ConvAlgorithm::Depthwise => depthwise::backward(isa, c, x, None, weight, dy, gradients),
        ConvAlgorithm::Winograd => winograd::backward(isa, c, x, None, weight, dy, gradients),
        ConvAlgorithm::PerBank => per_bank::backward(isa, c, x, None, weight, dy, gradients),
        ConvAlgorithm::PerSample => unreachable!("nothing to mix"),
    }
}

/// Mixture convolution of a batch: `x` `[N, C, H, W]`, `pi` `[N, K]`, `bank` `[K, O, C / groups, kh, kw]`; the result is
/// `[N, O, H', W']`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn mix_conv_forward(isa: Isa, c: &BatchConv, x: &[f32], pi: &[f32], bank: &[f32]) -> Vec<f32> {
    mix_forward(isa, c, ConvAlgorithm::of_mixture(c, c.kernels(pi)), x, pi, bank)
}

pub(crate) fn mix_forward(
    isa: Isa,
    c: &BatchConv,
    how: ConvAlgorithm,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
) -> Vec<f32> {
    c.check(x.len(), c.output_len(), bank.len(), c.kernels(pi));
    map(c.output_len(), |y| match how {
        ConvAlgorithm::Depthwise => depthwise::forward(isa, c, x, Some(pi), bank, y),
        ConvAlgorithm::PerSample => per_sample::forward(isa, c, x, pi, bank, y),
        ConvAlgorithm::PerBank => per_bank::forward(isa, c, x, Some(pi), bank, y),
        ConvAlgorithm::Winograd => winograd::forward(isa, c, x, Some(pi), bank, y),
    })
}

/// Gradients of [`mix_conv_forward`] for `dy` `[N, O, H', W']`, with respect to `x`, `pi` and `bank`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn mix_conv_backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    mix_backward(isa, c, ConvAlgorithm::of_mixture(c, c.kernels(pi)), x, pi, bank, dy)
}

pub(crate) fn mix_backward(
    isa: Isa,
    c: &BatchConv,
    how: ConvAlgorithm,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    c.check(x.len(), dy.len(), bank.len(), c.kernels(pi));
    let (mut dpi, mut dbank) = (vec![0.0; pi.len()], vec![0.0; bank.len()]);
    let dx = map(x.len(), |dx| {
        let gradients = Gradients { dx: Some(dx), dbank: Some(&mut dbank), dpi: Some(&mut dpi) };
        match how {
            ConvAlgorithm::Depthwise => depthwise::backward(isa, c, x, Some(pi), bank, dy, gradients),
            ConvAlgorithm::PerSample => per_sample::backward(isa, c, x, pi, bank, dy, gradients),
            ConvAlgorithm::PerBank => per_bank::backward(isa, c, x, Some(pi), bank, dy, gradients),
            ConvAlgorithm::Winograd => winograd::backward(isa, c, x, Some(pi), bank, dy, gradients),
        }
    });
    (dx, dpi, dbank)
}

/// Allocates a batch of feature maps, of which `write` writes every plane.
fn map(len: usize, write: impl FnOnce(Shared<'_>)) -> Vec<f32> {
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: the jobs of every algorithm divide all planes of the result among them (blocks × output channels forward,
    // samples × input channels backward), write each whole, and read only what they wrote. The tests compare all of it.
    let (map, ()) = unsafe { written(len, write) };
    map
}
