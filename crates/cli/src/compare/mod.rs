//! `dyconv compare`: compares finished runs, cell by cell, over their seeds.

mod cells;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, bail};
use dyconv_metrics::Sample;
use dyconv_train::{RunFolder, RunRecord};
use serde::Serialize;

use self::cells::{Cell, choose, find};
use crate::output::{print, print_json};
use crate::scores::{COMPARED, Difference, Metric, in_percent, spread};
use crate::table::Table;

/// Compare finished runs over their seeds
#[derive(clap::Args)]
#[command(
    after_help = "A cell is a folder that holds the runs seed-0, seed-1, … of one recipe, as `dyconv ablate` makes them, or several `dyconv train --seed N --out CELL/seed-N`. FOLDER is a cell, or a folder of cells such as the --out of `dyconv ablate`. A cell that is named twice counts once, so that naming it first makes it the one that the others are compared to.

The table gives mean ± sample standard deviation over the seeds of the accuracy (of keypoint networks: AP) on the held-out images after the last epoch, the difference of each cell to the first, or to that of --to, with Welch's t and its two-sided p, and the score of each seed. Runs that are not finished are left out and named. Only what the runs have written is read; nothing is changed.

Examples:
  dyconv compare runs/kernels
  dyconv compare runs/kernels runs/warm --to kernels=1
  dyconv compare runs/warm/dynamic runs/kernels/kernels=4 --json"
)]
pub struct Args {
    /// Cells, or folders of cells
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// The reference cell: its name in the table, or the end of its path [default: the first]
    #[arg(long, value_name = "CELL")]
    to: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// The results of a comparison.
#[derive(Serialize)]
struct Comparison {
    /// The metric of `score`.
    metric: Metric,
    /// The reference cell.
    to: String,
    cells: Vec<Row>,
    /// Runs that are left out, and possible reasons why a comparison is unfair.
    notes: Vec<String>,
}

/// A cell with finished runs.
#[derive(Serialize)]
struct Row {
    cell: String,
    folder: String,
    /// On the held-out images after the last epoch, in percent.
    score: Sample,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    runs: Vec<RunRow>,
}

#[derive(Serialize)]
struct RunRow {
    seed: u64,
    /// In percent.
    score: f64,
    folder: String,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let cells = find(&args.folders)?;
    let to = args.to.as_deref().map(|word| choose(&cells, word)).transpose()?;
    let comparison = Comparison::of(&cells, to)?;
    if args.json { print_json(&comparison) } else { print(&comparison.table()) }
}

impl Comparison {
    /// Reads the runs of the cells and compares all of them with `to`, or with the first.
    fn of(cells: &[Cell], to: Option<usize>) -> anyhow::Result<Self> {
        let mut notes = Vec::new();
        let mut read = Vec::new();
        for cell in cells {
            read.push(records(cell, &mut notes)?);
        }
        let metric = metric(&read)?;
        let finished: Vec<usize> = (0..cells.len()).filter(|i| !read[*i].is_empty()).collect();
        let reference = match (to, finished.first()) {
            (_, None) => bail!("no run is finished: {}", notes.join("; ")),
            (Some(to), _) if read[to].is_empty() => bail!("--to {}: no run of it is finished", cells[to].name),
            (to, Some(first)) => to.unwrap_or(*first),
        };
        let mut rows = Vec::new();
        for i in finished {
            fairness(
                &cells[i],
                &read[i],
                (i != reference).then_some((&cells[reference], &read[reference])),
                &mut notes,
            );
            rows.push(Row::of(&cells[i], &read[i])?);
        }
        let to = cells[reference].name.clone();
        let score = rows.iter().find(|row| row.cell == to).expect("it has runs").score;
        for row in rows.iter_mut().filter(|row| row.cell != to) {
            row.difference = Some(Difference::of(&row.score, &score));
        }
        Ok(Self { metric, to, cells: rows, notes })
    }

