//! `dyconv train`: from a folder of images to a model file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dyconv::data::{Dataset, Split};
use dyconv::graph::cost;
use dyconv::train::{Epoch, Event, Recipe, World, open, setup, static_twin, train};
use dyconv::{Classifier, EvaluationOptions, evaluate};
use indicatif::ProgressBar;
use serde::Serialize;

use super::output::{bar, percent, print, print_json, thousands};
use super::table::Table;

/// The data set inside the program.
const DIGITS: &str = "digits";
/// How long the latency of each network is measured.
const LATENCY_TIME: Duration = Duration::from_millis(400);

/// Train a network
#[derive(clap::Args)]
#[command(
    after_help = "Without arguments: a small dynamic network and its static twin on the handwritten digits inside this program.

The data are a folder with one folder of images per class (or train/ and val/ of such), or CIFAR or MNIST files. Every key of the recipe can be set; `recipes/default.toml` explains them. The output folder gets model.safetensors (written after every epoch), recipe.toml (the complete recipe) and, with a twin, twin.safetensors.

Examples:
  dyconv train
  dyconv train --data photos --model dy_mobilenet_v2_x0_5 --image-size 96 --epochs 20
  dyconv train --data cifar-10-batches-bin --model dy_resnet10_x0_5 --set train.lr=0.1 --set model.kernels=8
  dyconv train --data photos --recipe mine.toml --twin --out runs/mine
  mpirun -n 4 dyconv train --data photos        with a build that has the feature `mpi`: four processes share each batch"
)]
pub struct Args {
    /// Data set: a folder, or `digits`
    #[arg(long, default_value = DIGITS)]
    data: String,
    /// Architecture (see `dyconv models`)
    #[arg(long)]
    model: Option<String>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch: Option<usize>,
    /// Side of the network's input in pixels
    #[arg(long)]
    image_size: Option<usize>,
    /// Recipe file, or the name of a built-in recipe: digits
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<String>,
    /// Set one key of the recipe, e.g. `train.lr=0.1`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Folder for the results; unset: a new one below runs/
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of split, weights, order and augmentation
    #[arg(long)]
    seed: Option<u64>,
    /// Train the static twin too, and compare
    #[arg(long)]
    twin: bool,
    /// Write the final table as JSON
    #[arg(long)]
    json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, e.g. train.lr=0.1")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// One line of the final table.
#[derive(Serialize)]
struct Row {
    model: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_accuracy: Option<f64>,
    params: u64,
    madds: u64,
    latency_ms: f64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let world = World::start()?;
    let result = run_as(args, &world);
    if let Err(error) = &result
        && world.size() > 1
    {
        eprintln!("error: process {}: {error:#}", world.rank());
        world.abort();
    }
    result
}

/// One of the processes that train.
fn run_as(args: &Args, world: &World) -> anyhow::Result<()> {
    let recipe = recipe(args)?;
    let dataset = open(&args.data, &recipe)?;
    // Everything that can be wrong is found before the first step.
    let mut jobs = vec![(recipe.clone(), "model.safetensors")];
    if args.twin || (args.data == DIGITS && args.model.is_none()) {
        match static_twin(&recipe) {
            Some(twin) => jobs.push((twin, "twin.safetensors")),
            None if args.twin => bail!("--twin: `{}` is static itself; name a `dy_` network", recipe.model.name),
            None => {}
        }
    }
    let setups = jobs.iter().map(|(recipe, _)| setup(recipe, &dataset)).collect::<Result<Vec<_>, _>>()?;
    let out = if world.leads() { output_folder(args, &recipe)? } else { PathBuf::new() };
    let say = |text: String| {
        if world.leads() {
            eprintln!("{text}");
        }
    };
    say(format!("{}: {}", args.data, dataset.describe()));
    if world.size() > 1 {
        say(format!("{} processes, each with a part of every batch of {}", world.size(), recipe.train.batch));
    }
    let mut files = Vec::new();
    for ((recipe, file), setup) in jobs.iter().zip(&setups) {
        let path = out.join(file);
        let params = thousands(cost(&setup.graph).params);
        let [h, w] = setup.preprocessing.image_size;
        say(format!("{}: {params} parameters, {h} × {w} pixels, {} epochs", recipe.model.name, recipe.train.epochs));
        let dynamic = setup.graph.dynamic_layers() > 0;
        let mut view = world.leads().then(|| View::new(recipe.train.epochs, dynamic));
        train(recipe, &dataset, setup, world, &path, &mut |event| {
            if let Some(view) = &mut view {
                view.show(&event);
            }
        })?;
        if let Some(view) = view {
            view.finish();
        }
        if dynamic && recipe.temperature.epochs > recipe.train.epochs as f64 {
            say(format!(
                "note: τ did not reach {}: its schedule takes {} epochs, the run had {}; see temperature.epochs",
                recipe.temperature.end, recipe.temperature.epochs, recipe.train.epochs
            ));
        }
        files.push((recipe.model.name.clone(), path));
    }
    if !world.leads() {
        return Ok(());
    }
    let rows = compare(&files, &dataset, &recipe)?;
    if args.json { print_json(&rows) } else { report(&rows, &files) }
}

fn recipe(args: &Args) -> anyhow::Result<Recipe> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: Option<String>| settings.extend(value.map(|v| (key.to_owned(), v)));
    put("model.name", args.model.clone());
    put("train.epochs", args.epochs.map(|n| n.to_string()));
    put("train.batch", args.batch.map(|n| n.to_string()));
    put("model.image_size", args.image_size.map(|n| n.to_string()));
    put("seed", args.seed.map(|n| n.to_string()));
    settings.extend(args.set.iter().cloned());
    let digits = (args.data == DIGITS).then_some(DIGITS);
    let resolved = match &args.recipe {
        Some(file) if Path::new(file).is_file() || file.contains(['/', '.']) => {
            let text = fs::read_to_string(file).with_context(|| format!("{file}: cannot be read"))?;
            Recipe::resolve(digits, Some(&text), &settings).with_context(|| file.clone())?
        }
        Some(name) => Recipe::resolve(Some(name), None, &settings)?,
        None => Recipe::resolve(digits, None, &settings)?,
    };
    Ok(resolved)
}

