//! What need not be written: dropout, routers whose attention is constant, and batch norms that are folded into the
//! convolution before them.
//!
//! s·(Σ_k π_k (W_k·x + b_k)) + t = Σ_k π_k ((s·W_k)·x + s·b_k) + t: the scale goes into every kernel and every bias, the
//! shift into a bias that is not mixed, because the coefficients of a sigmoid router do not sum to one.

use dyconv_graph::{Graph, NodeId, Op, TensorSource};

use super::values::read;
use crate::error::OnnxError;

/// y = scale·x + shift, per channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
}

/// What becomes of each node, by its index.
pub(super) struct Folds {
    /// Whether the node is written.
    pub written: Vec<bool>,
    /// The node whose value stands for its own: itself, unless it is folded or dropped.
    pub source: Vec<NodeId>,
    /// What is folded into it.
    pub affine: Vec<Option<Affine>>,
}

impl Folds {
    /// `frozen`: attention is constant, so nothing is needed that only computes attention.
    pub fn new(graph: &Graph, weights: &dyn TensorSource, frozen: bool) -> Result<Self, OnnxError> {
        let mut written: Vec<bool> = vec![true; graph.nodes().len()];
        if frozen {
            written = graph.router_nodes().iter().map(|router| !router).collect();
        }
        let mut source: Vec<NodeId> = graph.ids().collect();
        for id in graph.ids() {
            let node = graph.node(id);
            if let Op::Dropout { .. } = node.op {
                written[id.index()] = false;
                source[id.index()] = source[node.inputs[0].index()];
            }
        }
        let mut uses = vec![0; graph.nodes().len()];
        uses[source[graph.output().index()].index()] += 1;
        for id in graph.ids().filter(|id| written[id.index()]) {
            let node = graph.node(id);
            let pi = node.mixture().filter(|_| frozen).map(|m| m.attention);
            let read = node.inputs.iter().enumerate().filter(|(position, input)| *position == 0 || Some(**input) != pi);
            read.for_each(|(_, input)| uses[source[input.index()].index()] += 1);
        }
        let mut folds = Self { written, source, affine: vec![None; graph.nodes().len()] };
        for id in graph.ids().filter(|id| folds.written[id.index()]).collect::<Vec<_>>() {
            let Op::BatchNorm { eps } = graph.node(id).op else { continue };
            let producer = folds.of(graph.node(id).inputs[0]);
            if uses[producer.index()] == 1 && takes_affine(&graph.node(producer).op) {
                let norm = Affine::of(graph, id, eps, weights)?;
                let before = folds.affine[producer.index()].take();
                folds.affine[producer.index()] = Some(before.map_or(norm.clone(), |before| before.then(&norm)));
                folds.written[id.index()] = false;
                folds.take_place(id, producer);
                uses[producer.index()] = uses[id.index()];
            }
        }
        Ok(folds)
    }

    /// The written node whose value is that of `id`.
    pub fn of(&self, id: NodeId) -> NodeId {
        self.source[id.index()]
    }

    /// Everything that has the value of `gone` has that of `by`.
    fn take_place(&mut self, gone: NodeId, by: NodeId) {
        self.source.iter_mut().filter(|s| **s == gone).for_each(|s| *s = by);
    }
}

impl Affine {
    /// A batch norm.
    fn of(graph: &Graph, id: NodeId, eps: f32, weights: &dyn TensorSource) -> Result<Self, OnnxError> {
        let (name, channels) = (&graph.node(id).name, graph.node(id).shape.channels());
        let tensor = |parameter: &str| {
            let mut values = Vec::new();
            read(weights, &format!("{name}.{parameter}"), channels, &mut values)?;
            Ok::<_, OnnxError>(values.into_iter().map(f64::from).collect::<Vec<f64>>())
        };
        let (gamma, beta, mean, var) =
            (tensor("weight")?, tensor("bias")?, tensor("running_mean")?, tensor("running_var")?);
        let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + f64::from(eps)).sqrt()).collect();
        let shift = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        Ok(Self { scale, shift })
    }

    /// The function that applies `self` and then `next`.
    fn then(&self, next: &Self) -> Self {
        let channels = 0..self.scale.len();
        Self {
            scale: channels.clone().map(|c| self.scale[c] * next.scale[c]).collect(),
            shift: channels.map(|c| self.shift[c] * next.scale[c] + next.shift[c]).collect(),
        }
    }
}

/// Whether a batch norm after the op can be folded into it.
fn takes_affine(op: &Op) -> bool {
    match op {
        Op::Conv(_) | Op::MixConv(_) | Op::ConvTranspose(_) => true,
        Op::Input
        | Op::Linear(_)
        | Op::MixLinear(_)
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Softmax
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
        | Op::Dropout { .. } => false,
    }
}
