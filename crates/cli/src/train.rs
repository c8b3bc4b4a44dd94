//! `dyconv train`: trains a model file from a folder of images.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use dyconv_data::Dataset;
use dyconv_file::Model;
use dyconv_graph::{Graph, cost};
use dyconv_nn::{keep_freed_memory, start_threads, wanted_threads};
use dyconv_train::{
    Claim, DeviceKind, Event, FineTuning, Recipe, RecipeError, RunFolder, Setup, TemperatureSchedule, TrainError,
    World, devices, open, own_network, setup_with, static_twin, task, train, warm_start,
};

use crate::chain;
use crate::interrupt;
use crate::output::{note, print_json, thousands};
use crate::recipe::{self, DIGITS, Flag, MOST_SEED, key_value};
use crate::threads::tell;
use crate::train_table::{compare, report};
use crate::train_view::View;

/// Train a network
#[derive(clap::Args)]
#[command(
    after_help = "Without arguments: a small dynamic network and its static twin on the handwritten digits inside this program.

The data are a folder with one folder of images per class (or train/ and val/ of such), CIFAR or MNIST files, or COCO keypoints (annotations/person_keypoints_train2017.json and ..._val2017.json, train2017/ and val2017/), on which a `pose_` network learns joints. Every key of the recipe can be set; `dyconv recipes default` explains them. The run folder gets model.safetensors (the best network on the held-out images), report.html, metrics.jsonl and metrics.csv, TensorBoard events, recipe.toml (the complete recipe), last/ (what --resume needs) and, with a twin, twin/ with the same. Ctrl-C saves and stops; a second one stops at once. After Ctrl-C, a crash or a power cut --resume goes on, and the outcome is the same as without the break.

Examples:
  dyconv train
  dyconv train --data photos --model dy_mobilenet_v2_x0_5 --image-size 96 --epochs 20
  dyconv train --data cifar-10-batches-bin --model dy_resnet10_x0_5 --set train.lr=0.1 --set model.kernels=8
  dyconv train --data photos --recipe mine.toml --twin --out runs/mine
  dyconv train --data photos --from model.safetensors --recipe finetune
  dyconv train --data photos --from resnet18.safetensors --model dy_resnet18
  dyconv train --data figures --recipe figures
  dyconv train --data coco --recipe coco-pose --from mobilenet.safetensors --model pose_dy_mobilenet_v2_x0_5_b
  dyconv train --resume runs/mine
  mpirun -n 4 dyconv train --data photos        with a build that has the feature `mpi`: four processes share each batch"
)]
pub struct Args {
    /// Data set: a folder, or `digits` [default: digits, or that of the resumed run]
    #[arg(long)]
    data: Option<String>,
    /// Architecture (see `dyconv models`)
    #[arg(long)]
    model: Option<String>,
    /// Number of passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch: Option<usize>,
    /// Height and width of the network's input in pixels, e.g. 224 or 128x96
    #[arg(long, value_name = "SIDE|HxW")]
    image_size: Option<String>,
    /// Recipe file, or the name of a built-in recipe (see `dyconv recipes`)
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<String>,
    /// Start from a model file: use its network unless another one is named; a new output layer if the classes or
    /// keypoints differ; for the dynamic form of a static network, banks made from its kernels; for a keypoint
    /// network, the backbone of a classifier
    #[arg(long, value_name = "MODEL", conflicts_with = "twin")]
    from: Option<PathBuf>,
    /// Set a key of the recipe, e.g. `train.lr=0.1`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Folder for the results [default: a new one in runs/]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Resume the run in this folder, with its recipe and its data
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "force", "twin", "from"])]
    resume: Option<PathBuf>,
    /// Replace an existing run in the folder
    #[arg(long)]
    force: bool,
    /// Seed of the split, weights, order and augmentation
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=MOST_SEED))]
    seed: Option<u64>,
    /// Train the static twin too, and compare
    #[arg(long)]
    twin: bool,
    /// Backend: cpu, or cuda or wgpu in a build with that feature
    #[arg(long, value_enum, default_value = "cpu")]
    device: Kind,
    /// CUDA devices that share each batch [default: the first]
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    devices: Vec<usize>,
    /// Print only warnings and errors while training
    #[arg(long)]
    quiet: bool,
    /// Write the final table as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Cpu,
    Cuda,
    Wgpu,
}

impl From<Kind> for DeviceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Cpu => Self::Cpu,
            Kind::Cuda => Self::Cuda,
            Kind::Wgpu => Self::Wgpu,
        }
    }
}

