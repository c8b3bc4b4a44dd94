//! COCO's keypoints JSON: one file into images and persons, every record checked.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};

use dyconv_file::Skeleton;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::skeleton::{Described, skeleton};
use super::{Joint, Person, PersonImage, Visibility};
use crate::crop::PersonBox;
use crate::error::{DataError, thousands};

#[derive(Deserialize)]
struct Document {
    images: Vec<ImageRecord>,
    annotations: Vec<AnnotationRecord>,
    categories: Vec<CategoryRecord>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct AnnotationRecord {
    id: u64,
    image_id: u64,
    category_id: u64,
    /// x, y, width, height
    bbox: [f64; 4],
    area: f64,
    #[serde(default)]
    iscrowd: u8,
    /// x, y, v of every joint; missing where the category has no joints.
    keypoints: Option<Vec<f64>>,
    num_keypoints: Option<usize>,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: u64,
    name: String,
    #[serde(default)]
    keypoints: Vec<String>,
    /// Pairs of joints that count from 1.
    #[serde(default)]
    skeleton: Vec<[usize; 2]>,
}

/// What stands in one file.
pub(super) struct Annotations {
    pub skeleton: Skeleton,
    pub category: u64,
    pub images: Vec<PersonImage>,
    /// Names of the image files.
    pub files: Vec<String>,
    /// Persons to learn from.
    pub persons: Vec<Person>,
    /// The other annotations: crowds, persons without a joint or without a box.
    pub rest: Vec<Person>,
    pub notes: Vec<String>,
}

/// Reads annotations; the joints must be those of `given`, if it is given.
///
/// # Errors
/// Names the file, the record by its id, and what was expected.
pub(super) fn read(path: &Path, given: Option<&Skeleton>) -> Result<Annotations, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
    let parsed = serde_json::from_slice(&bytes).map_err(|e| diagnose(&bytes, &e));
    parsed.and_then(|document| check(document, given)).map_err(|message| DataError::at(path, message))
}

/// Which record a parser's error is about. Parses once more, as errors are rare and files are large.
fn diagnose(bytes: &[u8], error: &serde_json::Error) -> String {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return format!("is no whole JSON: {error}") };
    let expected = "COCO annotations: an object with `images`, `annotations` and `categories`";
    if document.is_array() {
        return format!("is a list, as results are, expected {expected}");
    }
    let wrong = wrong::<ImageRecord>(&document, "images", "image")
        .or_else(|| wrong::<CategoryRecord>(&document, "categories", "category"))
        .or_else(|| wrong::<AnnotationRecord>(&document, "annotations", "annotation"));
    wrong.unwrap_or_else(|| format!("is no {expected}: {error}"))
}

/// The first record of a list that is no `T`.
fn wrong<T: DeserializeOwned>(document: &Value, list: &str, what: &str) -> Option<String> {
    document.get(list)?.as_array()?.iter().enumerate().find_map(|(i, record)| {
        let error = T::deserialize(record).err()?;
        let name = record.get("id").map_or_else(|| format!("number {}", i + 1), Value::to_string);
        Some(format!("{what} {name}: {error}"))
    })
}

/// Things that are left out: how many, and the first of them.
#[derive(Default)]
pub(super) struct Left(Vec<u64>);

impl Left {
    pub fn push(&mut self, id: u64) {
        self.0.push(id);
    }

    /// `3 boxes of …, left out (annotations 17, 18, …)`.
    pub fn note(&self, what: &str, records: &str) -> Option<String> {
        const SHOWN: usize = 3;
        if self.0.is_empty() {
            return None;
        }
        let ids: Vec<String> = self.0.iter().take(SHOWN).map(u64::to_string).collect();
        let more = if self.0.len() > SHOWN { ", …" } else { "" };
        Some(format!("{} {what}, left out ({records} {}{more})", thousands(self.0.len()), ids.join(", ")))
    }
}

