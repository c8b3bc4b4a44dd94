//! The report of an import as text and as JSON.

use dyconv_convert::{Findings, ImportReport, MadeDynamic};
use serde::Serialize;

use super::args::Args;
use crate::hints;
use crate::output::{print, print_json, thousands};
use crate::table::Table;
use crate::text::name;

/// Maximum number of tensors of a kind that the table lists; JSON has all.
const LISTED: usize = 20;

/// The report of the library, and what the program did.
#[derive(Serialize)]
pub struct Report {
    out: String,
    /// Whether the model was written: not if it answers differently.
    written: bool,
    #[serde(flatten)]
    import: ImportReport,
}

/// Counts, and a line for each tensor that did not fit.
pub fn table(findings: &Findings) -> String {
    let kinds = [("missing", &findings.missing), ("another shape", &findings.mismatched), ("unused", &findings.unused)];
    let mut counts = Table::new(&["tensors", "count"]);
    counts.row(vec!["matched".into(), thousands(findings.matched as u64)]);
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
    if findings.missing.len() + findings.mismatched.len() + findings.unused.len() > 0 {
        text += &format!("\n{table}");
    }
    text
}

impl Report {
    /// The report, whose notes get what a person can do about them.
    pub fn new(args: &Args, mut import: ImportReport, written: bool) -> Self {
        import.tensors.notes.iter_mut().for_each(hints::extend);
        Self { out: args.out.display().to_string(), written, import }
    }

    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json { print_json(self) } else { print(&self.text()) }
    }

    fn text(&self) -> String {
        let import = &self.import;
        let first = match &import.check {
            Some(check) => format!("answers compared with {}: {}", check.expected, check.difference),
            None => "answers not compared: there was nothing to compare with (see --check)".to_owned(),
        };
        let mut about = Table::new(&["network", ""]);
        let dims = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        let from = match &import.dialect {
            Some(dialect) => format!("{}, names of {dialect}", import.kind),
            None => import.kind.to_owned(),
        };
        for (what, value) in [
            ("source", from),
            ("architecture", name(&import.architecture)),
            ("input", dims(&import.input)),
            ("output", dims(&import.output)),
            ("parameters", thousands(import.params)),
            ("multiply-adds", thousands(import.madds)),
            ("dynamic layers", import.dynamic_layers.to_string()),
        ] {
            about.row(vec![what.into(), value]);
        }
        let mut text = format!("{first}\n\n{about}\n{}\n", table(&import.tensors));
        if let Some(MadeDynamic { kernels, layers, difference }) = import.to_dynamic {
            text += &format!(
                "{layers} layers made dynamic, {kernels} kernels each; against the static network: {difference}\n"
            );
        }
        for note in &import.tensors.notes {
            text += &format!("note: {}\n", note.text.replace('\n', " "));
        }
        if self.written {
            text += &format!("{}: written\n", self.out);
        }
        text
    }
}
