//! The form between the graph and the plan: steps that know their weights and can absorb what follows them.
//!
//! Large tensors stay where they are until their step is packed: a step only knows its tensor's name and what must be
//! multiplied into it.

use dyconv_graph::{
    Activation, Conv2d, ConvTranspose2d, Cost, Graph, Linear, Node, Op, Pool2d, Shape, TensorSource, WeightsError, cost,
};

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
    /// Whether it computes mixing coefficients and nothing else.
    pub(crate) router: bool,
    /// Multiply-adds of the nodes that went into it, as far as they are carried out.
    pub(crate) madds: u64,
    /// Whether its value is that of no node, but a step on the way to one.
    pub(crate) partial: bool,
}

impl Step {
    /// Reads the weights into `room`, and scales them: the step is ready to be packed.
    pub(crate) fn load(&mut self, weights: &dyn TensorSource, room: &mut Vec<f32>) -> Result<(), WeightsError> {
        match &mut self.op {
            StepOp::Conv(layer) => layer.load(weights, room),
            StepOp::ConvTranspose(layer) => layer.load(weights, room),
            StepOp::Linear(layer) => layer.load(weights, room),
            StepOp::Input
            | StepOp::Affine { .. }
            | StepOp::Activation(_)
            | StepOp::Softmax
            | StepOp::Add { .. }
            | StepOp::Scale { .. }
            | StepOp::GlobalAvgPool
            | StepOp::Mean
            | StepOp::MaxPool(_)
            | StepOp::Upsample { .. }
            | StepOp::Dropout => Ok(()),
        }
    }

    /// Takes the weights away, once they are packed, and keeps their room for those of the next step.
    pub(crate) fn release(&mut self, room: &mut Vec<f32>) {
        match &mut self.op {
            StepOp::Conv(layer) => *room = std::mem::take(&mut layer.weight),
            StepOp::ConvTranspose(layer) => *room = std::mem::take(&mut layer.weight),
            StepOp::Linear(layer) => *room = std::mem::take(&mut layer.weight),
            StepOp::Input
            | StepOp::Affine { .. }
            | StepOp::Activation(_)
            | StepOp::Softmax
            | StepOp::Add { .. }
            | StepOp::Scale { .. }
            | StepOp::GlobalAvgPool
            | StepOp::Mean
            | StepOp::MaxPool(_)
            | StepOp::Upsample { .. }
            | StepOp::Dropout => {}
        }
    }
}

