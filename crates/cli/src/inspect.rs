//! `dyconv inspect`: measures the value of the attention of a trained network.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use dyconv_data::Split;
use dyconv_file::{Model, write_atomically};
use dyconv_predict::{Error, match_classes};
use dyconv_train::{InspectOptions, Inspection, inspect};
use serde::Serialize;

use crate::held_out::{self, HeldOut};
use crate::output::{bar, note, percent, print, print_json, skipped, thousands};
use crate::pixels::max_pixels;
use crate::table::Table;

/// Text within the first [`PAGE_HEAD`] bytes of every report, by which an existing one is recognized.
const PAGE_TITLE: &str = "Attention of ";
const PAGE_HEAD: u64 = 4096;

/// Replace the attention of a dynamic network and measure the loss in accuracy
#[derive(clap::Args)]
#[command(
    after_help = "Scores the network with its own attention and with other attention in its place, in all layers and in those of one input size: the mean of each layer, equal shares (the average kernel), that of the image before in a seeded order, the image's own in a seeded random order of the kernels, and all on the largest. The report shows what the routers do by layer, class and image.

Examples:
  dyconv inspect runs/digits-1/model.safetensors --data digits
  dyconv inspect model.safetensors --data photos --limit 2000 --out attention.html"
)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Data set: a folder, or `digits`
    #[arg(long)]
    data: String,
    /// Part to use: val, train, test or all [default: the held-out images, or all images if the model was not trained
    /// on these data]
    #[arg(long)]
    split: Option<Split>,
    /// Maximum number of images, drawn with the seed [default: all]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Batch size
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    batch: u64,
    /// Seed for the order of images and for the permutations
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of broken images to skip before the command fails
    #[arg(long, default_value_t = 10)]
    max_broken: usize,
    /// File for the report [default: MODEL.inspect.html beside the model]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Largest image to decode, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    tau: f32,
    report: String,
    #[serde(flatten)]
    inspection: &'a Inspection,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let model = Model::read(&args.model)?;
    if let Some(skeleton) = model.skeleton() {
        bail!(Error::NotAClassifier(skeleton.joints.len()));
    }
    let path = report_path(args)?;
    let HeldOut { dataset, split, what, warnings: doubts } =
        held_out::open(&args.model, &model, &args.data, args.split)?;
    let labels = match_classes(model.classes(), &dataset)?;
    let options = InspectOptions {
        split,
        limit: args.limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        batch: args.batch as usize,
        seed: args.seed,
        max_broken: args.max_broken,
        max_pixels: args.max_pixels,
    };
    note(format_args!("{}: {}; looking at {what}", args.data, dataset.describe()));
    doubts.iter().for_each(|text| note(format_args!("warning: {text}")));
    let bar = bar(0, "{bar:40} {percent} %, {per_sec} images, {eta} left");
    let result = inspect(&model, &dataset, &labels, &options, &mut |done, all| {
        if let Some(bar) = &bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let inspection = result.with_context(|| args.model.display().to_string())?;
    skipped(&inspection.broken);
    let page = inspection.html(&model, &args.data, &dataset, split);
    write_atomically(&path, page.as_bytes()).with_context(|| format!("{}: cannot be written", path.display()))?;
    let report = path.display().to_string();
    if args.json {
        let (model, tau) = (model.provenance.model.as_str(), model.tau);
        return print_json(&Json { model, tau, report, inspection: &inspection });
    }
    print(&format!(
        "{}\nReplaced in the layers of one input size only, top-1:\n{}\n{}Report: {report}\n",
        scores(&inspection),
        sizes(&inspection),
        warnings(&inspection)
    ))
}

/// Path of the report: that of `--out`, or beside the model. Other existing files are not overwritten.
fn report_path(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(path) = &args.out {
        let is_model = fs::canonicalize(path).is_ok_and(|a| fs::canonicalize(&args.model).is_ok_and(|b| a == b));
        ensure!(!is_model, "--out {}: is the model itself; name another file", path.display());
        return Ok(path.clone());
    }
    let path = args.model.with_extension("inspect.html");
    if path.exists() {
        let mut head = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(PAGE_HEAD).read_to_end(&mut head));
        let ours = read.is_ok() && String::from_utf8_lossy(&head).contains(PAGE_TITLE);
        ensure!(ours, "{}: stands there and is no report of inspect; name another file with --out", path.display());
    }
    Ok(path)
}

/// Difference between two shares in percentage points.
fn points(share: f64, than: f64) -> String {
    format!("{:+.2}", 100.0 * (share - than))
}

fn scores(inspection: &Inspection) -> Table {
    let mut table = Table::new(&["attention", "top-1", "top-5", "difference", "images"]);
    let normal = inspection.scores[0].top1;
    for (i, s) in inspection.scores.iter().enumerate() {
        let difference = if i == 0 { String::new() } else { points(s.top1, normal) };
        let images = thousands(inspection.images as u64);
        table.row(vec![s.replacement.name().into(), percent(s.top1), percent(s.top5), difference, images]);
    }
    table
}

/// Cost of the replacements in the layers of one input size.
fn sizes(inspection: &Inspection) -> Table {
    let names = inspection.sizes.iter().take(1).flat_map(|s| &s.scores);
    let short = |name: &'static str| name.split(" (").next().unwrap_or(name);
    let names = names.flat_map(|s| [short(s.replacement.name()), "difference"]);
    let headings: Vec<&str> =
        ["layers' input", "layers", "entropy, nats", "of ln K"].into_iter().chain(names).collect();
    let mut table = Table::new(&headings);
    for s in &inspection.sizes {
        let [h, w] = s.size;
        let mut cells =
            vec![format!("{h} × {w}"), s.layers.to_string(), format!("{:.3}", s.entropy_nats), percent(s.entropy)];
        for score in &s.scores {
            cells.extend([percent(score.top1), points(score.top1, inspection.scores[0].top1)]);
        }
        table.row(cells);
    }
    table
}

fn warnings(inspection: &Inspection) -> String {
    let lines: String = inspection.warnings.iter().map(|w| format!("note: {w}\n")).collect();
    if lines.is_empty() { lines } else { lines + "\n" }
}
