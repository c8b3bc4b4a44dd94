//! `dyconv predict`: classifies images, or finds keypoints in them.

mod args;
mod keypoints;

use dyconv_predict::{Classifier, ModelOptions, Predictor};
use serde::Serialize;

use crate::bank::refuse;
use crate::output::{percent, threads};
use crate::stream::{Answers, names};
use crate::table::Column;

pub use args::Args;

/// Default number of classes per image.
const TOP: usize = 5;

#[derive(Serialize)]
struct ImageJson {
    image: String,
    answers: Vec<AnswerJson>,
    /// Why there is no prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct AnswerJson {
    index: usize,
    class: String,
    probability: f32,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = ModelOptions::new().threads(threads(args.threads)).max_pixels(args.max_pixels);
    let classifier = match args.bank.open(&args.model, options)? {
        Predictor::Classifier(classifier) => classifier,
        Predictor::Pose(estimator) => {
            refuse(&[("--top", args.top.is_some())], "a keypoint network")?;
            return keypoints::run(args, estimator);
        }
    };
    let of_joints = [
        ("--box", args.bbox.is_some()),
        ("--boxes", args.boxes.is_some()),
        ("--flip", args.flip),
        ("--draw", args.draw.is_some()),
    ];
    refuse(&of_joints, "a classifier")?;
    classify(args, &classifier)
}

fn classify(args: &Args, classifier: &Classifier) -> anyhow::Result<()> {
    let probability = Column { heading: "probability", width: "probability".len(), right: true };
    let columns = vec![names("class", classifier.classes()), probability];
    let mut out = Answers::new(args.json, &args.images, columns);
    for path in &args.images {
        let mut element = ImageJson { image: path.display().to_string(), answers: Vec::new(), error: None };
        match classifier.predict_file(path) {
            Ok(prediction) => {
                let top = prediction.top(args.top.unwrap_or(TOP)).into_iter();
                element.answers = top
                    .map(|a| AnswerJson { index: a.index, class: a.class.to_owned(), probability: a.probability })
                    .collect();
                let row = |a: &AnswerJson| vec![a.class.clone(), percent(f64::from(a.probability))];
                let rows = element.answers.iter().map(row).collect();
                out.add(path, &element, rows)?;
            }
            Err(error) => {
                let reason = error.to_string();
                element.error = Some(reason.clone());
                out.failed(path, &reason, &element)?;
            }
        }
    }
    out.finish()
}
