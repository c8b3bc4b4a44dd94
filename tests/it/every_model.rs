//! Every architecture, static and dynamic: Burn and the engine agree on random weights, and samples do not influence each
//! other.
#![cfg(feature = "train")]

use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use dyconv::engine::{Plan, Session};
use dyconv::graph::samples::{noise, weights};
use dyconv::models::{ALL, Options, build, pose_names};
use dyconv::nn::Network;

/// Two ways to sum the same products in f32, over up to 50 layers whose attention depends on the layer before.
const AGREE: f32 = 1e-4;
/// Temperature that lets attention differ between samples without making it one-hot.
const TAU: f32 = 4.0;
const SIDE: usize = 64;
const BATCH: usize = 3;

fn check(name: &str) {
    let options = Options { classes: 10, image_size: [SIDE, SIDE], ..Options::default() };
    check_with(name, &options);
}

fn check_pose(name: &str) {
    // Heads of a quarter of their channels: their form is what is tested here.
    let options = Options { joints: 5, image_size: [SIDE, SIDE], head_width: 0.25, ..Options::default() };
    check_with(name, &options);
}

fn check_with(name: &str, options: &Options) {
    let graph = build(name, options).unwrap();
    let mut weights = weights(&graph);
    if let Some(heatmaps) = weights.0.get_mut("heatmaps.weight") {
        // As large as other layers: near zero, the bias would be all of the answer.
        heatmaps.data.iter_mut().for_each(|w| *w *= 300.0);
    }
    let input = noise(9, BATCH * 3 * SIDE * SIDE);
    let mut session = Session::new(Plan::new(&graph, &weights, TAU).unwrap());
    let batch = session.predict(&input, BATCH).unwrap();
    assert!(batch.iter().all(|v| v.is_finite()), "{name}: {batch:?}");

    let single: Vec<f32> = input.chunks(3 * SIDE * SIDE).flat_map(|x| session.predict(x, 1).unwrap()).collect();
    assert_eq!(single, batch, "{name}: three single runs equal a batch of three, bit for bit");

    let device = Device::flex();
    let network = Network::new(&graph, &weights, TAU, &device).unwrap();
    let run = |x: &[f32], n: usize| {
        let x = TensorData::new(x.to_vec(), [n, 3, SIDE, SIDE]);
        network.forward(BurnTensor::<4>::from_data(x, &device)).into_vec()
    };
    let scale = batch.iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = |found: &[f32]| found.iter().zip(&batch).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
    let burn = error(&run(&input, BATCH));
    assert!(burn <= AGREE, "{name}: Burn and the engine differ by {burn:e} of the largest value");
    let single: Vec<f32> = input.chunks(3 * SIDE * SIDE).flat_map(|x| run(x, 1)).collect();
    assert!(error(&single) <= AGREE, "{name}: single samples through Burn");
    if name.contains("dy_") {
        let other = Session::new(Plan::new(&graph, &weights, 30.0).unwrap()).predict(&input, BATCH).unwrap();
        assert!(error(&other) > 10.0 * AGREE, "{name}: the temperature matters, so attention is at work");
    }
}

macro_rules! every_model {
    ($($test:ident: $name:literal),* $(,)?) => {
        const TESTED: &[&str] = &[$($name),*];
        $(mod $test {
            #[test]
            fn static_twin() {
                super::check($name);
            }
            #[test]
            fn dynamic() {
                super::check(concat!("dy_", $name));
            }
        })*
    };
}

every_model! {
    mobilenet_v2_x1_0: "mobilenet_v2_x1_0",
    mobilenet_v2_x0_75: "mobilenet_v2_x0_75",
    mobilenet_v2_x0_5: "mobilenet_v2_x0_5",
    mobilenet_v2_x0_35: "mobilenet_v2_x0_35",
    mobilenet_v3_small: "mobilenet_v3_small",
    mobilenet_v3_small_early: "mobilenet_v3_small_early",
    mobilenet_v3_large: "mobilenet_v3_large",
    resnet10: "resnet10",
    resnet18: "resnet18",
    resnet50: "resnet50",
    efficientnet_lite0: "efficientnet_lite0",
}

macro_rules! every_pose_network {
    ($($test:ident: $name:literal),* $(,)?) => {
        const POSE_TESTED: &[&str] = &[$($name),*];
        $(mod $test {
            #[test]
            fn static_twin() {
                super::check_pose(concat!("pose_", $name));
            }
            #[test]
            fn dynamic() {
                super::check_pose(concat!("pose_dy_", $name));
            }
        })*
    };
}

every_pose_network! {
    pose_mobilenet_v2_x1_0_a: "mobilenet_v2_x1_0_a",
    pose_mobilenet_v2_x1_0_b: "mobilenet_v2_x1_0_b",
    pose_mobilenet_v2_x0_75_a: "mobilenet_v2_x0_75_a",
    pose_mobilenet_v2_x0_75_b: "mobilenet_v2_x0_75_b",
    pose_mobilenet_v2_x0_5_a: "mobilenet_v2_x0_5_a",
    pose_mobilenet_v2_x0_5_b: "mobilenet_v2_x0_5_b",
    pose_mobilenet_v2_x0_35_a: "mobilenet_v2_x0_35_a",
    pose_mobilenet_v2_x0_35_b: "mobilenet_v2_x0_35_b",
    pose_mobilenet_v3_small_a: "mobilenet_v3_small_a",
    pose_mobilenet_v3_small_b: "mobilenet_v3_small_b",
    pose_mobilenet_v3_small_early_a: "mobilenet_v3_small_early_a",
    pose_mobilenet_v3_small_early_b: "mobilenet_v3_small_early_b",
    pose_mobilenet_v3_large_a: "mobilenet_v3_large_a",
    pose_mobilenet_v3_large_b: "mobilenet_v3_large_b",
    pose_resnet10_a: "resnet10_a",
    pose_resnet10_b: "resnet10_b",
    pose_resnet18_a: "resnet18_a",
    pose_resnet18_b: "resnet18_b",
    pose_resnet50_a: "resnet50_a",
    pose_resnet50_b: "resnet50_b",
    pose_efficientnet_lite0_a: "efficientnet_lite0_a",
    pose_efficientnet_lite0_b: "efficientnet_lite0_b",
}

#[test]
fn to_register_is_to_be_tested() {
    assert_eq!(TESTED, ALL);
    let pose: Vec<String> = POSE_TESTED.iter().map(|n| format!("pose_{n}")).collect();
    assert_eq!(pose, pose_names().collect::<Vec<_>>());
}
