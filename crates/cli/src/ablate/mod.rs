//! `dyconv ablate`: trains a grid of recipes with several seeds each and prints one table.

mod results;
mod workers;

use std::collections::btree_map::{BTreeMap, Entry};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use dyconv_data::{Dataset, Split};
use dyconv_train::{Axis, Cell, FolderLock, Recipe, RunFolder, cells, epochs_done, open, setup};

use crate::interrupt::{self, Stopped};
use crate::output::{note, print_json};
use crate::recipe::{self, DIGITS, key_value};
use crate::text::shell_word;

/// Train a grid of recipes with several seeds each, and compare
#[derive(clap::Args)]
#[command(
    after_help = "Every combination of the grid's values is a cell; each cell is trained with the seeds 0, 1, …, in OUT/<cell>/seed-<n>, a run folder as `dyconv train` makes it. Runs that are done are kept, and interrupted ones go on where they stopped: the same command again, also with more seeds or values. The table gives mean ± sample standard deviation over the seeds of the accuracy on the held-out images, after the last epoch and after the best, and the difference of each cell to the first with Welch's t and its two-sided p. It is written to OUT/table.md and OUT/table.json too.

Axes:
  kernels=1,2,4,8                K; 1 is the static twin
  tau=1,10,30,anneal             constant temperatures; anneal is the recipe's linear schedule
  dynamic=none,expand+project,all
                                 which of expand, depthwise and project are dynamic (MobileNets)
  gate=softmax,sigmoid  se=true,false  width=0.5,1  router_init=small,large
  train.lr=0.05,0.1              any key of the recipe
What means nothing for a static network (tau, gate, router_init, …) makes no further cells of it.

Examples:
  dyconv ablate --recipe digits --data digits --grid kernels=1,2,4 --seeds 3 --out runs/kernels
  dyconv ablate --recipe mine.toml --data photos --grid kernels=1,4 --grid tau=1,30,anneal --out runs/tau --jobs 2"
)]
pub struct Args {
    /// Data set: a folder, or `digits`
    #[arg(long, default_value = DIGITS)]
    data: String,
    /// Recipe file, or the name of a built-in recipe (see `dyconv recipes`) [default: that of the digits, or the
    /// default recipe]
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<String>,
    /// Set a key of the recipe in every run, e.g. `train.epochs=5`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// One axis of the grid; repeatable
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = Axis::parse)]
    grid: Vec<Axis>,
    /// Number of runs of each cell, with the seeds 0, 1, …
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Folder for the runs and the table
    #[arg(long)]
    out: PathBuf,
    /// Number of concurrent runs, which share the CPUs; with small networks, two are faster than one on two CPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: u64,
    /// Print only warnings and errors while training
    #[arg(long)]
    quiet: bool,
    /// Write the table as JSON
    #[arg(long)]
    json: bool,
}

/// One run of a cell.
struct Run {
    /// Index of its cell.
    cell: usize,
    seed: u64,
    path: PathBuf,
    /// Number of epochs to train.
    epochs: usize,
    /// Name in messages: `kernels=4 seed 1`.
    name: String,
}

impl Run {
    /// Number of finished epochs.
    fn done(&self) -> usize {
        epochs_done(&self.path).len()
    }

