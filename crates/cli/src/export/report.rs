//! What an export wrote, and how far its answers are from the engine's.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::frozen::Scores;
use crate::answers::Difference;
use crate::output::{percent, print, print_json, thousands};
use crate::table::Table;

/// The report of an export.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The model that was exported.
    pub model: String,
    /// What was written: `onnx`, `torch` or `hub`.
    pub kind: &'static str,
    pub files: Vec<File>,
    /// ONNX: `exact`, `portable` or `frozen`; `null` for a static network, and for other kinds.
    pub form: Option<&'static str>,
    /// ONNX: number of samples of a run, `null` if it is free, and for other kinds.
    pub batch: Option<usize>,
    pub opset: Option<i64>,
    pub ir: Option<i64>,
    /// PyTorch: whose names the tensors have.
    pub names: Option<&'static str>,
    /// The answers of what was read back, compared with the engine's, for several batches.
    pub checks: Vec<Check>,
    pub frozen: Option<Frozen>,
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct File {
    pub path: String,
    pub bytes: u64,
}

/// The difference for one batch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Check {
    pub batch: usize,
    #[serde(flatten)]
    pub difference: Difference,
}

/// What freezing the attention costs.
#[derive(Debug, Serialize)]
pub struct Frozen {
    pub data: String,
    /// Number of images over which attention was averaged and both networks were scored.
    pub images: usize,
    #[serde(flatten)]
    pub scores: Scores,
    #[serde(skip)]
    pub what: String,
}

impl File {
    /// A file that was written.
    pub fn written(path: &Path) -> anyhow::Result<Self> {
        let about = path.metadata().with_context(|| format!("{}: cannot be read", path.display()))?;
        Ok(Self { path: path.display().to_string(), bytes: about.len() })
    }
}

impl Report {
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json { print_json(self) } else { print(&self.text()) }
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for check in &self.checks {
            lines.push(format!("read back and run with a batch of {}: {}", check.batch, check.difference));
        }
        let about = [
            self.form.map(|form| format!("form {form}")),
            (self.kind == "onnx").then(|| match self.batch {
                None => "batch free".to_owned(),
                Some(n) => format!("batch {n}"),
            }),
            self.opset.zip(self.ir).map(|(opset, ir)| format!("opset {opset}, IR {ir}")),
            self.names.map(|names| format!("names of {names}")),
        ];
        let about: Vec<String> = about.into_iter().flatten().collect();
        if !about.is_empty() {
            lines.push(about.join(", "));
        }
        lines.extend(self.files.iter().map(|file| format!("{}: {} bytes", file.path, thousands(file.bytes))));
        let mut text = lines.join("\n") + "\n";
        if let Some(frozen) = &self.frozen {
            text += &format!("\n{}over {} of {}\n", frozen.table(), frozen.what, frozen.data);
        }
        text + &self.notes.iter().map(|text| format!("note: {text}\n")).collect::<String>()
    }
}

impl Frozen {
    fn table(&self) -> Table {
        let (metric, dynamic, frozen) = match self.scores {
            Scores::Top1 { dynamic, frozen } => ("top-1", Some(dynamic), Some(frozen)),
            Scores::AveragePrecision { dynamic, frozen } => ("AP", dynamic, frozen),
        };
        let mut table = Table::new(&["attention", metric]);
        for (name, score) in [("of each input", dynamic), ("frozen at its mean", frozen)] {
            table.row(vec![name.into(), score.map_or("–".to_owned(), percent)]);
        }
        table
    }
}
