//! Builds a graph node by node; every step infers the output shape and rejects what cannot be computed.

use std::collections::HashSet;

use crate::error::GraphError;
use crate::graph::{Graph, Node, NodeId};
use crate::infer::{MAX_OPERATIONS, check_input, operations};
use crate::op::Op;
use crate::shape::Shape;

/// Maximum number of nodes of a graph.
const MAX_NODES: usize = 10_000;

/// A graph under construction.
#[derive(Debug, Clone)]
pub struct Builder {
    nodes: Vec<Node>,
    names: HashSet<String>,
    /// Operations of all nodes for one sample.
    operations: u64,
}

impl Builder {
    /// Starts a graph with the input node, called `input`, for samples `[C, H, W]`.
    ///
    /// # Errors
    /// If a dimension is zero or absurdly large.
    pub fn new(input: [usize; 3]) -> Result<Self, GraphError> {
        let shape = check_input(input).map_err(|m| GraphError::new("input", m))?;
        let node = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), shape };
        Ok(Self { names: HashSet::from([node.name.clone()]), nodes: vec![node], operations: 0 })
    }

    /// The input node.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Shape of an existing node.
    pub fn shape(&self, id: NodeId) -> Shape {
        self.nodes[id.0].shape
    }

    /// Adds a node. An `end_padding` equal to the `padding` is left out, so that equal ops compare equal.
    ///
    /// # Errors
    /// If the name is taken or empty, the shapes do not fit the op, or one sample would take absurdly many operations.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let op = op.normalized();
        if name.is_empty()
            || name.len() > 200
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        {
            return Err(GraphError::new(name, "a name has 1 to 200 letters, digits, dots, dashes or underscores"));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(GraphError::new(name, format!("more than {MAX_NODES} nodes")));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|i| self.nodes[i.0].shape).collect();
        let fail = |message: String| GraphError::new(name, message);
        let shape = op.infer(&shapes).map_err(fail)?;
        let count = operations(&op, shapes[0], shape).map_err(fail)?;
        if self.operations + count > MAX_OPERATIONS {
            let all = self.operations + count;
            return Err(fail(format!(
                "with it the network takes {all} operations for one sample, more than {MAX_OPERATIONS}"
            )));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(GraphError::new(name, "a node of this name exists already"));
        }
        self.operations += count;
        self.nodes.push(Node { name: name.to_owned(), op, inputs: inputs.to_vec(), shape });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Finishes the graph; `output` is the network's output.
    ///
    /// # Errors
    /// If a node is never read.
    pub fn finish(self, output: NodeId) -> Result<Graph, GraphError> {
        let graph = Graph { nodes: self.nodes, output };
        graph.check_whole()?;
        Ok(graph)
    }
}

