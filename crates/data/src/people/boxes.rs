//! Boxes from a detector: COCO's results JSON.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::coco::Left;
use super::{People, PersonImage};
use crate::crop::PersonBox;
use crate::error::{DataError, thousands};

/// A box that a detector found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectedBox {
    /// Index of the image among [`People::images`].
    pub image: usize,
    /// The box inside its image.
    pub bbox: PersonBox,
    /// How sure the detector is.
    pub score: f64,
}

/// The boxes of a file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectedBoxes {
    /// Those of the persons' category that lie inside their image.
    pub boxes: Vec<DetectedBox>,
    /// What was left out, in words.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Record {
    image_id: u64,
    category_id: u64,
    /// x, y, width, height
    bbox: [f64; 4],
    score: f64,
}

impl DetectedBoxes {
    /// Reads `[{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, …]` for the validation images of
    /// `people`. Other categories and boxes without area inside their image are left out and counted.
    ///
    /// # Errors
    /// When the file is no such list, or names images that `people` does not have, as results for another data set do.
    pub fn read(path: &Path, people: &People) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
        let parsed: Result<Vec<Record>, _> = serde_json::from_slice(&bytes);
        let records = parsed.map_err(|e| DataError::at(path, diagnose(&bytes, &e)))?;
        let images = people.images.iter().enumerate().skip(people.train_images);
        let by_id: HashMap<u64, (usize, &PersonImage)> = images.map(|(i, image)| (image.id, (i, image))).collect();
        let (mut boxes, mut others, mut empty) = (Vec::new(), 0, Left::default());
        for (i, record) in records.iter().enumerate() {
            let wrong = |message: String| DataError::at(path, format!("box {}: {message}", i + 1));
            let Some((image, size)) = by_id.get(&record.image_id) else {
                let message = format!("image_id {} is no image of these data; is it of another set?", record.image_id);
                return Err(wrong(message));
            };
            let [x, y, width, height] = record.bbox;
            if record.bbox.iter().any(|v| !v.is_finite()) || width < 0.0 || height < 0.0 {
                let message = format!("bbox {:?} is none, expected [x, y, width, height] in pixels", record.bbox);
                return Err(wrong(message));
            }
            if !record.score.is_finite() {
                return Err(wrong(format!("score {}, expected a number", record.score)));
            }
            if record.category_id != people.category {
                others += 1;
                continue;
            }
            match (PersonBox { x, y, width, height }).clipped(size.width, size.height) {
                Some(bbox) => boxes.push(DetectedBox { image: *image, bbox, score: record.score }),
                None => empty.push(i as u64 + 1),
            }
        }
        if boxes.is_empty() {
            let message = format!(
                "none of its {} boxes is of category {} and inside its image",
                thousands(records.len()),
                people.category
            );
            return Err(DataError::at(path, message));
        }
        let others = (others > 0).then(|| format!("{} boxes of other categories, left out", thousands(others)));
        let empty = empty.note("boxes without area inside their image", "number");
        Ok(Self { boxes, notes: others.into_iter().chain(empty).collect() })
    }
}

/// Which record a parser's error is about.
fn diagnose(bytes: &[u8], error: &serde_json::Error) -> String {
    let expected = "boxes: a list of objects with `image_id`, `category_id`, `bbox` and `score`";
    match serde_json::from_slice(bytes) {
        Ok(Value::Array(records)) => {
            let wrong = records.iter().enumerate().find_map(|(i, r)| Some((i + 1, Record::deserialize(r).err()?)));
            wrong.map_or_else(|| error.to_string(), |(number, error)| format!("box {number}: {error}"))
        }
        Ok(_) => format!("is no list, expected {expected}"),
        Err(e) => format!("is no whole JSON: {e}"),
    }
}
