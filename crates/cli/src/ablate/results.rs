//! The table of a grid: means, deviations, differences.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use dyconv_data::Dataset;
use dyconv_file::write_atomically;
use dyconv_graph::cost;
use dyconv_metrics::Sample;
use dyconv_predict::ModelOptions;
use dyconv_train::{Axis, Cell, Epoch, Recipe, RunFolder, epochs_done};
use serde::{Deserialize, Serialize};

use super::Run;
use crate::bank::Bank;
use crate::latency::latencies;
use crate::output::{print, thousands};
use crate::scores::{COMPARED, Difference, Metric, in_percent, spread};
use crate::table::Table;

/// The table in Markdown, and with all details in JSON.
const FILES: [&str; 2] = ["table.md", "table.json"];

/// Checks that the tables may be written: existing files must be tables of a grid.
pub fn check_free(out: &Path) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Ours {
        #[serde(rename = "recipe")]
        _recipe: String,
        #[serde(rename = "cells")]
        _cells: Vec<serde_json::Value>,
    }
    let [markdown, json] = FILES.map(|name| out.join(name));
    let ours = || fs::read(&json).is_ok_and(|text| serde_json::from_slice::<Ours>(&text).is_ok());
    if (markdown.exists() || json.exists()) && !ours() {
        let stands = if json.exists() { json } else { markdown };
        bail!("{}: is not the table of a grid; name another folder with --out", stands.display());
    }
    Ok(())
}

/// The results of a grid.
pub struct Results {
    metric: Metric,
    axes: Vec<String>,
    rows: Vec<Row>,
    recipe: String,
}

/// The results of a cell.
#[derive(Debug, Serialize)]
struct Row {
    cell: String,
    /// By axis; `null` if the axis has no effect on the cell's network.
    settings: BTreeMap<String, Option<String>>,
    model: String,
    /// On the held-out images after the last epoch, in percent.
    score: Sample,
    /// Score of the best epoch, which the model file contains. It is selected on the same data, hence slightly
    /// optimistic.
    best_score: Sample,
    /// Mean loss over the last epoch's iterations.
    loss: Sample,
    /// Difference of `score` to that of the first cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    params: u64,
    madds: u64,
    /// Median time of one image on one thread, in milliseconds.
    latency_ms: f64,
    runs: Vec<RunRow>,
    /// Runs that failed.
    failed: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct RunRow {
    seed: u64,
    score: f64,
    best_score: f64,
    best_epoch: usize,
    loss: f64,
    /// Training throughput in images per second, mean over epochs.
    images_per_second: f64,
    folder: String,
}

#[derive(Debug, Serialize)]
struct Failure {
    seed: u64,
    reason: String,
}

#[derive(Serialize)]
pub struct Json<'a> {
    data: &'a str,
    /// The metric of `score`.
    metric: Metric,
    /// Complete recipe, before the grid's values and the seed are set.
    recipe: &'a str,
    cells: &'a [Row],
}

/// Reads the finished runs and measures the latency of one network per cell. A cell without finished runs has no row.
pub fn collect(
    base: &Recipe,
    axes: &[Axis],
    cells: &[Cell],
    runs: &[Run],
    dataset: &Arc<Dataset>,
    failed: &BTreeMap<usize, String>,
) -> anyhow::Result<Results> {
    let mut rows = Vec::new();
    let mut networks = Vec::new();
    for (i, cell) in cells.iter().enumerate() {
        let of_cell = || runs.iter().enumerate().filter(|(_, run)| run.cell == i);
        let done: Vec<RunRow> = of_cell().filter_map(|(_, run)| RunRow::of(run)).collect();
        let Some(first) = done.first() else { continue };
        let path = RunFolder::model_in(Path::new(&first.folder));
        let network = Bank::F32.open(&path, ModelOptions::new())?;
        let counted = cost(&network.model().graph);
        networks.push(network);
        let sample = |value: fn(&RunRow) -> f64| Sample::of(&done.iter().map(value).collect::<Vec<_>>());
        let failed = of_cell().filter_map(|(j, run)| Some(Failure { seed: run.seed, reason: failed.get(&j)?.clone() }));
        rows.push(Row {
            cell: cell.name.clone(),
            settings: axes.iter().map(|a| a.key.clone()).zip(cell.values.iter().cloned()).collect(),
            model: cell.recipe.model.name.clone(),
            score: sample(|r| r.score),
            best_score: sample(|r| r.best_score),
            loss: sample(|r| r.loss),
            difference: None,
            params: counted.params,
            madds: counted.total.total(),
            latency_ms: 0.0,
            failed: failed.collect(),
            runs: done,
        });
    }
    if rows.is_empty() {
        anyhow::bail!("no run was finished");
    }
    for (row, time) in rows.iter_mut().zip(latencies(&networks, dataset)?) {
        row.latency_ms = time.as_secs_f64() * 1e3;
    }
    let first = rows[0].score;
    for row in rows.iter_mut().skip(1) {
        row.difference = Some(Difference::of(&row.score, &first));
    }
    let metric = Metric::of(dataset.people().is_some());
    Ok(Results { metric, axes: axes.iter().map(|a| a.key.clone()).collect(), rows, recipe: base.to_toml() })
}