fn check(document: Document, given: Option<&Skeleton>) -> Result<Annotations, String> {
    let category = category(&document.categories)?;
    let of_category = |message| format!("category {} (`{}`): {message}", category.id, category.name);
    let described = Described { joints: &category.keypoints, bones: &category.skeleton };
    let skeleton = skeleton(&described, given).map_err(of_category)?;
    let known: HashSet<u64> = document.categories.iter().map(|c| c.id).collect();
    let mut by_id = HashMap::new();
    let (mut images, mut files) = (Vec::new(), Vec::new());
    for record in document.images {
        let ImageRecord { id, file_name, width, height } = record;
        if by_id.insert(id, images.len()).is_some() {
            return Err(format!("image {id}: stands there twice"));
        }
        if width == 0 || height == 0 {
            return Err(format!("image {id}: {width} × {height} pixels, expected at least 1 × 1"));
        }
        let mut parts = Path::new(&file_name).components();
        if file_name.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(format!("image {id}: file_name `{file_name}` leads out of the folder of images"));
        }
        images.push(PersonImage { id, width, height });
        files.push(file_name);
    }
    let mut seen = HashSet::new();
    let (mut persons, mut rest) = (Vec::new(), Vec::new());
    let (mut boxless, mut others) = (Left::default(), Left::default());
    for record in document.annotations {
        let id = record.id;
        let wrong = |message: String| format!("annotation {id}: {message}");
        if !seen.insert(id) {
            return Err(wrong("stands there twice".into()));
        }
        if !known.contains(&record.category_id) {
            return Err(wrong(format!("category_id {} is no category of this file", record.category_id)));
        }
        let Some(image) = by_id.get(&record.image_id) else {
            return Err(wrong(format!("image_id {} is no image of this file", record.image_id)));
        };
        if record.category_id != category.id {
            others.push(id);
            continue;
        }
        let person = person(record, *image, skeleton.joints.len()).map_err(wrong)?;
        let PersonImage { width, height, .. } = images[*image];
        if person.crowd || !person.joints.iter().any(Joint::labelled) {
            rest.push(person);
        } else if person.area <= 0.0 || person.bbox.clipped(width, height).is_none() {
            boxless.push(id);
            rest.push(person);
        } else {
            persons.push(person);
        }
    }
    let notes = [
        boxless.note("persons whose box has no area inside the image", "annotations"),
        others.note("annotations of other categories", "annotations"),
    ];
    let category = category.id;
    Ok(Annotations { skeleton, category, images, files, persons, rest, notes: notes.into_iter().flatten().collect() })
}

/// The one category with joints.
fn category(categories: &[CategoryRecord]) -> Result<&CategoryRecord, String> {
    let mut with_joints = categories.iter().filter(|c| !c.keypoints.is_empty());
    match (with_joints.next(), with_joints.next()) {
        (Some(category), None) => Ok(category),
        (None, _) => Err("no category has `keypoints`, the names of joints: these are no annotations of joints".into()),
        (Some(a), Some(b)) => {
            Err(format!("two categories have joints, `{}` and `{}`, expected one: split the file", a.name, b.name))
        }
    }
}

fn person(record: AnnotationRecord, image: usize, joints: usize) -> Result<Person, String> {
    let AnnotationRecord { id, bbox: [x, y, width, height], area, .. } = record;
    if [x, y, width, height].iter().any(|v| !v.is_finite()) || width < 0.0 || height < 0.0 {
        return Err(format!("bbox {:?} is none, expected [x, y, width, height] in pixels", record.bbox));
    }
    if !(area.is_finite() && area >= 0.0) {
        return Err(format!("area {area}, expected square pixels"));
    }
    let numbers = record.keypoints.ok_or("has no field `keypoints`")?;
    if numbers.len() != 3 * joints {
        return Err(format!("has {} numbers in `keypoints`, expected 3 for each of {joints} joints", numbers.len()));
    }
    let joints = numbers.as_chunks::<3>().0.iter().enumerate().map(|(i, &[x, y, v])| {
        let visibility = match v {
            0.0 => Visibility::Missing,
            1.0 => Visibility::Occluded,
            2.0 => Visibility::Visible,
            _ => return Err(format!("joint {} has v = {v}, expected 0, 1 or 2", i + 1)),
        };
        match x.is_finite() && y.is_finite() {
            true => Ok(Joint { x, y, visibility }),
            false => Err(format!("joint {} is at ({x}, {y}), expected pixels", i + 1)),
        }
    });
    let joints = joints.collect::<Result<Vec<_>, _>>()?;
    let labelled = record.num_keypoints.unwrap_or_else(|| joints.iter().filter(|j| j.labelled()).count());
    let bbox = PersonBox { x, y, width, height };
    Ok(Person { id, image, bbox, area, crowd: record.iscrowd != 0, labelled, joints })
}