/// Runs to train one after another, on the same data.
struct Job {
    data: String,
    dataset: Arc<Dataset>,
    runs: Vec<Task>,
}

/// One run; only the leader process has its folder.
struct Task {
    recipe: Recipe,
    /// The network, if it is not one of our architectures.
    network: Option<Graph>,
    folder: Option<RunFolder>,
    setup: Setup,
}

impl Task {
    fn new(folder: RunFolder, network: Option<Graph>, setup: Setup) -> Self {
        Self { recipe: folder.recipe().clone(), network, folder: Some(folder), setup }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    keep_freed_memory();
    tell(wanted_threads(), start_threads());
    let world = World::start()?.on(devices(args.device.into(), &args.devices)?)?;
    let result = run_as(args, &world);
    if let Err(error) = &result
        && world.size() > 1
    {
        if matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. })) {
            // All processes agreed to stop; only one of them reports it.
            return if world.is_leader() { result } else { Ok(()) };
        }
        note(format_args!("error: process {}: {}", world.rank(), chain(error)));
        world.abort();
    }
    result
}

/// Runs one of the training processes.
fn run_as(args: &Args, world: &World) -> anyhow::Result<()> {
    let stop = interrupt::flag()?;
    let job = match &args.resume {
        _ if !world.is_leader() => follow(world)?,
        Some(folder) => resume(args, folder)?,
        None => begin(args)?,
    };
    if world.is_leader() {
        job.announce(world);
    }
    let quiet = args.quiet || !world.is_leader();
    let say = |text: String| {
        if !quiet {
            note(text);
        }
    };
    say(format!("{}: {}", job.data, job.dataset.describe()));
    job.dataset.left_out_note().into_iter().for_each(&say);
    let unlocked = job.runs.iter().filter_map(|run| run.folder.as_ref()?.note());
    unlocked.for_each(|text| note(format_args!("note: {text}")));
    job.dataset.people().iter().flat_map(|p| &p.notes).for_each(|note| say(format!("note: {note}")));
    let mut files = Vec::new();
    for Task { recipe, folder, setup, .. } in &job.runs {
        let params = thousands(cost(&setup.graph).params);
        let [h, w] = setup.preprocessing.image_size;
        say(format!("{}: {params} parameters, {h} × {w} pixels, {} epochs", recipe.model.name, recipe.train.epochs));
        if world.size() > 1 {
            say(format!("{} processes, each with a part of every batch of {}", world.size(), recipe.train.batch));
        }
        let dynamic = setup.graph.dynamic_layers() > 0;
        let mut view = View::new(recipe, dynamic, quiet);
        let mut show = |event: Event<'_>| {
            // Every process reports images that it cannot read; the leader reports the rest.
            if world.is_leader() || matches!(event, Event::Broken(_)) {
                view.show(&event);
            }
        };
        let result = train(recipe, folder.as_ref(), &job.dataset, setup, world, &stop, &mut show);
        view.finish();
        result?;
        let t = &recipe.temperature;
        let falls = t.schedule == TemperatureSchedule::Linear && t.start != t.end;
        if dynamic && falls && t.epochs > recipe.train.epochs as f64 {
            say(format!(
                "note: τ did not reach {}: its schedule takes {} epochs, the run had {}; see temperature.epochs",
                recipe.temperature.end, recipe.temperature.epochs, recipe.train.epochs
            ));
        }
        files.extend(folder.as_ref().map(|folder| (recipe.model.name.clone(), folder.model())));
    }
    let Some(folder) = &job.runs[0].folder else { return Ok(()) };
    let rows = compare(&files, &job.dataset, folder.recipe())?;
    if args.json { print_json(&rows) } else { report(&rows, &files, folder.path()) }
}

impl Job {
    /// Sends the other processes what [`follow`] needs.
    fn announce(&self, world: &World) {
        let runs: Vec<_> = self.runs.iter().map(|r| (r.recipe.to_toml(), &r.network)).collect();
        world.from_leader(serde_json::to_vec(&(&self.data, runs)).expect("plain text"));
    }
}

/// The job of the leader, without folders.
fn follow(world: &World) -> anyhow::Result<Job> {
    let (data, runs): (String, Vec<(String, Option<Graph>)>) = serde_json::from_slice(&world.from_leader(Vec::new()))?;
    let recipe = |(text, network): &(String, _)| Ok((Recipe::resolve(None, Some(text), &[])?, Clone::clone(network)));
    let runs = runs.iter().map(recipe).collect::<Result<Vec<_>, RecipeError>>()?;
    let dataset = open(&data, &runs.first().context("the leading process has nothing to do")?.0)?;
    let runs = runs.into_iter().map(|(recipe, network): (Recipe, Option<Graph>)| {
        let setup = setup_with(&recipe, &dataset, network.as_ref())?;
        Ok(Task { recipe, network, folder: None, setup })
    });
    let runs = runs.collect::<anyhow::Result<_>>()?;
    Ok(Job { data, dataset, runs })
}