/// Makes the output folder and proves that it can be written, by writing the recipe.
fn output_folder(args: &Args, recipe: &Recipe) -> anyhow::Result<PathBuf> {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            let data = Path::new(&args.data).file_name().map_or("run".into(), |n| n.to_string_lossy().into_owned());
            let free = (1..).map(|n| Path::new("runs").join(format!("{data}-{n}"))).find(|p| !p.exists());
            free.context("runs/: no free name")?
        }
    };
    for file in ["model.safetensors", "twin.safetensors"] {
        if folder.join(file).exists() {
            bail!("{}: holds a {file} already; choose another --out or remove it", folder.display());
        }
    }
    let writable = fs::create_dir_all(&folder)
        .and_then(|()| dyconv::file::write_atomically(&folder.join("recipe.toml"), recipe.to_toml().as_bytes()));
    writable.with_context(|| format!("{}: cannot be written", folder.display()))?;
    Ok(folder)
}

/// The live view: a bar with the newest numbers on a terminal, a line an epoch elsewhere.
struct View {
    epochs: usize,
    /// Whether there is a temperature to show.
    dynamic: bool,
    bar: Option<ProgressBar>,
}

impl View {
    fn new(epochs: usize, dynamic: bool) -> Self {
        Self { epochs, dynamic, bar: bar(0, "{bar:30} {pos}/{len}  {msg}  {eta} left") }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(step) => {
                if let Some(bar) = &self.bar {
                    bar.set_length(step.total as u64);
                    bar.set_position(step.number as u64);
                    let tau = self.tau(step.tau);
                    bar.set_message(format!("epoch {}/{}  loss {:.3}{tau}", step.epoch, self.epochs, step.loss));
                }
            }
            Event::Epoch(epoch) => self.line(&self.epoch_line(epoch)),
            Event::Broken(broken) => self.line(&format!("skipped: {}", broken.reason)),
        }
    }

    fn epoch_line(&self, e: &Epoch) -> String {
        let width = self.epochs.to_string().len();
        let accuracy = e.accuracy.map_or(String::new(), |a| format!("  accuracy {:>8}", percent(a)));
        format!(
            "epoch {:>width$}/{}  loss {:.4}{accuracy}  lr {:.5}{}  {:>5.0} images/s  waited {:.1} %",
            e.number,
            self.epochs,
            e.loss,
            e.lr,
            self.tau(e.tau),
            e.images_per_second,
            100.0 * e.waited
        )
    }

    fn tau(&self, tau: f32) -> String {
        if self.dynamic { format!("  τ {tau:>5.2}") } else { String::new() }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Scores the written files with the CPU engine, on what was held out, and times them in turn.
fn compare(files: &[(String, PathBuf)], dataset: &Arc<Dataset>, recipe: &Recipe) -> anyhow::Result<Vec<Row>> {
    let mut classifiers = files.iter().map(|(_, path)| Classifier::open(path)).collect::<Result<Vec<_>, _>>()?;
    let latencies = latencies(&mut classifiers, dataset)?;
    let options = EvaluationOptions { split: Split::Val, batch: 32, max_broken: recipe.data.max_broken };
    let mut rows = Vec::new();
    for (((name, path), classifier), latency) in files.iter().zip(&mut classifiers).zip(latencies) {
        let test_accuracy = match dataset.is_empty(Split::Val) {
            true => None,
            false => Some(evaluate(classifier, dataset, &options, &mut |_| {})?.top1),
        };
        let counted = cost(&classifier.model().graph);
        rows.push(Row {
            model: name.clone(),
            file: path.display().to_string(),
            test_accuracy,
            params: counted.params,
            madds: counted.total.total(),
            latency_ms: latency.as_secs_f64() * 1e3,
        });
    }
    Ok(rows)
}

/// Median time of one image through each network, measured alternately.
fn latencies(classifiers: &mut [Classifier], dataset: &Dataset) -> anyhow::Result<Vec<Duration>> {
    let image =
        (0..dataset.len(Split::All)).find_map(|i| dataset.load(Split::All, i).ok()).context("no image can be read")?;
    let mut times = vec![Vec::new(); classifiers.len()];
    let started = Instant::now();
    while started.elapsed() < LATENCY_TIME * classifiers.len() as u32 || times[0].len() < 5 {
        for (classifier, times) in classifiers.iter_mut().zip(&mut times) {
            let start = Instant::now();
            classifier.predict(&image)?;
            times.push(start.elapsed());
        }
    }
    Ok(times
        .into_iter()
        .map(|mut t| {
            t.sort_unstable();
            t[t.len() / 2]
        })
        .collect())
}

fn report(rows: &[Row], files: &[(String, PathBuf)]) -> anyhow::Result<()> {
    let mut table = Table::new(&["network", "test accuracy", "params", "MAdds", "CPU latency", "file"]);
    for row in rows {
        table.row(vec![
            row.model.clone(),
            row.test_accuracy.map_or("–".into(), percent),
            thousands(row.params),
            thousands(row.madds),
            format!("{:.3} ms", row.latency_ms),
            row.file.clone(),
        ]);
    }
    let path = files[0].1.display();
    print(&format!("{table}\nLatency: one image, one thread, median. Next: dyconv predict {path} IMAGE…\n"))
}
