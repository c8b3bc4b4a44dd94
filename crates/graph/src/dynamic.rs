//! Makes a static network dynamic: its convolutions become mixtures of K kernels, with a router each.

use crate::builder::Builder;
use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::init::{Init, init};
use crate::op::{Conv2d, MixConv, Op};
use crate::router::{Gate, Router};
use crate::shape::Shape;
use crate::weights::{Tensor, Weights};

/// Size of the differences between the kernels of a new bank, relative to the kernels. They must differ for a router to
/// learn; because the differences have mean zero, uniform attention yields the static kernel.
const APART: f32 = 0.1;

/// The dynamic form of a static network, with `kernels` kernels per layer, and its first weights, for training that
/// starts from the static ones.
///
/// Each `conv` becomes a `mix_conv` whose router `<conv>.router.*` is that of `router`, except those that the paper
/// leaves static: the first layer, 1×1 convolutions on shortcuts, a 1×1 convolution right before the last pool, and the
/// network's output. Linear layers stay static, and so do layers that are dynamic already.
///
/// Each bank is K copies of the static kernel plus differences with mean zero that `seed` determines ([`bank`]). The
/// last layer of each new router is zero and its first layer as [`init`] draws it, so attention is uniform, and the
/// network computes the same function as the static one for any τ.
///
/// ```
/// use dyconv_graph::{Builder, Conv2d, Init, Linear, Op, Router, init, to_dynamic};
///
/// let mut b = Builder::new([3, 8, 8])?;
/// let x = b.input();
/// let y = b.push("stem", Op::Conv(Conv2d::new(8, [3, 3])), &[x])?;
/// let y = b.push("body", Op::Conv(Conv2d::new(16, [3, 3])), &[y])?;
/// let y = b.push("pool", Op::GlobalAvgPool, &[y])?;
/// let y = b.push("classifier", Op::Linear(Linear { out_features: 10, bias: true }), &[y])?;
/// let graph = b.finish(y)?;
///
/// let (dynamic, weights) = to_dynamic(&graph, &init(&graph, Init::default()), 4, &Router::default(), 0)?;
/// assert_eq!(dynamic.dynamic_layers(), 1);
/// assert_eq!(weights.get("body.weight").shape, [4, 16, 8, 3, 3]);
/// # Ok::<(), dyconv_graph::GraphError>(())
/// ```
///
/// # Errors
/// If the weights do not belong to the graph, there are fewer than two kernels, no layer would become dynamic, or a
/// layer's new nodes do not fit: its bank is too large, or their names are taken.
pub fn to_dynamic(
    graph: &Graph,
    weights: &Weights,
    kernels: usize,
    router: &Router,
    seed: u64,
) -> Result<(Graph, Weights), GraphError> {
    weights.check(graph).map_err(|e| GraphError::new("graph", e.to_string()))?;
    if kernels < 2 {
        return Err(GraphError::new("graph", format!("a dynamic layer has two or more kernels, got {kernels}")));
    }
    let chosen = chosen(graph);
    if !chosen.contains(&true) {
        let message = "no convolution of it would become dynamic: it has none besides the first layer, 1×1 shortcuts, \
                       a 1×1 convolution before the last pool, and the output";
        return Err(GraphError::new("graph", message));
    }
    let router = Router { kernels, ..router.clone() };
    let dynamic = rebuild(graph, &chosen, &router)?;
    Ok((dynamic.clone(), first_weights(&dynamic, weights, &router, seed)))
}

/// The graph with the chosen convolutions made dynamic.
fn rebuild(graph: &Graph, chosen: &[bool], router: &Router) -> Result<Graph, GraphError> {
    let mut b = Builder::new(graph.input_dims())?;
    let mut new = vec![b.input()];
    for id in graph.ids().skip(1) {
        let node = graph.node(id);
        let mut inputs: Vec<NodeId> = node.inputs.iter().map(|input| new[input.index()]).collect();
        let op = match &node.op {
            Op::Conv(conv) if chosen[id.index()] => {
                inputs.push(b.router(&format!("{}.router", node.name), inputs[0], router)?);
                Op::MixConv(MixConv { kernels: router.kernels, conv: conv.clone() })
            }
            op => op.clone(),
        };
        new.push(b.push(&node.name, op, &inputs)?);
    }
    b.finish(new[graph.output().index()])
}

