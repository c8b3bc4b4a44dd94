//! The sub-graph that computes mixing coefficients. [`Router::steps`] is its single definition: [`Builder::router`]
//! adds it to a graph as nodes, and layers outside a graph compute it themselves.

use crate::builder::Builder;
use crate::error::GraphError;
use crate::graph::NodeId;
use crate::op::{Activation, Linear, Op};
use crate::shape::Shape;

/// Converts the router's scores to coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// softmax(z / τ): coefficients sum to one (the paper).
    #[default]
    Softmax,
    /// sigmoid(z): each coefficient is independent, in [0, 1] (CondConv).
    Sigmoid,
}

impl Gate {
    /// The gate that corresponds to this op, if any.
    pub fn of(op: &Op) -> Option<Self> {
        match op {
            Op::Softmax => Some(Gate::Softmax),
            Op::Activation(Activation::Sigmoid) => Some(Gate::Sigmoid),
            Op::Activation(
                Activation::Relu
                | Activation::Relu6
                | Activation::HardSwish
                | Activation::HardSigmoid
                | Activation::Silu
                | Activation::Gelu,
            )
            | Op::Input
            | Op::Conv(_)
            | Op::MixConv(_)
            | Op::ConvTranspose(_)
            | Op::Linear(_)
            | Op::MixLinear(_)
            | Op::BatchNorm { .. }
            | Op::Add
            | Op::Scale
            | Op::GlobalAvgPool
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Upsample { .. }
            | Op::LeakyRelu { .. }
            | Op::Mul
            | Op::Concat
            | Op::Slice { .. }
            | Op::Flatten
            | Op::ChannelShuffle { .. }
            | Op::Dropout { .. } => None,
        }
    }

    /// The op that computes the gate from the scores `[K]`.
    pub fn op(self) -> Op {
        match self {
            Gate::Softmax => Op::Softmax,
            Gate::Sigmoid => Op::Activation(Activation::Sigmoid),
        }
    }

    /// The sum of `kernels` coefficients if all scores are zero: 1 with softmax, K/2 with sigmoids.
    pub fn sum_at_zero(self, kernels: usize) -> f32 {
        match self {
            Gate::Softmax => 1.0,
            Gate::Sigmoid => kernels as f32 / 2.0,
        }
    }

    /// Whether the coefficients of every sample sum to one.
    pub fn sums_to_one(self) -> bool {
        match self {
            Gate::Softmax => true,
            Gate::Sigmoid => false,
        }
    }
}

/// One step of a router, from vector to vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterStep {
    /// A linear layer with this name.
    Linear(&'static str, Linear),
    /// An element-wise function.
    Activation(Activation),
    /// Scores to coefficients.
    Gate(Gate),
}

impl RouterStep {
    /// The suffix of the node's name, and its op.
    fn node(self) -> (&'static str, Op) {
        match self {
            RouterStep::Linear(name, linear) => (name, Op::Linear(linear)),
            RouterStep::Activation(activation) => (activation.name(), Op::Activation(activation)),
            RouterStep::Gate(gate) => (gate.op().name(), gate.op()),
        }
    }
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
    /// Minimum number of hidden units.
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

    /// The steps from `channels` pooled features to the coefficients, in order.
    pub fn steps(&self, channels: usize) -> [RouterStep; 4] {
        let linear = |name, out_features| RouterStep::Linear(name, Linear { out_features, bias: true });
        [
            linear("fc1", self.hidden(channels)),
            RouterStep::Activation(Activation::Relu),
            linear("fc2", self.kernels),
            RouterStep::Gate(self.gate),
        ]
    }
}

impl Builder {
    /// Adds the nodes `<name>.pool`, `.fc1`, `.relu`, `.fc2` and `.softmax` (or `.sigmoid`) and returns the
    /// coefficients.
    ///
    /// `x` may be a map or a vector; a vector needs no pooling.
    ///
    /// # Errors
    /// If a name is taken or a size is out of bounds.
    pub fn router(&mut self, name: &str, x: NodeId, router: &Router) -> Result<NodeId, GraphError> {
        let mut z = match self.shape(x) {
            Shape::Map(_) => self.push(&format!("{name}.pool"), Op::GlobalAvgPool, &[x])?,
            Shape::Vector(_) => x,
        };
        for step in router.steps(self.shape(x).channels()) {
            let (part, op) = step.node();
            z = self.push(&format!("{name}.{part}"), op, &[z])?;
        }
        Ok(z)
    }
}
