//! `dyconv predict`: what is in these images, or where are the joints?

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use dyconv_data::PersonBox;
use dyconv_predict::{Classifier, ModelOptions, Predictor};
use serde::Serialize;

use crate::bank::{Bank, refuse};
use crate::output::{percent, threads};
use crate::pixels::max_pixels;
use crate::pose_predict;
use crate::stream::{Answers, names};
use crate::table::Column;

/// Answers for each image where nobody says.
const TOP: usize = 5;

/// Name what is in images, or find the joints of persons
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dyconv predict model.safetensors cat.jpg
  dyconv predict model.safetensors photos/*.png --top 1
  dyconv predict model.safetensors cat.jpg --json
  dyconv predict pose.safetensors person.jpg --box 40,20,120,260 --draw drawn
  dyconv predict pose.safetensors images/*.jpg --boxes boxes.json --json

A keypoint network looks at the whole image where no box is given. A file of boxes is a list of {\"file_name\": NAME, \"bbox\": [x, y, width, height]}, or COCO's results, whose image_id is the number in an image's name.")]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Image files: JPEG, PNG, WebP, BMP, GIF or TIFF
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Classifiers: answers for each image [default: 5]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top: Option<usize>,
    /// Joints: the person's box in every image, in pixels
    #[arg(long = "box", value_name = "X,Y,WIDTH,HEIGHT", value_parser = parse_box, conflicts_with = "boxes")]
    pub bbox: Option<PersonBox>,
    /// Joints: boxes of persons by image
    #[arg(long, value_name = "FILE")]
    pub boxes: Option<PathBuf>,
    /// Joints: look at every person once more mirrored, and take the mean
    #[arg(long)]
    pub flip: bool,
    /// Joints: draw them on copies of the images in DIR
    #[arg(long, value_name = "DIR")]
    pub draw: Option<PathBuf>,
    /// Threads to compute with; unset: one per processor
    #[arg(long, value_parser = crate::threads::number)]
    threads: Option<usize>,
    /// How kernel banks are stored
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
    /// Largest image that is read, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// `x,y,width,height`
fn parse_box(text: &str) -> Result<PersonBox, String> {
    let expected = "expected X,Y,WIDTH,HEIGHT in pixels, e.g. 40,20,120,260";
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.ok().as_deref() {
        Some(&[x, y, width, height]) if [x, y, width, height].iter().all(|v| v.is_finite()) => {
            match width > 0.0 && height > 0.0 {
                true => Ok(PersonBox { x, y, width, height }),
                false => Err(format!("width and height must be above 0; {expected}")),
            }
        }
        _ => Err(expected.to_owned()),
    }
}

#[derive(Serialize)]
struct ImageJson {
    image: String,
    answers: Vec<AnswerJson>,
    /// Why there are no answers.
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
            return pose_predict::run(args, estimator);
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