/// Creates the folders of new runs. All errors are found before the first step.
fn begin(args: &Args) -> anyhow::Result<Job> {
    let data = args.data.clone().unwrap_or_else(|| DIGITS.to_owned());
    let from = args.from.as_deref().map(Model::read).transpose()?;
    let (recipe, fine_tuning) = first_recipe(args, &data, from.as_ref())?;
    let dataset = open(&data, &recipe)?;
    let twin = match args.twin || (data == DIGITS && args.model.is_none() && from.is_none()) {
        true => static_twin(&recipe),
        false => None,
    };
    if args.twin && twin.is_none() {
        bail!("--twin: `{}` is static itself; name a `dy_` network", recipe.model.name);
    }
    let own = from.as_ref().map(|model| own_network(model, &recipe)).transpose()?.flatten();
    let mut first = setup_with(&recipe, &dataset, own.as_ref())?;
    if let Some((model, path)) = from.as_ref().zip(args.from.as_ref()) {
        go_on(&mut first, model, path, &recipe, &dataset, args.quiet)?;
        if let Some(how) = fine_tuning.filter(|_| !args.quiet) {
            note(fine_tuned(how, &recipe));
        }
    }
    let second = twin.map(|twin| setup_with(&twin, &dataset, None).map(|setup| (twin, setup))).transpose()?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => new_folder(&data)?,
    };
    let mut whole = Claim::take(&path, args.force)?;
    // A folder without a run can at most contain a twin that was not started.
    let inside = RunFolder::twin_in(&path);
    let replace = args.force || !whole.holds_run();
    let mut twin =
        (second.is_some() || RunFolder::has_twin(&path)).then(|| Claim::take(&inside, replace)).transpose()?;
    whole.clear()?;
    twin.as_mut().map_or(Ok(()), Claim::clear)?;
    let make = |claim: Claim, recipe: &Recipe, network: Option<&Graph>| {
        claim.begin(recipe, &data, &dataset, args.from.as_deref(), network)
    };
    // The main folder is created last, so a folder that can be resumed is complete.
    let second =
        second.zip(twin).map(|((twin, setup), claim)| make(claim, &twin, None).map(|f| (f.part_of(&path), setup)));
    let second = second.transpose()?;
    let main = Task::new(make(whole, &recipe, own.as_ref())?, own, first);
    let runs = [main].into_iter().chain(second.map(|(folder, setup)| Task::new(folder, None, setup))).collect();
    Ok(Job { data, dataset, runs })
}

/// Opens the folders of existing runs.
fn resume(args: &Args, path: &Path) -> anyhow::Result<Job> {
    let folder = RunFolder::open(path)?;
    let data = args.data.clone().unwrap_or_else(|| folder.data().to_owned());
    folder.check_recipe(&resumed_recipe(args, &data, &folder)?)?;
    let dataset = open(&data, folder.recipe())
        .with_context(|| format!("the data of {}; if they are elsewhere now, say where by --data", path.display()))?;
    folder.check_data(&dataset)?;
    let twin = RunFolder::open_twin(path)?;
    let runs = [folder].into_iter().chain(twin).map(|folder| {
        let network = folder.network()?;
        let setup = setup_with(folder.recipe(), &dataset, network.as_ref())?;
        Ok(Task::new(folder, network, setup))
    });
    let runs = runs.collect::<anyhow::Result<_>>()?;
    Ok(Job { data, dataset, runs })
}

