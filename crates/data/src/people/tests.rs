mod odd;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    Batch, DataError, Dataset, HeatMaps, Loader, LoaderOptions, OpenOptions, PersonCrop, PoseAugment, Preprocessing,
    Split, Transform, testdata,
};

/// Three joints of an imaginary animal.
pub(crate) fn animal() -> Skeleton {
    Skeleton {
        joints: ["nose", "left_ear", "right_ear"].map(str::to_owned).to_vec(),
        bones: vec![[0, 1], [0, 2]],
        flip_pairs: vec![[1, 2]],
        sigmas: vec![0.03, 0.04, 0.04],
        upper_body: Vec::new(),
    }
}

fn annotation(id: u64, image: u64) -> Value {
    json!({
        "id": id, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 60.0, "bbox": [2.0, 1.0, 10.0, 12.0],
        "num_keypoints": 2, "keypoints": [5.0, 6.0, 2, 0, 0, 0, 8.5, 3.25, 1],
        "segmentation": [[1, 2, 3, 4]]
    })
}

/// A document of two images with these annotations.
fn document(first_image: u64, annotations: Vec<Value>) -> Value {
    let image = |id: u64| json!({"id": id, "file_name": format!("{id}.png"), "width": 17, "height": 13, "license": 3});
    json!({
        "info": {"year": 2017},
        "images": [image(first_image), image(first_image + 1)],
        "annotations": annotations,
        "categories": [{
            "id": 1, "name": "animal", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]
        }]
    })
}

/// COCO's layout: images 1 and 2 for training, 11 and 12 for validation.
pub(crate) fn layout(train: &Value, val: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("annotations")).unwrap();
    for (part, value, first) in [("train2017", train, 1), ("val2017", val, 11)] {
        let path = dir.path().join(format!("annotations/person_keypoints_{part}.json"));
        std::fs::write(path, value.to_string()).unwrap();
        std::fs::create_dir(dir.path().join(part)).unwrap();
        for id in [first, first + 1] {
            std::fs::copy(testdata::path("convert_rgba.png"), dir.path().join(part).join(format!("{id}.png"))).unwrap();
        }
    }
    dir
}

fn usual() -> TempDir {
    let train = document(1, vec![annotation(1, 1), annotation(2, 1), annotation(3, 2)]);
    layout(&train, &document(11, vec![annotation(4, 12)]))
}

fn open(dir: &TempDir) -> Result<Dataset, DataError> {
    Dataset::open_people(dir.path(), Some(&animal()))
}

/// Opens a document as the validation part.
fn read(value: &Value) -> Result<Dataset, DataError> {
    let dir = layout(&document(1, vec![annotation(1, 1)]), value);
    let file = dir.path().join("annotations/person_keypoints_val2017.json");
    Dataset::open_annotations(&file, &dir.path().join("val2017"), Some(&animal()))
}

#[test]
fn coco_s_layout_is_two_parts_of_persons() {
    let dir = usual();
    assert!(Dataset::is_people(dir.path().to_str().unwrap()));
    let data = open(&dir).unwrap();
    assert_eq!(data.describe(), "4 persons in 4 images, 3 joints (3 train, 1 val, own split)");
    assert_eq!(data.item(Split::Train, 2), (0, "train2017/2.png#3".to_owned()));
    assert_eq!(data.item(Split::Val, 0), (0, "val2017/12.png#4".to_owned()));
    assert_eq!((data.classes(), data.has_own_split()), (&[][..], true));
    let people = data.people().unwrap();
    assert_eq!((people.train_images, people.images.len(), people.images[3].id), (2, 4, 12));
    let person = data.person(Split::Val, 0).unwrap();
    assert_eq!((person.image, person.area, person.labelled), (3, 60.0, 2));
    assert_eq!(person.joints[2], Keypoint { x: 8.5, y: 3.25, visibility: Visibility::Occluded });
    assert_eq!(person.joints[1].visibility, Visibility::Missing);
    assert_eq!(data.load(Split::Val, 0, &crate::DecodeOptions::default()).unwrap().width, 17);
    assert_eq!(data.image_name(0), "train2017/1.png");
}

#[test]
fn coco_s_own_joints_need_no_description() {
    let coco = Skeleton::coco();
    let mut value = document(11, Vec::new());
    value["categories"][0]["keypoints"] = json!(coco.joints);
    value["categories"][0]["skeleton"] = json!([[16, 14], [1, 2]]);
    let mut person = annotation(4, 11);
    person["keypoints"] = json!([1, 2, 2].repeat(17));
    value["annotations"] = json!([person]);
    let dir = layout(&value, &value);
    std::fs::rename(dir.path().join("val2017"), dir.path().join("images")).unwrap();
    let file = dir.path().join("annotations/person_keypoints_val2017.json");
    let data = Dataset::open_annotations(&file, &dir.path().join("images"), None).unwrap();
    let expected = Skeleton { bones: vec![[15, 13], [0, 1]], ..coco };
    assert_eq!(data.people().unwrap().skeleton, expected);
    assert_eq!((data.len(Split::Train), data.len(Split::Val)), (0, 1));
}

