//! CPU-seconds, images per second and peak memory of whole training steps: forward, cross-entropy, backward, SGD.
//!
//! `cargo bench --bench train_step [-- <part of a name>…] [--steps N] [--batch N]`. Every network runs in a
//! process of its own, so that its peak memory is its own. Beside each row stands the rate of a 1024³ matrix product,
//! measured in the same process right after the steps: the yardstick that makes machines comparable.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench says what it measured")]

use std::process::Command;
use std::time::Instant;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use dyconv_graph::{Init, init};
use dyconv_models::{Options, build};
use dyconv_nn::ops::{SgdRule, sgd};
use dyconv_nn::{Network, Value, keep_freed_memory};

/// Name, image side in pixels, batch, and the CPU-seconds that PyTorch 2.15 takes on a Zen 4 core pair.
const CASES: &[(&str, usize, usize, Option<f64>)] = &[
    ("mobilenet_v2_x1_0", 224, 16, Some(0.96)),
    ("dy_mobilenet_v2_x1_0", 224, 16, Some(1.75)),
    ("mobilenet_v3_small", 224, 32, None),
    ("dy_mobilenet_v3_small", 224, 32, Some(0.84)),
    ("resnet18", 64, 64, Some(0.63)),
    ("dy_resnet18", 64, 64, Some(10.8)),
];

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mut number = |flag: &str| {
        let at = arguments.iter().position(|a| a == flag)?;
        let value = arguments.get(at + 1)?.parse::<usize>().ok()?;
        arguments.drain(at..at + 2);
        Some(value)
    };
    let (steps, batch) = (number("--steps").unwrap_or(5), number("--batch"));
    if let [first, name] = &arguments[..]
        && first == "--one"
    {
        let case = CASES.iter().find(|c| c.0 == name).expect("a listed network");
        return measure(case, batch.unwrap_or(case.2), steps);
    }
    println!(
        "{:<24} {:>5} {:>5} {:>10} {:>9} {:>9} {:>9} {:>12} {:>10}",
        "network", "side", "batch", "CPU-s/step", "best", "images/s", "peak MB", "gemm GFLOP/s", "PyTorch s"
    );
    for (name, _, default, _) in CASES.iter().filter(|c| arguments.is_empty() || arguments.iter().any(|a| a == c.0)) {
        let sizes = [batch.unwrap_or(*default).to_string(), steps.to_string()];
        Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--one", name, "--batch", &sizes[0], "--steps", &sizes[1]])
            .status()
            .expect("this program runs");
    }
}

/// Runs one network and prints its row.
fn measure((name, side, _, peer): &(&str, usize, usize, Option<f64>), batch: usize, steps: usize) {
    keep_freed_memory();
    let options = Options { image_size: [*side; 2], ..Options::default() };
    let graph = build(name, &options).expect("a listed network");
    let device = Device::flex();
    let training = device.clone().autodiff();
    device.seed(1);
    let weights = init(&graph, Init::default());
    let mut network = Network::new(&graph, &weights, 30.0, &training).expect("fresh weights fit");
    let rule = SgdRule { lr: 1e-3, momentum: 0.9, decay: 4e-5, nesterov: false };
    let mut velocity = vec![None; network.trained().len()];
    let loss = CrossEntropyLossConfig::new().init(&training);
    let images = Tensor::<4>::random([batch, 3, *side, *side], Distribution::Normal(0.0, 1.0), &device).into_data();
    let labels: Vec<i64> = (0..batch as i64).map(|i| i * 37 % 1000).collect();
    let mut times = Vec::new();
    for step in 0..=steps {
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let x = Tensor::from_data(images.clone(), &training);
        let target = Tensor::<1, Int>::from_data(TensorData::new(labels.clone(), [batch]), &training);
        let Value::Vector(logits) = network.forward(x) else { unreachable!("a classifier answers with a vector") };
        let gradients = network.gradients(&loss.forward(logits, target));
        network = network.update(|i, weight| {
            let gradient = gradients.0[i].clone()?;
            let old = velocity[i].take().unwrap_or_else(|| weight.zeros_like());
            let (weight, new) = sgd(weight, gradient, old, rule);
            velocity[i] = Some(new);
            Some(weight)
        });
        if step > 0 {
            times.push((cpu_seconds() - cpu, wall.elapsed().as_secs_f64()));
        }
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0])
    };
    let (cpu, best) = middle(times.iter().map(|t| t.0).collect());
    let (wall, _) = middle(times.iter().map(|t| t.1).collect());
    println!(
        "{name:<24} {side:>5} {batch:>5} {cpu:>10.3} {best:>9.3} {:>9.1} {:>9.0} {:>12.0} {:>10}",
        batch as f64 / wall,
        peak_bytes() as f64 / 1e6,
        yardstick(&device),
        peer.map_or("-".into(), |s| format!("{s:.2}"))
    );
}

/// GFLOP per CPU-second of a 1024³ product in f32.
fn yardstick(device: &Device) -> f64 {
    let random = || Tensor::<2>::random([1024, 1024], Distribution::Normal(0.0, 1.0), device);
    let (a, b) = (random(), random());
    let rate = |times: usize| {
        let start = cpu_seconds();
        for _ in 0..times {
            std::hint::black_box(a.clone().matmul(b.clone()));
        }
        times as f64 * 2.0 * 1024f64.powi(3) / (cpu_seconds() - start).max(1e-9) / 1e9
    };
    rate(3);
    (0..3).map(|_| rate(20)).fold(0.0, f64::max)
}

/// CPU time of all threads of this process, in seconds, at the resolution of the scheduler's clock.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = tasks.flatten().filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    nanoseconds.filter_map(|s| s.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

/// Most memory that this process held at once, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}
