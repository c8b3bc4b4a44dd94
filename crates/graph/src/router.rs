//! The sub-graph that computes mixing coefficients. A new router is a new way to write these nodes; no reader changes.

use crate::builder::Builder;
use crate::error::GraphError;
use crate::graph::NodeId;
use crate::op::{Activation, Linear, Op};

/// What turns the router's scores into coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// softmax(z / τ): coefficients sum to one (the paper).
    #[default]
    Softmax,
    /// sigmoid(z): each coefficient is free in [0, 1] (CondConv).
    Sigmoid,
}

/// Settings of a router: global average pool → linear(C → hidden) → ReLU → linear(hidden → K) → gate.
///
/// hidden = max(min_hidden, floor(C / reduction)); both linear layers have biases and there is no batch norm
/// (paper §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Number K of coefficients.
    pub kernels: usize,
    /// Input channels per hidden unit.
    pub reduction: usize,
    /// Fewest hidden units.
    pub min_hidden: usize,
    /// The last step.
    pub gate: Gate,
}

impl Default for Router {
    fn default() -> Self {
        Self { kernels: 4, reduction: 4, min_hidden: 1, gate: Gate::Softmax }
    }
}

impl Router {
    /// Width of the hidden layer for `channels` input channels.
    pub fn hidden(&self, channels: usize) -> usize {
        (channels / self.reduction.max(1)).max(self.min_hidden).max(1)
    }
}

impl Builder {
    /// Writes the nodes `<name>.pool`, `.fc1`, `.relu`, `.fc2` and `.softmax` (or `.sigmoid`) and returns the coefficients.
    ///
    /// `x` may be a map or a vector; a vector needs no pooling.
    ///
    /// # Errors
    /// When a name is taken or a size is out of bounds.
    pub fn router(&mut self, name: &str, x: NodeId, router: &Router) -> Result<NodeId, GraphError> {
        let at = |part: &str| format!("{name}.{part}");
        let pooled = match self.shape(x) {
            crate::Shape::Map(_) => self.push(&at("pool"), Op::GlobalAvgPool, &[x])?,
            crate::Shape::Vector(_) => x,
        };
        let hidden = router.hidden(self.shape(x).channels());
        let z = self.push(&at("fc1"), Op::Linear(Linear { out_features: hidden, bias: true }), &[pooled])?;
        let z = self.push(&at("relu"), Op::Activation(Activation::Relu), &[z])?;
        let z = self.push(&at("fc2"), Op::Linear(Linear { out_features: router.kernels, bias: true }), &[z])?;
        match router.gate {
            Gate::Softmax => self.push(&at("softmax"), Op::Softmax, &[z]),
            Gate::Sigmoid => self.push(&at("sigmoid"), Op::Activation(Activation::Sigmoid), &[z]),
        }
    }
}
