//! `dyconv eval`: how good is a model on a data set?

use std::path::PathBuf;

use dyconv_data::Split;
use dyconv_predict::{Evaluation, EvaluationOptions, ModelOptions, Predictor, evaluate};
use serde::Serialize;

use crate::bank::{Bank, refuse};
use crate::held_out::{self, HeldOut};
use crate::output::{note, percent, print, print_json, skipped, thousands, threads, with_bar};
use crate::pixels::max_pixels;
use crate::pose_eval;
use crate::table::Table;
use crate::text::name;

/// Confusion matrices up to this many classes are printed whole.
const WHOLE_MATRIX: usize = 20;
/// Lines of the list of confusions where the matrix is too large.
const WORST: usize = 20;

/// Score a model on a data set: top-1, top-5, every class, confusions; or the average precision of joints
#[derive(clap::Args)]
#[command(
    after_help = "The data are a folder with one folder per class (or with train/ and val/ of such), CIFAR or MNIST files, or `digits`, the handwritten digits inside this program. Without a val/ of their own, the part that the model's recipe held out is scored, and of data that it was not trained on everything; `--split` decides otherwise.

A keypoint network is scored on COCO keypoints: a folder with annotations/person_keypoints_val2017.json and val2017/ (and the same for train2017), or a file of annotations with --images. Without --boxes the persons' own boxes are taken; with them, persons are scored by box and joints, and second answers for one person are dropped. --out writes results as COCO's tools read them.

Examples:
  dyconv eval runs/digits-1/model.safetensors --data digits
  dyconv eval model.safetensors --data photos --split all --json
  dyconv eval pose.safetensors --data figures --flip
  dyconv eval pose.safetensors --data person_keypoints_val2017.json --images val2017 --boxes boxes.json --out results.json"
)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Data set: a folder, or `digits`; for joints also a file of COCO keypoints annotations
    #[arg(long)]
    pub data: String,
    /// Classifiers: part to score, val, train, test or all; unset: what was held out, or all of data that the model was not trained on
    #[arg(long)]
    split: Option<Split>,
    /// Classifiers: images a batch [default: 32]
    #[arg(long)]
    batch: Option<usize>,
    /// Joints: folder of the images of a file of annotations
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Joints: boxes of a detector, in COCO's results format
    #[arg(long, value_name = "FILE")]
    pub boxes: Option<PathBuf>,
    /// Joints: look at every person once more mirrored, and take the mean
    #[arg(long)]
    pub flip: bool,
    /// Joints: write COCO results JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Threads to compute with; unset: one per processor
    #[arg(long, value_parser = crate::threads::number)]
    threads: Option<usize>,
    /// How kernel banks are stored
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
    /// Broken images that are skipped before it is an error
    #[arg(long, default_value_t = 10)]
    pub max_broken: usize,
    /// Largest image that is read, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    images: u64,
    top1: f64,
    top5: f64,
    /// Images with a NaN in the network's output, which count as wrong.
    unanswered: u64,
    broken: usize,
    classes: Vec<ClassJson<'a>>,
    /// The cells that are not zero. Images without an answer stand in none.
    confusion: Vec<CellJson<'a>>,
}

#[derive(Serialize)]
struct CellJson<'a> {
    label: &'a str,
    prediction: &'a str,
    images: u64,
}

