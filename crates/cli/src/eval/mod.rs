//! `dyconv eval`: scores a model on a data set.

mod args;
mod keypoints;

use dyconv_predict::{Evaluation, EvaluationOptions, ModelOptions, Predictor, evaluate};
use serde::Serialize;

use crate::bank::refuse;
use crate::held_out::{self, HeldOut};
use crate::output::{note, percent, print, print_json, skipped, thousands, threads, with_bar};
use crate::table::Table;
use crate::text::name;

pub use args::Args;

/// Maximum number of classes for which the confusion matrix is printed completely.
const WHOLE_MATRIX: usize = 20;
/// Number of lines in the list of confusions if the matrix is too large.
const WORST: usize = 20;

#[derive(Serialize)]
struct Json<'a> {
    images: u64,
    top1: f64,
    top5: f64,
    /// Number of images for which the network's output has a NaN; they count as wrong.
    unanswered: u64,
    broken: usize,
    classes: Vec<ClassJson<'a>>,
    /// The non-zero cells. Images without a prediction are not included.
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
            return keypoints::run(args, estimator);
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
