//! `dyconv bench`: measures the speed of a network on this machine.

mod first_answer;
mod nodes;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use dyconv_engine::{self as engine, Exec, Options, Plan, Pool, Session, Storage, peak_madds, peak_read};
use dyconv_file::Model;
use dyconv_graph::{Graph, Init, TensorSource, cost, init};
use dyconv_models::static_twin;
use dyconv_predict as predict;
use serde::Serialize;

use crate::bank::Bank;
use crate::memory;
use crate::model_args::ModelArgs;
use crate::name_or_file::NameOrFile;
use crate::output::print_json;
use crate::threads::tell;
use first_answer::{FirstAnswer, first_answer};
use nodes::{NodeRow, per_node};
use report::report;

/// Measure the speed of a network on this machine
#[derive(clap::Args)]
#[command(
    after_help = "A name is timed with fresh weights, a file with its own. With --static-twin the network without attention is timed in turn with the dynamic one, so that the ratio holds on a noisy machine.

Peaks are measured at the start: multiply-adds a second on values in registers, and bytes a second read from as much memory as the network's weights take. A step's bound is the larger of its multiply-adds at the first and its weights at the second; steps with neither have none. Of a file, a fresh process is timed from its start to its first answer, with its peak resident memory (where the system tells it).

Examples:
  dyconv bench dy_mobilenet_v2_x1_0 --static-twin
  dyconv bench dy_resnet18 --threads 1,2 --batch 1,8
  dyconv bench pose_dy_mobilenet_v2_x0_5_b --static-twin --bank bf16
  dyconv bench dy_resnet18 --precision f32,bf16
  dyconv bench model.safetensors --per-node
  dyconv bench dy_mobilenet_v2_x1_0 --bank bf16 --json"
)]
pub struct Args {
    /// Name of an architecture (see `dyconv models`) or a model file
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// Numbers of threads to measure, e.g. 1,2
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = crate::threads::number)]
    threads: Vec<usize>,
    /// Batch sizes to measure, e.g. 1,8
    #[arg(long, value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// Storage of the kernel banks
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
    /// Precision of the products in convolutions, e.g. f32,bf16
    #[arg(long, value_enum, value_delimiter = ',', default_value = "f32")]
    precision: Vec<Precision>,
    /// Measure the static twin too (names only)
    #[arg(long)]
    static_twin: bool,
    /// Measure every step of the plan, with batch size 1
    #[arg(long)]
    per_node: bool,
    /// Duration of each measurement in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Predict once and report the cost: used internally in a fresh process
    #[arg(long, hide = true)]
    first_answer: bool,
    #[command(flatten)]
    model: ModelArgs,
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

/// A network to measure.
struct Subject {
    name: String,
    precision: Precision,
    plan: Arc<Plan>,
    madds: u64,
}

#[derive(Serialize)]
struct Json {
    isa: &'static str,
    bank: &'static str,
    /// Deviation of the outputs for probe inputs from those with exact banks, relative to the largest output.
    deviation: f64,
    machine: Vec<Machine>,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_answer: Option<FirstAnswer>,
}

/// Peak throughput with this number of threads.
#[derive(Clone, Copy, Serialize)]
struct Machine {
    threads: usize,
    /// Billions of f32 multiply-adds per second.
    gmadds_per_second: f64,
    /// Billions of bytes per second, read from a working set of the size of the first network's weights.
    gbytes_per_second: f64,
}

#[derive(Serialize)]
struct Row {
    network: String,
    precision: Precision,
    threads: usize,
    batch: usize,
    /// Milliseconds per batch.
    median_ms: f64,
    p90_ms: f64,
    fastest_ms: f64,
    /// Billions of multiply-adds per second, from the median.
    gmadds_per_second: f64,
    /// Fraction of the machine's peak.
    share_of_peak: f64,
    /// Bytes of packed weights and working memory.
    memory_bytes: usize,
    runs: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.seconds > 0.0 && args.seconds <= 600.0,
        "--seconds must lie above 0 and below 600, got {}",
        args.seconds
    );
    ensure!(
        args.batch.iter().all(|n| (1..=1024).contains(n)),
        "--batch takes whole numbers from 1 to 1024, got {:?}",
        args.batch
    );
    let what = NameOrFile::new(&args.what)?;
    let first_answer = match &what {
        NameOrFile::File(path) if args.first_answer => return first_answer::answer(path, args.bank, args.threads[0]),
        NameOrFile::File(path) => Some(first_answer(path, args.bank, args.threads[0])?),
        NameOrFile::Name(_) => None,
    };
    let (subjects, deviation) = subjects(args, what)?;
    let mut machine = Vec::new();
    let mut rows = Vec::new();
    for &threads in &args.threads {
        let peak = measure_machine(&subjects[0].plan, threads);
        for &batch in &args.batch {
            rows.extend(measure(&subjects, peak, batch, args.seconds)?);
        }
        machine.push(peak);
    }
    let mut nodes = Vec::new();
    if args.per_node {
        for subject in &subjects {
            nodes.extend(per_node(subject, machine[0], args.seconds)?);
        }
    }
    let plan = &subjects[0].plan;
    let json = Json {
        isa: plan.isa().name(),
        bank: predict::Bank::from(plan.bank()).name(),
        deviation,
        machine,
        rows,
        nodes,
        first_answer,
    };
    if args.json { print_json(&json) } else { report(&json, plan.isa(), args.static_twin) }
}