#[test]
fn what_cannot_be_learned_from_is_left_out_and_told() {
    let changed = |id: u64, field: &str, value: Value| {
        let mut annotation = annotation(id, 11);
        annotation[field] = value;
        annotation
    };
    let mut value = document(
        11,
        vec![
            annotation(1, 12),
            changed(2, "iscrowd", json!(1)),
            changed(3, "keypoints", json!(vec![0; 9])),
            changed(4, "bbox", json!([3.0, 3.0, 0.0, 5.0])),
            changed(5, "bbox", json!([17.0, 3.0, 4.0, 5.0])),
            changed(6, "area", json!(0.0)),
            changed(7, "bbox", json!([-20.0, 3.0, 40.0, 100.0])),
            changed(8, "category_id", json!(2)),
        ],
    );
    value["categories"].as_array_mut().unwrap().push(json!({"id": 2, "name": "car"}));
    let data = read(&value).unwrap();
    let people = data.people().unwrap();
    let ids = |persons: &[Person]| persons.iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!((ids(&people.persons), ids(&people.rest)), (vec![1, 6, 7], vec![2, 3, 4, 5]));
    assert_eq!(
        people.notes,
        [
            "2 persons whose box has less than half a pixel inside the image, left out (annotations 4, 5)",
            "1 annotations of other categories, left out (annotations 8)",
            "1 annotations without an area, that of their box taken (annotations 6)"
        ]
    );
}

#[test]
fn every_wrong_record_is_named() {
    let says = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut value = document(11, vec![annotation(4, 11), annotation(17, 12)]);
        change(&mut value);
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains("person_keypoints_val2017.json: ") && error.contains(expected), "{error}");
    };
    fn second<'a>(v: &'a mut Value, field: &str) -> &'a mut Value {
        &mut v["annotations"][1][field]
    }
    fn without(value: &mut Value, field: &str) {
        value.as_object_mut().unwrap().remove(field);
    }
    for field in ["image_id", "category_id", "bbox"] {
        says(&|v| without(&mut v["annotations"][1], field), &format!("annotation 17: missing field `{field}`"));
    }
    says(&|v| without(&mut v["annotations"][1], "id"), "annotation number 2: missing field `id`");
    says(&|v| without(&mut v["annotations"][1], "keypoints"), "annotation 17: has no field `keypoints`");
    says(&|v| without(&mut v["images"][1], "height"), "image 12: missing field `height`");
    says(&|v| without(&mut v["categories"][0], "name"), "category 1: missing field `name`");
    says(&|v| without(v, "images"), "missing field `images`");
    says(&|v| *v = json!([]), "is a list, as results are, expected COCO annotations");
    says(&|v| *second(v, "bbox") = json!([1, 2, 3]), "annotation 17: bbox [1.0, 2.0, 3.0] is none");
    says(&|v| *second(v, "bbox") = json!([1, 2, -3, 4]), "annotation 17: bbox [1.0, 2.0, -3.0, 4.0] is none");
    says(&|v| *second(v, "area") = json!(-1), "annotation 17: area -1, expected");
    says(&|v| *second(v, "category_id") = json!(9), "annotation 17: category_id 9 is no category");
    says(&|v| *second(v, "image_id") = json!(99), "annotation 17: image_id 99 is no image");
    says(&|v| *second(v, "id") = json!(4), "annotation 4: stands there twice; give every annotation an id of its own");
    says(
        &|v| *second(v, "keypoints") = json!([1, 2, 2]),
        "annotation 17: has 3 numbers in `keypoints`, expected 3 for",
    );
    says(&|v| second(v, "keypoints")[5] = json!(7), "annotation 17: joint 2 has v = 7.0, expected 0, 1 or 2");
    says(&|v| second(v, "keypoints")[0] = json!("x"), "annotation 17: `keypoints`: invalid value: string");
    says(&|v| v["images"][1]["id"] = json!(11), "image 11: stands there twice");
    says(&|v| v["images"][1]["width"] = json!(0), "image 12: 0 × 13 pixels");
    for name in ["../x.png", "/etc/x.png", ""] {
        says(&|v| v["images"][1]["file_name"] = json!(name), "image 12: file_name `");
    }
    says(&|v| v["categories"][0]["keypoints"] = json!([]), "no category has `keypoints`");
    says(&|v| v["categories"][0]["keypoints"] = json!(["nose"]), "has 1 joints (nose), expected 3 (nose, left_ear");
    says(&|v| v["categories"][0]["keypoints"][1] = json!("ear"), "joint 2 is called `ear`, expected `left_ear`");
    says(
        &|v| {
            let twin = v["categories"][0].clone();
            v["categories"].as_array_mut().unwrap().push(twin);
        },
        "two categories have joints, `animal` and `animal`",
    );
}

