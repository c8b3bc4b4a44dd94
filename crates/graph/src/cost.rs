//! Cost of a network: parameters and multiply-adds, node by node.
//!
//! Multiply-adds are split as in the paper's formulas (§3.2): the convolution itself, the attention's linear layers,
//! the mixing of the kernels, and the additions of the attention's average pooling, which are counted separately. Batch
//! norm, activations, residual additions, upsampling and other pooling are not counted, as is customary in the
//! literature.

use serde::Serialize;

use crate::graph::{Graph, NodeId};
use crate::op::Op;

/// Multiply-adds of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Madds {
    /// Convolutions (static, or with the mixed kernel) and every linear layer outside the routers.
    pub convolution: u64,
    /// The routers' linear layers.
    pub attention: u64,
    /// Σ_k π_k·W_k, and Σ_k π_k·b_k if kernels have biases.
    pub mixing: u64,
    /// Additions of the routers' global average pooling (not multiply-adds).
    pub pooling: u64,
}

impl Madds {
    /// The sum; an addition counts as half a multiply-add.
    pub fn total(&self) -> u64 {
        self.convolution + self.attention + self.mixing + self.pooling / 2
    }

    fn add(&mut self, other: &Madds) {
        self.convolution += other.convolution;
        self.attention += other.attention;
        self.mixing += other.mixing;
        self.pooling += other.pooling;
    }
}

/// Cost of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The node.
    pub node: NodeId,
    /// Number of its trained parameters.
    pub params: u64,
    /// Its multiply-adds.
    pub madds: Madds,
}

/// Cost of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkCost {
    /// Node by node, in execution order.
    pub nodes: Vec<Cost>,
    /// Number of all trained parameters.
    pub params: u64,
    /// Number of trained parameters of routers.
    pub attention_params: u64,
    /// All multiply-adds.
    pub total: Madds,
}

/// Counts the cost of a network.
pub fn cost(graph: &Graph) -> NetworkCost {
    let routers = graph.router_nodes();
    let mut sum = NetworkCost { nodes: Vec::new(), params: 0, attention_params: 0, total: Madds::default() };
    for id in graph.ids() {
        let node = Cost { node: id, params: params(graph, id), madds: madds(graph, id, routers[id.index()]) };
        sum.params += node.params;
        if routers[id.index()] {
            sum.attention_params += node.params;
        }
        sum.total.add(&node.madds);
        sum.nodes.push(node);
    }
    sum
}

fn params(graph: &Graph, id: NodeId) -> u64 {
    graph.node_parameters(id).iter().filter(|p| p.trained).map(|p| p.elements() as u64).sum()
}

fn madds(graph: &Graph, id: NodeId, router: bool) -> Madds {
    let node = graph.node(id);
    let input = graph.input_shape(id);
    let channels = input.channels() as u64;
    let pixels = node.shape.pixels() as u64;
    let mut madds = Madds::default();
    match &node.op {
        Op::Conv(conv) => madds.convolution = conv.weights(input.channels()) as u64 * pixels,
        Op::MixConv(mix) => {
            let weights = mix.conv.weights(input.channels()) as u64;
            let biases = if mix.conv.bias { mix.conv.out_channels as u64 } else { 0 };
            madds.convolution = weights * pixels;
            madds.mixing = mix.kernels as u64 * (weights + biases);
        }
        // Every input pixel is multiplied by the whole kernel: products that land in the padding are counted, as for a
        // convolution.
        Op::ConvTranspose(conv) => {
            madds.convolution = conv.weights(input.channels()) as u64 * input.pixels() as u64;
        }
        Op::Linear(linear) => {
            let products = channels * linear.out_features as u64;
            *(if router { &mut madds.attention } else { &mut madds.convolution }) = products;
        }
        Op::MixLinear(mix) => {
            let weights = channels * mix.linear.out_features as u64;
            let biases = if mix.linear.bias { mix.linear.out_features as u64 } else { 0 };
            madds.convolution = weights;
            madds.mixing = mix.kernels as u64 * (weights + biases);
        }
        Op::GlobalAvgPool => {
            if router {
                madds.pooling = input.elements() as u64;
            }
        }
        // Not counted, see above.
        Op::Input
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Scale
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => {}
    }
    madds
}
