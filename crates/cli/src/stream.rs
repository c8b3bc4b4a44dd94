//! Answers for images, written as they come: rows of a table whose widths are known before, or elements of a JSON array.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{anyhow, bail};
use serde::Serialize;

use crate::output::{json, note, print};
use crate::table::{Column, line, rule};
use crate::text::{escaped, name};

/// The first column's least width on a narrow terminal.
const NARROW: usize = 16;

/// Writes answers, and remembers what failed.
pub struct Answers {
    /// As JSON, or as a table of these columns; the first is the image's.
    json: bool,
    columns: Vec<Column>,
    images: usize,
    failed: usize,
    /// Why the only image has no answer.
    only: Option<String>,
    begun: bool,
}

impl Answers {
    /// For so many images as `paths`. The table has a column for the image and then `columns`.
    pub fn new<P: AsRef<Path>>(json: bool, paths: &[P], columns: Vec<Column>) -> Self {
        let widest = paths.iter().map(|path| shown(path.as_ref()).chars().count()).max().unwrap_or(0);
        let taken: usize = columns.iter().map(|column| column.width + 2).sum();
        let room = terminal().map_or(usize::MAX, |width| width.saturating_sub(taken).max(NARROW));
        let image = Column { heading: "image", width: widest.max("image".len()).min(room), right: false };
        let columns = [image].into_iter().chain(columns).collect();
        Self { json, columns, images: paths.len(), failed: 0, only: None, begun: false }
    }

    /// Writes an answer: as an element, or as rows without their first cell.
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

    /// Tells why an image has no answer; as JSON, `element` says it too.
    pub fn failed(&mut self, path: &Path, reason: &str, element: &impl Serialize) -> anyhow::Result<()> {
        self.failed += 1;
        let path = path.display().to_string();
        // The errors of files name their file, others do not.
        let reason = if reason.starts_with(&path) { reason.to_owned() } else { format!("{path}: {reason}") };
        match self.images {
            1 => self.only = Some(reason),
            _ => note(format_args!("skipped: {reason}")),
        }
        if self.json { self.element(element) } else { Ok(()) }
    }

    /// Ends what was begun.
    ///
    /// # Errors
    /// When an image has no answer.
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

    /// As `serde_json` writes the array as a whole.
    fn element(&mut self, element: &impl Serialize) -> anyhow::Result<()> {
        let before = if self.begun { ",\n  " } else { "[\n  " };
        self.begun = true;
        print(&format!("{before}{}", json(element)?.replace('\n', "\n  ")))
    }
}

/// A column for the names of classes, keypoints or whatever is known before.
pub fn names<'a>(heading: &'static str, all: impl IntoIterator<Item = &'a String>) -> Column {
    let widths = all.into_iter().map(|text| name(text).chars().count());
    Column { heading, width: widths.max().unwrap_or(0).max(heading.chars().count()), right: false }
}

/// The whole path, where the terminal has room for it.
fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// Characters of a line on standard output, where that is a terminal.
fn terminal() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