/// The networks to measure, and the deviation of the first one's banks.
fn subjects(args: &Args, what: NameOrFile) -> anyhow::Result<(Vec<Subject>, f64)> {
    let subject = |name: &str, precision: Precision, graph: &Graph, weights: &dyn TensorSource, tau: f32| {
        let options = Options { precision: precision.into(), ..Options::default() };
        let (plan, deviation) = predict::Bank::from(args.bank).compile(graph, weights, tau, options)?;
        let plan = Arc::new(plan);
        let deviation = match deviation {
            Some(deviation) => deviation,
            None if plan.bank() == Storage::F32 => 0.0,
            None => plan.deviation_from(&Arc::new(Plan::with_options(graph, weights, tau, options)?))?,
        };
        let madds = cost(graph).total.total();
        anyhow::Ok((Subject { name: name.to_owned(), precision, plan, madds }, deviation))
    };
    let found: Vec<(Subject, f64)> = match what {
        NameOrFile::File(path) => {
            ensure!(!args.static_twin, "--static-twin needs the name of an architecture, not a file");
            let model = Model::open(&path)?;
            let each = args.precision.iter();
            let all = each.map(|p| subject(&args.what, *p, &model.graph, &model.weights, model.tau));
            all.collect::<anyhow::Result<_>>().with_context(|| path.display().to_string())?
        }
        NameOrFile::Name(name) => {
            let mut names = vec![name.clone()];
            if args.static_twin {
                match static_twin(&name) {
                    Some(twin) => names.push(twin),
                    None => bail!("--static-twin: `{name}` is static itself; name a `dy_` network"),
                }
            }
            let each = args.precision.iter().flat_map(|p| names.iter().map(move |name| (*p, name)));
            let all = each.map(|(precision, name)| {
                let graph = args.model.build(name)?;
                let bytes = 4 * graph.parameters().iter().map(|p| p.elements() as u64).sum::<u64>();
                memory::check(bytes, || format!("{name}: making its weights"))?;
                subject(name, precision, &graph, &init(&graph, Init::default()), 1.0)
            });
            all.collect::<anyhow::Result<_>>()?
        }
    };
    let (subjects, deviations): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    Ok((subjects, deviations[0]))
}

fn measure_machine(plan: &Plan, threads: usize) -> Machine {
    let pool = Pool::new(threads);
    tell(threads, pool.threads());
    let exec = Exec { isa: plan.isa(), pool: &pool };
    Machine {
        threads: pool.threads(),
        gmadds_per_second: peak_madds(exec) / 1e9,
        gbytes_per_second: peak_read(exec, plan.weight_bytes()) / 1e9,
    }
}

/// Measures all networks alternately, so that a disturbance affects them alike.
fn measure(subjects: &[Subject], machine: Machine, batch: usize, seconds: f64) -> anyhow::Result<Vec<Row>> {
    let sizes = |s: &Subject| {
        let [input, output] = [s.plan.input_dims().iter().product(), s.plan.output_shape().elements()];
        [input, output].map(|n: usize| batch * n)
    };
    let values: usize = subjects.iter().flat_map(sizes).sum();
    memory::check(4 * values as u64, || format!("a batch of {batch}"))?;
    let subject = |s: &Subject| {
        let [input, output] = sizes(s);
        let session = Session::try_with_threads(Arc::clone(&s.plan), machine.threads)?;
        anyhow::Ok((session, vec![0.5f32; input], vec![0f32; output], Vec::new()))
    };
    let mut runs = subjects.iter().map(subject).collect::<anyhow::Result<Vec<_>>>()?;
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
        let gmadds_per_second = subject.madds as f64 * batch as f64 / median / 1e6;
        Row {
            network: subject.name.clone(),
            precision: subject.precision,
            threads: machine.threads,
            batch,
            median_ms: median,
            p90_ms: ms(times[times.len() * 9 / 10]),
            fastest_ms: ms(times[0]),
            gmadds_per_second,
            share_of_peak: gmadds_per_second / machine.gmadds_per_second,
            memory_bytes: subject.plan.weight_bytes() + subject.plan.arena_bytes() + subject.plan.scratch_bytes(),
            runs: times.len(),
        }
    });
    Ok(rows.collect())
}