    fn table(&self) -> String {
        let compared = self.cells.len() > 1;
        let seeds: BTreeSet<u64> = self.cells.iter().flat_map(|row| &row.runs).map(|run| run.seed).collect();
        let numbered: Vec<String> = seeds.iter().map(|seed| format!("seed {seed}")).collect();
        let differences: &[&str] = if compared { &Difference::HEADINGS } else { &[] };
        let headings = ["cell", "seeds", self.metric.heading()].into_iter().chain(differences.iter().copied());
        let mut table = Table::new(&headings.chain(numbered.iter().map(String::as_str)).collect::<Vec<_>>());
        for row in &self.cells {
            let mut words = vec![row.cell.clone(), row.runs.len().to_string(), spread(row.score)];
            if compared {
                words.extend(Difference::words(row.difference));
            }
            let score = |seed| row.runs.iter().find(|run| run.seed == seed).map(|run| format!("{:.2}", run.score));
            words.extend(seeds.iter().map(|seed| score(*seed).unwrap_or("–".into())));
            table.row(words);
        }
        let difference = match compared {
            true => format!(" Difference: to {}, {COMPARED}.", self.to),
            false => String::new(),
        };
        let notes: String = self.notes.iter().map(|note| format!("note: {note}\n")).collect();
        format!("{table}\n{}{difference}\n{notes}", self.metric.meaning())
    }
}

impl Row {
    fn of(cell: &Cell, runs: &[RunRecord]) -> anyhow::Result<Self> {
        let runs = runs.iter().map(RunRow::of).collect::<anyhow::Result<Vec<_>>>()?;
        let score = Sample::of(&runs.iter().map(|run| run.score).collect::<Vec<_>>());
        Ok(Self { cell: cell.name.clone(), folder: cell.path.display().to_string(), score, difference: None, runs })
    }
}

impl RunRow {
    fn of(run: &RunRecord) -> anyhow::Result<Self> {
        let folder = run.path().display().to_string();
        let score = run.epochs().last().and_then(in_percent);
        let score =
            score.with_context(|| format!("{folder}: has no score: nothing was held out when it was trained"))?;
        Ok(Self { seed: run.recipe().seed, score, folder })
    }
}

/// The finished runs of a cell, by seed. Adds a note for the others.
fn records(cell: &Cell, notes: &mut Vec<String>) -> anyhow::Result<Vec<RunRecord>> {
    let mut records: BTreeMap<u64, RunRecord> = BTreeMap::new();
    for path in &cell.runs {
        let shown = path.display();
        if !RunFolder::is_begun(path) {
            notes.push(format!("{shown}: holds no run, left out"));
            continue;
        }
        let record = RunRecord::read(path)?;
        let (done, epochs, seed) = (record.epochs().len(), record.recipe().train.epochs, record.recipe().seed);
        if !record.is_finished() {
            notes.push(format!("{shown}: not finished, {done} of {epochs} epochs, left out"));
        } else if let Some(other) = records.insert(seed, record) {
            bail!(
                "{} and {shown}: both were trained with seed {seed}; see --seed of `dyconv train`",
                other.path().display()
            );
        }
    }
    Ok(records.into_values().collect())
}

/// The metric of all runs.
fn metric(cells: &[Vec<RunRecord>]) -> anyhow::Result<Metric> {
    let mut runs = cells.iter().flatten();
    let Some(first) = runs.next() else { return Ok(Metric::Accuracy) };
    if let Some(other) = runs.find(|run| run.of_keypoints() != first.of_keypoints()) {
        let (classes, joints) = if first.of_keypoints() { (other, first) } else { (first, other) };
        bail!(
            "{} is the run of a classifier and {} that of a keypoint network: they have no score in common",
            classes.path().display(),
            joints.path().display()
        );
    }
    Ok(Metric::of(first.of_keypoints()))
}

/// Adds notes if runs of a cell differ in more than their seed, or if its data differ from those of the reference.
fn fairness(cell: &Cell, runs: &[RunRecord], reference: Option<(&Cell, &Vec<RunRecord>)>, notes: &mut Vec<String>) {
    let (first, others) = runs.split_first().expect("a row has runs");
    for run in others {
        if let Some((key, a, b)) = first.recipe_difference(run) {
            let (one, other) = (first.recipe().seed, run.recipe().seed);
            notes.push(format!("{}: seed {one} was trained with {key} = {a}, seed {other} with {b}", cell.name));
        }
    }
    let Some((reference, theirs)) = reference else { return };
    let other = |run: &&RunRecord| {
        theirs.iter().any(|their| their.recipe().seed == run.recipe().seed && !run.has_data_of(their))
    };
    if let Some(run) = runs.iter().find(other) {
        let seed = run.recipe().seed;
        notes.push(format!(
            "{}: seed {seed} was trained on other data, or split otherwise, than in {}",
            cell.name, reference.name
        ));
    }
}
