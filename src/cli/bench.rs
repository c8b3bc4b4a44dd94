//! `dyconv bench`: how fast is a network on this machine?

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use dyconv::engine::{self, Isa, Options, Plan, Session, Storage};
use dyconv::file::Model;
use dyconv::graph::{Graph, Init, Weights, cost, init};
use serde::Serialize;

use super::model_args::ModelArgs;
use super::output::{print, print_json};
use super::table::Table;

/// Time a network on this machine
#[derive(clap::Args)]
#[command(
    after_help = "A name is timed with fresh weights, a file with its own. With --static-twin the network without attention is timed in turn with the dynamic one, so that the ratio holds on a noisy machine.

Examples:
  dyconv bench dy_mobilenet_v2_x1_0 --static-twin
  dyconv bench dy_resnet18 --threads 1,2 --batch 1,8
  dyconv bench dy_resnet18 --precision f32,bf16
  dyconv bench model.safetensors --per-node
  dyconv bench dy_mobilenet_v2_x1_0 --bank bf16 --json"
)]
pub struct Args {
    /// Name of an architecture (see `dyconv models`) or a model file
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// Threads to time with, e.g. 1,2
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// Batch sizes to time, e.g. 1,8
    #[arg(long, value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// How kernel banks are stored
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
    /// What convolutions multiply, e.g. f32,bf16
    #[arg(long, value_enum, value_delimiter = ',', default_value = "f32")]
    precision: Vec<Precision>,
    /// Time the static twin too (names only)
    #[arg(long)]
    static_twin: bool,
    /// Time every step of the plan, batch 1
    #[arg(long)]
    per_node: bool,
    /// Length of each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bank {
    F32,
    Bf16,
    Int8,
}

impl From<Bank> for Storage {
    fn from(bank: Bank) -> Self {
        match bank {
            Bank::F32 => Storage::F32,
            Bank::Bf16 => Storage::Bf16,
            Bank::Int8 => Storage::Int8,
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    F32,
    Bf16,
}

impl From<Precision> for engine::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => engine::Precision::F32,
            Precision::Bf16 => engine::Precision::Bf16,
        }
    }
}

/// A network to be timed.
struct Subject {
    name: String,
    precision: Precision,
    plan: Arc<Plan>,
    madds: u64,
}

#[derive(Serialize)]
struct Json {
    isa: &'static str,
    bank: Bank,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeRow>,
}

#[derive(Serialize)]
struct Row {
    network: String,
    precision: Precision,
    threads: usize,
    batch: usize,
    /// Milliseconds of a batch.
    median_ms: f64,
    p90_ms: f64,
    fastest_ms: f64,
    /// Billions of multiply-adds a second at the median.
    gmadds_per_second: f64,
    /// Packed weights and working memory.
    memory_bytes: usize,
    runs: usize,
}

#[derive(Serialize)]
struct NodeRow {
    node: String,
    kernel: String,
    /// Median microseconds.
    us: f64,
    share: f64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.seconds > 0.0 && args.seconds <= 600.0,
        "--seconds must lie above 0 and below 600, got {}",
        args.seconds
    );
    let bounded = |what: &str, list: &[usize], most: usize| {
        ensure!(
            list.iter().all(|n| (1..=most).contains(n)),
            "--{what} takes whole numbers from 1 to {most}, got {list:?}"
        );
        Ok(())
    };
    bounded("threads", &args.threads, 256)?;
    bounded("batch", &args.batch, 1024)?;
    let subjects = subjects(args)?;
    let mut rows = Vec::new();
    for &threads in &args.threads {
        for &batch in &args.batch {
            rows.extend(measure(&subjects, threads, batch, args.seconds)?);
        }
    }
    let nodes = if args.per_node { per_node(&subjects[0], args.threads[0], args.seconds)? } else { Vec::new() };
    let isa = subjects[0].plan.isa();
    if args.json {
        return print_json(&Json { isa: isa.name(), bank: args.bank, rows, nodes });
    }
    report(&rows, &nodes, isa, args.static_twin)
}

fn subjects(args: &Args) -> anyhow::Result<Vec<Subject>> {
    let subject = |name: &str, precision: Precision, graph: &Graph, weights: &Weights, tau: f32| {
        let options = Options { bank: args.bank.into(), precision: precision.into(), ..Options::default() };
        let plan = Arc::new(Plan::with_options(graph, weights, tau, options)?);
        anyhow::Ok(Subject { name: name.to_owned(), precision, plan, madds: cost(graph).total.total() })
    };
    if args.what.contains(['/', '\\', '.']) || Path::new(&args.what).is_file() {
        ensure!(!args.static_twin, "--static-twin needs the name of an architecture, not a file");
        let model = Model::read(Path::new(&args.what))?;
        let each = args.precision.iter();
        return each.map(|p| subject(&args.what, *p, &model.graph, &model.weights, model.tau)).collect();
    }
    let mut names = vec![args.what.clone()];
    if args.static_twin {
        match args.what.strip_prefix("dy_") {
            Some(twin) => names.push(twin.to_owned()),
            None => bail!("--static-twin: `{}` is static itself; name a `dy_` network", args.what),
        }
    }
    let each = args.precision.iter().flat_map(|p| names.iter().map(move |name| (*p, name)));
    each.map(|(precision, name)| {
        let graph = args.model.build(name)?;
        subject(name, precision, &graph, &init(&graph, Init::default()), 1.0)
    })
    .collect()
}

