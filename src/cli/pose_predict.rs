//! `dyconv predict` with a keypoint network: joints in image coordinates, and drawings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dyconv::PoseEstimator;
use dyconv::data::{FoundJoint, Image, PersonBox, draw_skeleton, load};
use serde::{Deserialize, Serialize};

use super::output::{note, print, print_json};
use super::predict::Args;
use super::table::Table;

/// A joint that scores less is not drawn.
const DRAWN: f32 = 0.2;

#[derive(Serialize)]
struct ImageJson {
    image: String,
    poses: Vec<PoseJson>,
}

#[derive(Serialize)]
struct PoseJson {
    /// x, y, width, height
    r#box: [f64; 4],
    joints: Vec<JointJson>,
}

#[derive(Serialize)]
struct JointJson {
    joint: String,
    x: f64,
    y: f64,
    score: f32,
}

/// A box of a file; `file_name` or `image_id` says whose.
#[derive(Deserialize)]
struct BoxRecord {
    file_name: Option<String>,
    image_id: Option<u64>,
    bbox: [f64; 4],
    category_id: Option<u64>,
}

pub fn run(args: &Args, estimator: PoseEstimator) -> anyhow::Result<()> {
    let mut estimator = if args.flip { estimator.with_flip() } else { estimator };
    let boxes = args.boxes.as_deref().map(Boxes::read).transpose()?;
    let drawings = args.draw.as_deref().map(|folder| drawings(folder, &args.images)).transpose()?;
    let mut results = Vec::new();
    let mut failed = 0;
    for (i, path) in args.images.iter().enumerate() {
        let mut image = match load(path, &estimator.decode_options()) {
            Ok(image) => image,
            Err(error) if args.images.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                note(format_args!("skipped: {error}"));
                continue;
            }
        };
        let places = match &boxes {
            Some(boxes) => boxes.of(path, &image)?,
            None => vec![place(args.bbox, path, &image)?],
        };
        let poses = estimator.predict(&image, &places)?;
        if let Some(drawings) = &drawings {
            for joints in &poses {
                let joints: Vec<[f32; 3]> = joints.iter().map(|j| [j.x as f32, j.y as f32, j.score]).collect();
                draw_skeleton(&mut image, &joints, estimator.skeleton(), DRAWN);
            }
            image.save(&drawings[i])?;
        }
        let poses = places.iter().zip(poses).map(|(bbox, joints)| pose(*bbox, &joints, &estimator));
        results.push(ImageJson { image: path.display().to_string(), poses: poses.collect() });
    }
    if args.json {
        print_json(&results)?;
    } else {
        print(&table(&results).to_string())?;
    }
    if failed > 0 {
        bail!("{failed} of {} images could not be read", args.images.len());
    }
    Ok(())
}

/// The box of an image: the one that is given, or all of it.
fn place(bbox: Option<PersonBox>, path: &Path, image: &Image) -> anyhow::Result<PersonBox> {
    let Some(bbox) = bbox else { return Ok(PersonBox::whole(image)) };
    let (width, height) = (image.width, image.height);
    bbox.clipped(width, height)
        .with_context(|| format!("--box: lies outside {}, which has {width} × {height} pixels", path.display()))
}

fn pose(bbox: PersonBox, joints: &[FoundJoint], estimator: &PoseEstimator) -> PoseJson {
    let names = &estimator.skeleton().joints;
    let joints =
        names.iter().zip(joints).map(|(name, j)| JointJson { joint: name.clone(), x: j.x, y: j.y, score: j.score });
    PoseJson { r#box: [bbox.x, bbox.y, bbox.width, bbox.height], joints: joints.collect() }
}

fn table(results: &[ImageJson]) -> Table {
    let mut table = Table::new(&["image", "person", "joint", "x", "y", "score"]);
    for result in results {
        for (person, pose) in result.poses.iter().enumerate() {
            for (i, joint) in pose.joints.iter().enumerate() {
                let image = if person == 0 && i == 0 { result.image.clone() } else { String::new() };
                let person = if i == 0 { (person + 1).to_string() } else { String::new() };
                let [x, y] = [joint.x, joint.y].map(|v| format!("{v:.1}"));
                table.row(vec![image, person, joint.joint.clone(), x, y, format!("{:.2}", joint.score)]);
            }
        }
    }
    table
}

/// Where the drawings go: one for each image, none over another or over an image.
fn drawings(folder: &Path, images: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut taken: HashMap<PathBuf, &PathBuf> = HashMap::new();
    let mut drawings = Vec::new();
    for image in images {
        let name = image.file_name().with_context(|| format!("{}: names no file", image.display()))?;
        let mut drawing = folder.join(name);
        // What cannot be written is drawn as PNG.
        if !drawing
            .extension()
            .is_some_and(|e| ["png", "jpg", "jpeg"].iter().any(|known| e.eq_ignore_ascii_case(known)))
        {
            drawing.set_extension("png");
        }
        if let Some(other) = taken.insert(drawing.clone(), image) {
            let (drawing, other, image) = (drawing.display(), other.display(), image.display());
            bail!("--draw: {drawing} would be the drawing of {other} and of {image}; draw them in two runs");
        }
        if drawing.canonicalize().ok().zip(image.canonicalize().ok()).is_some_and(|(a, b)| a == b) {
            bail!("--draw: {} would be drawn over; name another folder", image.display());
        }
        drawings.push(drawing);
    }
    Ok(drawings)
}

/// The boxes of a file by image.
struct Boxes {
    path: PathBuf,
    records: Vec<BoxRecord>,
}

impl Boxes {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let records: Vec<BoxRecord> =
            serde_json::from_slice(&bytes).with_context(|| format!("{}: is no list of boxes", path.display()))?;
        for (i, record) in records.iter().enumerate() {
            let at = |message: &str| format!("{}: box {}: {message}", path.display(), i + 1);
            if record.file_name.is_none() && record.image_id.is_none() {
                bail!(at("has neither `file_name` nor `image_id`"));
            }
            let [.., width, height] = record.bbox;
            if record.bbox.iter().any(|v| !v.is_finite()) || width <= 0.0 || height <= 0.0 {
                bail!(at(&format!("bbox {:?} is none, expected [x, y, width, height] in pixels", record.bbox)));
            }
            if let Some((a, b)) = records[0].category_id.zip(record.category_id).filter(|(a, b)| a != b) {
                bail!(at(&format!("is of category {b}, the first of {a}; keep the boxes of one category")));
            }
        }
        Ok(Self { path: path.to_owned(), records })
    }

    /// The boxes of an image, inside it.
    fn of(&self, path: &Path, image: &Image) -> anyhow::Result<Vec<PersonBox>> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        let own = self.records.iter().filter(|record| match &record.file_name {
            Some(file) => Path::new(file).file_name().is_some_and(|file| file.to_string_lossy() == name),
            None => number.is_some() && record.image_id == number,
        });
        let boxes = own.filter_map(|record| {
            let [x, y, width, height] = record.bbox;
            PersonBox { x, y, width, height }.clipped(image.width, image.height)
        });
        let boxes: Vec<PersonBox> = boxes.collect();
        if boxes.is_empty() {
            bail!("{}: has no box inside {}", self.path.display(), path.display());
        }
        Ok(boxes)
    }
}
