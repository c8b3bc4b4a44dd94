//! `dyconv eval` for keypoint networks: COCO's average precision.

use std::path::Path;

use anyhow::{Context, bail};
use dyconv_data::{Dataset, DetectedBoxes, People};
use dyconv_metrics::KeypointScores;
use dyconv_predict::{PoseAnswer, PoseEstimator, PoseEvaluationOptions, evaluate_poses};
use dyconv_task::Skeleton;
use serde::Serialize;

use super::args::Args;
use crate::output::{note, print, print_json, skipped, thousands, with_bar};
use crate::table::Table;

#[derive(Serialize)]
struct Json {
    images: usize,
    persons: usize,
    suppressed: usize,
    /// Number of boxes for which the network's output is NaN or infinite; their persons count as not found.
    unanswered: usize,
    broken: usize,
    #[serde(flatten)]
    scores: KeypointScores,
}

/// A prediction in the format of COCO's tools; with a box, they would compute its area from that instead of the
/// keypoints.
#[derive(Serialize)]
struct ResultJson {
    image_id: u64,
    category_id: u64,
    /// x, y and score of every keypoint.
    keypoints: Vec<f64>,
    score: f64,
}

pub fn run(args: &Args, estimator: PoseEstimator) -> anyhow::Result<()> {
    let estimator = if args.flip { estimator.with_flip() } else { estimator };
    let dataset = open(args, estimator.skeleton())?;
    let people = dataset.people().context("a data set of persons")?;
    let boxes = args.boxes.as_deref().map(|path| DetectedBoxes::read(path, people)).transpose()?;
    let notes = people.notes.iter().chain(boxes.iter().flat_map(|b| &b.notes));
    notes.for_each(|text| note(format_args!("note: {text}")));
    note(format_args!("{}: {}; scoring the held-out part", args.data, dataset.describe()));
    let count = boxes.as_ref().map_or(dataset.len(dyconv_data::Split::Val), |b| b.boxes.len());
    let options = PoseEvaluationOptions { boxes: boxes.as_ref(), max_broken: args.max_broken };
    let evaluation = with_bar(count, "{bar:40} {pos}/{len} boxes, {per_sec}, {eta} left", |progress| {
        evaluate_poses(&estimator, &dataset, &options, progress)
    })?;
    skipped(&evaluation.broken);
    if evaluation.unanswered > 0 {
        let (n, all) = (thousands(evaluation.unanswered as u64), thousands(count as u64));
        note(format_args!(
            "warning: {n} of {all} boxes have no answer, the network's output is NaN or infinite; they count as not found"
        ));
    }
    let images = people.images.len() - people.train_images - evaluation.broken.len();
    let (persons, suppressed) = (evaluation.answers.len(), evaluation.suppressed);
    let (unanswered, broken) = (evaluation.unanswered, evaluation.broken.len());
    if args.json {
        print_json(&Json { images, persons, suppressed, unanswered, broken, scores: evaluation.scores })?;
    } else {
        let mut head = Table::new(&["images", "answers", "suppressed", "no answer", "broken"]);
        head.row([images, persons, suppressed, unanswered, broken].map(|n| thousands(n as u64)).to_vec());
        let stats = evaluation.scores.stats();
        let mut table = Table::new(&stats.map(|(name, _)| name));
        table.row(stats.map(|(_, value)| value.map_or("–".to_owned(), |v| format!("{:.1}", 100.0 * v))).to_vec());
        print(&format!("{head}\n{table}"))?;
    }
    args.out.as_deref().map_or(Ok(()), |path| write(path, people, &evaluation.answers))
}

/// Opens the requested data, which must have the model's keypoints.
fn open(args: &Args, skeleton: &Skeleton) -> anyhow::Result<Dataset> {
    let path = Path::new(&args.data);
    match &args.images {
        Some(images) if path.is_dir() => {
            bail!("--images {}: {} is a folder, which has its images itself", images.display(), path.display())
        }
        Some(images) => Ok(Dataset::open_annotations(path, images, Some(skeleton))?),
        None if Dataset::is_people(&args.data) => Ok(Dataset::open_people(path, Some(skeleton))?),
        None if path.is_file() => bail!("--images: name the folder of the images of {}", path.display()),
        None => bail!(
            "{}: a keypoint network is scored on COCO keypoints: expected a folder with \
             annotations/person_keypoints_val2017.json, or a file of annotations and --images",
            path.display()
        ),
    }
}

fn write(path: &Path, people: &People, answers: &[PoseAnswer]) -> anyhow::Result<()> {
    let results = answers.iter().map(|answer| ResultJson {
        image_id: answer.image,
        category_id: people.category,
        keypoints: answer.joints.iter().flat_map(|j| [j.x, j.y, f64::from(j.score)]).collect(),
        score: answer.score,
    });
    let text = serde_json::to_string(&results.collect::<Vec<_>>())?;
    std::fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}
