//! Annotations in COCO's JSON format.

use dyconv_task::Skeleton;
use serde::Serialize;

use crate::picture::LabelledFigure;

#[derive(Serialize)]
pub(crate) struct Annotations {
    pub info: Info,
    pub licenses: [(); 0],
    pub categories: [Category; 1],
    pub images: Vec<ImageEntry>,
    pub annotations: Vec<Annotation>,
}

#[derive(Serialize)]
pub(crate) struct Info {
    pub description: &'static str,
    pub version: &'static str,
    pub seed: u64,
}

#[derive(Serialize)]
pub(crate) struct Category {
    id: u64,
    name: &'static str,
    supercategory: &'static str,
    keypoints: Vec<String>,
    /// Pairs of joints, one-based.
    skeleton: Vec<[usize; 2]>,
}

#[derive(Serialize)]
pub(crate) struct ImageEntry {
    pub id: u64,
    pub file_name: String,
    pub width: usize,
    pub height: usize,
}

#[derive(Serialize)]
pub(crate) struct Annotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    iscrowd: u8,
    /// Always empty: there are no outlines.
    segmentation: [(); 0],
    bbox: [f32; 4],
    area: f32,
    num_keypoints: usize,
    keypoints: Vec<Number>,
}

/// x and y are fractional, v is an integer.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Number {
    Place(f32),
    Seen(u8),
}

impl Category {
    /// COCO's `person` category.
    pub fn person() -> Self {
        let Skeleton { joints, bones, .. } = Skeleton::coco();
        let skeleton = bones.into_iter().map(|bone| bone.map(|joint| joint + 1)).collect();
        Self { id: 1, name: "person", supercategory: "person", keypoints: joints, skeleton }
    }
}

impl Annotation {
    /// Person `number` (from 0) of an image. The id depends only on the image and the number, so it is stable when a
    /// set grows.
    pub fn new(image_id: u64, number: usize, person: &LabelledFigure) -> Self {
        let keypoints = person.joints.iter().flat_map(|([x, y], v)| match v {
            0 => [Number::Seen(0); 3],
            v => [Number::Place(*x), Number::Place(*y), Number::Seen(*v)],
        });
        Self {
            id: 10 * image_id + number as u64,
            image_id,
            category_id: 1,
            iscrowd: 0,
            segmentation: [],
            bbox: person.bbox,
            area: person.area,
            num_keypoints: person.joints.iter().filter(|joint| joint.1 > 0).count(),
            keypoints: keypoints.collect(),
        }
    }
}
