//! Six whole networks with PyTorch's weights (`golden/generate.py`) through Burn, the oracle and the engine.
#![cfg(feature = "train")]

use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use dyconv::engine::{Plan, Session, oracle};
use dyconv::graph::{Graph, Tensor, Weights};
use dyconv::models::{Options, mobilenet_v2, mobilenet_v3, resnet};
use dyconv::nn::Network;
use safetensors::SafeTensors;

/// Sums of some thousand products over some fifty layers in f32, against PyTorch's in f64.
const LOGITS: f32 = 1e-4;
/// The random `dy_mobilenet_v2_x0_25` is ill-conditioned: its attention amplifies a disturbance about a thousand times on
/// the way to the logits. The file's weights are PyTorch's rounded to f32, and this rounding alone moves the logits by
/// 5.8e-5, as the oracle shows, which computes in f64. f32 arithmetic rounds as much again in each of 52 layers: 1.5e-4 to
/// 4e-4 were seen, depending on the order of the sums.
const AMPLIFIED: f32 = 1e-3;

/// The generator's networks have a narrow head, to keep the files small.
const HEAD: usize = 64;

fn options() -> Options {
    Options { classes: 10, image_size: [64, 64], ..Options::default() }
}

fn mobilenet_v2(dynamic: bool) -> Graph {
    let table = mobilenet_v2::Table { head: HEAD, ..mobilenet_v2::MOBILENET_V2 };
    mobilenet_v2::build(&table, 0.25, dynamic, &options()).unwrap()
}

fn mobilenet_v3(dynamic: bool) -> Graph {
    let table = mobilenet_v3::Table { hidden: HEAD, ..mobilenet_v3::SMALL };
    mobilenet_v3::build(&table, 0.5, dynamic, &options()).unwrap()
}

fn resnet10() -> Graph {
    resnet::build(&resnet::RESNET10, 0.125, false, &options()).unwrap()
}

fn dy_resnet18() -> Graph {
    resnet::build(&resnet::RESNET18, 0.125, true, &options()).unwrap()
}

/// torchvision's name of one of our tensors.
fn torch_name(graph: &Graph, name: &str) -> String {
    let (node, parameter) = name.rsplit_once('.').unwrap();
    if graph.find("layer1.0.conv1").is_some() {
        return format!("{}.{parameter}", torch_resnet(node));
    }
    let v3 = graph.find("hidden").is_some();
    let blocks = (0..).take_while(|b| graph.find(&format!("blocks.{b}.project")).is_some()).count();
    let node = match node.split_once('.') {
        None if node == "classifier" => format!("classifier.{}", if v3 { 3 } else { 1 }),
        None if node == "hidden" => "classifier.0".into(),
        None => format!("features.{}.0", if node == "stem" { 0 } else { blocks + 1 }),
        Some(("stem", "bn")) => "features.0.1".into(),
        Some(("head", "bn")) => format!("features.{}.1", blocks + 1),
        Some((_, rest)) => {
            let (block, rest) = rest.split_once('.').unwrap();
            let (part, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let parts = ["expand", "depthwise", "se", "project"];
            let present = |part: &&str| graph.find(&format!("blocks.{block}.{part}")).is_some();
            let position = parts.iter().filter(|p| present(p)).position(|p| *p == part).unwrap();
            let prefix = format!("features.{}.conv", block.parse::<usize>().unwrap() + 1);
            // MobileNetV2 keeps the last convolution and its batch norm directly in the block.
            let flat = part == "project" && !v3;
            match rest {
                "bn" if flat => format!("{prefix}.{}", position + 1),
                "bn" => format!("{prefix}.{position}.1"),
                _ if part == "se" => format!("{prefix}.{position}.{rest}"),
                router => {
                    let conv = if flat { format!("{prefix}.{position}") } else { format!("{prefix}.{position}.0") };
                    if router.is_empty() { conv } else { format!("{conv}.{router}") }
                }
            }
        }
    };
    format!("{node}.{parameter}")
}

fn torch_resnet(node: &str) -> String {
    match node {
        "stem" => "conv1".into(),
        "stem.bn" => "bn1".into(),
        "classifier" => "fc".into(),
        _ => node
            .replace("conv1.bn", "bn1")
            .replace("conv2.bn", "bn2")
            .replace("shortcut.bn", "downsample.1")
            .replace("shortcut", "downsample.0"),
    }
}

fn check(name: &str, graph: Graph, f32_tolerance: f32) {
    let path = format!("{}/golden/networks/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tau = metadata.metadata().as_ref().unwrap().get("tau").map_or(1.0, |t| t.parse().unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |tensor: &str| -> Vec<f32> {
        let view = file.tensor(tensor).unwrap_or_else(|e| panic!("{name}: {tensor}: {e}"));
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let parameters = graph.parameters();
    let tensors =
        parameters.iter().map(|p| (p.name.clone(), Tensor::new(&p.shape, read(&torch_name(&graph, &p.name)))));
    let weights = Weights(tensors.collect());
    assert_eq!(weights.0.len() + 2, file.len(), "{name}: every tensor of the file is used, beside input and logits");

    let (input, expected) = (read("input"), read("logits"));
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let near = |who: &str, found: &[f32], tolerance: f32| {
        assert_eq!(found.len(), expected.len());
        let error = found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        assert!(error <= tolerance, "{name} through {who}: relative error {error:e}");
    };
    near("the oracle", &oracle::run(&graph, &weights, tau, &input, 2).unwrap(), LOGITS);
    let engine = Session::new(Plan::new(&graph, &weights, tau).unwrap()).predict(&input, 2).unwrap();
    near("the engine", &engine, f32_tolerance);
    let device = Device::flex();
    let network = Network::new(&graph, &weights, tau, &device).unwrap();
    let x = BurnTensor::<4>::from_data(TensorData::new(input, [2, 3, 64, 64]), &device);
    near("Burn", &network.forward(x).into_vec(), f32_tolerance);
    assert_eq!(network.weights(), weights, "{name}: weights come back from Burn as they went in");
}

#[test]
fn mobilenet_v2_x0_25() {
    check("mobilenet_v2_x0_25", mobilenet_v2(false), LOGITS);
}

#[test]
fn dy_mobilenet_v2_x0_25() {
    check("dy_mobilenet_v2_x0_25", mobilenet_v2(true), AMPLIFIED);
}

#[test]
fn mobilenet_v3_small_x0_5() {
    check("mobilenet_v3_small_x0_5", mobilenet_v3(false), LOGITS);
}

#[test]
fn dy_mobilenet_v3_small_x0_5() {
    check("dy_mobilenet_v3_small_x0_5", mobilenet_v3(true), LOGITS);
}

#[test]
fn resnet10_base8() {
    check("resnet10_base8", resnet10(), LOGITS);
}

#[test]
fn dy_resnet18_base8() {
    check("dy_resnet18_base8", dy_resnet18(), LOGITS);
}
