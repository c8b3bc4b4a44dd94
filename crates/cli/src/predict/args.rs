//! Arguments of `dyconv predict`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use dyconv_data::PersonBox;

use crate::bank::Bank;
use crate::pixels::max_pixels;

/// Classify images, or find the keypoints of persons in them
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
    pub model: PathBuf,
    /// Image files: JPEG, PNG, WebP, BMP, GIF or TIFF
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Classifiers: number of classes per image [default: 5]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub top: Option<usize>,
    /// Keypoints: box of the person in every image, in pixels
    #[arg(long = "box", value_name = "X,Y,WIDTH,HEIGHT", value_parser = parse_box, conflicts_with = "boxes")]
    pub bbox: Option<PersonBox>,
    /// Keypoints: file with the boxes of persons by image
    #[arg(long, value_name = "FILE")]
    pub boxes: Option<PathBuf>,
    /// Keypoints: also run the network on each mirrored person and average the heat maps (flip test)
    #[arg(long)]
    pub flip: bool,
    /// Keypoints: draw them on copies of the images in DIR
    #[arg(long, value_name = "DIR")]
    pub draw: Option<PathBuf>,
    /// Number of threads [default: one per CPU]
    #[arg(long, value_parser = crate::threads::number)]
    pub threads: Option<usize>,
    /// Storage of the kernel banks
    #[arg(long, value_enum, default_value = "f32")]
    pub bank: Bank,
    /// Largest image to decode, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    pub max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Parses `x,y,width,height`.
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