/// Loads the weights of a model into a network and reports what was loaded.
fn go_on(
    setup: &mut Setup,
    model: &Model,
    path: &Path,
    recipe: &Recipe,
    dataset: &Dataset,
    quiet: bool,
) -> anyhow::Result<()> {
    let started = warm_start(setup, model, &task(dataset)).with_context(|| format!("--from {}", path.display()))?;
    if quiet {
        return Ok(());
    }
    let warmed = match started.warmed {
        0 => String::new(),
        n => format!(", {n} made into banks"),
    };
    let new = match (started.fresh, started.new_classifier) {
        (0, false) => String::new(),
        (0, true) if dataset.people().is_some() => ", a new last layer".to_owned(),
        (0, true) => ", a new classifier".to_owned(),
        (fresh, _) => format!(", {fresh} of the head new, {} of the classifier left out", started.left),
    };
    note(format_args!("from {}: {} tensors copied{warmed}{new}", path.display(), started.copied));
    let t = &recipe.temperature;
    let falls = t.schedule == TemperatureSchedule::Linear && t.epochs > 0.0;
    if model.graph.dynamic_layers() > 0 && setup.graph.dynamic_layers() > 0 && falls && t.start > model.tau {
        note(format_args!(
            "note: τ begins at {} again, the model was trained to {}; see temperature.schedule, or --recipe finetune",
            t.start, model.tau
        ));
    }
    Ok(())
}

/// Describes how a model is fine-tuned if no recipe is named.
fn fine_tuned(how: FineTuning, recipe: &Recipe) -> String {
    let (train, t) = (&recipe.train, &recipe.temperature);
    let tau = match (how.dynamic, t.schedule) {
        (false, _) => String::new(),
        (true, TemperatureSchedule::Constant) => format!(", τ stays at {}", t.end),
        (true, TemperatureSchedule::Linear) if how.new_routers => {
            format!(", τ falls from {} to {}, for the routers are new", t.start, t.end)
        }
        (true, TemperatureSchedule::Linear) => format!(", τ falls from {} to {}", t.start, t.end),
    };
    let (epochs, lr) = (train.epochs, train.lr);
    let s = if epochs == 1 { "" } else { "s" };
    format!("fine-tuning: {epochs} epoch{s}, train.lr {lr}{tau}; see --recipe and --set for other ways")
}

/// The settings from the arguments.
fn settings(args: &Args) -> anyhow::Result<Vec<(String, String)>> {
    let flag = |name, key, value| Flag { name, key, value };
    let flags = [
        flag("--model", "model.name", args.model.clone()),
        flag("--epochs", "train.epochs", args.epochs.map(|n| n.to_string())),
        flag("--batch", "train.batch", args.batch.map(|n| n.to_string())),
        flag("--image-size", "model.image_size", args.image_size.as_deref().map(sides)),
        flag("--seed", "seed", args.seed.map(|n| n.to_string())),
    ];
    recipe::settings(&flags, &args.set)
}

/// The recipe of a new run.
fn first_recipe(args: &Args, data: &str, from: Option<&Model>) -> anyhow::Result<(Recipe, Option<FineTuning>)> {
    let settings = settings(args)?;
    match (from, &args.recipe) {
        (Some(model), None) => Ok(Recipe::resolve_fine_tuning(model, Dataset::is_people(data), &settings)?),
        (Some(model), Some(name)) => {
            let resolve =
                |built_in: Option<&str>, file: Option<&str>| Recipe::resolve_from(model, built_in, file, &settings);
            // The recipe for the digits names a network, but the model has its own.
            Ok((recipe::resolve(Some(name), None, resolve)?, None))
        }
        (None, name) => {
            let digits = (data == DIGITS).then_some(DIGITS);
            let resolve = |built_in: Option<&str>, file: Option<&str>| Recipe::resolve(built_in, file, &settings);
            Ok((recipe::resolve(name.as_deref(), digits, resolve)?, None))
        }
    }
}

/// The recipe for a resumed run: its own, unless the arguments request another.
fn resumed_recipe(args: &Args, data: &str, folder: &RunFolder) -> anyhow::Result<Recipe> {
    if args.recipe.is_some() {
        return Ok(first_recipe(args, data, None)?.0);
    }
    Ok(folder.recipe().with(&settings(args)?)?)
}

/// Converts `128x96` to the recipe's syntax: `[128, 96]`.
fn sides(text: &str) -> String {
    text.split_once('x').map_or_else(|| text.to_owned(), |(height, width)| format!("[{height}, {width}]"))
}

/// Creates the first folder in `runs/` that does not exist yet, for a run on these data.
fn new_folder(data: &str) -> anyhow::Result<PathBuf> {
    let name = Path::new(data).file_name().map_or("run".into(), |n| n.to_string_lossy().into_owned());
    let runs = Path::new("runs");
    let failed = |path: &Path| format!("{}: cannot be made", path.display());
    fs::create_dir_all(runs).with_context(|| failed(runs))?;
    // Creating the folder claims it: another training may start at the same time.
    let mut numbers = 1..;
    loop {
        let path = runs.join(format!("{name}-{}", numbers.next().unwrap_or(u64::MAX)));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| failed(&path)),
        }
    }
}
