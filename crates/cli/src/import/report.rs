//! The report of an import: how far the answers are from the original's, and what was found.

use dyconv_file::Model;
use dyconv_graph::{Weights, cost};
use dyconv_onnx as onnx;
use dyconv_torch as torch;
use serde::Serialize;

use super::args::Args;
use super::check::Check;
use crate::answers::Difference;
use crate::output::{print, print_json, thousands};
use crate::table::Table;
use crate::text::name;

/// Maximum number of tensors of a kind that the table lists; JSON has all.
const LISTED: usize = 20;

/// What the importers found, in one form for all sources.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// Number of tensors that were used.
    pub matched: usize,
    /// Tensors that the network needs and the source lacks.
    pub missing: Vec<Tensor>,
    /// Tensors of another shape than the network needs.
    pub mismatched: Vec<Tensor>,
    /// Tensors that the network does not read.
    pub unused: Vec<Tensor>,
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Tensor {
    pub name: String,
    /// Its shape in the source; `null` if it is missing.
    pub shape: Option<Vec<usize>>,
    /// The shape that the network needs; `null` if it does not read it.
    pub expected: Option<Vec<usize>>,
    /// The tensor of the source that may be meant.
    pub nearest: Option<String>,
}

/// A static network that became dynamic.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Dynamic {
    pub kernels: usize,
    /// Number of layers that became dynamic.
    pub layers: usize,
    /// The dynamic network compared with the static one, on random inputs.
    #[serde(flatten)]
    pub difference: Difference,
}

/// The whole report.
#[derive(Serialize)]
pub struct Report {
    source: String,
    kind: &'static str,
    out: String,
    /// Whether the model was written: not if it answers differently.
    written: bool,
    pub check: Option<Check>,
    architecture: String,
    dialect: Option<String>,
    input: [usize; 3],
    output: Vec<usize>,
    tau: f32,
    params: u64,
    madds: u64,
    dynamic_layers: usize,
    to_dynamic: Option<Dynamic>,
    tensors: Findings,
}

impl Findings {
    pub fn of_torch(report: &torch::Report) -> Self {
        let missing = report.missing.iter().map(|t| Tensor {
            name: t.name.clone(),
            shape: None,
            expected: Some(t.expected.clone()),
            nearest: t.nearest.clone(),
        });
        let mismatched = report.mismatched.iter().map(|t| Tensor {
            name: t.name.clone(),
            shape: Some(t.found.clone()),
            expected: Some(t.expected.clone()),
            nearest: t.nearest.clone(),
        });
        let unused = report.unused.iter().map(|t| Tensor {
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
            notes: report.notes.clone(),
        }
    }

    /// An ONNX file is read whole or not at all, so no tensor is missing or left over.
    pub fn of_onnx(report: &onnx::Report, weights: &Weights) -> Self {
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
        Self { matched: weights.0.len(), notes, ..Self::default() }
    }

    /// Counts, and a line for each tensor that did not fit.
    pub fn table(&self) -> String {
        let kinds = [("missing", &self.missing), ("another shape", &self.mismatched), ("unused", &self.unused)];
        let mut counts = Table::new(&["tensors", "count"]);
        counts.row(vec!["matched".into(), thousands(self.matched as u64)]);
        for (kind, tensors) in kinds {
            counts.row(vec![kind.into(), thousands(tensors.len() as u64)]);
        }
        let mut text = counts.to_string();
        let mut table = Table::new(&["tensor", "", "shape", "expected", "nearest name"]);
        let dims = |shape: &Option<Vec<usize>>| shape.as_ref().map_or("–".to_owned(), |dims| format!("{dims:?}"));
        for (kind, tensors) in kinds {
            for tensor in tensors.iter().take(LISTED) {
                let nearest = tensor.nearest.as_deref().map_or(String::new(), name);
                table.row(vec![name(&tensor.name), kind.into(), dims(&tensor.shape), dims(&tensor.expected), nearest]);
            }
            if let Some(more @ 1..) = tensors.len().checked_sub(LISTED) {
                let more = format!("… {} more", thousands(more as u64));
                table.row(vec![more, kind.into(), String::new(), String::new(), String::new()]);
            }
        }
        if self.missing.len() + self.mismatched.len() + self.unused.len() > 0 {
            text += &format!("\n{table}");
        }
        text
    }
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "the parts of a report")]
    pub fn new(
        args: &Args,
        kind: &'static str,
        dialect: Option<String>,
        model: &Model,
        check: Option<Check>,
        to_dynamic: Option<Dynamic>,
        tensors: Findings,
        written: bool,
    ) -> Self {
        let counted = cost(&model.graph);
        Self {
            source: args.source.clone(),
            kind,
            out: args.out.display().to_string(),
            written,
            check,
            architecture: model.provenance.model.clone(),
            dialect,
            input: model.graph.input_dims(),
            output: model.graph.output_shape().dims(),
            tau: model.tau,
            params: counted.params,
            madds: counted.total.total(),
            dynamic_layers: model.graph.dynamic_layers(),
            to_dynamic,
            tensors,
        }
    }

    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json { print_json(self) } else { print(&self.text()) }
    }

    fn text(&self) -> String {
        let first = match &self.check {
            Some(check) => format!("answers compared with {}: {}", check.expected, check.difference),
            None => "answers not compared: there was nothing to compare with (see --check)".to_owned(),
        };
        let mut about = Table::new(&["network", ""]);
        let dims = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        let from = match &self.dialect {
            Some(dialect) => format!("{}, names of {dialect}", self.kind),
            None => self.kind.to_owned(),
        };
        for (what, value) in [
            ("source", from),
            ("architecture", name(&self.architecture)),
            ("input", dims(&self.input)),
            ("output", dims(&self.output)),
            ("parameters", thousands(self.params)),
            ("multiply-adds", thousands(self.madds)),
            ("dynamic layers", self.dynamic_layers.to_string()),
        ] {
            about.row(vec![what.into(), value]);
        }
        let mut text = format!("{first}\n\n{about}\n{}\n", self.tensors.table());
        if let Some(Dynamic { kernels, layers, difference }) = self.to_dynamic {
            text += &format!(
                "{layers} layers made dynamic, {kernels} equal kernels each; against the static network: {difference}\n"
            );
        }
        for note in &self.tensors.notes {
            text += &format!("note: {}\n", note.replace('\n', " "));
        }
        if self.written {
            text += &format!("{}: written\n", self.out);
        }
        text
    }
}
