//! The data of a layer besides its packed weights, and its inputs in the arena.

use dyconv_graph::Shape;
use dyconv_kernels::{Activation, Isa, add, mix};

use crate::arena::View;
use crate::convert;
use crate::lowered::Layer;

/// Values per cache line: each part of the scratch memory starts on one.
const LINE: usize = 16;

/// The data of a layer besides its packed weights; see [`Layer`].
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Number K of kernels in the bank.
    pub(super) kernels: usize,
    /// Number of input channels.
    pub(super) inputs: usize,
    pub(super) mixes: bool,
    pub(super) scaled: bool,
    pub(super) residual: bool,
    /// `[K, O]` or empty.
    pub(super) mixed_bias: Vec<f32>,
    /// `[O]` or empty.
    pub(super) bias: Vec<f32>,
    pub(super) activation: Option<Activation>,
}

/// The parts of a layer's scratch memory.
pub(super) struct Carved<'a> {
    pub(super) coefficients: &'a [f32],
    pub(super) factors: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) rest: &'a mut [f32],
}

impl Packed {
    pub(super) fn new<S>(layer: &Layer<S>, input: Shape) -> Self {
        Self {
            kernels: layer.kernels,
            inputs: input.channels(),
            mixes: layer.mixes,
            scaled: layer.scaled,
            residual: layer.residual,
            mixed_bias: layer.mixed_bias.clone(),
            bias: layer.bias.clone(),
            activation: layer.activation.map(convert::activation),
        }
    }

    /// Number of values of coefficients, factors and mixed bias.
    pub(super) fn carved_len(&self) -> usize {
        let parts = [self.kernels, if self.scaled { self.inputs } else { 0 }, self.mixed_bias.len() / self.kernels];
        parts.iter().map(|n| n.next_multiple_of(LINE)).sum()
    }

    /// Reads coefficients and factors, and mixes the bias.
    pub(super) fn carve<'a>(&'a self, isa: Isa, arena: &[f32], inputs: &[View], scratch: &'a mut [f32]) -> Carved<'a> {
        let mut inputs = inputs[1..].iter();
        let mut copy = |wanted: bool, to: &mut [f32]| {
            let view = if wanted { inputs.next() } else { None };
            if let Some(view) = view {
                to.copy_from_slice(&arena[view.range()]);
            }
        };
        let (pi, scratch) = scratch.split_at_mut(self.kernels.next_multiple_of(LINE));
        let pi = &mut pi[..if self.mixes { self.kernels } else { 0 }];
        copy(self.mixes, pi);
        let factors = if self.scaled { self.inputs } else { 0 };
        let (to, scratch) = scratch.split_at_mut(factors.next_multiple_of(LINE));
        copy(self.scaled, &mut to[..factors]);
        let outputs = self.mixed_bias.len() / self.kernels;
        let (mixed, rest) = scratch.split_at_mut(outputs.next_multiple_of(LINE));
        let mut bias: &[f32] = &self.bias;
        if outputs > 0 {
            let mixed = &mut mixed[..outputs];
            mix(isa, pi, &self.mixed_bias, mixed);
            if !self.bias.is_empty() {
                add(isa, mixed, &self.bias, None);
            }
            bias = mixed;
        }
        Carved { coefficients: pi, factors: &to[..factors], bias, rest }
    }
}
