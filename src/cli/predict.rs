//! `dyconv predict`: what is in these images, or where are the joints?

use std::path::PathBuf;

use anyhow::bail;
use dyconv::data::PersonBox;
use serde::Serialize;

use super::bank::{Bank, Opened, refuse};
use super::output::{note, print, print_json, threads};
use super::pixels::max_pixels;
use super::pose_predict;
use super::table::Table;

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
    #[arg(long)]
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
    #[arg(long, value_parser = super::threads::number)]
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
}

#[derive(Serialize)]
struct AnswerJson {
    index: usize,
    class: String,
    probability: f32,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut classifier = match args.bank.open(&args.model, threads(args.threads))?.with_max_pixels(args.max_pixels) {
        Opened::Classifier(classifier) => classifier,
        Opened::Pose(estimator) => {
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
    let mut results = Vec::new();
    let mut failed = 0;
    for image in &args.images {
        match classifier.predict_file(image) {
            Ok(prediction) => {
                let answers = prediction.top(args.top.unwrap_or(TOP)).into_iter().map(|a| AnswerJson {
                    index: a.index,
                    class: a.class.to_owned(),
                    probability: a.probability,
                });
                results.push(ImageJson { image: image.display().to_string(), answers: answers.collect() });
            }
            Err(error) if args.images.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                note(format_args!("skipped: {error}"));
            }
        }
    }
    if args.json {
        print_json(&results)?;
    } else {
        let mut table = Table::new(&["image", "class", "probability"]);
        for result in &results {
            for (rank, answer) in result.answers.iter().enumerate() {
                let image = if rank == 0 { result.image.clone() } else { String::new() };
                table.row(vec![image, answer.class.clone(), format!("{:.2} %", 100.0 * answer.probability)]);
            }
        }
        print(&table.to_string())?;
    }
    if failed > 0 {
        bail!("{failed} of {} images could not be read", args.images.len());
    }
    Ok(())
}
