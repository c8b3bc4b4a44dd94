//! `dyconv predict` for keypoint networks: keypoints in image coordinates, and drawings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dyconv_data::{BoxFile, FoundKeypoint, Image, PersonBox, draw_skeleton, load};
use dyconv_predict::PoseEstimator;
use serde::Serialize;

use super::args::Args;
use crate::output::note;
use crate::stream::{Answers, names};
use crate::table::Column;

/// Minimum score of a keypoint that is drawn.
const DRAWN: f32 = 0.2;

#[derive(Serialize)]
struct ImageJson {
    image: String,
    poses: Vec<PoseJson>,
    /// Why there are no poses, or no drawing of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct PoseJson {
    /// x, y, width, height
    r#box: [f64; 4],
    joints: Vec<KeypointJson>,
    /// Why there are no keypoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct KeypointJson {
    joint: String,
    x: f64,
    y: f64,
    score: f32,
}

pub fn run(args: &Args, estimator: PoseEstimator) -> anyhow::Result<()> {
    let estimator = if args.flip { estimator.with_flip() } else { estimator };
    let boxes = args.boxes.as_deref().map(|file| BoxFile::read(file, &args.images)).transpose()?;
    boxes.iter().flat_map(|boxes| &boxes.notes).for_each(|text| note(format_args!("note: {text}")));
    let drawings = args.draw.as_deref().map(|folder| drawings(folder, &args.images)).transpose()?;
    let number = |heading, width| Column { heading, width, right: true };
    let columns = vec![
        number("person", 6),
        names("joint", &estimator.skeleton().joints),
        number("x", 10),
        number("y", 10),
        number("score", 7),
    ];
    let mut out = Answers::new(args.json, &args.images, columns);
    for (i, path) in args.images.iter().enumerate() {
        let places = boxes.as_ref().map(|boxes| &boxes.boxes[i][..]).or(args.bbox.as_ref().map(std::slice::from_ref));
        let drawing = drawings.as_ref().and_then(|drawings| drawings[i].as_deref());
        let (element, wrong) = answer(path, places, drawing, &estimator);
        let rows = rows(&element);
        match wrong {
            None => out.add(path, &element, rows)?,
            Some(reason) => {
                // A JSON element includes the errors; for a table, the available rows are printed first.
                if !args.json && !rows.is_empty() {
                    out.add(path, &element, rows)?;
                }
                out.failed(path, &reason, &element)?;
            }
        }
    }
    out.finish()
}

/// The result for an image, and what failed for it or for some of its boxes. Without boxes, the whole image is the only
/// box.
fn answer(
    path: &Path,
    places: Option<&[PersonBox]>,
    drawing: Option<&Path>,
    estimator: &PoseEstimator,
) -> (ImageJson, Option<String>) {
    let mut element = ImageJson { image: path.display().to_string(), poses: Vec::new(), error: None };
    let found = load(path, &estimator.decode_options()).map_err(Into::into).and_then(|image| {
        let whole = [PersonBox::whole(&image)];
        poses(&image, places.unwrap_or(&whole), estimator).map(|poses| (image, poses))
    });
    let (mut image, found) = match found {
        Ok(found) => found,
        Err(error) => {
            let reason = error.to_string();
            element.error = Some(reason.clone());
            return (element, Some(reason));
        }
    };
    if let Some(drawing) = drawing {
        for joints in found.iter().filter_map(|(_, joints)| joints.as_ref().ok()) {
            let joints: Vec<[f32; 3]> = joints.iter().map(|j| [j.x as f32, j.y as f32, j.score]).collect();
            draw_skeleton(&mut image, &joints, estimator.skeleton(), DRAWN);
        }
        element.error = image.save(drawing).err().map(|error| error.to_string());
    }
    let outside = found.iter().find_map(|(_, joints)| joints.as_ref().err());
    let more = found.iter().filter(|(_, joints)| joints.is_err()).count().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more boxes)") } else { String::new() };
    let wrong = outside.map(|reason| format!("{reason}{more}")).or_else(|| element.error.clone());
    element.poses = found.into_iter().map(|(bbox, joints)| pose(bbox, joints, estimator)).collect();
    (element, wrong)
}

/// The keypoints in several boxes, or the errors.
type Found = Vec<(PersonBox, Result<Vec<FoundKeypoint>, String>)>;

/// The keypoints in each box; boxes that do not overlap the image are skipped.
fn poses(image: &Image, places: &[PersonBox], estimator: &PoseEstimator) -> Result<Found, dyconv_predict::Error> {
    let (width, height) = (image.width, image.height);
    let inside: Vec<Option<PersonBox>> = places.iter().map(|bbox| bbox.clipped(width, height)).collect();
    let mut joints = estimator.predict(image, &inside.iter().copied().flatten().collect::<Vec<_>>())?.into_iter();
    let found =
        places.iter().zip(inside).map(|(bbox, inside)| match inside.and_then(|bbox| Some((bbox, joints.next()?))) {
            Some((inside, joints)) => (inside, Ok(joints)),
            None => {
                let PersonBox { x, y, width: w, height: h } = bbox;
                let size = format!("{width} × {height} pixels");
                (*bbox, Err(format!("the box {x},{y},{w},{h} has less than half a pixel inside the image of {size}")))
            }
        });
    Ok(found.collect())
}

fn pose(bbox: PersonBox, joints: Result<Vec<FoundKeypoint>, String>, estimator: &PoseEstimator) -> PoseJson {
    let r#box = [bbox.x, bbox.y, bbox.width, bbox.height];
    let named = |joints: Vec<FoundKeypoint>| {
        let names = estimator.skeleton().joints.iter().zip(joints);
        names.map(|(name, j)| KeypointJson { joint: name.clone(), x: j.x, y: j.y, score: j.score }).collect()
    };
    match joints {
        Ok(joints) => PoseJson { r#box, joints: named(joints), error: None },
        Err(reason) => PoseJson { r#box, joints: Vec::new(), error: Some(reason) },
    }
}

/// The rows of a table, without the column of the image.
fn rows(result: &ImageJson) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (person, pose) in result.poses.iter().enumerate() {
        for (i, joint) in pose.joints.iter().enumerate() {
            let person = if i == 0 { (person + 1).to_string() } else { String::new() };
            let [x, y] = [joint.x, joint.y].map(|v| format!("{v:.1}"));
            rows.push(vec![person, joint.joint.clone(), x, y, format!("{:.2}", joint.score)]);
        }
    }
    rows
}

/// Output paths of the drawings: one for each path that names a file, without overwriting one another or an image.
fn drawings(folder: &Path, images: &[PathBuf]) -> anyhow::Result<Vec<Option<PathBuf>>> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut taken: HashMap<PathBuf, &PathBuf> = HashMap::new();
    let mut drawings = Vec::new();
    for image in images {
        let Some(name) = image.file_name() else {
            drawings.push(None);
            continue;
        };
        let mut drawing = folder.join(name);
        // Formats that cannot be written become PNG.
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
        drawings.push(Some(drawing));
    }
    Ok(drawings)
}