impl RunRow {
    /// The result of a finished run.
    fn of(run: &Run) -> Option<Self> {
        let epochs = epochs_done(&run.path);
        let last = epochs.last().filter(|_| epochs.len() >= run.epochs)?;
        let percent = |epoch: &Epoch| in_percent(epoch).unwrap_or(f64::NAN);
        // If several are equal, the last one, as in the model file.
        let best = epochs.iter().max_by(|a, b| percent(a).total_cmp(&percent(b)))?;
        let rates = epochs.iter().map(|e| e.time.images_per_second);
        Some(Self {
            seed: run.seed,
            score: percent(last),
            best_score: percent(best),
            best_epoch: best.epoch,
            loss: f64::from(last.loss),
            images_per_second: rates.sum::<f64>() / epochs.len() as f64,
            folder: run.path.display().to_string(),
        })
    }
}

impl Results {
    pub fn json<'a>(&'a self, data: &'a str) -> Json<'a> {
        Json { data, metric: self.metric, recipe: &self.recipe, cells: &self.rows }
    }

    /// Writes `table.md` and `table.json`.
    pub fn write(&self, out: &Path, data: &str) -> anyhow::Result<()> {
        let (headings, rows) = self.cells();
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); headings.len()];
        let markdown: String = [&headings, &rule].into_iter().chain(&rows).map(|r| line(r)).collect();
        let json = serde_json::to_string_pretty(&self.json(data))? + "\n";
        // The file by which the folder is recognized comes first.
        let [markdown_name, json_name] = FILES;
        let files = [(json_name, json), (markdown_name, format!("{markdown}\n{}\n", self.notes()))];
        for (name, text) in files {
            let path = out.join(name);
            write_atomically(&path, text.as_bytes())
                .with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        Ok(())
    }

    pub fn print(&self, out: &Path) -> anyhow::Result<()> {
        let (headings, rows) = self.cells();
        let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
        rows.into_iter().for_each(|row| table.row(row));
        let [markdown, json] = FILES.map(|name| out.join(name).display().to_string());
        print(&format!("{table}\n{}\nWritten to {markdown} and {json}.\n", self.notes()))
    }

    fn notes(&self) -> String {
        let compared = match self.rows.len() {
            1 => String::new(),
            _ => format!(" Difference: to the first row, {COMPARED}."),
        };
        let (score, one) = (self.metric.meaning(), self.metric.item());
        format!(
            "{score} Best: after the best epoch, chosen by the same {one}s.{compared} Latency: one {one}, one thread, median."
        )
    }

    /// Headings and rows as text.
    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let mut headings = if self.axes.is_empty() { words(&["network"]) } else { self.axes.clone() };
        headings.extend(words(&["runs", self.metric.heading(), "best, %"]));
        if self.rows.len() > 1 {
            headings.extend(words(&Difference::HEADINGS));
        }
        headings.extend(words(&["params", "MAdds", "latency"]));
        let none = || "–".to_owned();
        let rows = self.rows.iter().map(|row| {
            let setting = |axis: &String| row.settings[axis].clone().unwrap_or_else(none);
            let mut cells: Vec<String> = self.axes.iter().map(setting).collect();
            if cells.is_empty() {
                cells.push(row.model.clone());
            }
            cells.push(row.runs.len().to_string());
            cells.extend([row.score, row.best_score].map(spread));
            if self.rows.len() > 1 {
                cells.extend(Difference::words(row.difference));
            }
            cells.extend([thousands(row.params), thousands(row.madds), format!("{:.3} ms", row.latency_ms)]);
            cells
        });
        (headings, rows.collect())
    }
}
