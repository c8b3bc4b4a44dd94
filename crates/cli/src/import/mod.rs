//! `dyconv import`: networks of other programs become model files.

mod args;
mod check;
mod metadata;
mod preprocessing;
mod report;
mod source;
mod task;

use anyhow::{bail, ensure};
use dyconv_file::{Model, Provenance};
use dyconv_graph::{Router, to_dynamic};
use dyconv_models::dynamic_form;

use crate::answers::{Difference, answers, random_inputs};
use check::Pair;
use report::{Dynamic, Report};
use source::Found;

pub use args::Args;

/// Inputs on which a static network and the dynamic one made of it are compared.
const ROWS: usize = 4;
/// The temperature of new routers.
const NEW_ROUTERS: f32 = 30.0;
/// Seed of the routers of `--to-dynamic`.
const SEED: u64 = 0;

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(!args.out.exists(), "{} exists already; choose another file", args.out.display());
    let given = Pair::given(args)?;
    let found = source::read(args, given.as_ref())?;
    // New routers learn at a high temperature first, which fine-tuning lowers; until then τ changes nothing.
    let usual = if args.to_dynamic.is_some() { NEW_ROUTERS } else { 1.0 };
    let tau = args.tau.or(found.tau).unwrap_or(usual);
    ensure!(tau.is_finite() && tau > 0.0, "--tau {tau}: expected a positive number");
    let Found { graph, weights, classes, preprocessing, architecture, provenance, mut findings, .. } = found;
    let (task, note) = task::task(args, &graph, classes, found.task)?;
    findings.notes.extend(note);
    let (preprocessing, note) = preprocessing::preprocessing(preprocessing, graph.input_dims(), &args.set)?;
    findings.notes.extend(note);
    let check = check::check(given, found.onnx.as_ref(), &graph, &weights, tau)?;
    let (graph, weights, dynamic) = match args.to_dynamic {
        None => (graph, weights, None),
        Some(kernels) => {
            let (wide, banks) = to_dynamic(&graph, &weights, kernels, &Router::default(), SEED)?;
            let input = random_inputs(graph.input_dims(), ROWS, SEED);
            let expected = answers(&graph, &weights, tau, &input, ROWS)?;
            let found = answers(&wide, &banks, tau, &input, ROWS)?;
            let difference = Difference::of(&found, &expected, ROWS, graph.output_shape());
            let layers = wide.dynamic_layers() - graph.dynamic_layers();
            (wide, banks, Some(Dynamic { kernels, layers, difference }))
        }
    };
    let model = Model {
        graph,
        weights,
        tau,
        preprocessing,
        task,
        provenance: Provenance {
            producer: Provenance::IMPORT.into(),
            model: if dynamic.is_some() { dynamic_form(&architecture) } else { architecture },
            ..provenance.unwrap_or_default()
        },
    };
    let fits = check.as_ref().is_none_or(|check| check.difference.is_within(check::BOUND));
    if fits {
        model.write(&args.out)?;
    }
    let report = Report::new(args, found.kind, found.dialect, &model, check, dynamic, findings, fits);
    report.print(args.json)?;
    match &report.check {
        Some(check) if !fits => bail!(
            "the imported network does not answer as the original: {} from {} (at most {:.0e} is allowed); nothing was written",
            check.difference,
            check.expected,
            check::BOUND
        ),
        _ => Ok(()),
    }
}
