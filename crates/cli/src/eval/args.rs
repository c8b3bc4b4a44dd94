//! Arguments of `dyconv eval`.

use std::path::PathBuf;

use dyconv_data::Split;

use crate::bank::Bank;
use crate::pixels::max_pixels;

/// Score a model on a data set: top-1, top-5, every class, confusions; or the average precision of keypoints
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
    pub model: PathBuf,
    /// Data set: a folder, or `digits`; for keypoints also a file of COCO keypoints annotations
    #[arg(long)]
    pub data: String,
    /// Classifiers: part to score, val, train, test or all [default: the held-out images, or all images if the model
    /// was not trained on these data]
    #[arg(long)]
    pub split: Option<Split>,
    /// Classifiers: batch size [default: 32]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Keypoints: folder with the images of an annotations file
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Keypoints: boxes from a detector, in COCO's results format
    #[arg(long, value_name = "FILE")]
    pub boxes: Option<PathBuf>,
    /// Keypoints: also run the network on each mirrored person and average the heat maps (flip test)
    #[arg(long)]
    pub flip: bool,
    /// Keypoints: write the predictions as COCO results JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Number of threads [default: one per CPU]
    #[arg(long, value_parser = crate::threads::number)]
    pub threads: Option<usize>,
    /// Storage of the kernel banks
    #[arg(long, value_enum, default_value = "f32")]
    pub bank: Bank,
    /// Number of broken images to skip before the command fails
    #[arg(long, default_value_t = 10)]
    pub max_broken: usize,
    /// Largest image to decode, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    pub max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}
