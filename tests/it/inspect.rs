//! Attention that is replaced: in a network, against the oracle, and through the binary.
#![cfg(feature = "train")]

use crate::common::{Shell, text};
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use dyconv::engine::oracle;
use dyconv::graph::{Graph, Init, Op, RouterInit, Tensor, Weights, init};
use dyconv::models::{FAMILIES, Options, build};
use dyconv::nn::{Network, Value as Activations};
use serde_json::Value;

const K: usize = 4;
const SIDE: usize = 32;
const BATCH: usize = 2;
/// f32 in one order against f64 in another, over up to 50 layers.
const AGREE: f32 = 1e-4;

fn options(kernels: usize) -> Options {
    Options { classes: 10, image_size: [SIDE, SIDE], kernels, ..Options::default() }
}

fn pixels() -> Vec<f32> {
    (0..BATCH * 3 * SIDE * SIDE).map(|i| ((i * 7919 + i / 1000) % 257) as f32 / 64.0 - 2.0).collect()
}

fn is_router(graph: &Graph, name: &str) -> bool {
    graph
        .nodes()
        .iter()
        .any(|n| matches!(n.op, Op::MixConv(_) | Op::MixLinear(_)) && graph.node(n.inputs[1]).name == name)
}

/// The mean over K of every bank, and all that both networks have.
fn averaged(dynamic: &Weights, of: &Graph) -> Weights {
    let average = |name: &str, shape: &[usize]| {
        let tensor = dynamic.get(name);
        if tensor.shape == shape {
            return tensor.clone();
        }
        let n: usize = shape.iter().product();
        assert_eq!((tensor.shape[0], &tensor.shape[1..]), (K, shape), "{name}");
        let mean = |i: usize| ((0..K).map(|k| f64::from(tensor.data[k * n + i])).sum::<f64>() / K as f64) as f32;
        Tensor::new(shape, (0..n).map(mean).collect())
    };
    Weights(of.parameters().into_iter().map(|p| (p.name.clone(), average(&p.name, &p.shape))).collect())
}

#[test]
fn uniform_attention_is_the_static_network_of_averaged_kernels_in_every_family() {
    let device = Device::flex();
    for family in FAMILIES {
        let name = if family.name.len() < 4 { family.name.to_owned() } else { format!("{}_x0_25", family.name) };
        let graph = build(&format!("dy_{name}"), &options(K)).unwrap();
        let mut weights = init(&graph, Init { seed: 5, router: RouterInit::Large });
        for (name, tensor) in weights.0.iter_mut().filter(|(name, _)| name.ends_with(".bias")) {
            // No router is uniform by itself, and no bias hides what the convolutions give.
            let step = if name.ends_with("router.fc2.bias") { 0.7 } else { 0.0 };
            tensor.data.iter_mut().enumerate().for_each(|(k, b)| *b = step * k as f32);
        }
        let network = Network::new(&graph, &weights, 1.0, &device).unwrap();
        let x = || BurnTensor::<4>::from_data(TensorData::new(pixels(), [BATCH, 3, SIDE, SIDE]), &device);
        let uniform = network.forward_with(x(), |node, value| match is_router(&graph, &node.name) {
            true => Activations::Vector(BurnTensor::full([BATCH, K], 1.0 / K as f32, &device)),
            false => value,
        });
        let uniform = uniform.into_vec();
        let twin = build(&name, &options(1)).unwrap();
        let expected = oracle::run(&twin, &averaged(&weights, &twin), 1.0, &pixels(), BATCH).unwrap();
        let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = |found: &[f32]| found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        assert!(error(&uniform) < AGREE, "{name}: {:e} of the largest logit", error(&uniform));
        let normal = network.forward(x()).into_vec();
        assert!(error(&normal) > 10.0 * AGREE, "{name}: its own attention is not uniform");

        // What is replaced by itself gives the same bits.
        let same = network.forward_with(x(), |_, value| value).into_vec();
        assert_eq!(same, network.forward_all(x(), |_, _| ()).into_vec(), "{name}");
    }
}

