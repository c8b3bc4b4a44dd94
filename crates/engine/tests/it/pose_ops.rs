//! Transposed convolution and bilinear upsampling: compared with PyTorch's results (`golden/generate_pose.py`), for odd
//! sizes, and with the steps that are fused into them.

use crate::common::{check, relative_error, single, values, weights};
use dyconv_engine::{Isa, Options, Plan, Precision, Session, oracle};
use dyconv_graph::{
    Activation, Builder, Conv2d, ConvTranspose2d, Graph, MixConv, NodeId, Op, Router, Tensor, UpsampleMode, Weights,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

/// f32 compared with f64 rounded to f32: sums of at most 300 products.
const GOLDEN: f64 = 1e-5;

#[test]
fn oracle_and_plan_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/pose_ops.safetensors");
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(cases.len(), 17);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let n = |key: &str| case[key].as_u64().unwrap() as usize;
        let pair = |key: &str| [0, 1].map(|a| case[key][a].as_u64().unwrap() as usize);
        let tensor = |part: &str| {
            let view = file.tensor(&format!("{name}.{part}")).unwrap();
            let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Tensor::new(view.shape(), data)
        };
        let op = match case.get("scale") {
            Some(_) => Op::Upsample { scale: n("scale"), mode: UpsampleMode::Bilinear },
            None => Op::ConvTranspose(ConvTranspose2d {
                out_channels: n("cout"),
                kernel: pair("kernel"),
                stride: pair("stride"),
                padding: pair("padding"),
                output_padding: pair("output_padding"),
                groups: n("groups"),
                bias: case["bias"].as_bool().unwrap(),
            }),
        };
        let graph = single([n("cin"), n("h"), n("w")], op);
        let named = graph.parameters().into_iter().map(|p| {
            let part = tensor(p.name.strip_prefix("op.").unwrap());
            (p.name, part)
        });
        let weights = Weights(named.collect());
        let (x, y) = (tensor("x").data, tensor("y"));
        assert_eq!(graph.output_shape().dims(), y.shape[1..], "{name}");
        let near = |who: &str, found: &[f32]| {
            let error = relative_error(found, &y.data, 0.0);
            assert!(error <= GOLDEN, "{name} {who}: {error:e}");
        };
        near("oracle", &oracle::run(&graph, &weights, 1.0, &x, n("n")).unwrap());
        for isa in Isa::available() {
            let plan = Plan::for_isa(&graph, &weights, 1.0, isa).unwrap();
            near(isa.name(), &Session::with_threads(plan, 2).predict(&x, n("n")).unwrap());
        }
    }
}

fn sample(graph: &Graph, batch: usize, seed: u64) -> Vec<f32> {
    values(batch * graph.input_dims().iter().product::<usize>(), seed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn transposed_convolutions(
        size in [1usize..8, 1usize..8], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..3, 0usize..3], added in [0usize..3, 0usize..3], bias in any::<bool>(), groups in 1usize..4,
        channels in [1usize..12, 1usize..24], seed in 0u64..100,
    ) {
        let mut conv = ConvTranspose2d {
            out_channels: channels[1] * groups, kernel, stride, padding,
            output_padding: [0, 1].map(|a| added[a].min(stride[a] - 1)), groups, bias,
        };
        for a in 0..2 {
            while (size[a] - 1) * stride[a] + kernel[a] + conv.output_padding[a] <= 2 * conv.padding[a] {
                conv.padding[a] -= 1;
            }
        }
        let graph = single([channels[0] * groups, size[0], size[1]], Op::ConvTranspose(conv));
        check(&graph, &weights(&graph, seed), 1.0, &sample(&graph, 2, seed), 2);
    }

    #[test]
    fn upsamplings(h in 1usize..9, w in 1usize..9, c in 1usize..40, scale in 1usize..5) {
        let graph = single([c, h, w], Op::Upsample { scale, mode: UpsampleMode::Bilinear });
        check(&graph, &Weights::default(), 1.0, &sample(&graph, 2, 3), 2);
    }
}

fn act(b: &mut Builder, name: &str, f: Activation, x: NodeId) -> NodeId {
    b.push(name, Op::Activation(f), &[x]).unwrap()
}

fn bn(b: &mut Builder, name: &str, x: NodeId) -> NodeId {
    b.push(name, Op::BatchNorm { eps: 1e-3 }, &[x]).unwrap()
}

/// A transposed convolution with groups, batch norm and activation, another with a bias, and pools of their outputs.
fn deconvolutions(groups: usize, last: Activation) -> Graph {
    let mut b = Builder::new([12, 4, 3]).unwrap();
    let x = b.input();
    let conv = ConvTranspose2d { stride: [2, 2], padding: [1, 1], groups, ..ConvTranspose2d::new(20, [4, 4]) };
    let x = b.push("up", Op::ConvTranspose(conv.clone()), &[x]).unwrap();
    let x = bn(&mut b, "up_bn", x);
    let x = act(&mut b, "up_act", Activation::Relu, x);
    let conv = ConvTranspose2d { bias: true, groups: 1, out_channels: 7, ..conv };
    let y = b.push("again", Op::ConvTranspose(conv), &[x]).unwrap();
    let y = bn(&mut b, "again_bn", y);
    let y = act(&mut b, "again_act", last, y);
    let mean = b.push("mean", Op::GlobalAvgPool, &[y]).unwrap();
    let y = b.push("scaled", Op::Scale, &[y, mean]).unwrap();
    b.finish(y).unwrap()
}

