//! Boxes of persons for individual pictures, matched by file name or by COCO's image number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::coco::bbox;
use super::json::{self, Form};
use super::number::{Numbers, Whole, Written};
use super::told::{Records, Unusual};
use crate::crop::PersonBox;
use crate::error::DataError;

const FORM: Form = Form {
    begins: b'[',
    otherwise: "is no list, expected boxes: a list of objects with `file_name` or `image_id`, and `bbox`",
    expected: "list of boxes: of objects with `file_name` or `image_id`, and `bbox`",
    depth: 2,
    lists: &[("", "box")],
    by_number: true,
};

/// The boxes of a file, by image.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxFile {
    /// The boxes of every image, unchanged and in file order; they may extend beyond the image.
    pub boxes: Vec<Vec<PersonBox>>,
    /// Messages about what was ignored or interpreted.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Record {
    file_name: Option<String>,
    image_id: Option<Whole>,
    /// x, y, width, height
    bbox: Numbers,
    category_id: Option<Whole>,
}

impl BoxFile {
    /// Reads `[{"file_name", "bbox": [x, y, width, height]}, …]`, or with `image_id`, the number in an image's name,
    /// instead of `file_name`. A file name is matched without its folders, but if several images have the same name,
    /// those in these folders are preferred. Boxes of other images are ignored and counted.
    ///
    /// # Errors
    /// If the file is not such a list, has boxes of several categories, or has boxes but none for these images.
    pub fn read(path: &Path, images: &[PathBuf]) -> Result<Self, DataError> {
        let records: Vec<Record> = json::read(path, &FORM)?;
        let (mut by_name, mut by_number) = (HashMap::<_, Vec<usize>>::new(), HashMap::<u64, Vec<usize>>::new());
        for (i, image) in images.iter().enumerate() {
            by_name.entry(image.file_name()).or_default().push(i);
            if let Some(number) = image.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) {
                by_number.entry(number).or_default().push(i);
            }
        }
        let mut boxes = vec![Vec::new(); images.len()];
        let (mut elsewhere, mut several, mut unusual) = (Records::default(), Records::default(), Unusual::default());
        let mut category: Option<u64> = None;
        for (number, record) in (1..).zip(&records) {
            let wrong = |message: String| DataError::at(path, format!("box {number}: {message}"));
            let bbox = bbox(&record.bbox).map_err(wrong)?;
            if let Some(own) = record.category_id {
                let first = *category.get_or_insert(own.value);
                if first != own.value {
                    let message = format!("is of category {}, the first of {first}", own.value);
                    return Err(wrong(message + "; keep the boxes of one category"));
                }
            }
            let mut of: Vec<usize> = match (&record.file_name, record.image_id) {
                (Some(name), _) => by_name.get(&Path::new(name).file_name()).cloned().unwrap_or_default(),
                (None, Some(id)) => by_number.get(&id.value).cloned().unwrap_or_default(),
                (None, None) => return Err(wrong("has neither `file_name` nor `image_id`".to_owned())),
            };
            if let Some(name) = &record.file_name
                && of.iter().any(|i| images[*i].ends_with(name))
            {
                of.retain(|i| images[*i].ends_with(name));
            }
            of.iter().for_each(|i| boxes[*i].push(bbox));
            match of.len() {
                0 => elsewhere.push(number),
                1 => {}
                _ => several.push(number),
            }
            let written = |number: Option<Whole>| number.map_or(Written::Usual, |number| number.written);
            unusual.see(number, &[written(record.image_id), written(record.category_id), record.bbox.written()]);
        }
        if !records.is_empty() && boxes.iter().all(Vec::is_empty) {
            let message = format!("none of its {} boxes is of one of the {} images", records.len(), images.len());
            return Err(DataError::at(path, message));
        }
        let notes = [
            elsewhere.note("boxes of other images, left out", "numbers"),
            several.note("boxes whose name several of the images have, taken for each", "numbers"),
        ];
        Ok(Self { boxes, notes: notes.into_iter().flatten().chain(unusual.notes("boxes")).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, images: &[&str]) -> Result<BoxFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let images: Vec<PathBuf> = images.iter().map(PathBuf::from).collect();
        BoxFile::read(file.path(), &images).map_err(|e| e.message)
    }

    fn at(x: f64) -> PersonBox {
        PersonBox { x, y: 2.0, width: 3.0, height: 4.0 }
    }

    #[test]
    fn boxes_go_to_their_images_and_others_are_counted() {
        let text = "\u{feff}[{\"file_name\": \"b/1.jpg\", \"bbox\": [1, 2, 3, 4]}, {\"image_id\": 7.0, \"bbox\": [\"2\", 2, 3, 4]},
            {\"image_id\": \"000000000007\", \"bbox\": [3, 2, 3, 4]}, {\"file_name\": \"2.jpg\", \"bbox\": [4, 2, 3, 4]},
            {\"file_name\": \"1.jpg\", \"bbox\": [5, 2, 3, 4]}, {\"file_name\": \"else/9.jpg\", \"bbox\": [6, 2, 3, 4]}]";
        let found = read(text, &["a/1.jpg", "b/1.jpg", "c/000007.png", "9.jpg", "none.jpg"]).unwrap();
        assert_eq!(found.boxes, [vec![at(5.0)], vec![at(1.0), at(5.0)], vec![at(2.0), at(3.0)], vec![at(6.0)], vec![]]);
        assert_eq!(
            found.notes,
            [
                "1 boxes of other images, left out (numbers 4)",
                "1 boxes whose name several of the images have, taken for each (numbers 5)",
                "1 boxes with whole numbers written as 17.0, read as 17 (boxes 2)",
                "2 boxes with numbers written as text, read as numbers (boxes 2, 3)",
            ]
        );
        assert_eq!(read("[]", &["1.jpg"]).unwrap().boxes, [vec![]]);
    }

    #[test]
    fn wrong_boxes_are_named() {
        let says = |text: &str, expected: &str| {
            let error = read(text, &["1.jpg", "2.jpg"]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        says(r#"[{"bbox": [1, 2, 3, 4]}]"#, "box 1: has neither `file_name` nor `image_id`");
        says(
            r#"[{"image_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 1.5, "bbox": []}]"#,
            "box 2: `image_id`: invalid value",
        );
        says(r#"[{"image_id": 1, "bbox": [1, 2, 3]}]"#, "box 1: bbox [1.0, 2.0, 3.0] is none");
        says(r#"[{"image_id": 1, "bbox": [1, 2, -3, 4]}]"#, "box 1: bbox [1.0, 2.0, -3.0, 4.0] is none");
        says(r#"[{"image_id": 1, "bbox": [1, 2, NaN, 4]}]"#, "NaN is no JSON; box 1: `bbox` (line 1");
        says(r#"[{"image_id": 1}]"#, "box 1: missing field `bbox`");
        says(r#"[{"image_id": 9, "bbox": [1, 2, 3, 4]}]"#, "none of its 1 boxes is of one of the 2 images");
        says("{}", "is no list, expected boxes");
        let two = r#"[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4]}]"#;
        says(two, "box 2: is of category 3, the first of 1; keep the boxes of one category");
    }
}
