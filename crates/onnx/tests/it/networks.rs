//! Networks with weights, for the other tests.

use std::collections::BTreeMap;

pub use dyconv_graph::samples::{noise, weights};
use dyconv_graph::{
    Activation, Builder, Conv2d, ConvTranspose2d, Gate, Graph, Linear, MixConv, MixLinear, NodeId, Op, Router, Weights,
    samples,
};

/// A temperature that lets attention differ between samples without making it one-hot.
pub const TAU: f32 = 4.0;

/// Attention for every dynamic layer, whose sum is not one.
pub fn attention(graph: &Graph) -> BTreeMap<String, Vec<f32>> {
    let layers = graph.mixtures().map(|(node, mix)| (node.name.clone(), mix.kernels));
    layers
        .enumerate()
        .map(|(i, (name, k))| (name, noise(i as u32, k).iter().map(|r| 0.4 + 0.3 * r).collect()))
        .collect()
}

/// The same network with constant attention.
pub fn frozen(graph: &Graph, weights: &Weights, attention: &BTreeMap<String, Vec<f32>>) -> (Graph, Weights) {
    let (routers, mut weights) = (graph.router_nodes(), weights.clone());
    let mut b = Builder::new(graph.input_dims()).unwrap();
    let mut moved = vec![b.input()];
    for id in graph.ids().skip(1) {
        let node = graph.node(id);
        let new: Vec<NodeId> = node.inputs.iter().map(|i| moved[i.index()]).collect();
        for parameter in graph.node_parameters(id) {
            if routers[id.index()] {
                weights.0.remove(&parameter.name);
            } else if let Some(pi) = attention.get(&node.name) {
                let tensor = weights.0.get_mut(&parameter.name).unwrap();
                let len = tensor.data.len() / pi.len();
                let sum = |i: usize| pi.iter().enumerate().map(|(k, p)| p * tensor.data[k * len + i]).sum();
                tensor.data = (0..len).map(sum).collect();
                tensor.shape.remove(0);
            }
        }
        moved.push(match &node.op {
            _ if routers[id.index()] => b.input(),
            Op::MixConv(mix) => b.push(&node.name, Op::Conv(mix.conv.clone()), &new[..1]).unwrap(),
            Op::MixLinear(mix) => b.push(&node.name, Op::Linear(mix.linear.clone()), &new[..1]).unwrap(),
            op => b.push(&node.name, op.clone(), &new).unwrap(),
        });
    }
    (b.finish(moved[graph.output().index()]).unwrap(), weights)
}

/// Small networks: one for every op and setting, every kind of dynamic layer, and what a writer could stumble over.
pub fn small() -> Vec<(String, Graph)> {
    let mut all = samples::networks();
    for (name, graph) in &mut all {
        *name = name.replace(' ', "_");
        assert!(graph.nodes().len() < 20);
    }
    all.extend(dynamic());
    all.extend(static_ones());
    all
}

/// A network that `write` adds to the input `[4, 6, 5]`.
fn build(write: &dyn Fn(&mut Builder, NodeId) -> NodeId) -> Graph {
    let mut b = Builder::new([4, 6, 5]).unwrap();
    let x = b.input();
    let y = write(&mut b, x);
    b.finish(y).unwrap()
}

