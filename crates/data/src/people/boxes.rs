//! Boxes from a detector: COCO's results JSON.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::coco::bbox;
use super::json::{self, Form};
use super::number::{Numbers, Real, Whole};
use super::told::{Records, Unusual};
use super::{People, PersonImage};
use crate::crop::PersonBox;
use crate::error::DataError;
use crate::words::thousands;

const FORM: Form = Form {
    begins: b'[',
    otherwise: "is no list, expected boxes: a list of objects with `image_id`, `category_id`, `bbox` and `score`",
    expected: "list of boxes: of objects with `image_id`, `category_id`, `bbox` and `score`",
    depth: 2,
    lists: &[("", "box")],
    by_number: true,
};

/// A box found by a detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectedBox {
    /// Index of the image in [`People::images`].
    pub image: usize,
    /// The box, clipped to its image.
    pub bbox: PersonBox,
    /// Confidence of the detector.
    pub score: f64,
}

/// The boxes of a file, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectedBoxes {
    /// Boxes of the persons' category that overlap their image.
    pub boxes: Vec<DetectedBox>,
    /// Messages about what was ignored or interpreted.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Record {
    image_id: Whole,
    category_id: Whole,
    /// x, y, width, height
    bbox: Numbers,
    score: Real,
}

impl DetectedBoxes {
    /// Reads `[{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, …]` for the validation images of
    /// `people`. Other categories and boxes with less than half a pixel inside their image are ignored and counted.
    ///
    /// # Errors
    /// If the file is not such a list, or names images that `people` does not have, as results for another data set do.
    pub fn read(path: &Path, people: &People) -> Result<Self, DataError> {
        let records: Vec<Record> = json::read(path, &FORM)?;
        let images = people.images.iter().enumerate().skip(people.train_images);
        let by_id: HashMap<u64, (usize, &PersonImage)> = images.map(|(i, image)| (image.id, (i, image))).collect();
        let (mut boxes, mut others) = (Vec::new(), 0);
        let (mut empty, mut unusual) = (Records::default(), Unusual::default());
        for (number, record) in (1..).zip(&records) {
            let wrong = |message: String| DataError::at(path, format!("box {number}: {message}"));
            let (id, category, score) = (record.image_id.value, record.category_id.value, record.score.value);
            let Some((image, size)) = by_id.get(&id) else {
                return Err(wrong(format!("image_id {id} is no image of these data; is it of another set?")));
            };
            let bbox = bbox(&record.bbox).map_err(wrong)?;
            if !score.is_finite() {
                return Err(wrong("score null, expected a number".to_owned()));
            }
            if category != people.category {
                others += 1;
                continue;
            }
            let written = [record.image_id.written, record.category_id.written];
            unusual.see(number, &[&written[..], &[record.bbox.written(), record.score.written]].concat());
            match bbox.clipped(size.width, size.height) {
                Some(bbox) => boxes.push(DetectedBox { image: *image, bbox, score }),
                None => empty.push(number),
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
        let empty = empty.note("boxes with less than half a pixel inside their image, left out", "numbers");
        Ok(Self { boxes, notes: others.into_iter().chain(empty).chain(unusual.notes("boxes")).collect() })
    }
}
