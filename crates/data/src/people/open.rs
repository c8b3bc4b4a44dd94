//! Data sets of persons: COCO's folders, or one file of annotations beside a folder of images.

use std::path::Path;

use dyconv_task::Skeleton;

use super::People;
use super::coco::{self, Annotations};
use crate::error::DataError;
use crate::source::{Contents, Images, Labels, LeftOut, OwnSplit};

/// Parts of COCO's folders: annotations and images, for training and validation.
const PARTS: [(&str, &str); 2] = [
    ("annotations/person_keypoints_train2017.json", "train2017"),
    ("annotations/person_keypoints_val2017.json", "val2017"),
];

/// Whether a folder has COCO's layout.
pub(crate) fn is_here(root: &Path) -> bool {
    PARTS.iter().any(|(annotations, _)| root.join(annotations).is_file())
}

/// Opens COCO's layout.
pub(crate) fn folder(root: &Path, given: Option<&Skeleton>) -> Result<Contents, DataError> {
    let mut parts = Vec::new();
    for (annotations, images) in PARTS {
        let path = root.join(annotations);
        if !path.is_file() {
            return Err(DataError::at(&path, "is missing, and the annotations of the other part are there"));
        }
        if !root.join(images).is_dir() {
            return Err(DataError::at(&root.join(images), "is missing, expected the folder of the images"));
        }
        parts.push((coco::read(&path, given)?, format!("{images}/")));
    }
    let [train, val] = [&parts[0].0.skeleton, &parts[1].0.skeleton];
    if train != val {
        let message = format!("has other joints or bones than {}", PARTS[0].0);
        return Err(DataError::at(&root.join(PARTS[1].0), message));
    }
    contents(root, parts)
}

/// Opens one file of annotations, all of it for validation.
pub(crate) fn file(annotations: &Path, images: &Path, given: Option<&Skeleton>) -> Result<Contents, DataError> {
    let read = coco::read(annotations, given)?;
    if !images.is_dir() {
        return Err(DataError::at(images, "is no folder, expected that of the images"));
    }
    contents(images, vec![(read, String::new())])
}

/// Concatenates the parts; the last one is for validation.
fn contents(root: &Path, parts: Vec<(Annotations, String)>) -> Result<Contents, DataError> {
    let last = parts.len() - 1;
    let mut paths = Vec::new();
    let mut people: Option<People> = None;
    let mut train = 0;
    for (i, (part, folder)) in parts.into_iter().enumerate() {
        if part.persons.is_empty() && i < last {
            return Err(DataError::at(root, format!("no person of {folder} has a joint and a box to learn from")));
        }
        let people = people.get_or_insert_with(|| People {
            skeleton: part.skeleton,
            category: part.category,
            images: Vec::new(),
            train_images: 0,
            persons: Vec::new(),
            rest: Vec::new(),
            notes: Vec::new(),
        });
        let before = people.images.len();
        let moved = |mut person: super::Person| {
            person.image += before;
            person
        };
        people.persons.extend(part.persons.into_iter().map(moved));
        if i < last {
            train = people.persons.len();
            people.train_images = part.images.len();
        } else {
            people.rest.extend(part.rest.into_iter().map(moved));
        }
        people.images.extend(part.images);
        people.notes.extend(
            part.notes.into_iter().map(|note| format!("{folder}{}{note}", if folder.is_empty() { "" } else { ": " })),
        );
        paths.extend(part.files.into_iter().map(|file| format!("{folder}{file}")));
    }
    let people = people.expect("at least one part");
    let split = OwnSplit { train, val: people.persons.len() - train, test: 0 };
    Ok(Contents {
        images: Images::Files { root: root.to_owned(), paths },
        labels: Labels::People(people),
        split: Some(split),
        left_out: LeftOut::default(),
    })
}