/// Every kind of dynamic layer, with either gate, with and without a bias and a batch norm.
pub fn dynamic() -> Vec<(String, Graph)> {
    let conv = |kernel, groups| Conv2d { groups, ..Conv2d::new(4, [kernel; 2]) };
    let padded = |groups| Conv2d { padding: [1, 1], ..conv(3, groups) };
    let kinds = [
        ("1x1", conv(1, 1)),
        ("1x1_wide", Conv2d::new(6, [1, 1])),
        ("1x1_grouped", conv(1, 2)),
        ("1x1_depthwise", conv(1, 4)),
        ("1x1_strided", Conv2d { stride: [2, 3], ..conv(1, 1) }),
        ("1x1_grouped_strided", Conv2d { stride: [2, 2], ..conv(1, 2) }),
        ("1x1_padded", Conv2d { padding: [1, 0], ..conv(1, 1) }),
        ("1x1_padded_at_the_end", Conv2d { end_padding: Some([0, 1]), ..conv(1, 1) }),
        ("3x3", padded(1)),
        ("3x3_grouped", padded(2)),
        ("3x3_depthwise", padded(4)),
        ("3x3_one_sided", Conv2d { padding: [0, 1], end_padding: Some([1, 0]), stride: [2, 2], ..padded(1) }),
        ("3x3_dilated", Conv2d { dilation: [2, 2], padding: [2, 2], ..padded(2) }),
    ];
    let mut all = Vec::new();
    for (kind, spec) in kinds {
        for (gate, bias, norm) in [
            (Gate::Softmax, false, false),
            (Gate::Softmax, true, true),
            (Gate::Sigmoid, true, false),
            (Gate::Sigmoid, false, true),
            (Gate::Sigmoid, true, true),
        ] {
            let router = Router { kernels: 3, gate, ..Router::default() };
            let conv = Conv2d { bias, ..spec.clone() };
            let graph = build(&|b, x| {
                let pi = b.router("router", x, &router).unwrap();
                let mix = MixConv { kernels: 3, conv: conv.clone() };
                let mut y = b.push("conv", Op::MixConv(mix), &[x, pi]).unwrap();
                if norm {
                    y = b.push("bn", Op::BatchNorm { eps: 1e-3 }, &[y]).unwrap();
                }
                b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap()
            });
            let parts = [gate.op().name(), if bias { "bias" } else { "" }, if norm { "norm" } else { "" }];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            all.push((format!("{kind}_{}", parts.join("_")), graph));
        }
    }
    for bias in [false, true] {
        let graph = build(&|b, x| {
            let v = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
            let pi = b.router("router", v, &Router { kernels: 3, ..Router::default() }).unwrap();
            let linear = Linear { out_features: 5, bias };
            b.push("fc", Op::MixLinear(MixLinear { kernels: 3, linear }), &[v, pi]).unwrap()
        });
        all.push((format!("linear_{}", if bias { "bias" } else { "plain" }), graph));
    }
    // Attention that is also an ordinary value, and one that serves two layers.
    let graph = build(&|b, x| {
        let pi = b.router("router", x, &Router::default()).unwrap();
        let mix = |kernel| Op::MixConv(MixConv { kernels: 4, conv: Conv2d::new(4, [kernel; 2]) });
        let y = b.push("one", mix(1), &[x, pi]).unwrap();
        let y = b.push("two", mix(3), &[y, pi]).unwrap();
        b.push("scale", Op::Scale, &[y, pi]).unwrap()
    });
    all.push(("shared_attention".into(), graph));
    all
}

/// Static networks with folds and names that a writer could get wrong.
fn static_ones() -> Vec<(String, Graph)> {
    let bn = |eps| Op::BatchNorm { eps };
    let conv = || Op::Conv(Conv2d { bias: true, ..Conv2d::new(4, [1, 1]) });
    let transposed = |groups| {
        Op::ConvTranspose(ConvTranspose2d {
            groups,
            stride: [2, 1],
            output_padding: [1, 0],
            ..ConvTranspose2d::new(6, [3, 2])
        })
    };
    let chain =
        |ops: &[(&str, Op)]| build(&|b, x| ops.iter().fold(x, |x, (name, op)| b.push(name, op.clone(), &[x]).unwrap()));
    vec![
        ("two_norms".into(), chain(&[("conv", conv()), ("bn1", bn(0.1)), ("bn2", bn(1e-5))])),
        ("norm_first".into(), chain(&[("bn1", bn(0.1)), ("conv", conv()), ("bn2", bn(1e-5))])),
        (
            "norm_behind_dropout".into(),
            chain(&[("conv", conv()), ("drop", Op::Dropout { rate: 0.5 }), ("bn", bn(0.1))]),
        ),
        ("transposed_norm".into(), chain(&[("up", transposed(1)), ("bn", bn(0.1))])),
        ("transposed_grouped_norm".into(), chain(&[("up", transposed(2)), ("bn", bn(0.1))])),
        ("dropout_only".into(), chain(&[("drop", Op::Dropout { rate: 0.5 })])),
        (
            "called_output".into(),
            chain(&[("output", conv()), ("conv.weight", conv()), ("conv", conv()), ("bn", bn(0.1))]),
        ),
        (
            "read_twice".into(),
            build(&|b, x| {
                let y = b.push("conv", conv(), &[x]).unwrap();
                let z = b.push("bn", bn(0.1), &[y]).unwrap();
                b.push("sum", Op::Add, &[y, z]).unwrap()
            }),
        ),
    ]
}
