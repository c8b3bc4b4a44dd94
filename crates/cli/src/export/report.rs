//! The report of an export as text and as JSON.

use dyconv_convert::ExportReport;
use serde::Serialize;

use super::args::Args;
use super::frozen::Scores;
use crate::output::{percent, print, print_json, thousands};
use crate::table::Table;

/// The report of the library, and what the program did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model that was exported.
    model: String,
    #[serde(flatten)]
    export: ExportReport,
    frozen: Option<Frozen>,
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

impl Report {
    pub fn new(args: &Args, export: ExportReport, frozen: Option<Frozen>) -> Self {
        Self { model: args.model.display().to_string(), export, frozen }
    }

    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json { print_json(self) } else { print(&self.text()) }
    }

    fn text(&self) -> String {
        let export = &self.export;
        let mut lines = Vec::new();
        for check in &export.checks {
            lines.push(format!("read back and run with a batch of {}: {}", check.batch, check.difference));
        }
        let about = [
            export.form.map(|form| format!("form {form}")),
            (export.kind == "onnx").then(|| match export.batch {
                None => "batch free".to_owned(),
                Some(n) => format!("batch {n}"),
            }),
            export.opset.zip(export.ir).map(|(opset, ir)| format!("opset {opset}, IR {ir}")),
            export.names.map(|names| format!("names of {names}")),
        ];
        let about: Vec<String> = about.into_iter().flatten().collect();
        if !about.is_empty() {
            lines.push(about.join(", "));
        }
        lines.extend(export.files.iter().map(|file| format!("{}: {} bytes", file.path, thousands(file.bytes))));
        let mut text = lines.join("\n") + "\n";
        if let Some(frozen) = &self.frozen {
            text += &format!("\n{}over {} of {}\n", frozen.table(), frozen.what, frozen.data);
        }
        text + &export.notes.iter().map(|text| format!("note: {text}\n")).collect::<String>()
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
