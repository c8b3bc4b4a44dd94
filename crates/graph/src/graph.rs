//! The graph itself: nodes in execution order, their shapes, their parameters.

use crate::error::GraphError;
use crate::op::Op;
use crate::shape::Shape;

/// Position of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A node: an operation with its name, its inputs and the shape of its output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique name; tensors of the node are called `<name>.<parameter>`.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Nodes that it reads, in the order that the op defines.
    pub inputs: Vec<NodeId>,
    /// Shape of one sample's output.
    pub shape: Shape,
}

/// What a dynamic layer mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixture {
    /// Number K of kernels in the bank.
    pub kernels: usize,
    /// The node that computes the attention π, one coefficient per kernel.
    pub attention: NodeId,
}

impl Node {
    /// The position of π among the inputs of a dynamic layer.
    const ATTENTION: usize = 1;

    /// The mixture of a dynamic layer; `None` for any other node.
    pub fn mixture(&self) -> Option<Mixture> {
        let kernels = match &self.op {
            Op::MixConv(mix) => mix.kernels,
            Op::MixLinear(mix) => mix.kernels,
            Op::Input
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Linear(_)
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
            | Op::Dropout { .. } => return None,
        };
        Some(Mixture { kernels, attention: self.inputs[Self::ATTENTION] })
    }
}

/// A tensor that a node owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// `<node>.<parameter>`, as in the model file.
    pub name: String,
    /// Shape as in the model file.
    pub shape: Vec<usize>,
    /// The node that owns it.
    pub node: NodeId,
    /// Whether it is trained (and counted as a parameter) rather than a running statistic.
    pub trained: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A validated network: every input precedes its readers, shapes fit, names are unique, every value is read.
///
/// Made by [`crate::Builder`] or read from JSON. The first node is the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) output: NodeId,
}

impl Graph {
    /// All nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All node ids in execution order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// The node whose value is the network's output.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Shape `[C, H, W]` of one input sample.
    pub fn input_dims(&self) -> [usize; 3] {
        match self.nodes[0].shape {
            Shape::Map(dims) => dims,
            Shape::Vector(n) => [n, 1, 1],
        }
    }

    /// Shape of the output for one sample.
    pub fn output_shape(&self) -> Shape {
        self.nodes[self.output.0].shape
    }

    /// Shape of a node's first input; for the input node, its own shape.
    pub fn input_shape(&self, id: NodeId) -> Shape {
        let node = self.node(id);
        node.inputs.first().map_or(node.shape, |i| self.node(*i).shape)
    }

    /// Every tensor of the network in execution order.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.ids().flat_map(|id| self.node_parameters(id)).collect()
    }

    /// The tensors of one node.
    pub fn node_parameters(&self, id: NodeId) -> Vec<Parameter> {
        let node = self.node(id);
        node.op
            .tensors(self.input_shape(id).channels())
            .into_iter()
            .map(|(name, shape, trained)| Parameter { name: format!("{}.{name}", node.name), shape, node: id, trained })
            .collect()
    }

    /// Whether each node serves only to compute mixing coefficients: a node is part of a router if each of its readers
    /// uses it as the coefficients of a mixture or is itself part of a router.
    pub fn router_nodes(&self) -> Vec<bool> {
        let mut read = vec![false; self.nodes.len()];
        let mut elsewhere = vec![false; self.nodes.len()];
        elsewhere[self.output.0] = true;
        for id in self.ids().rev() {
            let node = self.node(id);
            let mixture = node.mixture().is_some();
            let router = read[id.0] && !elsewhere[id.0];
            for (position, input) in node.inputs.iter().enumerate() {
                read[input.0] = true;
                elsewhere[input.0] |= !(router || (mixture && position == Node::ATTENTION));
            }
        }
        (0..self.nodes.len()).map(|i| i > 0 && read[i] && !elsewhere[i]).collect()
    }

    /// The readers of each node.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for id in self.ids() {
            for input in &self.node(id).inputs {
                readers[input.0].push(id);
            }
        }
        readers
    }

    /// The dynamic layers with what they mix, in execution order.
    pub fn mixtures(&self) -> impl Iterator<Item = (&Node, Mixture)> {
        self.nodes.iter().filter_map(|node| Some((node, node.mixture()?)))
    }

    /// Number of dynamic layers.
    pub fn dynamic_layers(&self) -> usize {
        self.mixtures().count()
    }

    /// Checks what cannot be checked for a single node: every node but the output has a reader.
    pub(crate) fn check_whole(&self) -> Result<(), GraphError> {
        let readers = self.readers();
        for id in self.ids() {
            if readers[id.0].is_empty() && id != self.output {
                return Err(GraphError::new(
                    &self.node(id).name,
                    "its value is never used; remove the node or make it the output",
                ));
            }
        }
        Ok(())
    }
}
