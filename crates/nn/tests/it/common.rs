//! Helpers of the tests: random tensors, reproducible noise, and the comparison of results.

use burn::tensor::{Device, Distribution, Tensor, TensorData};

/// Tolerance for f32 sums of up to a few hundred products, compared with PyTorch's in f64.
pub const GOLDEN: f32 = 1e-5;
/// Tolerance for sums of a few thousand products in two orders.
pub const LAYER: f32 = 1e-5;

pub fn floats(data: TensorData) -> Vec<f32> {
    data.try_into_vec::<f32>().unwrap()
}

/// Largest difference, relative to the largest expected magnitude, which counts as at least `floor`; infinite if there
/// is a NaN.
pub fn relative_error(found: &[f32], expected: &[f32], floor: f32) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(floor, |m, v| m.max(v.abs()));
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    found.iter().zip(expected).map(difference).fold(0.0, f32::max) / scale
}

/// Normally distributed values that require gradients.
pub fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device).require_grad()
}

/// `n` pseudo-random values in [-1, 1], determined by the seed.
pub fn noise(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + i / 2003 * 97 + seed * 641) % 2003) as f32 / 1001.0 - 1.0).collect()
}