#[test]
#[should_panic(expected = "the value of `layer1.0.conv1.router.softmax` was replaced by one of another shape")]
fn a_replacement_of_another_shape_is_refused() {
    let device = Device::flex();
    let graph = build("dy_resnet10_x0_125", &options(K)).unwrap();
    let weights = init(&graph, Init { seed: 0, router: RouterInit::Small });
    let network = Network::new(&graph, &weights, 1.0, &device).unwrap();
    network.forward_with(BurnTensor::zeros([1, 3, SIDE, SIDE], &device), |node, value| {
        match is_router(&graph, &node.name) {
            true => Activations::Vector(BurnTensor::zeros([1, K + 1], &device)),
            false => value,
        }
    });
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_trained_network_is_inspected() {
    let shell = Shell::new();
    let recipe = "--data digits --epochs 4 --batch 64 --image-size 8 --set temperature.epochs=1";
    shell.ok(&format!("train {recipe} --model dy_resnet10_x0_125 --set model.router_init=large --out run"));
    let found = json(&shell.ok("inspect run/model.safetensors --data digits --json"));
    let scores = found["scores"].as_array().unwrap();
    let names: Vec<&str> = scores.iter().map(|s| s["replacement"].as_str().unwrap()).collect();
    assert_eq!(names, ["normal", "mean", "uniform", "another_image", "shuffled", "one_hot"]);
    let evaluated = json(&shell.ok("eval run/model.safetensors --data digits --json"));
    assert_eq!((&scores[0]["top1"], &scores[0]["top5"]), (&evaluated["top1"], &evaluated["top5"]));
    assert_eq!(found["images"], evaluated["images"]);
    for score in scores {
        assert!((0.0..=1.0).contains(&number(&score["top1"])) && number(&score["top5"]) >= number(&score["top1"]));
    }
    let worst = scores.iter().map(|s| number(&s["top1"])).fold(1.0, f64::min);
    assert!(worst < number(&scores[0]["top1"]) - 0.1, "replacements cost nothing: {found}");

    // Layers of all sizes, and means that agree.
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 8);
    let sizes = found["sizes"].as_array().unwrap();
    assert_eq!(sizes.iter().map(|s| s["layers"].as_u64().unwrap()).sum::<u64>(), 8);
    for layer in layers {
        let classes = layer["entropy_by_class"].as_array().unwrap();
        assert_eq!(classes.len(), 10);
        // The held-out digits are as good as even by class.
        let mean = classes.iter().map(number).sum::<f64>() / 10.0;
        assert!((mean - number(&layer["entropy"])).abs() < 0.01, "{layer}");
    }
    assert!((number(&sizes[0]["entropy_nats"]) / number(&sizes[0]["entropy"]) - 4f64.ln()).abs() < 1e-9);

    // The size of batches does not matter, the seed does; fewer images are as many as asked for.
    let other = json(&shell.ok("inspect run/model.safetensors --data digits --json --batch 7"));
    for (a, b) in scores.iter().zip(other["scores"].as_array().unwrap()) {
        assert!((number(&a["top1"]) - number(&b["top1"])).abs() < 0.01, "{a} and {b}");
    }
    let again = json(&shell.ok("inspect run/model.safetensors --data digits --json"));
    assert_eq!(found, again);
    let seeded = json(&shell.ok("inspect run/model.safetensors --data digits --json --seed 1 --limit 50"));
    assert_eq!(seeded["images"], 50);

    let table = shell.ok("inspect run/model.safetensors --data digits --out page.html");
    for word in ["another image's", "one-hot at the largest", "difference", "layers' input", "Report: page.html"] {
        assert!(table.contains(word), "{table}");
    }
    let page = std::fs::read_to_string(shell.path("page.html")).unwrap();
    let beside = std::fs::read_to_string(shell.path("run/model.inspect.html")).unwrap();
    for part in
        ["<h2>By layer and class</h2>", "Kernels used", "layer4.0.conv2 · 1×1", "data:image/png;base64,", "taken for"]
    {
        assert!(page.contains(part) && beside.contains(part), "{part}");
    }
    for outside in ["http:", "https:", "<script", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_cannot_be_inspected_is_told() {
    let shell = Shell::new();
    shell.pictures("photos");
    shell.ok("train --data digits --model resnet10_x0_125 --epochs 1 --batch 256 --image-size 8 --out static");
    shell.says("inspect static/model.safetensors --data digits", "is static: it has no attention to inspect");
    assert!(!shell.path("static/model.inspect.html").exists());
    shell.ok("train --data photos --model dy_resnet10_x0_125 --epochs 1 --batch 8 --image-size 24 --out run");
    shell.says("inspect run/model.safetensors --data digits", "the model does not know the class `0`");
    shell.says("inspect run/model.safetensors --data nowhere", "nowhere");
    shell.says(
        "inspect run/model.safetensors --data photos --out absent/page.html",
        "absent/page.html: cannot be written",
    );
    shell.write("photos/dark/words.png", b"certainly no picture");
    let output = shell.run("inspect run/model.safetensors --data photos --split all");
    assert!(output.status.success() && text(&output.stderr).contains("skipped: "), "{}", text(&output.stderr));
    shell.says("inspect run/model.safetensors --data photos --split all --max-broken 0", "words.png");
}
