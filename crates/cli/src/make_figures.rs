//! `dyconv make-figures`: writes images of articulated figures in COCO's layout.

use std::path::PathBuf;
use std::time::Instant;

use dyconv_figures::{FigureError, FigureOptions, FigureSummary, make_figures};
use serde::Serialize;

use crate::output::{print, print_json, thousands, threads, with_bar};
use crate::table::Table;

/// Generate images of figures with known keypoints, in COCO's layout, to train and score keypoint networks
#[derive(clap::Args)]
#[command(
    after_help = "Writes OUT/train2017/000000000001.jpg ..., OUT/val2017/... and OUT/annotations/person_keypoints_train2017.json, ..._val2017.json with boxes, areas and COCO's 17 joints (v: 0 outside the picture, 1 hidden, 2 seen). Boxes and areas are those of the whole figure, hidden parts included. The same seed gives the same pictures; a larger set begins with those of a smaller one.

Examples:
  dyconv make-figures --out figures --train 2000 --val 200
  dyconv make-figures --out figures --train 20000 --val 1000 --seed 7 --force"
)]
pub struct Args {
    /// Folder to write; must be empty or not exist
    #[arg(long)]
    out: PathBuf,
    /// Number of images for training
    #[arg(long, default_value_t = 4000)]
    train: u64,
    /// Number of images for validation
    #[arg(long, default_value_t = 400)]
    val: u64,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of threads [default: one per CPU]
    #[arg(long, value_parser = crate::threads::number)]
    threads: Option<usize>,
    /// Write into a folder that is not empty, replacing files with the same names and keeping all others
    #[arg(long)]
    force: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json {
    out: String,
    seed: u64,
    seconds: f64,
    #[serde(flatten)]
    made: FigureSummary,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = FigureOptions {
        train: args.train,
        val: args.val,
        seed: args.seed,
        threads: threads(args.threads),
        overwrite: args.force,
    };
    let total = args.train.saturating_add(args.val);
    let started = Instant::now();
    let made = with_bar(total as usize, "{bar:30} {pos}/{len} pictures  {per_sec}  {eta} left", |progress| {
        make_figures(&args.out, &options, &mut |done| progress(done as usize))
    });
    let made = made.map_err(|error| match error {
        FigureError::NotEmpty(_) => anyhow::anyhow!("{error} (--force)"),
        error => error.into(),
    })?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        return print_json(&Json { out: args.out.display().to_string(), seed: args.seed, seconds, made });
    }
    let mut table = Table::new(&["annotations", "pictures", "persons", "joints seen", "hidden", "MB"]);
    for part in [&made.train, &made.val].into_iter().flatten() {
        table.row(vec![
            part.annotations.display().to_string(),
            thousands(part.images),
            thousands(part.persons),
            thousands(part.joints_seen),
            thousands(part.joints_hidden),
            format!("{:.1}", part.bytes as f64 / 1e6),
        ]);
    }
    print(&format!("{table}\n{:.0} pictures/s\n", total as f64 / seconds))
}