#[derive(Serialize)]
struct ClassJson<'a> {
    class: &'a str,
    images: u64,
    precision: Option<f64>,
    recall: Option<f64>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = ModelOptions::new().threads(threads(args.threads)).max_pixels(args.max_pixels);
    let classifier = match args.bank.open(&args.model, options)? {
        Predictor::Classifier(classifier) => classifier,
        Predictor::Pose(estimator) => {
            refuse(&[("--split", args.split.is_some()), ("--batch", args.batch.is_some())], "a keypoint network")?;
            return pose_eval::run(args, estimator);
        }
    };
    let of_joints = [
        ("--images", args.images.is_some()),
        ("--boxes", args.boxes.is_some()),
        ("--flip", args.flip),
        ("--out", args.out.is_some()),
    ];
    refuse(&of_joints, "a classifier")?;
    let HeldOut { dataset, split, what, warnings } =
        held_out::open(&args.model, classifier.model(), &args.data, args.split)?;
    note(format_args!("{}: {}; scoring {what}", args.data, dataset.describe()));
    dataset.left_out_note().into_iter().for_each(note);
    warnings.iter().for_each(|text| note(format_args!("warning: {text}")));
    let options = EvaluationOptions { split, batch: args.batch.unwrap_or(32), max_broken: args.max_broken };
    let evaluation = with_bar(dataset.len(split), "{bar:40} {pos}/{len} images, {per_sec}, {eta} left", |progress| {
        evaluate(&classifier, &dataset, &options, progress)
    })?;
    skipped(&evaluation.broken);
    if evaluation.unanswered > 0 {
        let (n, all) = (thousands(evaluation.unanswered), thousands(evaluation.confusion.total()));
        note(format_args!(
            "warning: {n} of {all} images have no answer, the network's output is NaN; they count as wrong"
        ));
    }
    if args.json {
        print_json(&json(&evaluation, classifier.classes()))
    } else {
        report(&evaluation, classifier.classes())
    }
}

fn json<'a>(evaluation: &'a Evaluation, classes: &'a [String]) -> Json<'a> {
    let scores = evaluation.confusion.per_class();
    let cell = |(label, prediction, images): (usize, usize, u64)| CellJson {
        label: &classes[label],
        prediction: &classes[prediction],
        images,
    };
    Json {
        images: evaluation.confusion.total(),
        top1: evaluation.top1,
        top5: evaluation.top5,
        unanswered: evaluation.unanswered,
        broken: evaluation.broken.len(),
        classes: classes
            .iter()
            .zip(&scores)
            .map(|(class, s)| ClassJson { class, images: s.support, precision: s.precision, recall: s.recall })
            .collect(),
        confusion: evaluation.confusion.cells().map(cell).collect(),
    }
}

fn report(evaluation: &Evaluation, classes: &[String]) -> anyhow::Result<()> {
    let confusion = &evaluation.confusion;
    let mut head = Table::new(&["images", "top-1", "top-5", "no answer", "broken"]);
    head.row(vec![
        thousands(confusion.total()),
        percent(evaluation.top1),
        percent(evaluation.top5),
        thousands(evaluation.unanswered),
        thousands(evaluation.broken.len() as u64),
    ]);
    let classes: Vec<String> = classes.iter().map(|class| name(class)).collect();
    let share = |v: Option<f64>| v.map_or("–".to_owned(), percent);
    let mut table = Table::new(&["class", "images", "precision", "recall"]);
    for (class, s) in classes.iter().zip(confusion.per_class()) {
        table.row(vec![class.clone(), thousands(s.support), share(s.precision), share(s.recall)]);
    }
    print(&format!("{head}\n{table}\n"))?;
    if classes.len() <= WHOLE_MATRIX {
        let headings: Vec<&str> = ["label \\ answer"].into_iter().chain(classes.iter().map(String::as_str)).collect();
        let mut matrix = Table::new(&headings);
        for (label, class) in classes.iter().enumerate() {
            let row = (0..classes.len()).map(|answer| confusion.count(label, answer).to_string());
            matrix.row([class.clone()].into_iter().chain(row).collect());
        }
        return print(&matrix.to_string());
    }
    let mut worst = Table::new(&["label", "answer", "images"]);
    for (label, answer, images) in confusion.worst(WORST) {
        worst.row(vec![classes[label].clone(), classes[answer].clone(), images.to_string()]);
    }
    print(&format!("most frequent confusions (--json writes all of them)\n{worst}"))
}
