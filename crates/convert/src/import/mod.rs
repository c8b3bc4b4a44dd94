//! Networks of other programs become models.

mod check;
mod metadata;
mod options;
mod preprocessing;
mod report;
mod source;
mod task;

use std::path::Path;

use dyconv_file::{Model, Provenance};
use dyconv_graph::{Op, Router, to_dynamic};
use dyconv_models::dynamic_form;

use crate::answers::{Difference, answers, random_inputs};
use crate::error::ConvertError;
use crate::note::{Note, Remedy};
use source::Found;

pub use options::{Array, ImportOptions, Pair};
pub use report::{Findings, ImportCheck, ImportReport, MadeDynamic, TensorFinding};

/// Inputs on which a static network and the dynamic one made of it are compared.
const ROWS: usize = 4;
/// The temperature of new routers.
const NEW_ROUTERS: f32 = 30.0;
/// Seed of new routers.
const SEED: u64 = 0;

/// A network of another program as a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The model.
    pub model: Model,
    /// What was found, used, left out and assumed.
    pub report: ImportReport,
}

/// Imports a network from `source`, which is one of (its content decides, not its name):
///
/// - a state dict: `.safetensors`, or `.pth`, `.pt`, `.bin` of any PyTorch, also whole modules; no code in it is run,
/// - a hub folder: weights with `config.json`, as timm and transformers write it,
/// - `hub:OWNER/NAME`: the same in the local Hugging Face cache; nothing is downloaded,
/// - an ONNX file; convolutions whose kernels are computed from attention become dynamic convolutions.
///
/// The network is run on the inputs of [`ImportOptions::check`], or on the test data beside an ONNX file
/// (`test_data_set_0/input_0.pb`, `output_0.pb`), and its answers are compared with those of the original.
///
/// # Errors
/// If the source cannot be read or holds what a graph cannot express, if the options do not fit it, and
/// [`ConvertError::Differs`] if the answers differ by more than 1e-3 of the largest.
pub fn import(source: impl AsRef<Path>, options: ImportOptions) -> Result<Imported, ConvertError> {
    import_from(source.as_ref(), options)
}

fn import_from(source: &Path, options: ImportOptions) -> Result<Imported, ConvertError> {
    let name = source.display().to_string();
    let found = source::read(source, &options)?;
    // New routers learn at a high temperature first, which fine-tuning lowers; until then τ changes nothing.
    let usual = if options.to_dynamic.is_some() { NEW_ROUTERS } else { 1.0 };
    let tau = options.tau.or(found.tau).unwrap_or(usual);
    if !(tau.is_finite() && tau > 0.0) {
        return Err(ConvertError::Temperature(tau));
    }
    let Found { graph, weights, architecture, provenance, mut findings, .. } = found;
    if options.tau.or(found.tau).is_none() && graph.nodes().iter().any(|node| node.op == Op::Softmax) {
        let text = "the source does not say the temperature of the routers: 1 is assumed";
        findings.notes.push(Note::with(text, Remedy::Temperature));
    }
    let (task, note) = task::task(&name, options.classes, options.skeleton, &graph, found.classes, found.task)?;
    findings.notes.extend(note);
    let (preprocessing, note) =
        preprocessing::preprocessing(found.preprocessing, graph.input_dims(), &options.preprocessing)?;
    findings.notes.extend(note);
    task.check_preprocessing(&preprocessing).map_err(ConvertError::Preprocessing)?;
    let check = check::check(options.check, found.onnx.as_ref(), &graph, &weights, tau)?;
    let (graph, weights, dynamic) = match options.to_dynamic {
        None => (graph, weights, None),
        Some(kernels) => {
            let (wide, banks) = to_dynamic(&graph, &weights, kernels, &Router::default(), SEED)?;
            let input = random_inputs(graph.input_dims(), ROWS, SEED);
            let expected = answers(&graph, &weights, tau, &input, ROWS)?;
            let found = answers(&wide, &banks, tau, &input, ROWS)?;
            let difference = Difference::of(&found, &expected, ROWS, graph.output_shape());
            let layers = wide.dynamic_layers() - graph.dynamic_layers();
            (wide, banks, Some(MadeDynamic { kernels, layers, difference }))
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
    let fits = check.as_ref().is_none_or(|check| check.difference.is_within(ImportCheck::BOUND));
    let report = ImportReport {
        check,
        dialect: found.dialect,
        to_dynamic: dynamic,
        tensors: findings,
        ..ImportReport::of(&model, name, found.kind)
    };
    if fits { Ok(Imported { model, report }) } else { Err(ConvertError::Differs(Box::new(report))) }
}