#[test]
fn batch_norms_fold_and_activations_fuse_into_transposed_convolutions() {
    for groups in [1, 4] {
        for last in [Activation::HardSwish, Activation::Sigmoid] {
            let graph = deconvolutions(groups, last);
            let w = weights(&graph, 5);
            check(&graph, &w, 1.0, &sample(&graph, 2, 5), 2);
            let kernels: Vec<String> =
                Plan::new(&graph, &w, 1.0).unwrap().describe().into_iter().map(|s| s.kernel).collect();
            assert!(kernels.iter().any(|k| k.starts_with("conv_transpose+relu/")), "{kernels:?}");
            assert!(!kernels.iter().any(|k| k.starts_with("affine")), "{kernels:?}");
        }
    }
}

#[test]
fn in_bf16_transposed_convolutions_deviate_a_little_and_say_so() {
    let graph = deconvolutions(1, Activation::HardSwish);
    let (w, x) = (weights(&graph, 5), sample(&graph, 1, 5));
    let exact = Session::new(Plan::new(&graph, &w, 1.0).unwrap()).predict(&x, 1).unwrap();
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let plan = Plan::with_options(&graph, &w, 1.0, options).unwrap();
    assert!(plan.describe().iter().any(|s| s.kernel.starts_with("bf16_conv_transpose")));
    let error = relative_error(&Session::new(plan).predict(&x, 1).unwrap(), &exact, crate::common::SMALL);
    assert!(error > 0.0 && error < 0.03, "{error:e}");
}

/// Upsampling, then dynamic and static 1×1 convolutions of it, a sum and a pool with it, as in the heads of keypoint
/// networks.
fn upsampled(channels: usize, with_sum: bool) -> Graph {
    let mut b = Builder::new([channels, 5, 3]).unwrap();
    let x = b.input();
    let up = b.push("up", Op::Upsample { scale: 2, mode: UpsampleMode::Bilinear }, &[x]).unwrap();
    let pi = b.router("expand.router", up, &Router::default()).unwrap();
    let conv = Conv2d { bias: true, ..Conv2d::new(36, [1, 1]) };
    let y = b.push("expand", Op::MixConv(MixConv { kernels: 4, conv }), &[up, pi]).unwrap();
    let y = bn(&mut b, "expand_bn", y);
    let y = act(&mut b, "expand_act", Activation::Relu6, y);
    let pi = b.router("depthwise.router", y, &Router::default()).unwrap();
    let conv = Conv2d { groups: 36, padding: [1, 1], ..Conv2d::new(36, [3, 3]) };
    let y = b.push("depthwise", Op::MixConv(MixConv { kernels: 4, conv }), &[y, pi]).unwrap();
    let y = b.push("project", Op::Conv(Conv2d::new(channels, [1, 1])), &[y]).unwrap();
    let y = if with_sum { b.push("sum", Op::Add, &[up, y]).unwrap() } else { y };
    let y = b.push("again", Op::Upsample { scale: 3, mode: UpsampleMode::Nearest }, &[y]).unwrap();
    let y = act(&mut b, "again_act", Activation::HardSigmoid, y);
    b.finish(y).unwrap()
}

#[test]
fn what_surrounds_an_upsampling_agrees_with_the_oracle() {
    for (channels, with_sum) in [(24, false), (24, true), (5, true), (1, false)] {
        let graph = upsampled(channels, with_sum);
        let w = weights(&graph, 3);
        check(&graph, &w, 2.0, &sample(&graph, 3, 7), 3);
        let steps = Plan::new(&graph, &w, 2.0).unwrap().describe();
        let moved = steps.iter().any(|s| s.name == "expand_act before up" && s.shape.dims() == [36, 5, 3]);
        assert_eq!((moved, steps.iter().any(|s| s.name == "up")), (channels >= 16, channels < 16 || with_sum));
        // The pools of the routers read partial sums that are computed anyway.
        let pools = steps.iter().filter(|s| s.name.ends_with("pool") && s.kernel.starts_with("global_avg_pool"));
        assert_eq!(pools.count(), 1, "that of the input");
    }
}

/// Tolerance for the same products summed in two orders in f32 and f64, over up to 60 layers whose attention depends on
/// the layer before.
const NETWORK: f64 = 1e-4;

#[test]
fn whole_keypoint_networks_agree_with_the_oracle() {
    for name in [
        "pose_dy_mobilenet_v2_x0_35_b",
        "pose_dy_resnet10_x0_125_a",
        "pose_dy_mobilenet_v3_small_early_x0_35_b",
        "pose_mb4_a",
    ] {
        let model = dyconv_models::Options { joints: 3, image_size: [64, 32], head_width: 0.125, ..Default::default() };
        let graph = dyconv_models::build(name, &model).unwrap();
        let mut w = dyconv_graph::init(&graph, Default::default());
        // Scaled up to the magnitude of the other layers.
        w.0.get_mut("heatmaps.weight").unwrap().data.iter_mut().for_each(|w| *w *= 300.0);
        let x = sample(&graph, 2, 1);
        let expected = oracle::run(&graph, &w, 4.0, &x, 2).unwrap();
        for isa in Isa::available() {
            let plan = Plan::for_isa(&graph, &w, 4.0, isa).unwrap();
            let answer = Session::new(plan).predict(&x, 2).unwrap();
            let error = relative_error(&answer, &expected, 0.0);
            assert!(error <= NETWORK, "{name} {}: {error:e}", isa.name());
        }
    }
}
