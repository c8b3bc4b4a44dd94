//! The report of an import: how far the answers are from the original's, and what was found.

use dyconv_file::Model;
use dyconv_graph::{Weights, cost};
use dyconv_onnx as onnx;
use dyconv_torch as torch;
use serde::Serialize;

use crate::answers::Difference;
use crate::note::Note;

/// What an import found, did and assumed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportReport {
    /// The source, as it was named.
    pub source: String,
    /// What the source is: `state dict`, `hub folder` or `ONNX`.
    pub kind: &'static str,
    /// The comparison with the original; `None` if there was nothing to compare with.
    pub check: Option<ImportCheck>,
    /// Name of the architecture; of an ONNX file that does not name it, the name of the file.
    pub architecture: String,
    /// Whose names the tensors of a state dict have.
    pub dialect: Option<String>,
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Shape of the output for one sample.
    pub output: Vec<usize>,
    /// Temperature of the routers' softmax.
    pub tau: f32,
    /// Number of parameters.
    pub params: u64,
    /// Multiply-adds for one sample.
    pub madds: u64,
    /// Number of dynamic layers.
    pub dynamic_layers: usize,
    /// Of a static network that became dynamic.
    pub to_dynamic: Option<MadeDynamic>,
    /// What became of the tensors of the source, and notes.
    pub tensors: Findings,
}

/// The outcome of a comparison with the original.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportCheck {
    /// Where the original's answers are from.
    pub expected: String,
    /// How far the answers are from them.
    #[serde(flatten)]
    pub difference: Difference,
}

impl ImportCheck {
    /// Largest relative difference with which a network is imported.
    pub const BOUND: f64 = 1e-3;
}

/// A static network that became dynamic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MadeDynamic {
    /// Kernels of each new dynamic layer.
    pub kernels: usize,
    /// Number of layers that became dynamic.
    pub layers: usize,
    /// The dynamic network compared with the static one, on random inputs.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What became of the tensors of a source, in one form for all kinds of sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Number of tensors that were used.
    pub matched: usize,
    /// Tensors that the network needs and the source lacks.
    pub missing: Vec<TensorFinding>,
    /// Tensors of another shape than the network needs.
    pub mismatched: Vec<TensorFinding>,
    /// Tensors that the network does not read.
    pub unused: Vec<TensorFinding>,
    /// What was unwrapped, converted, skipped or assumed.
    pub notes: Vec<Note>,
}

/// A tensor that was not simply used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorFinding {
    /// Its name in the source, or the name that was looked for.
    pub name: String,
    /// Its shape in the source; `None` if it is missing.
    pub shape: Option<Vec<usize>>,
    /// The shape that the network needs; `None` if it does not read it.
    pub expected: Option<Vec<usize>>,
    /// The tensor of the source that may be meant.
    pub nearest: Option<String>,
}

impl From<&torch::Report> for Findings {
    fn from(report: &torch::Report) -> Self {
        let missing = report.missing.iter().map(|t| TensorFinding {
            name: t.name.clone(),
            shape: None,
            expected: Some(t.expected.clone()),
            nearest: t.nearest.clone(),
        });
        let mismatched = report.mismatched.iter().map(|t| TensorFinding {
            name: t.name.clone(),
            shape: Some(t.found.clone()),
            expected: Some(t.expected.clone()),
            nearest: t.nearest.clone(),
        });
        let unused = report.unused.iter().map(|t| TensorFinding {
            name: t.name.clone(),
            shape: Some(t.shape.clone()),
            expected: None,
            nearest: None,
        });
        Self {
            matched: report.matched,
            missing: missing.collect(),
            mismatched: mismatched.collect(),
            unused: unused.collect(),
            notes: report.notes.iter().cloned().map(Note::from).collect(),
        }
    }
}

impl Findings {
    /// An ONNX file is read whole or not at all, so no tensor is missing or left over.
    pub(super) fn of_onnx(report: &onnx::Report, weights: &Weights) -> Self {
        let folded =
            report.folded.iter().map(|(what, count)| format!("{count} × {what}")).collect::<Vec<_>>().join(", ");
        let mut notes = vec![format!(
            "{} nodes, opset {}, IR {}, written by {}",
            report.nodes, report.opset, report.ir_version, report.producer
        )];
        if !folded.is_empty() {
            notes.push(format!("folded away: {folded}"));
        }
        notes.extend(report.notes.iter().cloned());
        Self { matched: weights.0.len(), notes: notes.into_iter().map(Note::from).collect(), ..Self::default() }
    }
}

impl ImportReport {
    /// A report with the numbers of the model; everything else is added by the caller.
    pub(super) fn of(model: &Model, source: String, kind: &'static str) -> Self {
        let counted = cost(&model.graph);
        Self {
            source,
            kind,
            check: None,
            architecture: model.provenance.model.clone(),
            dialect: None,
            input: model.graph.input_dims(),
            output: model.graph.output_shape().dims(),
            tau: model.tau,
            params: counted.params,
            madds: counted.total.total(),
            dynamic_layers: model.graph.dynamic_layers(),
            to_dynamic: None,
            tensors: Findings::default(),
        }
    }
}
