//! Kernels for training: whole batches, both gradients, planes.
//!
//! Maps are `[N, C, H, W]`, as Burn keeps them. Every function splits its work by the shapes alone, never by the number of
//! threads, and adds up in a fixed order, so the same numbers come out of one thread and of many. Scratch memory belongs
//! to a job and is small: columns of a block of pixels, one mixed tile of a kernel.
//!
//! A mixture convolution never holds a kernel per sample. Three formulations share the work ([`Formulation`]):
//!
//! - **per sample**: for one tile of the kernel at a time, and inside it sample by sample, the tile is mixed, used and
//!   forgotten; so is its gradient G_n, after π_nk·G_n went into each bank gradient and ⟨G_n, W_k⟩ into ∂L/∂π_nk. The tile
//!   of the bank stays in the second-level cache while all samples pass by.
//! - **per bank**: where maps are so small that mixing costs more than convolving, all samples are convolved with each of
//!   the K kernels in one large product, scaled by π_nk on the way; for 3×3 taps at stride one by Winograd's convolution
//!   (`winograd`), which needs 2.25 to 4 times fewer products, so that it pays on larger maps too.

mod activation;
mod batch_norm;
mod bulk;
mod columns;
mod depthwise;
mod geometry;
mod job;
mod per_bank;
mod per_sample;
mod phases;
mod pool;
mod product;
mod sgd;
#[cfg(test)]
mod tests;
mod threads;
mod upsample;
mod winograd;

pub use activation::NormActivation;
pub use batch_norm::{AddUp, BatchNorm, batch_norm_backward, batch_norm_forward};
pub use geometry::{BatchConv, Formulation};
pub use pool::{pool_backward, pool_backward_add, pool_forward};
pub use sgd::{SgdRule, sgd};
pub use threads::{start_threads, wanted_threads};
pub use upsample::{upsample_backward, upsample_forward};

use self::job::{Shared, written};
use crate::Isa;

/// Convolution of a batch: `x` `[N, C, H, W]`, `weight` `[O, C / groups, kh, kw]`; the result is `[N, O, H', W']`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn conv_forward(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32]) -> Vec<f32> {
    c.check(x.len(), c.output_len(), weight.len(), 1);
    map(c.output_len(), |y| match c.is_depthwise() {
        true => depthwise::forward(isa, c, x, None, weight, y),
        false if c.is_winograd() => winograd::forward(isa, c, x, None, weight, y),
        false => per_bank::forward(isa, c, x, None, weight, y),
    })
}

/// Gradient of [`conv_forward`] in `x`, for `dy` `[N, O, H', W']`; in other words the transposed convolution of `dy`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn conv_dx(isa: Isa, c: &BatchConv, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let len = c.batch * c.input.iter().product::<usize>();
    c.check(len, dy.len(), weight.len(), 1);
    map(len, |dx| {
        // Where neither the kernel nor π has a gradient, the input is not read.
        let gradients = Gradients { dx: Some(dx), dbank: None, dpi: None };
        match c.is_depthwise() {
            true => depthwise::backward(isa, c, &[], None, weight, dy, gradients),
            false if c.is_winograd() => winograd::backward(isa, c, &[], None, weight, dy, gradients),
            false => per_bank::backward(isa, c, &[], None, weight, dy, gradients),
        }
    })
}

/// Gradient of [`conv_forward`] in `weight`, for `dy` `[N, O, H', W']`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn conv_dweight(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32], dy: &[f32]) -> Vec<f32> {
    c.check(x.len(), dy.len(), weight.len(), 1);
    let mut dweight = vec![0.0; weight.len()];
    let gradients = Gradients { dx: None, dbank: Some(&mut dweight), dpi: None };
    match c.is_depthwise() {
        true => depthwise::backward(isa, c, x, None, weight, dy, gradients),
        false if c.is_winograd() => winograd::backward(isa, c, x, None, weight, dy, gradients),
        false => per_bank::backward(isa, c, x, None, weight, dy, gradients),
    }
    dweight
}

/// Mixture convolution of a batch: `x` `[N, C, H, W]`, `pi` `[N, K]`, `bank` `[K, O, C / groups, kh, kw]`; the result is
/// `[N, O, H', W']`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn mix_conv_forward(isa: Isa, c: &BatchConv, x: &[f32], pi: &[f32], bank: &[f32]) -> Vec<f32> {
    mix_forward(isa, c, c.formulation(c.kernels(pi)), x, pi, bank)
}

fn mix_forward(isa: Isa, c: &BatchConv, how: Formulation, x: &[f32], pi: &[f32], bank: &[f32]) -> Vec<f32> {
    c.check(x.len(), c.output_len(), bank.len(), c.kernels(pi));
    map(c.output_len(), |y| match how {
        _ if c.is_depthwise() => depthwise::forward(isa, c, x, Some(pi), bank, y),
        Formulation::PerSample => per_sample::forward(isa, c, x, pi, bank, y),
        Formulation::PerBank => per_bank::forward(isa, c, x, Some(pi), bank, y),
        Formulation::Winograd => winograd::forward(isa, c, x, Some(pi), bank, y),
    })
}

/// Gradients of [`mix_conv_forward`] for `dy` `[N, O, H', W']`: in `x`, `pi` and `bank`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn mix_conv_backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    mix_backward(isa, c, c.formulation(c.kernels(pi)), x, pi, bank, dy)
}

fn mix_backward(
    isa: Isa,
    c: &BatchConv,
    how: Formulation,
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
            _ if c.is_depthwise() => depthwise::backward(isa, c, x, Some(pi), bank, dy, gradients),
            Formulation::PerSample => per_sample::backward(isa, c, x, pi, bank, dy, gradients),
            Formulation::PerBank => per_bank::backward(isa, c, x, Some(pi), bank, dy, gradients),
            Formulation::Winograd => winograd::backward(isa, c, x, Some(pi), bank, dy, gradients),
        }
    });
    (dx, dpi, dbank)
}

/// A batch of maps of which `write` writes every plane.
fn map(len: usize, write: impl FnOnce(Shared<'_>)) -> Vec<f32> {
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: the jobs of every formulation divide all planes of the result among them (blocks × output channels forward,
    // samples × input channels backward), write each whole, and read only what they wrote. The tests compare all of it.
    let (map, ()) = unsafe { written(len, write) };
    map
}

/// Where gradients go; what is `None` is not computed.
struct Gradients<'a> {
    /// As `x`, not yet written.
    dx: Option<Shared<'a>>,
    /// As the bank.
    dbank: Option<&'a mut [f32]>,
    /// `[N, K]`.
    dpi: Option<&'a mut [f32]>,
}