impl Graph {
    /// The same nodes for inputs of shape `[C, H, W]`, each with the op that `change` makes of its own.
    ///
    /// # Errors
    /// If an op does not fit its new input.
    pub fn rebuilt(&self, input: [usize; 3], change: impl Fn(NodeId, &Op) -> Op) -> Result<Self, GraphError> {
        let mut b = Builder::new(input)?;
        for id in self.ids().skip(1) {
            let node = self.node(id);
            b.push(&node.name, change(id, &node.op), &node.inputs)?;
        }
        b.finish(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Activation, Conv2d, ConvTranspose2d, Linear, MixConv, Pool2d, UpsampleMode};
    use proptest::prelude::*;

    fn message(op: Op, input: [usize; 3]) -> String {
        let mut b = Builder::new(input).unwrap();
        let x = b.input();
        b.push("n", op, &[x]).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_node_and_the_shapes() {
        let conv = |c: Conv2d| message(Op::Conv(c), [3, 8, 8]);
        assert!(conv(Conv2d { groups: 2, ..Conv2d::new(4, [1, 1]) }).contains("groups 2 must divide the 3 input"));
        assert!(conv(Conv2d::new(4, [9, 9])).contains("does not fit into 8 pixels"));
        assert!(conv(Conv2d { stride: [0, 1], ..Conv2d::new(4, [1, 1]) }).contains("stride must lie in"));
        assert!(conv(Conv2d::new(0, [1, 1])).contains("out_channels must lie in"));
        assert!(
            message(Op::Linear(Linear { out_features: 3, bias: true }), [3, 8, 8]).contains("put `global_avg_pool`")
        );
        assert!(message(Op::BatchNorm { eps: f32::NAN }, [3, 8, 8]).contains("eps must be positive"));
        assert!(message(Op::Dropout { rate: 1.0 }, [3, 8, 8]).contains("rate"));
        assert!(message(Op::Add, [3, 8, 8]).contains("takes 2 inputs, got 1"));
        let pool = Pool2d { padding: [2, 2], ..Pool2d::new(2, 2) };
        assert!(message(Op::MaxPool(pool), [3, 8, 8]).contains("padding 2 is not smaller than the window 2"));
        let pool = Pool2d { padding: [0, usize::MAX], ..Pool2d::new(2, 2) };
        assert!(message(Op::MaxPool(pool), [3, 8, 8]).contains("padding must be at most"));
        let deconv = |c: ConvTranspose2d| message(Op::ConvTranspose(c), [6, 8, 8]);
        let two = ConvTranspose2d { stride: [2, 2], ..ConvTranspose2d::new(4, [2, 2]) };
        let error = deconv(ConvTranspose2d { output_padding: [2, 0], ..two.clone() });
        assert!(error.contains("output_padding 2 must be smaller than the stride 2"), "{error}");
        assert!(deconv(ConvTranspose2d { padding: [0, 8], ..two.clone() }).contains("padding 8 leaves nothing of 16"));
        assert!(deconv(ConvTranspose2d { groups: 4, ..two.clone() }).contains("groups 4 must divide the 6 input"));
        assert!(deconv(ConvTranspose2d { stride: [0, 1], ..two.clone() }).contains("stride must lie in"));
        assert!(deconv(ConvTranspose2d { stride: [1, 65], ..two.clone() }).contains("stride must lie in 1..=64"));
        assert!(deconv(ConvTranspose2d { kernel: [1, 16_384], ..two }).contains("output side must lie in"));
        let large = ConvTranspose2d { padding: [8190, 8190], ..ConvTranspose2d::new(65_536, [16_384, 16_384]) };
        assert!(deconv(large).contains("is too large"));
        let large = Conv2d { padding: [256; 2], stride: [256; 2], ..Conv2d::new(65_536, [256; 2]) };
        assert!(conv(large).contains("a bank of 1 kernels of 12884901888 weights is too large"));
        let upsample = |scale| Op::Upsample { scale, mode: UpsampleMode::Nearest };
        assert!(message(upsample(0), [3, 8, 8]).contains("scale must lie in"));
        assert!(message(upsample(2049), [3, 8, 8]).contains("output side must lie in"));
        assert!(message(upsample(2000), [60_000, 8, 8]).contains("too large"));
        assert!(message(Op::LeakyRelu { slope: f32::INFINITY }, [3, 8, 8]).contains("slope must be finite"));
        assert!(message(Op::Slice { start: 2, channels: 2 }, [3, 8, 8]).contains("do not lie within 3 channels"));
        assert!(message(Op::Slice { start: usize::MAX, channels: 2 }, [3, 8, 8]).contains("within 3 channels"));
        assert!(message(Op::Slice { start: 0, channels: 0 }, [3, 8, 8]).contains("within 3 channels"));
        assert!(message(Op::ChannelShuffle { groups: 2 }, [3, 8, 8]).contains("groups 2 must divide the 3 channels"));
        assert!(message(Op::ChannelShuffle { groups: 0 }, [3, 8, 8]).contains("groups 0 must divide"));
        assert!(message(Op::Flatten, [16, 256, 256]).contains("features must lie in"));
        assert!(message(Op::Concat, [3, 8, 8]).contains("takes two or more inputs, got 1"));
        assert!(message(Op::Mul, [3, 8, 8]).contains("takes 2 inputs, got 1"));
        let late = Conv2d { end_padding: Some([0, usize::MAX]), ..Conv2d::new(4, [1, 1]) };
        assert!(conv(late).contains("padding must be at most"));
        let lost = Conv2d { end_padding: Some([16_384; 2]), stride: [64; 2], ..Conv2d::new(4, [1, 1]) };
        assert!(conv(lost).contains("nearly all of it zeros"));
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let pooled = b.push("gap", Op::GlobalAvgPool, &[x]).unwrap();
        let mix = MixConv { kernels: 4, conv: Conv2d::new(4, [1, 1]) };
        let error = b.push("mix", Op::MixConv(mix), &[x, pooled]).unwrap_err().to_string();
        assert_eq!(error, "node `mix`: expects one coefficient for each of its 4 kernels, got [3]");
        let error = b.push("both", Op::Concat, &[x, pooled]).unwrap_err().to_string();
        assert_eq!(error, "node `both`: expects maps of equal height and width, or vectors, got [3, 8, 8] and [3]");
        assert!(b.push("mul", Op::Mul, &[x, pooled]).unwrap_err().to_string().contains("expects equal shapes"));
    }

    #[test]
    fn the_end_is_padded_as_the_beginning_unless_it_differs() {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let conv = |end| Op::Conv(Conv2d { padding: [1, 0], end_padding: end, ..Conv2d::new(4, [3, 3]) });
        let y = b.push("same", conv(Some([1, 0])), &[x]).unwrap();
        let z = b.push("end", conv(Some([0, 2])), &[y]).unwrap();
        assert_eq!((b.shape(y), b.shape(z)), (Shape::Map([4, 8, 6]), Shape::Map([4, 7, 6])));
        let graph = b.finish(z).unwrap();
        assert_eq!((&graph.node(y).op, &graph.node(z).op), (&conv(None), &conv(Some([0, 2]))));
    }

    #[test]
    fn padding_and_windows_are_bounded_by_the_map() {
        let conv = |c: Conv2d, input| message(Op::Conv(c), input);
        let lost = Conv2d { padding: [16_384; 2], stride: [16_384; 2], ..Conv2d::new(1, [1, 1]) };
        let error = conv(lost.clone(), [1, 8, 8]);
        assert!(error.contains("padding [16384, 16384] makes a map [1, 32776, 32776] of [1, 8, 8]"), "{error}");
        assert!(conv(Conv2d { dilation: [16_383; 2], kernel: [2, 2], ..lost }, [3, 1, 1]).contains("nearly all of it"));
        // Large dilation on small maps, as in atrous networks, and odd padding of 1 × 1 kernels are still accepted.
        for (c, input) in [
            (Conv2d { padding: [72; 2], dilation: [72; 2], ..Conv2d::new(256, [3, 3]) }, [2048, 1, 1]),
            (Conv2d { padding: [3; 2], ..Conv2d::new(8, [1, 1]) }, [8, 1, 1]),
            (Conv2d { padding: [2048, 0], ..Conv2d::new(1, [4097, 1]) }, [1, 2048, 2048]),
        ] {
            let mut b = Builder::new(input).unwrap();
            let x = b.input();
            b.push("n", Op::Conv(c), &[x]).unwrap();
        }
    }

    #[test]
    fn the_time_of_a_node_is_bounded() {
        let pool = |kernel, padding| Op::MaxPool(Pool2d { padding: [padding; 2], ..Pool2d::new(kernel, 1) });
        let error = message(pool(2048, 1024), [3, 2048, 2048]);
        let count = 2048u64 * 2048 * 2049 * 2049 * 3;
        let expected = format!("windows [3, 2048, 2048] at {} places read {count} values", 2049 * 2049);
        assert!(error.starts_with("node `n`: ") && error.contains(&expected), "{error}");
        let error = message(Op::Conv(Conv2d { padding: [1; 2], ..Conv2d::new(1024, [3, 3]) }), [1024, 1024, 1024]);
        assert!(error.contains("takes 9895604649984 multiply-adds for one sample, more than 4398046511104"), "{error}");
        let linear = Op::Linear(Linear { out_features: 1, bias: false });
        // The pools of real networks: that of a stem on the largest map, those of a pyramid, and one over the whole
        // map.
        for (op, input) in
            [(pool(3, 1), [8, 16_384, 16_384]), (pool(13, 6), [1024, 80, 80]), (pool(2048, 0), [3, 2048, 2048])]
        {
            let mut b = Builder::new(input).unwrap();
            let x = b.input();
            let y = b.push("pool", op, &[x]).unwrap();
            let y = b.push("mean", Op::GlobalAvgPool, &[y]).unwrap();
            b.push("linear", linear.clone(), &[y]).unwrap();
        }
        let mut b = Builder::new([512, 1024, 1024]).unwrap();
        let mut x = b.input();
        let wide = Conv2d { padding: [1; 2], ..Conv2d::new(512, [3, 3]) };
        let error = (0..).find_map(|i| match b.push(&format!("n{i}"), Op::Conv(wide.clone()), &[x]) {
            Ok(y) => {
                x = y;
                None
            }
            Err(error) => Some((i, error.to_string())),
        });
        let (nodes, error) = error.unwrap();
        assert!(nodes == 28 && error.contains("node `n28`: with it the network takes 71743"), "{nodes} {error}");
    }

    #[test]
    fn a_graph_is_rebuilt_for_other_inputs() {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let y = b.push("conv", Op::Conv(Conv2d::new(4, [5, 5])), &[x]).unwrap();
        let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
        let graph = b.finish(y).unwrap();
        assert_eq!(graph.rebuilt([3, 8, 8], |_, op| op.clone()).unwrap(), graph);
        let wide = |id, op: &Op| if id == graph.find("conv") { Op::Conv(Conv2d::new(6, [5, 5])) } else { op.clone() };
        let other = graph.rebuilt([1, 9, 7], |id, op| wide(Some(id), op)).unwrap();
        assert_eq!((other.output_shape(), other.output()), (Shape::Map([6, 5, 3]), graph.output()));
        let error = graph.rebuilt([3, 4, 8], |_, op| op.clone()).unwrap_err().to_string();
        assert!(error.starts_with("node `conv`: a window reaching over 5 pixels does not fit"), "{error}");
    }

    #[test]
    fn messages_do_not_repeat_names_of_megabytes() {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let name = "\u{1b}".repeat(1 << 20);
        let error = b.push(&name, Op::Activation(Activation::Relu), &[x]).unwrap_err().to_string();
        assert!(error.len() < 1000 && error.contains("1 to 200 letters") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn names_are_unique_and_every_node_is_read() {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let y = b.push("a", Op::Activation(Activation::Relu), &[x]).unwrap();
        assert!(b.push("a", Op::Activation(Activation::Relu), &[x]).unwrap_err().message.contains("exists already"));
        assert!(b.push("a b", Op::Activation(Activation::Relu), &[x]).is_err());
        let mut unread = b.clone();
        unread.push("b", Op::Activation(Activation::Relu), &[x]).unwrap();
        assert!(unread.finish(y).unwrap_err().message.contains("never used"));
        assert_eq!(b.finish(y).unwrap().output_shape(), Shape::Map([3, 8, 8]));
        assert!(Builder::new([3, 0, 8]).is_err());
        assert!(Builder::new([65_536, 16_384, 16_384]).unwrap_err().message.contains("too large"));
    }

    proptest! {
        /// A transposed convolution inverts the sizes of the convolution with the same parameters, for any output
        /// padding.
        #[test]
        fn a_transposed_convolution_undoes_sizes(
            size in 1usize..20, k in 1usize..6, s in 1usize..4, p in 0usize..4, added in 0usize..4,
        ) {
            let mut b = Builder::new([1, size, 1]).unwrap();
            let x = b.input();
            let up = ConvTranspose2d {
                stride: [s, 1], padding: [p, 0], output_padding: [added, 0], ..ConvTranspose2d::new(1, [k, 1])
            };
            let down = Conv2d { stride: [s, 1], padding: [p, 0], ..Conv2d::new(1, [k, 1]) };
            let whole = (size - 1) * s + k + added;
            match b.push("up", Op::ConvTranspose(up), &[x]) {
                Ok(y) => {
                    prop_assert_eq!(b.shape(y), Shape::Map([1, whole - 2 * p, 1]));
                    let z = b.push("down", Op::Conv(down), &[y]).unwrap();
                    prop_assert_eq!(b.shape(z), b.shape(x));
                }
                Err(_) => prop_assert!(added >= s || whole <= 2 * p),
            }
        }

        /// The output size of a convolution is the number of window positions, counted one by one.
        #[test]
        fn output_size_counts_the_windows(size in 1usize..20, k in 1usize..6, s in 1usize..4, p in 0usize..4, d in 1usize..4) {
            let mut b = Builder::new([1, size, 1]).unwrap();
            let x = b.input();
            let conv = Conv2d { stride: [s, 1], padding: [p, 0], dilation: [d, 1], ..Conv2d::new(1, [k, 1]) };
            let counted = (0..).take_while(|i| i * s + d * (k - 1) < size + 2 * p).count();
            match b.push("c", Op::Conv(conv), &[x]) {
                Ok(id) => prop_assert_eq!(b.shape(id), Shape::Map([1, counted, 1])),
                Err(_) => prop_assert_eq!(counted, 0),
            }
        }
    }
}
