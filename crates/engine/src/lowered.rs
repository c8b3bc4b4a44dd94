//! The form between the graph and the plan: steps that own their weights and can absorb the steps after them.
//!
//! Large tensors are not loaded until their step is packed. Until then a step stores only the name of its tensor and
//! the factors to multiply into it.

use dyconv_graph::{
    Activation, AvgPool2d, Conv2d, ConvTranspose2d, Cost, Graph, Linear, Node, Op, Pool2d, Shape, TensorSource,
    UpsampleMode, WeightsError, cost,
};
use dyconv_kernels::chw_to_hwc;

/// A network as a list of steps in execution order; step 0 is the input.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) steps: Vec<Step>,
    /// The step whose value is the network's output.
    pub(crate) output: usize,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Name of the last node that was fused into it.
    pub(crate) name: String,
    pub(crate) op: StepOp,
    /// Steps that are read: the main input; for a layer also the coefficients, the factors of its input channels, and
    /// the residual, if it has them.
    pub(crate) inputs: Vec<usize>,
    /// Whether it writes partial sums over the pixels of its output, for [`StepOp::Mean`].
    pub(crate) sums: bool,
    /// Shape of one sample's output.
    pub(crate) shape: Shape,
    /// Whether it serves only to compute mixing coefficients.
    pub(crate) router: bool,
    /// Multiply-adds of the nodes that were fused into it, without those that fusion avoids.
    pub(crate) madds: u64,
    /// Whether its value is an intermediate one that belongs to no node.
    pub(crate) partial: bool,
}

impl Step {
    /// Reads the weights into `room` and scales them, so that the step can be packed.
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
            | StepOp::AvgPool(_)
            | StepOp::Upsample { .. }
            | StepOp::LeakyRelu { .. }
            | StepOp::Mul { .. }
            | StepOp::Concat
            | StepOp::Slice { .. }
            | StepOp::Flatten
            | StepOp::ChannelShuffle { .. }
            | StepOp::Interleave
            | StepOp::Dropout => Ok(()),
        }
    }

    /// Frees the weights after they were packed, and keeps their memory in `room` for those of the next step.
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
            | StepOp::AvgPool(_)
            | StepOp::Upsample { .. }
            | StepOp::LeakyRelu { .. }
            | StepOp::Mul { .. }
            | StepOp::Concat
            | StepOp::Slice { .. }
            | StepOp::Flatten
            | StepOp::ChannelShuffle { .. }
            | StepOp::Interleave
            | StepOp::Dropout => {}
        }
    }
}

/// The operation of a step. An `activation` is applied last.
#[derive(Debug, Clone)]
pub(crate) enum StepOp {
    Input,
    /// A convolution; with a second input, with the mixed kernel.
    Conv(Layer<Conv2d>),
    /// A transposed convolution; it has no mixture, no input factors and no residual.
    ConvTranspose(Layer<ConvTranspose2d>),
    /// A linear layer; with a second input, with the mixed matrix.
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
    /// The global average pool of a step that writes its partial sums.
    Mean,
    MaxPool(Pool2d),
    AvgPool(AvgPool2d),
    Upsample {
        scale: usize,
        mode: UpsampleMode,
        activation: Option<Activation>,
    },
    LeakyRelu {
        slope: f32,
    },
    Mul {
        activation: Option<Activation>,
    },
    Concat,
    /// Some of the channels.
    Slice {
        start: usize,
        channels: usize,
    },
    Flatten,
    ChannelShuffle {
        groups: usize,
    },
    /// The channels of two inputs in turn.
    Interleave,
    Dropout,
}

/// A layer with weights: y = activation(W̃·(factors·x) + Σ_k π_k·mixed_bias_k + bias + residual), W̃ = Σ_k π_k·W_k.
///
/// The two biases differ if Σ_k π_k is not one: the shift of a batch norm is added once, for any coefficients.
#[derive(Debug, Clone)]
pub(crate) struct Layer<S> {
    pub(crate) spec: S,
    /// Number K of kernels in the bank; 1 for a static layer.
    pub(crate) kernels: usize,
    /// Name of the tensor `[K, O, …]` of weights.
    pub(crate) tensor: String,
    /// Factors for the weights of each output channel: `[O]`, or empty.
    pub(crate) weight_scale: Vec<f32>,
    /// `[K, O, …]`, or `[C, O / groups, …]` of a transposed convolution. Empty except between [`Step::load`] and
    /// [`Step::release`].
    pub(crate) weight: Vec<f32>,
    /// `[K, O]` or empty; always empty in a static layer.
    pub(crate) mixed_bias: Vec<f32>,
    /// `[O]` or empty.
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Option<Activation>,
    /// Whether it reads coefficients.
    pub(crate) mixes: bool,
    /// Whether it reads factors of the input channels.
    pub(crate) scaled: bool,
    /// Whether it reads a residual.
    pub(crate) residual: bool,
    /// Channels and pixels of its input, if it is a linear layer that reads a map as if it were flattened.
    pub(crate) flattens: Option<[usize; 2]>,
}

impl<S> Layer<S> {
    /// Reads the weights into `room` and scales them. The tensor is `groups` equal parts with the same number of output
    /// channels each, which repeat cyclically, `run` weights at a time.
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
        self.read(weights, room, 1, |len| len / runs)?;
        if let Some([channels, pixels]) = self.flattens {
            // Weights are in the order `[C, H, W]`, and the map is `[H, W, C]`.
            let mut row = vec![0.0; channels * pixels];
            for weights in self.weight.chunks_exact_mut(channels * pixels) {
                chw_to_hwc(channels, weights, &mut row);
                weights.copy_from_slice(&row);
            }
        }
        Ok(())
    }
}

impl Lowered {
    /// Lowers the graph step by step, without fusion. The weights have been checked.
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

    /// Number of reads of each step's value; returning the network's output counts as one.
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
        Op::AvgPool(pool) => StepOp::AvgPool(pool.clone()),
        Op::Upsample { scale, mode } => StepOp::Upsample { scale: *scale, mode: *mode, activation: None },
        Op::LeakyRelu { slope } => StepOp::LeakyRelu { slope: *slope },
        Op::Mul => StepOp::Mul { activation: None },
        Op::Concat => StepOp::Concat,
        Op::Slice { start, channels } => StepOp::Slice { start: *start, channels: *channels },
        Op::Flatten => StepOp::Flatten,
        Op::ChannelShuffle { groups } => StepOp::ChannelShuffle { groups: *groups },
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
        flattens: None,
    }
}