/// What a step computes. An `activation` is applied last.
#[derive(Debug, Clone)]
pub(crate) enum StepOp {
    Input,
    /// A convolution; with a second input, of the mixed kernel.
    Conv(Layer<Conv2d>),
    /// A transposed convolution; never mixed, scaled or added to.
    ConvTranspose(Layer<ConvTranspose2d>),
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
    Upsample {
        scale: usize,
        activation: Option<Activation>,
    },
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
    /// Name of the tensor `[K, O, …]` of weights.
    pub(crate) tensor: String,
    /// What the weights of each output channel are multiplied by: `[O]`, or empty.
    pub(crate) weight_scale: Vec<f32>,
    /// `[K, O, …]`, or `[C, O / groups, …]` of a transposed convolution, between [`Step::load`] and [`Step::release`]; else
    /// empty.
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

impl<S> Layer<S> {
    /// Reads the weights into `room`, and scales them: `groups` equal parts of the tensor, each of as many output channels,
    /// which come again and again, `run` weights each.
    fn read(
        &mut self,
        weights: &dyn TensorSource,
        room: &mut Vec<f32>,
        groups: usize,
        run: impl Fn(usize) -> usize,
    ) -> Result<(), WeightsError> {
        self.weight = std::mem::take(room);
        weights.read(&self.tensor, &mut self.weight)?;
        if !self.weight_scale.is_empty() {
            let outputs = self.weight_scale.len() / groups;
            let (part, run) = (self.weight.len() / groups, run(self.weight.len()));
            for (part, scale) in self.weight.chunks_exact_mut(part).zip(self.weight_scale.chunks_exact(outputs)) {
                for (channel, scale) in part.chunks_exact_mut(run).zip(scale.iter().cycle()) {
                    channel.iter_mut().for_each(|w| *w *= scale);
                }
            }
        }
        Ok(())
    }
}

impl Layer<ConvTranspose2d> {
    fn load(&mut self, weights: &dyn TensorSource, room: &mut Vec<f32>) -> Result<(), WeightsError> {
        let (groups, taps) = (self.spec.groups, self.spec.kernel[0] * self.spec.kernel[1]);
        self.read(weights, room, groups, |_| taps)
    }
}

impl Layer<Conv2d> {
    fn load(&mut self, weights: &dyn TensorSource, room: &mut Vec<f32>) -> Result<(), WeightsError> {
        let runs = self.kernels * self.spec.out_channels;
        self.read(weights, room, 1, |len| len / runs)
    }
}

impl Layer<Linear> {
    fn load(&mut self, weights: &dyn TensorSource, room: &mut Vec<f32>) -> Result<(), WeightsError> {
        let runs = self.kernels * self.spec.out_features;
        self.read(weights, room, 1, |len| len / runs)
    }
}

impl Lowered {
    /// Step by step, nothing fused. The weights have been checked.
    pub(crate) fn new(graph: &Graph, weights: &dyn TensorSource) -> Result<Self, WeightsError> {
        let costs = cost(graph);
        let routers = graph.router_nodes();
        let lower = |(node, cost): (&Node, &Cost)| {
            Ok(Step {
                name: node.name.clone(),
                op: lower_op(node, weights)?,
                inputs: node.inputs.iter().map(|i| i.index()).collect(),
                sums: false,
                shape: node.shape,
                router: routers[cost.node.index()],
                madds: cost.madds.total(),
                partial: false,
            })
        };
        let steps = graph.nodes().iter().zip(&costs.nodes).map(lower).collect::<Result<_, WeightsError>>()?;
        Ok(Self { steps, output: graph.output().index() })
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

fn lower_op(node: &Node, weights: &dyn TensorSource) -> Result<StepOp, WeightsError> {
    let name = |part: &str| format!("{}.{part}", node.name);
    let tensor = |part: &str| {
        let mut values = Vec::new();
        weights.read(&name(part), &mut values).map(|()| values)
    };
    let optional = |present: bool| if present { tensor("bias") } else { Ok(Vec::new()) };
    Ok(match &node.op {
        Op::Input => StepOp::Input,
        Op::Conv(spec) => StepOp::Conv(fixed(spec.clone(), name("weight"), optional(spec.bias)?)),
        Op::ConvTranspose(spec) => StepOp::ConvTranspose(fixed(spec.clone(), name("weight"), optional(spec.bias)?)),
        Op::Linear(spec) => StepOp::Linear(fixed(spec.clone(), name("weight"), optional(spec.bias)?)),
        Op::MixConv(m) => StepOp::Conv(mixture(m.conv.clone(), m.kernels, name("weight"), optional(m.conv.bias)?)),
        Op::MixLinear(m) => {
            StepOp::Linear(mixture(m.linear.clone(), m.kernels, name("weight"), optional(m.linear.bias)?))
        }
        Op::BatchNorm { eps } => {
            let (gamma, beta) = (tensor("weight")?, tensor("bias")?);
            let (mean, var) = (tensor("running_mean")?, tensor("running_var")?);
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
        Op::Upsample { scale } => StepOp::Upsample { scale: *scale, activation: None },
        Op::Dropout { .. } => StepOp::Dropout,
    })
}

fn fixed<S>(spec: S, tensor: String, bias: Vec<f32>) -> Layer<S> {
    Layer { bias, ..layer(spec, 1, tensor, false) }
}

fn mixture<S>(spec: S, kernels: usize, tensor: String, mixed_bias: Vec<f32>) -> Layer<S> {
    Layer { mixed_bias, ..layer(spec, kernels, tensor, true) }
}

fn layer<S>(spec: S, kernels: usize, tensor: String, mixes: bool) -> Layer<S> {
    Layer {
        spec,
        kernels,
        tensor,
        weight_scale: Vec::new(),
        weight: Vec::new(),
        mixed_bias: Vec::new(),
        bias: Vec::new(),
        activation: None,
        mixes,
        scaled: false,
        residual: false,
    }
}
