//! The form between the graph and the plan: steps that own their weights and can absorb what follows them.

use dyconv_graph::{Activation, Conv2d, Graph, Linear, Node, Op, Pool2d, Shape, Weights};

/// A network as a list of steps in execution order; step 0 is the input.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) steps: Vec<Step>,
    /// The step whose value is the answer.
    pub(crate) output: usize,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Name of the last node that went into it.
    pub(crate) name: String,
    pub(crate) op: StepOp,
    /// Steps that are read: the value worked on; of a layer also, where it has them, its coefficients, the factors of its
    /// input channels, and the residual.
    pub(crate) inputs: Vec<usize>,
    /// Whether it leaves sums over the pixels of its output behind, for [`StepOp::Mean`].
    pub(crate) sums: bool,
    /// Shape of one sample's output.
    pub(crate) shape: Shape,
}

impl Step {
    /// Frees the weights, once they are packed.
    pub(crate) fn release(&mut self) {
        match &mut self.op {
            StepOp::Conv(layer) => layer.weight = Vec::new(),
            StepOp::Linear(layer) => layer.weight = Vec::new(),
            _ => {}
        }
    }
}

/// What a step computes. An `activation` is applied last.
#[derive(Debug, Clone)]
pub(crate) enum StepOp {
    Input,
    /// A convolution; with a second input, of the mixed kernel.
    Conv(Layer<Conv2d>),
    /// A linear layer; with a second input, of the mixed matrix.
    Linear(Layer<Linear>),
    /// x · scale + shift, per channel.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        activation: Option<Activation>,
    },
    Activation(Activation),
    Softmax,
    Add {
        activation: Option<Activation>,
    },
    Scale {
        activation: Option<Activation>,
    },
    GlobalAvgPool,
    /// The global average pool of a step that leaves its sums behind.
    Mean,
    MaxPool(Pool2d),
    Dropout,
}

/// A layer with weights: y = activation(W̃·(factors·x) + Σ_k π_k·mixed_bias_k + bias + residual), W̃ = Σ_k π_k·W_k.
///
/// The two biases differ where Σ_k π_k is not one: a batch norm's shift is added once, whatever the coefficients.
#[derive(Debug, Clone)]
pub(crate) struct Layer<S> {
    pub(crate) spec: S,
    /// Size K of the bank; 1 for a static layer.
    pub(crate) kernels: usize,
    /// `[K, O, …]`
    pub(crate) weight: Vec<f32>,
    /// `[K, O]` or empty; always empty in a static layer.
    pub(crate) mixed_bias: Vec<f32>,
    /// `[O]` or empty.
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Option<Activation>,
    /// Whether coefficients are read.
    pub(crate) mixes: bool,
    /// Whether factors of the input channels are read.
    pub(crate) scaled: bool,
    /// Whether a residual is read.
    pub(crate) residual: bool,
}

impl Lowered {
    /// Step by step, nothing fused. The weights have been checked.
    pub(crate) fn new(graph: &Graph, weights: &Weights) -> Self {
        let lower = |node: &Node| Step {
            name: node.name.clone(),
            op: lower_op(node, weights),
            inputs: node.inputs.iter().map(|i| i.index()).collect(),
            sums: false,
            shape: node.shape,
        };
        Self { steps: graph.nodes().iter().map(lower).collect(), output: graph.output().index() }
    }

    /// How often the value of each step is read, the caller's reading of the answer included.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.steps.len()];
        uses[self.output] += 1;
        for step in &self.steps {
            for input in &step.inputs {
                uses[*input] += 1;
            }
        }
        uses
    }
}

fn lower_op(node: &Node, weights: &Weights) -> StepOp {
    let tensor = |name: &str| weights.get(&format!("{}.{name}", node.name)).data.clone();
    let optional = |present: bool| if present { tensor("bias") } else { Vec::new() };
    match &node.op {
        Op::Input => StepOp::Input,
        Op::Conv(spec) => StepOp::Conv(fixed(spec.clone(), tensor("weight"), optional(spec.bias))),
        Op::Linear(spec) => StepOp::Linear(fixed(spec.clone(), tensor("weight"), optional(spec.bias))),
        Op::MixConv(m) => StepOp::Conv(mixture(m.conv.clone(), m.kernels, tensor("weight"), optional(m.conv.bias))),
        Op::MixLinear(m) => {
            StepOp::Linear(mixture(m.linear.clone(), m.kernels, tensor("weight"), optional(m.linear.bias)))
        }
        Op::BatchNorm { eps } => {
            let (gamma, beta) = (tensor("weight"), tensor("bias"));
            let (mean, var) = (tensor("running_mean"), tensor("running_var"));
            let factor = |c: usize| f64::from(gamma[c]) / (f64::from(var[c]) + f64::from(*eps)).sqrt();
            let shift = |c: usize| (f64::from(beta[c]) - f64::from(mean[c]) * factor(c)) as f32;
            let channels = 0..gamma.len();
            StepOp::Affine {
                scale: channels.clone().map(|c| factor(c) as f32).collect(),
                shift: channels.map(shift).collect(),
                activation: None,
            }
        }
        Op::Activation(function) => StepOp::Activation(*function),
        Op::Softmax => StepOp::Softmax,
        Op::Add => StepOp::Add { activation: None },
        Op::Scale => StepOp::Scale { activation: None },
        Op::GlobalAvgPool => StepOp::GlobalAvgPool,
        Op::MaxPool(pool) => StepOp::MaxPool(pool.clone()),
        Op::Dropout { .. } => StepOp::Dropout,
    }
}

fn fixed<S>(spec: S, weight: Vec<f32>, bias: Vec<f32>) -> Layer<S> {
    layer(spec, 1, weight, Vec::new(), bias, false)
}

fn mixture<S>(spec: S, kernels: usize, weight: Vec<f32>, mixed_bias: Vec<f32>) -> Layer<S> {
    layer(spec, kernels, weight, mixed_bias, Vec::new(), true)
}

fn layer<S>(spec: S, kernels: usize, weight: Vec<f32>, mixed_bias: Vec<f32>, bias: Vec<f32>, mixes: bool) -> Layer<S> {
    Layer { spec, kernels, weight, mixed_bias, bias, activation: None, mixes, scaled: false, residual: false }
}