    fn is_done(&self) -> bool {
        self.done() >= self.epochs
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stop = interrupt::flag()?;
    let digits = (args.data == DIGITS).then_some(DIGITS);
    let settings = settings(args)?;
    let base =
        recipe::resolve(args.recipe.as_deref(), digits, |built_in, file| Recipe::resolve(built_in, file, &settings))?;
    let cells = cells(&base, &args.grid)?;
    let (runs, dataset, lock) = prepare(args, &base, &cells)?;
    lock.note().into_iter().for_each(|text| note(format_args!("note: {text}")));
    if !args.quiet {
        let done = runs.iter().filter(|run| run.is_done()).count();
        let known = if done > 0 { format!(", {done} done before") } else { String::new() };
        note(format_args!("{}: {}", args.data, dataset.describe()));
        note(format_args!("{} cells × {} seeds: {} runs{known}", cells.len(), args.seeds, runs.len()));
    }
    let failed = workers::train(&runs, &args.data, args.jobs as usize, args.quiet, &stop)?;
    let done = runs.iter().filter(|run| run.is_done()).count();
    if stop.load(std::sync::atomic::Ordering::Relaxed) && done < runs.len() {
        let again = format!("stopped; {done} of {} runs are done; go on with: {}", runs.len(), command());
        return Err(Stopped(again).into());
    }
    let table = results::collect(&base, &args.grid, &cells, &runs, &dataset, &failed)?;
    table.write(&args.out, &args.data)?;
    if args.json {
        print_json(&table.json(&args.data))?
    } else {
        table.print(&args.out)?
    }
    match failed.iter().next() {
        None => Ok(()),
        Some((run, reason)) => bail!(
            "{} of {} runs failed and are left out of the table; the first: {}: {reason}",
            failed.len(),
            runs.len(),
            runs[*run].name
        ),
    }
}

/// The `--set` settings of every run; neither the grid nor `--seeds` may set the same keys.
fn settings(args: &Args) -> anyhow::Result<Vec<(String, String)>> {
    for (key, value) in &args.set {
        let short = key.strip_prefix("model.").unwrap_or(key);
        if let Some(axis) = args.grid.iter().find(|axis| axis.key == *key || axis.key == short) {
            bail!("--set {key}={value} and --grid {}=… contradict each other; leave one out", axis.key);
        }
        if key == "seed" {
            bail!("--set seed={value}: the runs of a cell have the seeds 0, 1, …; see --seeds");
        }
    }
    recipe::settings(&[], &args.set)
}

/// Locks the folder of the grid, so that no other command works in it at the same time.
fn hold(out: &Path) -> anyhow::Result<FolderLock> {
    if RunFolder::is_begun(out) {
        bail!("{}: holds a single run; name another folder with --out", out.display());
    }
    results::check_free(out)?;
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    Ok(FolderLock::take(out)?)
}

/// Creates missing run folders and checks existing ones, so that all errors are found before the first step. Seeds vary
/// slowest, so every cell gets a run early. Also returns the data as split by the first seed, and the lock of the
/// grid's folder.
fn prepare(args: &Args, base: &Recipe, cells: &[Cell]) -> anyhow::Result<(Vec<Run>, Arc<Dataset>, FolderLock)> {
    let seeded = |recipe: &Recipe, seed| Recipe { seed, ..recipe.clone() };
    let first = open(&args.data, &seeded(base, 0))?;
    if first.is_empty(Split::Val) {
        bail!("{}: no image is held out, so there is nothing to compare by; see data.val_fraction", args.data);
    }
    for cell in cells {
        setup(&cell.recipe, &first).with_context(|| cell.name.clone())?;
    }
    let lock = hold(&args.out)?;
    let mut runs = Vec::new();
    for seed in 0..args.seeds {
        // By held-out fraction, which may be an axis.
        let mut opened: BTreeMap<u32, Arc<Dataset>> = BTreeMap::new();
        for (i, cell) in cells.iter().enumerate() {
            let recipe = seeded(&cell.recipe, seed);
            let dataset = match opened.entry(recipe.data.val_fraction.to_bits()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(open(&args.data, &recipe)?),
            };
            let path = args.out.join(&cell.name).join(format!("seed-{seed}"));
            folder(&path, &recipe, &args.data, dataset)?;
            let name = format!("{} seed {seed}", cell.name);
            runs.push(Run { cell: i, seed, path, epochs: recipe.train.epochs, name });
        }
    }
    Ok((runs, first, lock))
}

/// Creates the folder of a run, or checks that an existing one was started with this recipe on these data.
fn folder(path: &Path, recipe: &Recipe, data: &str, dataset: &Dataset) -> anyhow::Result<()> {
    if !RunFolder::is_begun(path) {
        RunFolder::create(path, recipe, data, dataset, false)?;
        return Ok(());
    }
    let folder = RunFolder::open(path)?;
    folder.check_recipe(recipe)?;
    Ok(folder.check_data(dataset)?)
}

/// This command, quoted for a shell.
fn command() -> String {
    let quoted = |word: OsString| shell_word(&word.to_string_lossy());
    std::iter::once("dyconv".to_owned()).chain(std::env::args_os().skip(1).map(quoted)).collect::<Vec<_>>().join(" ")
}
