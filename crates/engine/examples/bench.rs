//! Times networks of random weights, the static and the dynamic twin in turn:
//!
//! ```text
//! cargo run --release -p dyconv-engine --example bench -- [--threads 1,2] [--rounds 30] [--bank f32|bf16|int8]
//!     [--per-node] [NAME …]
//! ```
//!
//! A round runs every network three times on every number of threads; medians and minima over all runs are in
//! milliseconds. `--per-node` instead prints the median time of each step of each network, and its multiply-adds per second.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it measured")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dyconv_engine::{Options, Plan, Session, Storage};
use dyconv_graph::{Graph, Init, cost, init};
use dyconv_models::build;

struct Arguments {
    threads: Vec<usize>,
    rounds: usize,
    bank: Storage,
    per_node: bool,
    names: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut a = Arguments { threads: vec![1, 2], rounds: 30, bank: Storage::F32, per_node: false, names: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--threads" => {
                let numbers = value()?;
                let parse = |n: &str| n.parse().map_err(|_| format!("--threads: `{n}` is no number"));
                a.threads = numbers.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            "--rounds" => a.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?,
            "--bank" => {
                a.bank = match value()?.as_str() {
                    "f32" => Storage::F32,
                    "bf16" => Storage::Bf16,
                    "int8" => Storage::Int8,
                    other => return Err(format!("--bank: `{other}` is none of f32, bf16, int8")),
                }
            }
            "--per-node" => a.per_node = true,
            name if !name.starts_with('-') => a.names.push(name.to_owned()),
            other => return Err(format!("unknown option {other}")),
        }
    }
    if a.names.is_empty() {
        a.names = ["mobilenet_v2_x1_0", "mobilenet_v3_small", "resnet18"].map(str::to_owned).to_vec();
    }
    Ok(a)
}

struct Candidate {
    name: String,
    threads: usize,
    graph: Graph,
    session: Session,
    input: Vec<f32>,
    output: Vec<f32>,
    times: Vec<f64>,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments()?;
    let mut candidates = Vec::new();
    for name in arguments.names.iter().flat_map(|n| [n.clone(), format!("dy_{n}")]) {
        let graph = build(&name, &Default::default())?;
        let options = Options { bank: arguments.bank, ..Options::default() };
        let plan = std::sync::Arc::new(Plan::with_options(&graph, &init(&graph, Init::default()), 1.0, options)?);
        for &threads in &arguments.threads {
            let len: usize = plan.input_dims().iter().product();
            candidates.push(Candidate {
                name: name.clone(),
                threads,
                graph: graph.clone(),
                session: Session::with_threads(std::sync::Arc::clone(&plan), threads),
                input: (0..len).map(|i| (i as f32 * 0.37).sin()).collect(),
                output: vec![0.0; plan.output_shape().elements()],
                times: Vec::new(),
            });
        }
    }
    if arguments.per_node {
        return candidates.iter_mut().try_for_each(|c| per_node(c, arguments.rounds));
    }
    for _ in 0..arguments.rounds {
        for c in &mut candidates {
            for _ in 0..3 {
                let start = Instant::now();
                c.session.run(&c.input, 1, &mut c.output)?;
                c.times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    println!(
        "{:<28} {:>7} {:>8} {:>8} {:>10} {:>10}",
        "network", "threads", "median", "fastest", "GFLOP/s", "weights MB"
    );
    for c in &mut candidates {
        let (middle, macs) = (median(&mut c.times), cost(&c.graph).total.total() as f64);
        let megabytes = c.session.plan().weight_bytes() as f64 / 1e6;
        let rate = 2e-6 * macs / middle;
        println!("{:<28} {:>7} {middle:>8.3} {:>8.3} {rate:>10.1} {megabytes:>10.1}", c.name, c.threads, c.times[0]);
    }
    Ok(())
}

fn per_node(c: &mut Candidate, rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut times: Vec<Vec<f64>> = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..rounds {
        steps = c.session.profile(&c.input)?;
        times.resize(steps.len(), Vec::new());
        for (all, (_, time)) in times.iter_mut().zip(&steps) {
            all.push(Duration::as_secs_f64(time) * 1e6);
        }
    }
    println!("{} on {} threads", c.name, c.threads);
    let mut kinds: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let macs = macs_by_step(&c.graph, &steps.iter().map(|(s, _)| s.name.clone()).collect::<Vec<_>>());
    for (((info, _), all), macs) in steps.iter().zip(&mut times).zip(macs) {
        let time = median(all);
        let kind = kinds.entry(info.kernel.clone()).or_default();
        *kind = (kind.0 + time, kind.1 + macs);
        println!("{info} {time:>9.1} µs {:>7.1} GFLOP/s {:>7} KB", 2e-3 * macs / time, info.weight_bytes / 1000);
    }
    for (kind, (time, macs)) in kinds {
        println!("  {kind:<44} {time:>9.1} µs {:>7.1} GFLOP/s", 2e-3 * macs / time);
    }
    Ok(())
}

/// Multiply-adds per step: those of the nodes after one step's name up to and including the next.
fn macs_by_step(graph: &Graph, names: &[String]) -> Vec<f64> {
    let cost = cost(graph);
    let by_node: Vec<f64> = cost.nodes.iter().map(|c| c.madds.total() as f64).collect();
    let mut at = 0;
    names
        .iter()
        .map(|name| {
            let mut sum = 0.0;
            while let Some(node) = graph.nodes().get(at) {
                sum += by_node[at];
                at += 1;
                if node.name == *name {
                    break;
                }
            }
            sum
        })
        .collect()
}
