//! COCO's keypoints JSON: reads a file into images and persons, and checks every record.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};

use dyconv_task::Skeleton;
use serde::{Deserialize, Deserializer};

use super::json::{self, Form};
use super::number::{Flag, Numbers, Real, Whole, Written};
use super::skeleton::{Described, skeleton};
use super::told::{Records, Unusual};
use super::{Keypoint, Person, PersonImage, Visibility};
use crate::crop::PersonBox;
use crate::error::DataError;
use crate::words::shown;

const FORM: Form = Form {
    begins: b'{',
    otherwise: "is a list, as results are, expected COCO annotations: an object with `images`, `annotations` and \
                `categories`",
    expected: "COCO annotations: an object with `images`, `annotations` and `categories`",
    depth: 3,
    lists: &[("images", "image"), ("annotations", "annotation"), ("categories", "category")],
    by_number: false,
};

/// A box may be at most this many times as wide and high as its image; larger ones are invalid.
const LARGEST: f64 = 10.0;

#[derive(Deserialize)]
struct Document {
    images: Vec<ImageRecord>,
    annotations: Vec<AnnotationRecord>,
    categories: Vec<CategoryRecord>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: Whole,
    file_name: String,
    width: Whole,
    height: Whole,
}

#[derive(Deserialize)]
struct AnnotationRecord {
    id: Whole,
    image_id: Whole,
    category_id: Whole,
    /// x, y, width, height
    bbox: Numbers,
    area: Option<Real>,
    #[serde(default)]
    iscrowd: Flag,
    /// x, y, v of every joint; missing if the category has no joints.
    keypoints: Option<Numbers>,
    num_keypoints: Option<Whole>,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: Whole,
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    keypoints: Vec<String>,
    /// Pairs of joints.
    #[serde(default, deserialize_with = "null_is_empty")]
    skeleton: Vec<[Whole; 2]>,
}

fn null_is_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The content of one file.
pub(super) struct Annotations {
    pub skeleton: Skeleton,
    pub category: u64,
    pub images: Vec<PersonImage>,
    /// Names of the image files.
    pub files: Vec<String>,
    /// Persons for training and evaluation.
    pub persons: Vec<Person>,
    /// The other annotations: crowds, persons without a joint or without a box.
    pub rest: Vec<Person>,
    pub notes: Vec<String>,
}

/// Reads annotations; if `given` is set, the joints must be its joints.
///
/// # Errors
/// Names the file, the record by its id, and the expected value.
pub(super) fn read(path: &Path, given: Option<&Skeleton>) -> Result<Annotations, DataError> {
    let document = json::read(path, &FORM)?;
    check(document, given).map_err(|message| DataError::at(path, message))
}

fn check(document: Document, given: Option<&Skeleton>) -> Result<Annotations, String> {
    let category = category(&document.categories)?;
    let of_category = |message| format!("category {} (`{}`): {message}", category.id.value, shown(&category.name, 60));
    let described = Described { joints: &category.keypoints, bones: &category.skeleton };
    let (skeleton, bones) = skeleton(&described, given).map_err(of_category)?;
    let known: HashSet<u64> = document.categories.iter().map(|c| c.id.value).collect();
    let mut unusual = Unusual::default();
    for record in &document.categories {
        let bones = record.skeleton.iter().flatten().map(|joint| joint.written);
        unusual.see(record.id.value, &bones.chain([record.id.written]).collect::<Vec<_>>());
    }
    let mut notes: Vec<String> = bones.map(of_category).into_iter().chain(unusual.notes("categories")).collect();
    let (images, files, by_id) = images(document.images, &mut notes)?;

    let mut seen = HashSet::new();
    let (mut persons, mut rest, mut odd) = (Vec::new(), Vec::new(), Odd::default());
    for record in document.annotations {
        let id = record.id.value;
        let wrong = |message: String| format!("annotation {id}: {message}");
        if !seen.insert(id) {
            return Err(wrong("stands there twice; give every annotation an id of its own".into()));
        }
        let (of_image, of_category) = (record.image_id.value, record.category_id.value);
        if !known.contains(&of_category) {
            return Err(wrong(format!("category_id {of_category} is no category of this file")));
        }
        let Some(image) = by_id.get(&of_image) else {
            return Err(wrong(format!("image_id {of_image} is no image of this file")));
        };
        if of_category != category.id.value {
            odd.others.push(id);
            continue;
        }
        let person = person(record, *image, skeleton.joints.len(), &mut odd).map_err(wrong)?;
        let PersonImage { width, height, .. } = images[*image];
        let PersonBox { width: across, height: down, .. } = person.bbox;
        if person.crowd || !person.joints.iter().any(Keypoint::labelled) {
            rest.push(person);
        } else if person.bbox.clipped(width, height).is_none() {
            odd.boxless.push(id);
            rest.push(person);
        } else if across > LARGEST * width as f64 || down > LARGEST * height as f64 {
            odd.huge.push(id);
            rest.push(person);
        } else {
            persons.push(person);
        }
    }
    notes.extend(odd.notes());
    Ok(Annotations { skeleton, category: category.id.value, images, files, persons, rest, notes })
}

/// Images, their file names, and indices by id.
type ImagesOf = (Vec<PersonImage>, Vec<String>, HashMap<u64, usize>);