/// The weights of the dynamic form: those of the static network, banks made of them, and new routers.
fn first_weights(dynamic: &Graph, weights: &Weights, router: &Router, seed: u64) -> Weights {
    let mut fresh = init(dynamic, Init { seed, ..Init::default() });
    for (name, tensor) in &mut fresh.0 {
        match weights.0.get(name) {
            Some(own) if own.shape == tensor.shape => own.clone_into(tensor),
            Some(own) => *tensor = bank(own, tensor, router.gate.sum_at_zero(router.kernels)),
            None => {}
        }
    }
    for parameter in dynamic.parameters() {
        if !weights.0.contains_key(&parameter.name) && is_before_gate(dynamic, parameter.node) {
            fresh.0.insert(parameter.name, Tensor::full(&parameter.shape, 0.0));
        }
    }
    fresh
}

/// Whether a router's gate reads this node.
fn is_before_gate(graph: &Graph, id: NodeId) -> bool {
    graph.nodes().iter().any(|node| Gate::of(&node.op).is_some() && node.inputs.contains(&id))
}

/// A bank whose uniform mixture is a static kernel (or bias): K copies of it, plus differences in the direction of
/// `noise` `[K, …]` that have mean zero and a tenth of the kernel's size, divided by the sum of the coefficients of
/// uniform attention ([`Gate::sum_at_zero`]).
///
/// # Panics
/// If `noise` is not `[K, …]` for the shape of `kernel`.
pub fn bank(kernel: &Tensor, noise: &Tensor, coefficients: f32) -> Tensor {
    assert_eq!(noise.shape.get(1..), Some(&kernel.shape[..]), "a bank of kernels {:?}", kernel.shape);
    let (n, kernels) = (kernel.data.len(), noise.shape[0]);
    let size = |values: &[f32]| (values.iter().map(|v| v * v).sum::<f32>() / values.len().max(1) as f32).sqrt();
    let unit = size(&noise.data);
    let apart = if unit > 0.0 { APART * size(&kernel.data) / unit } else { 0.0 };
    let mean = |i: usize| (0..kernels).map(|k| noise.data[k * n + i]).sum::<f32>() / kernels as f32;
    let means: Vec<f32> = (0..n).map(mean).collect();
    let value = |at: usize| (kernel.data[at % n] + apart * (noise.data[at] - means[at % n])) / coefficients;
    Tensor::new(&noise.shape, (0..kernels * n).map(value).collect())
}

/// The convolutions that become dynamic.
fn chosen(graph: &Graph) -> Vec<bool> {
    let readers = graph.readers();
    let routers = graph.router_nodes();
    let weighted = weighted(graph);
    let choose = |id: NodeId| {
        let node = graph.node(id);
        let Op::Conv(conv) = &node.op else { return false };
        weighted[node.inputs[0].index()]
            && !routers[id.index()]
            && id != graph.output()
            && !(is_pointwise(conv) && (is_head(graph, &readers, id) || is_shortcut(graph, &readers, id)))
    };
    graph.ids().map(choose).collect()
}

/// Whether each node depends on a layer with a kernel or a matrix; a convolution of a node that does not is a first
/// layer.
fn weighted(graph: &Graph) -> Vec<bool> {
    let mut weighted: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let layer =
            matches!(node.op, Op::Conv(_) | Op::MixConv(_) | Op::ConvTranspose(_) | Op::Linear(_) | Op::MixLinear(_));
        weighted.push(layer || node.inputs.iter().any(|input| weighted[input.index()]));
    }
    weighted
}

fn is_pointwise(conv: &Conv2d) -> bool {
    conv.kernel == [1, 1] && conv.groups == 1
}

/// Follows a layer's batch norm, activation and dropout, as long as they are the only readers.
fn follow(graph: &Graph, readers: &[Vec<NodeId>], mut id: NodeId) -> NodeId {
    while let [next] = readers[id.index()][..]
        && matches!(
            graph.node(next).op,
            Op::BatchNorm { .. } | Op::Activation(_) | Op::LeakyRelu { .. } | Op::Dropout { .. }
        )
    {
        id = next;
    }
    id
}

