//! Writes predictions as they are computed: rows of a table with fixed column widths, or elements of a JSON array.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{anyhow, bail};
use serde::Serialize;

use crate::output::{json, note, print};
use crate::table::{Column, line, rule};
use crate::text::{escaped, name};

/// Minimum width of the first column on a narrow terminal.
const NARROW: usize = 16;

/// Writes predictions and records failures.
pub struct Answers {
    /// Whether to write JSON, or a table with these columns; the first column is the image's.
    json: bool,
    columns: Vec<Column>,
    images: usize,
    failed: usize,
    /// Why the only image has no prediction.
    only: Option<String>,
    begun: bool,
}

impl Answers {
    /// Creates a writer for the images `paths`. The table has a column for the image, followed by `columns`.
    pub fn new<P: AsRef<Path>>(json: bool, paths: &[P], columns: Vec<Column>) -> Self {
        let widest = paths.iter().map(|path| shown(path.as_ref()).chars().count()).max().unwrap_or(0);
        let taken: usize = columns.iter().map(|column| column.width + 2).sum();
        let room = terminal().map_or(usize::MAX, |width| width.saturating_sub(taken).max(NARROW));
        let image = Column { heading: "image", width: widest.max("image".len()).min(room), right: false };
        let columns = [image].into_iter().chain(columns).collect();
        Self { json, columns, images: paths.len(), failed: 0, only: None, begun: false }
    }

    /// Writes a prediction: as an element, or as rows without their first cell.
    pub fn add(&mut self, path: &Path, element: &impl Serialize, rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        if self.json {
            return self.element(element);
        }
        let mut text = String::new();
        if !self.begun {
            text = line(&self.columns, &self.columns.iter().map(|c| c.heading.to_owned()).collect::<Vec<_>>());
            text += &rule(&self.columns);
            self.begun = true;
        }
        for (i, row) in rows.into_iter().enumerate() {
            let image = if i == 0 { shown(path) } else { String::new() };
            text += &line(&self.columns, &[image].into_iter().chain(row).collect::<Vec<_>>());
        }
        print(&text)
    }

    /// Reports why an image has no prediction; with JSON, `element` includes the reason too.
    pub fn failed(&mut self, path: &Path, reason: &str, element: &impl Serialize) -> anyhow::Result<()> {
        self.failed += 1;
        let path = path.display().to_string();
        // The errors of files already name their file, others do not.
        let reason = if reason.starts_with(&path) { reason.to_owned() } else { format!("{path}: {reason}") };
        match self.images {
            1 => self.only = Some(reason),
            _ => note(format_args!("skipped: {reason}")),
        }
        if self.json { self.element(element) } else { Ok(()) }
    }

    /// Completes the output.
    ///
    /// # Errors
    /// If an image has no prediction.
    pub fn finish(self) -> anyhow::Result<()> {
        match (self.json, self.begun) {
            (true, true) => print("\n]\n")?,
            (true, false) => print("[]\n")?,
            (false, _) => {}
        }
        match self.only {
            Some(reason) => Err(anyhow!(reason)),
            None if self.failed > 0 => bail!("{} of {} images have no answer", self.failed, self.images),
            None => Ok(()),
        }
    }

    /// Writes an element in the format that `serde_json` uses for the whole array.
    fn element(&mut self, element: &impl Serialize) -> anyhow::Result<()> {
        let before = if self.begun { ",\n  " } else { "[\n  " };
        self.begun = true;
        print(&format!("{before}{}", json(element)?.replace('\n', "\n  ")))
    }
}

/// A column for names that are known in advance, such as classes or keypoints.
pub fn names<'a>(heading: &'static str, all: impl IntoIterator<Item = &'a String>) -> Column {
    let widths = all.into_iter().map(|text| name(text).chars().count());
    Column { heading, width: widths.max().unwrap_or(0).max(heading.chars().count()), right: false }
}

/// The whole path, if it fits on the terminal.
fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// Characters per line of standard output, if that is a terminal.
fn terminal() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