fn images(records: Vec<ImageRecord>, notes: &mut Vec<String>) -> Result<ImagesOf, String> {
    let (mut images, mut files, mut by_id) = (Vec::new(), Vec::new(), HashMap::new());
    let mut unusual = Unusual::default();
    for ImageRecord { id, file_name, width, height } in records {
        unusual.see(id.value, &[id, width, height].map(|number| number.written));
        let [id, width, height] = [id, width, height].map(|number| number.value);
        if by_id.insert(id, images.len()).is_some() {
            return Err(format!("image {id}: stands there twice; give every image an id of its own"));
        }
        let sizes = (usize::try_from(width), usize::try_from(height));
        let (Ok(width @ 1..), Ok(height @ 1..)) = sizes else {
            return Err(format!("image {id}: {width} × {height} pixels, expected at least 1 × 1"));
        };
        let mut parts = Path::new(&file_name).components();
        if file_name.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            let file_name = shown(&file_name, 200);
            return Err(format!("image {id}: file_name `{file_name}` leads out of the folder of images"));
        }
        images.push(PersonImage { id, width, height });
        files.push(file_name);
    }
    notes.extend(unusual.notes("images"));
    Ok((images, files, by_id))
}

/// Annotations that are ignored or interpreted.
#[derive(Default)]
struct Odd {
    boxless: Records,
    huge: Records,
    others: Records,
    /// With an area that is missing or 0.
    areas: Records,
    /// With `null` as coordinates of an unlabelled joint.
    places: Records,
    unusual: Unusual,
}

impl Odd {
    fn notes(&self) -> impl Iterator<Item = String> {
        let annotations = "annotations";
        let notes = [
            self.boxless.note("persons whose box has less than half a pixel inside the image, left out", annotations),
            self.huge.note("persons whose box is over ten times as large as the image, left out", annotations),
            self.others.note("annotations of other categories, left out", annotations),
            self.areas.note("annotations without an area, that of their box taken", annotations),
            self.places.note("annotations with null for the place of a joint that is not labelled", annotations),
        ];
        notes.into_iter().flatten().chain(self.unusual.notes(annotations))
    }
}

/// The one category with joints.
fn category(categories: &[CategoryRecord]) -> Result<&CategoryRecord, String> {
    let mut with_joints = categories.iter().filter(|c| !c.keypoints.is_empty());
    match (with_joints.next(), with_joints.next()) {
        (Some(category), None) => Ok(category),
        (None, _) => Err("no category has `keypoints`, the names of joints: these are no annotations of joints".into()),
        (Some(a), Some(b)) => Err(format!(
            "two categories have joints, `{}` and `{}`, expected one: split the file",
            shown(&a.name, 60),
            shown(&b.name, 60)
        )),
    }
}

fn person(record: AnnotationRecord, image: usize, joints: usize, odd: &mut Odd) -> Result<Person, String> {
    let id = record.id.value;
    let bbox = bbox(&record.bbox)?;
    let area = match record.area {
        Some(Real { value, .. }) if value > 0.0 && value.is_finite() => value,
        Some(Real { value, .. }) if value < 0.0 => return Err(format!("area {value}, expected square pixels")),
        // 0, null or missing: OKS is scaled by the area, so there must be one.
        _ => {
            odd.areas.push(id);
            (bbox.width * bbox.height).min(f64::MAX)
        }
    };
    let numbers = record.keypoints.ok_or("has no field `keypoints`")?;
    if numbers.values.len() != 3 * joints {
        let found = numbers.values.len();
        return Err(format!("has {found} numbers in `keypoints`, expected 3 for each of {joints} joints"));
    }
    let mut nowhere = false;
    let joints = numbers.values.as_chunks::<3>().0.iter().enumerate().map(|(i, &[x, y, v])| {
        let visibility = match v {
            0.0 => Visibility::Missing,
            1.0 => Visibility::Occluded,
            2.0 => Visibility::Visible,
            _ => return Err(format!("joint {} has v = {}, expected 0, 1 or 2", i + 1, Shown(v))),
        };
        if x.is_finite() && y.is_finite() {
            return Ok(Keypoint { x, y, visibility });
        }
        nowhere = true;
        match visibility {
            Visibility::Missing => Ok(Keypoint { x: 0.0, y: 0.0, visibility }),
            _ => Err(format!("joint {} is at ({}, {}), expected pixels", i + 1, Shown(x), Shown(y))),
        }
    });
    let joints = joints.collect::<Result<Vec<_>, _>>()?;
    if nowhere {
        odd.places.push(id);
    }
    let labelled = match record.num_keypoints {
        Some(number) => usize::try_from(number.value).unwrap_or(usize::MAX),
        None => joints.iter().filter(|j| j.labelled()).count(),
    };
    let written = [record.id, record.image_id, record.category_id].map(|number| number.written);
    let others = [
        record.iscrowd.written,
        record.bbox.written(),
        numbers.written(),
        record.num_keypoints.map_or(Written::Usual, |number| number.written),
        record.area.map_or(Written::Usual, |area| area.written),
    ];
    odd.unusual.see(id, &[&written[..], &others].concat());
    Ok(Person { id, image, bbox, area, crowd: record.iscrowd.value, labelled, joints })
}

/// Converts a box from a file.
pub(super) fn bbox(numbers: &Numbers) -> Result<PersonBox, String> {
    match numbers.values[..] {
        [x, y, width, height] if numbers.values.iter().all(|v| v.is_finite()) && width >= 0.0 && height >= 0.0 => {
            Ok(PersonBox { x, y, width, height })
        }
        _ => {
            let shown: Vec<String> = numbers.values.iter().take(8).map(|v| Shown(*v).to_string()).collect();
            Err(format!("bbox [{}] is none, expected [x, y, width, height] in pixels", shown.join(", ")))
        }
    }
}

/// A number, displayed as in the file.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() { f.write_str("null") } else { write!(f, "{:?}", self.0) }
    }
}