/// Whether only the last pool reads the map of this layer, perhaps behind a squeeze-and-excitation.
fn is_head(graph: &Graph, readers: &[Vec<NodeId>], id: NodeId) -> bool {
    let mut end = follow(graph, readers, id);
    let scales = |id: &NodeId| graph.node(*id).op == Op::Scale && graph.node(*id).inputs[0] == end;
    if let Some(scale) = readers[end.index()].iter().copied().find(scales) {
        end = scale;
    }
    matches!(readers[end.index()][..], [pool] if graph.node(pool).op == Op::GlobalAvgPool)
}

/// Whether this layer only adapts the input of a block to the block's result, to which it is added.
fn is_shortcut(graph: &Graph, readers: &[Vec<NodeId>], id: NodeId) -> bool {
    let end = follow(graph, readers, id);
    let [sum] = readers[end.index()][..] else { return false };
    let node = graph.node(sum);
    if node.op != Op::Add {
        return false;
    }
    // The block's input may be pooled first, as in ResNet-D.
    let mut start = graph.node(id).inputs[0];
    while matches!(graph.node(start).op, Op::AvgPool(_) | Op::MaxPool(_)) {
        start = graph.node(start).inputs[0];
    }
    let other = if node.inputs[0] == end { node.inputs[1] } else { node.inputs[0] };
    other != end && passes_layer(graph, start, other)
}