#[test]
fn other_wrong_data_are_told() {
    let dir = usual();
    let error = Dataset::open(dir.path().to_str().unwrap(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("its 3 joints (nose, left_ear, right_ear) are not COCO's 17") && error.contains("data.skeleton")
    );
    let val = dir.path().join("annotations/person_keypoints_val2017.json");
    let text = std::fs::read(&val).unwrap();
    std::fs::write(&val, &text[..text.len() / 2]).unwrap();
    assert!(open(&dir).unwrap_err().message.starts_with("is no whole JSON: EOF"));
    std::fs::write(&val, &text).unwrap();
    std::fs::rename(dir.path().join("val2017"), dir.path().join("val")).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(error.name.ends_with("val2017") && error.message.contains("expected the folder of the images"), "{error}");
    std::fs::remove_file(&val).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(
        error.name.ends_with("person_keypoints_val2017.json") && error.message.starts_with("is missing"),
        "{error}"
    );
    let nobody = layout(&document(1, Vec::new()), &document(11, vec![annotation(1, 11)]));
    assert!(open(&nobody).unwrap_err().message.contains("no person of train2017/ has a joint"));
}

fn boxes_of(value: &Value) -> Result<DetectedBoxes, DataError> {
    let dir = usual();
    let path: PathBuf = dir.path().join("boxes.json");
    std::fs::write(&path, value.to_string()).unwrap();
    DetectedBoxes::read(&path, open(&dir).unwrap().people().unwrap())
}

#[test]
fn detected_boxes_are_those_of_the_validation_images() {
    let found = |image: u64, category: u64, bbox: [f64; 4]| json!({"image_id": image, "category_id": category, "bbox": bbox, "score": 0.5});
    let boxes = boxes_of(&json!([
        found(12, 1, [-2.0, 1.0, 10.0, 100.0]),
        found(11, 44, [1.0, 1.0, 3.0, 3.0]),
        found(11, 1, [100.0, 1.0, 3.0, 3.0])
    ]))
    .unwrap();
    let inside = PersonBox { x: 0.0, y: 1.0, width: 8.0, height: 12.0 };
    assert_eq!(boxes.boxes, [DetectedBox { image: 3, bbox: inside, score: 0.5 }]);
    assert_eq!(
        boxes.notes,
        [
            "1 boxes of other categories, left out",
            "1 boxes with less than half a pixel inside their image, left out (numbers 3)"
        ]
    );
    let says = |value: Value, expected: &str| {
        let error = boxes_of(&value).unwrap_err().to_string();
        assert!(error.contains("boxes.json: ") && error.contains(expected), "{error}");
    };
    says(json!([found(12, 1, [1.0; 4]), found(1, 1, [1.0; 4])]), "box 2: image_id 1 is no image of these data");
    says(json!([{"image_id": 12, "category_id": 1, "score": 0.5}]), "box 1: missing field `bbox`");
    says(json!([found(12, 1, [1.0, 1.0, -1.0, 1.0])]), "box 1: bbox [1.0, 1.0, -1.0, 1.0] is none");
    says(json!([found(12, 2, [1.0; 4])]), "none of its 1 boxes is of category 1");
    says(
        json!([{"image_id": 12, "category_id": 1.5, "bbox": [1, 1, 1, 1], "score": 1}]),
        "box 1: `category_id`: invalid",
    );
    says(
        json!([{"image_id": 12, "category_id": 1, "bbox": [1, 1, 1, 1], "score": null}]),
        "box 1: score null, expected",
    );
    says(json!([found(12, 1, [1.0, 1.0, 1e-200, 1.0])]), "none of its 1 boxes is of category 1 and inside");
    let text = json!([{"image_id": "12", "category_id": 1.0, "bbox": [1, 1, "5", 5], "score": 0.5}]);
    assert_eq!(
        boxes_of(&text).unwrap().notes,
        [
            "1 boxes with whole numbers written as 17.0, read as 17 (boxes 1)",
            "1 boxes with numbers written as text, read as numbers (boxes 1)"
        ]
    );
    says(json!([]), "none of its 0 boxes");
    says(json!({}), "is no list, expected boxes");
}

fn transform() -> Transform {
    let pre = Preprocessing { mean: vec![0.5; 3], std: vec![0.25; 3], ..Preprocessing::usual(3, [16, 12], 16) };
    Transform::new(pre).unwrap()
}

const MAPS: HeatMaps = HeatMaps { input: [16, 12], map: [4, 3] };

fn batches(data: &Arc<Dataset>, augment: Option<PoseAugment>, options: &LoaderOptions) -> (Vec<Batch>, Vec<String>) {
    let mut epoch = Loader::joints(data, Split::Train, &transform(), MAPS, 1.0, augment, options, 2);
    let batches = epoch.by_ref().collect::<Result<_, _>>().unwrap();
    (batches, epoch.broken().iter().map(|broken| broken.name.clone()).collect())
}

#[test]
fn batches_hold_crops_and_heat_maps() {
    let dir = usual();
    let data = Arc::new(open(&dir).unwrap());
    let (batches, _) = batches(&data, None, &LoaderOptions { batch: 2, ..LoaderOptions::default() });
    assert_eq!(batches.iter().map(Batch::shape).collect::<Vec<_>>(), [[2, 3, 16, 12], [1, 3, 16, 12]]);
    for (i, batch) in batches.iter().enumerate() {
        for n in 0..batch.len() {
            let person = data.person(Split::Train, 2 * i + n).unwrap();
            let crop = PersonCrop::around(person.bbox, [16, 12]);
            let input = transform().normalise(
                &crop.cut(&data.load(Split::Train, 2 * i + n, &crate::DecodeOptions::default()).unwrap(), [16, 12]),
            );
            assert_eq!(batch.images[n * input.len()..][..input.len()], input);
            let back = crop.to_image([16, 12]).inverse();
            let joints = person.joints.iter().map(|j| {
                let [x, y] = back.apply([j.x, j.y]);
                Keypoint { x, y, ..*j }
            });
            let (mut maps, mut weights) = (vec![0.0; 3 * 12], vec![0.0; 3]);
            MAPS.encode(&joints.collect::<Vec<_>>(), 1.0, &mut maps, &mut weights);
            assert_eq!(batch.joints().maps[n * 36..][..36], maps);
            assert_eq!(batch.joints().weights[n * 3..][..3], [1.0, 0.0, 1.0]);
        }
    }
}

#[test]
fn threads_change_nothing_and_missing_images_are_left_out() {
    let dir = usual();
    std::fs::remove_file(dir.path().join("train2017/2.png")).unwrap();
    let data = Arc::new(open(&dir).unwrap());
    let augment = PoseAugment { scale: [0.65, 1.35], rotate: 45.0, flip: 0.5, ..PoseAugment::default() };
    let run = |threads, seed| {
        let options =
            LoaderOptions { batch: 3, threads, seed, shuffle: true, max_broken: 1, ..LoaderOptions::default() };
        batches(&data, Some(augment), &options)
    };
    let (one, broken) = run(1, 5);
    assert_eq!(broken, ["train2017/2.png#3"]);
    assert_eq!((one.len(), one[0].len(), one[0].joints().weights.len()), (1, 2, 6));
    assert_eq!(one[0].joints().maps.len(), 2 * 36);
    assert_eq!(run(3, 5).0, one);
    assert_ne!(run(1, 6).0, one);
    let options = LoaderOptions { batch: 3, ..LoaderOptions::default() };
    let error = Loader::joints(&data, Split::Train, &transform(), MAPS, 1.0, None, &options, 0).find_map(Result::err);
    assert!(error.unwrap().message.starts_with("1 broken image, but at most 0 are allowed: "));
}

#[test]
fn persons_and_classes_are_not_mixed_up() {
    let dir = usual();
    let data = Arc::new(open(&dir).unwrap());
    let options = LoaderOptions::default();
    let first = |epoch: crate::Batches| epoch.into_iter().next().unwrap().unwrap_err().to_string();
    assert_eq!(
        first(Loader::epoch(&data, Split::Train, &transform(), None, &options, 0)),
        "data: holds persons with joints, expected images with classes"
    );
    let digits = Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap());
    assert_eq!(
        first(Loader::joints(&digits, Split::Train, &transform(), MAPS, 1.0, None, &options, 0)),
        "data: holds images with classes, expected persons with joints"
    );
    let wrong = PoseAugment { rotate: 1e9, ..PoseAugment::default() };
    let error = first(Loader::joints(&data, Split::Train, &transform(), MAPS, 1.0, Some(wrong), &options, 0));
    assert!(error.starts_with("augment.rotate"), "{error}");
}
