//! Kernels for training: whole batches, both gradients, planes.
//!
//! Maps are `[N, C, H, W]`, as Burn keeps them. Every function splits its work by the shapes alone, never by the number of
//! threads, and adds up in a fixed order, so the same numbers come out of one thread and of many. Scratch memory belongs
//! to a job and is small: columns of a block of pixels, one mixed tile of a kernel.
//!
//! A mixture convolution never holds a kernel per sample. Two formulations share the work ([`Formulation`]):
//!
//! - **per sample**: for one tile of the kernel at a time, and inside it sample by sample, the tile is mixed, used and
//!   forgotten; so is its gradient G_n, after π_nk·G_n went into each bank gradient and ⟨G_n, W_k⟩ into ∂L/∂π_nk. The tile
//!   of the bank stays in the second-level cache while all samples pass by.
//! - **per bank**: where maps are so small that mixing costs more than convolving, all samples are convolved with each of
//!   the K kernels in one large product, scaled by π_nk on the way.

mod batch_norm;
mod bulk;
mod columns;
mod depthwise;
mod geometry;
mod job;
mod per_bank;
mod per_sample;
mod product;
#[cfg(test)]
mod tests;

pub use batch_norm::{BatchNorm, NormActivation, batch_norm_backward, batch_norm_forward};
pub use geometry::{BatchConv, Formulation};

use crate::Isa;

/// Convolution of a batch: `x` `[N, C, H, W]`, `weight` `[O, C / groups, kh, kw]`, `y` `[N, O, H', W']`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn conv_forward(isa: Isa, c: &BatchConv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    c.check(x.len(), y.len(), weight.len(), 1);
    if c.is_depthwise() {
        depthwise::forward(isa, c, x, None, weight, y);
    } else {
        per_bank::forward(c, x, None, weight, y);
    }
}

/// Gradients of [`conv_forward`] for `dy` `[N, O, H', W']`: of the input into `dx`, of the kernel into `dweight`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn conv_backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dweight: Option<&mut [f32]>,
) {
    c.check(x.len(), dy.len(), weight.len(), 1);
    let gradients = Gradients { dx, dbank: dweight, dpi: None };
    if c.is_depthwise() {
        depthwise::backward(isa, c, x, None, weight, dy, gradients);
    } else {
        per_bank::backward(isa, c, x, None, weight, dy, gradients);
    }
}

/// Mixture convolution of a batch: `x` `[N, C, H, W]`, `pi` `[N, K]`, `bank` `[K, O, C / groups, kh, kw]`, `y`
/// `[N, O, H', W']`.
///
/// # Panics
/// When a length does not fit the geometry.
pub fn mix_conv_forward(isa: Isa, c: &BatchConv, x: &[f32], pi: &[f32], bank: &[f32], y: &mut [f32]) {
    let kernels = c.kernels(pi);
    c.check(x.len(), y.len(), bank.len(), kernels);
    if c.is_depthwise() {
        return depthwise::forward(isa, c, x, Some(pi), bank, y);
    }
    match c.formulation(kernels) {
        Formulation::PerSample => per_sample::forward(isa, c, x, pi, bank, y),
        Formulation::PerBank => per_bank::forward(c, x, Some(pi), bank, y),
    }
}

/// Gradients of [`mix_conv_forward`] for `dy` `[N, O, H', W']`: `dx`, `dpi` and `dbank` as `x`, `pi` and `bank`.
///
/// # Panics
/// When a length does not fit the geometry.
#[allow(clippy::too_many_arguments, reason = "three inputs, one gradient in, three gradients out")]
pub fn mix_conv_backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: &[f32],
    bank: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dpi: &mut [f32],
    dbank: &mut [f32],
) {
    let kernels = c.kernels(pi);
    c.check(x.len(), dy.len(), bank.len(), kernels);
    let gradients = Gradients { dx: Some(dx), dbank: Some(dbank), dpi: Some(dpi) };
    if c.is_depthwise() {
        return depthwise::backward(isa, c, x, Some(pi), bank, dy, gradients);
    }
    match c.formulation(kernels) {
        Formulation::PerSample => per_sample::backward(isa, c, x, pi, bank, dy, gradients),
        Formulation::PerBank => per_bank::backward(isa, c, x, Some(pi), bank, dy, gradients),
    }
}

/// Where gradients go; what is `None` is not computed.
struct Gradients<'a> {
    /// As `x`.
    dx: Option<&'a mut [f32]>,
    /// As the bank.
    dbank: Option<&'a mut [f32]>,
    /// `[N, K]`.
    dpi: Option<&'a mut [f32]>,
}