/// Whether `to` is computed from `from` through a layer with a kernel.
fn passes_layer(graph: &Graph, from: NodeId, to: NodeId) -> bool {
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    enum Path {
        None,
        Direct,
        Layers,
    }
    let mut paths = vec![Path::None; graph.nodes().len()];
    paths[from.index()] = Path::Direct;
    for id in graph.ids().skip(from.index() + 1) {
        let node = graph.node(id);
        let before = node.inputs.iter().map(|i| paths[i.index()]).fold(Path::None, |a, b| if b > a { b } else { a });
        let layer = matches!(node.op, Op::Conv(_) | Op::MixConv(_) | Op::ConvTranspose(_));
        paths[id.index()] = if before == Path::Direct && layer { Path::Layers } else { before };
        if id == to {
            break;
        }
    }
    matches!(graph.node(to).shape, Shape::Map(_)) && paths[to.index()] == Path::Layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Activation, Linear, Pool2d};

    fn conv(out: usize, kernel: usize) -> Op {
        Op::Conv(Conv2d { padding: [kernel / 2; 2], bias: true, ..Conv2d::new(out, [kernel; 2]) })
    }

    /// A stem, a block with a 1×1 shortcut, a squeeze-and-excitation, a 1×1 head, a classifier.
    fn network() -> Graph {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let x = b.push("stem", conv(8, 3), &[x]).unwrap();
        let y = b.push("block.a", conv(8, 1), &[x]).unwrap();
        let y = b.push("block.a.bn", Op::BatchNorm { eps: 1e-5 }, &[y]).unwrap();
        let y = b.push("block.b", conv(12, 1), &[y]).unwrap();
        let pooled = b.push("max", Op::MaxPool(Pool2d { padding: [1; 2], ..Pool2d::new(3, 1) }), &[x]).unwrap();
        let short = b.push("block.short", conv(12, 1), &[pooled]).unwrap();
        let short = b.push("block.short.bn", Op::BatchNorm { eps: 1e-5 }, &[short]).unwrap();
        let x = b.push("block.add", Op::Add, &[y, short]).unwrap();
        let y = b.push("last", conv(12, 1), &[x]).unwrap();
        let z = b.push("se.pool", Op::GlobalAvgPool, &[y]).unwrap();
        let z = b.push("se.fc", Op::Linear(Linear { out_features: 12, bias: true }), &[z]).unwrap();
        let y = b.push("se", Op::Scale, &[y, z]).unwrap();
        let x = b.push("residual", Op::Add, &[x, y]).unwrap();
        let x = b.push("head", conv(20, 1), &[x]).unwrap();
        let x = b.push("head.act", Op::Activation(Activation::Silu), &[x]).unwrap();
        let x = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
        let x = b.push("classifier", Op::Linear(Linear { out_features: 5, bias: true }), &[x]).unwrap();
        b.finish(x).unwrap()
    }

    #[test]
    fn layers_become_dynamic_where_the_paper_has_them() {
        let graph = network();
        let weights = init(&graph, Init::default());
        let (dynamic, _) = to_dynamic(&graph, &weights, 4, &Router::default(), 0).unwrap();
        let mixed = dynamic.nodes().iter().filter(|node| node.mixture().is_some());
        assert_eq!(mixed.map(|node| node.name.as_str()).collect::<Vec<_>>(), ["block.a", "block.b", "last"]);
        for part in ["pool", "fc1", "relu", "fc2", "softmax"] {
            assert!(dynamic.find(&format!("block.b.router.{part}")).is_some(), "{part}");
        }
        assert_eq!(dynamic.output_shape(), graph.output_shape());
    }

    #[test]
    fn uniform_attention_yields_the_static_weights_and_kernels_differ() {
        let graph = network();
        let mut weights = init(&graph, Init { seed: 3, ..Init::default() });
        for (i, bias) in weights.0.get_mut("last.bias").unwrap().data.iter_mut().enumerate() {
            *bias = i as f32 - 3.0;
        }
        for gate in [Gate::Softmax, Gate::Sigmoid] {
            let router = Router { gate, ..Router::default() };
            let (dynamic, new) = to_dynamic(&graph, &weights, 3, &router, 7).unwrap();
            new.check(&dynamic).unwrap();
            for name in ["block.a.weight", "last.weight", "last.bias"] {
                let (old, bank) = (weights.get(name), new.get(name));
                assert_eq!(bank.shape[1..], old.shape[..], "{name}");
                let (n, each) = (old.data.len(), gate.sum_at_zero(3) / 3.0);
                let scale = old.data.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (i, old) in old.data.iter().enumerate() {
                    let mixed: f32 = (0..3).map(|k| each * bank.data[k * n + i]).sum();
                    assert!((mixed - old).abs() <= 1e-6 * scale, "{name}[{i}]: {mixed} instead of {old}");
                }
                assert_eq!(bank.data[..n] != bank.data[n..2 * n], name != "last.bias", "{name}");
            }
            for name in ["stem.weight", "head.bias", "classifier.weight", "block.a.bn.running_var"] {
                assert_eq!(new.get(name), weights.get(name), "{name}");
            }
            let fresh = init(&dynamic, Init { seed: 7, ..Init::default() });
            for name in ["last.router.fc1.weight", "last.router.fc1.bias"] {
                assert_eq!(new.get(name), fresh.get(name), "{name}");
            }
            assert!(new.get("last.router.fc2.weight").data.iter().all(|v| *v == 0.0));
            assert!(new.get("last.router.fc2.bias").data.iter().all(|v| *v == 0.0));
            assert_eq!(to_dynamic(&graph, &weights, 3, &router, 7).unwrap().1, new, "the seed decides");
        }
    }

    #[test]
    fn what_cannot_be_dynamic_is_an_error() {
        let graph = network();
        let weights = init(&graph, Init::default());
        let says = |graph: &Graph, weights: &Weights, kernels: usize, expected: &str| {
            let error = to_dynamic(graph, weights, kernels, &Router::default(), 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        says(&graph, &weights, 1, "two or more kernels, got 1");
        says(&graph, &weights, 1 << 30, "node `block.a");
        says(&graph, &Weights::default(), 4, "tensor `stem.weight`");
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let y = b.push("stem", conv(8, 3), &[x]).unwrap();
        let only = b.finish(y).unwrap();
        says(&only, &init(&only, Init::default()), 4, "no convolution of it would become dynamic");
        // Names that an imported network uses already.
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let y = b.push("conv.router.pool", conv(8, 3), &[x]).unwrap();
        let y = b.push("conv", conv(8, 3), &[y]).unwrap();
        let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
        let taken = b.finish(y).unwrap();
        says(&taken, &init(&taken, Init::default()), 4, "`conv.router.pool`: a node of this name exists");
    }
}