/// Times all networks in turn, so that a disturbance hits them alike.
fn measure(subjects: &[Subject], threads: usize, batch: usize, seconds: f64) -> anyhow::Result<Vec<Row>> {
    let mut runs: Vec<_> = subjects
        .iter()
        .map(|s| {
            let input = vec![0.5f32; batch * s.plan.input_dims().iter().product::<usize>()];
            let output = vec![0f32; batch * s.plan.output_shape().elements()];
            (Session::with_threads(Arc::clone(&s.plan), threads), input, output, Vec::new())
        })
        .collect();
    for (session, input, output, _) in &mut runs {
        session.run(input, batch, output)?;
    }
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < seconds * subjects.len() as f64 || runs[0].3.len() < 5 {
        for (session, input, output, times) in &mut runs {
            let start = Instant::now();
            session.run(input, batch, output)?;
            times.push(start.elapsed());
        }
    }
    let rows = subjects.iter().zip(runs).map(|(subject, (_, _, _, mut times))| {
        times.sort_unstable();
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        let median = ms(times[times.len() / 2]);
        Row {
            network: subject.name.clone(),
            precision: subject.precision,
            threads,
            batch,
            median_ms: median,
            p90_ms: ms(times[times.len() * 9 / 10]),
            fastest_ms: ms(times[0]),
            gmadds_per_second: subject.madds as f64 * batch as f64 / median / 1e6,
            memory_bytes: subject.plan.weight_bytes() + subject.plan.arena_bytes() + subject.plan.scratch_bytes(),
            runs: times.len(),
        }
    });
    Ok(rows.collect())
}

/// Median time of every step.
fn per_node(subject: &Subject, threads: usize, seconds: f64) -> anyhow::Result<Vec<NodeRow>> {
    let mut session = Session::with_threads(Arc::clone(&subject.plan), threads);
    let input = vec![0.5f32; subject.plan.input_dims().iter().product()];
    let mut profiles = vec![session.profile(&input)?];
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < seconds || profiles.len() < 5 {
        profiles.push(session.profile(&input)?);
    }
    let median = |step: usize| {
        let mut times: Vec<Duration> = profiles.iter().map(|p| p[step].1).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let times: Vec<f64> = (0..profiles[0].len()).map(median).collect();
    let sum: f64 = times.iter().sum();
    let rows = profiles[0].iter().zip(times).map(|((info, _), us)| NodeRow {
        node: info.name.clone(),
        kernel: info.kernel.clone(),
        us,
        share: us / sum,
    });
    Ok(rows.collect())
}

fn report(rows: &[Row], nodes: &[NodeRow], isa: Isa, twin: bool) -> anyhow::Result<()> {
    if !nodes.is_empty() {
        let mut table = Table::new(&["node", "kernel", "µs", "share"]);
        for n in nodes {
            table.row(vec![
                n.node.clone(),
                n.kernel.clone(),
                format!("{:.1}", n.us),
                format!("{:.1} %", 100.0 * n.share),
            ]);
        }
        print(&format!("{table}\n"))?;
    }
    let mut headings =
        vec!["network", "precision", "threads", "batch", "median", "p90", "fastest", "GMAdds/s", "memory"];
    headings.extend(twin.then_some("dynamic ÷ static"));
    let mut table = Table::new(&headings);
    for (i, r) in rows.iter().enumerate() {
        let ms = |v: f64| format!("{v:.3} ms");
        let precision = match r.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        let mut cells = vec![r.network.clone(), precision.to_owned(), r.threads.to_string(), r.batch.to_string()];
        cells.extend([ms(r.median_ms), ms(r.p90_ms), ms(r.fastest_ms)]);
        cells.push(format!("{:.1}", r.gmadds_per_second));
        cells.push(format!("{:.1} MiB", r.memory_bytes as f64 / f64::from(1 << 20)));
        if twin {
            let ratio = if i % 2 == 0 { format!("{:.3}", r.median_ms / rows[i + 1].median_ms) } else { String::new() };
            cells.push(ratio);
        }
        table.row(cells);
    }
    let widened = rows.iter().any(|r| r.precision == Precision::Bf16) && !isa.multiplies_bf16();
    let note = if widened { " has no products of bf16, which are computed in f32" } else { "" };
    let isa = isa.name();
    print(&format!("{table}\ninstruction set {isa}{note}; memory is packed weights and working memory\n"))
}
