//! Annotations as other tools write them: interpreted and reported, or rejected by name.

use super::*;
use crate::DecodeOptions;
use dyconv_task::Orientation;

/// Opens this exact text as the validation part.
fn read_text(text: &[u8]) -> Result<Dataset, DataError> {
    let dir = layout(&document(1, vec![annotation(1, 1)]), &document(11, vec![annotation(4, 11)]));
    let file = dir.path().join("annotations/person_keypoints_val2017.json");
    std::fs::write(&file, text).unwrap();
    Dataset::open_annotations(&file, &dir.path().join("val2017"), Some(&animal()))
}

/// The validation part after a change of its second annotation, which has the id 101.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Dataset, DataError> {
    let mut value = document(11, vec![annotation(4, 11), annotation(101, 12)]);
    change(&mut value);
    read(&value)
}

fn notes(data: &Dataset) -> &[String] {
    &data.people().unwrap().notes
}

#[test]
fn numbers_of_every_kind_are_read_exactly_and_told() {
    let plain = changed(|_| ()).unwrap();
    assert!(notes(&plain).is_empty());
    let same = |change: fn(&mut Value), told: &[&str]| {
        let data = changed(change).unwrap();
        let People { notes, .. } = data.people().unwrap();
        assert_eq!(*notes, told);
        assert_eq!(People { notes: Vec::new(), ..data.people().unwrap().clone() }, *plain.people().unwrap());
    };
    same(
        |v| {
            v["images"][1]["id"] = json!(12.0);
            v["images"][1]["width"] = json!(17.0);
            v["annotations"][1]["num_keypoints"] = json!(2.0);
            v["annotations"][0]["id"] = json!(4.0);
            v["annotations"][0]["iscrowd"] = json!(0.0);
        },
        &[
            "1 images with whole numbers written as 17.0, read as 17 (images 12)",
            "2 annotations with whole numbers written as 17.0, read as 17 (annotations 4, 101)",
        ],
    );
    same(
        |v| {
            v["images"][1]["id"] = json!("00012");
            v["categories"][0]["id"] = json!("1");
            v["annotations"][1]["bbox"] = json!(["2.0", 1, "10", 12]);
            v["annotations"][1]["area"] = json!("60");
        },
        &[
            "1 categories with numbers written as text, read as numbers (categories 1)",
            "1 images with numbers written as text, read as numbers (images 12)",
            "1 annotations with numbers written as text, read as numbers (annotations 101)",
        ],
    );
    same(
        |v| {
            v["annotations"][0]["iscrowd"] = json!(null);
            v["annotations"][1]["iscrowd"] = json!(false);
            v["annotations"][1]["num_keypoints"] = json!(null);
            v["annotations"][1]["keypoints"] = json!([5, 6, 2.0, null, null, 0.0, 8.5, 3.25, 1.0]);
        },
        &[
            "1 annotations with null for the place of a joint that is not labelled (annotations 101)",
            "2 annotations with true, false or null for iscrowd, read as 1, 0 and 0 (annotations 4, 101)",
        ],
    );
    let crowd = changed(|v| v["annotations"][1]["iscrowd"] = json!(true)).unwrap();
    assert!(crowd.people().unwrap().rest[0].crowd);
    // An id that needs all 64 bits.
    let exact = changed(|v| v["annotations"][1]["id"] = json!(u64::MAX)).unwrap();
    assert_eq!(exact.person(Split::Val, 1).unwrap().id, u64::MAX);
}

#[test]
fn what_no_number_is_meant_by_is_refused_by_name() {
    let says = |change: &dyn Fn(&mut Value), expected: &str| {
        let error = changed(change).unwrap_err().message;
        assert!(error.contains(expected), "{error}");
    };
    let fields: [(&str, Value); 8] = [
        ("id", json!(101.5)),
        ("id", json!("a1")),
        ("id", json!(-1)),
        ("image_id", json!(1e300)),
        ("image_id", json!(true)),
        ("num_keypoints", json!(2.5)),
        ("iscrowd", json!(2)),
        ("iscrowd", json!("no")),
    ];
    for (field, value) in fields {
        let expected = if field == "iscrowd" { "expected 0 or 1" } else { "expected a whole number of 0 or more" };
        says(&|v| v["annotations"][1][field] = value.clone(), expected);
        says(&|v| v["annotations"][1][field] = value.clone(), &format!(": `{field}`: invalid "));
    }
    says(&|v| v["annotations"][1]["bbox"][2] = json!(null), "annotation 101: bbox [2.0, 1.0, null, 12.0] is none");
    says(&|v| v["annotations"][1]["bbox"][2] = json!("wide"), "annotation 101: `bbox`: invalid value: string \"wide\"");
    says(&|v| v["annotations"][1]["keypoints"][0] = json!(null), "annotation 101: joint 1 is at (null, 6.0), expected");
    says(&|v| v["annotations"][1]["keypoints"][2] = json!(null), "annotation 101: joint 1 has v = null, expected");
    says(&|v| v["annotations"][1]["keypoints"][2] = json!(true), "annotation 101: `keypoints`: invalid type: boolean");
    says(&|v| v["annotations"][1]["area"] = json!(-0.5), "annotation 101: area -0.5, expected square pixels");
    says(&|v| v["images"][1]["width"] = json!(null), "image 12: `width`: invalid type: null, expected a whole number");
    says(&|v| drop(v["images"][1].as_object_mut().unwrap().remove("width")), "image 12: missing field `width`");
    says(&|v| v["images"][1]["id"] = json!("11"), "image 11: stands there twice; give every image an id of its own");
}

#[test]
fn files_that_are_no_plain_json_say_what_they_are() {
    let text = document(11, vec![annotation(4, 11), annotation(101, 12)]).to_string();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert_eq!(read_text(&marked).unwrap().len(Split::Val), 2);
    let says = |text: &[u8], expected: &str| {
        let error = read_text(text).unwrap_err().message;
        assert!(error.starts_with(expected), "{error}");
    };
    for word in ["NaN", "Infinity", "-Infinity"] {
        // serde_json sorts keys, so the area comes before the id.
        let broken = text.replacen("\"area\":60.0", "\"area\":1.0", 1).replace("60.0", word);
        says(broken.as_bytes(), &format!("{word} is no JSON; annotation 101: `area` (line 1, column "));
    }
    says(
        text.replace("1.0,10.0", "1.0,1e999").as_bytes(),
        "is no whole JSON: number out of range; annotation 4: `bbox`",
    );
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    says(&[b"\xff\xfe", &utf16[..]].concat(), "is UTF-16 text, expected UTF-8");
    says(b"", "is empty");
    says(b"[]", "is a list, as results are, expected COCO annotations");
    says(&text.as_bytes()[..text.len() / 2], "is no whole JSON: EOF while parsing");
}

#[test]
fn a_missing_area_is_that_of_the_box() {
    for change in [json!(0), json!(0.0), json!(null), json!("0")] {
        let data = changed(|v| v["annotations"][1]["area"] = change).unwrap();
        assert_eq!(data.person(Split::Val, 1).unwrap().area, 120.0);
        assert_eq!(notes(&data)[0], "1 annotations without an area, that of their box taken (annotations 101)");
    }
    let data = changed(|v| drop(v["annotations"][1].as_object_mut().unwrap().remove("area"))).unwrap();
    assert_eq!((data.person(Split::Val, 1).unwrap().area, notes(&data).len()), (120.0, 1));
}

#[test]
fn bones_may_count_from_0() {
    let coco = Skeleton::coco();
    let bones = |skeleton: Value| {
        let mut value = document(11, Vec::new());
        value["categories"][0]["keypoints"] = json!(coco.joints);
        value["categories"][0]["skeleton"] = skeleton;
        let dir = layout(&value, &value);
        let file = dir.path().join("annotations/person_keypoints_val2017.json");
        let data = Dataset::open_annotations(&file, &dir.path().join("val2017"), None);
        data.map(|data| (data.people().unwrap().skeleton.bones.clone(), notes(&data).to_vec())).map_err(|e| e.message)
    };
    assert_eq!(bones(json!([[16, 14], [1, 17]])), Ok((vec![[15, 13], [0, 16]], vec![])));
    assert_eq!(bones(json!([[16.0, 14.0]])).unwrap().0, [[15, 13]]);
    assert_eq!(bones(json!(null)), Ok((coco.bones.clone(), vec![])));
    let (read, notes) = bones(json!([[15, 13], [0, 16]])).unwrap();
    assert_eq!(read, [[15, 13], [0, 16]]);
    assert_eq!(
        notes,
        ["category 1 (`animal`): its bones name a joint 0: read as counted from 0, where COCO counts from 1"]
    );
    let error = bones(json!([[0, 17]])).unwrap_err();
    assert!(error.contains("bones: `skeleton` names joint 0 and joint 17 of 17, so they count neither"), "{error}");
    let error = bones(json!([[1, 18]])).unwrap_err();
    assert!(error.contains("category 1 (`animal`): bones: `skeleton` names joint 18 of 17"), "{error}");
}

#[test]
fn boxes_that_nobody_can_be_seen_in_are_left_out_by_name() {
    let of = |bbox: Value| {
        let data = changed(|v| v["annotations"][1]["bbox"] = bbox).unwrap();
        (data.len(Split::Val), notes(&data).to_vec())
    };
    let small =
        "1 persons whose box has less than half a pixel inside the image, left out (annotations 101)".to_owned();
    for bbox in
        [[3., 3., 1e-200, 5.], [3., 3., 5., 5e-324], [3., 3., 0.0, 0.0], [16.9, 3., 5., 5.], [1e300, 3., 5., 5.]]
    {
        assert_eq!(of(json!(bbox)), (1, vec![small.clone()]), "{bbox:?}");
    }
    let huge = "1 persons whose box is over ten times as large as the image, left out (annotations 101)".to_owned();
    for bbox in [[3., 3., 1e300, 5.], [-1e6, -1e6, 2e6, 2e6], [0.0, 0.0, 17.0, f64::MAX]] {
        assert_eq!(of(json!(bbox)), (1, vec![huge.clone()]), "{bbox:?}");
    }
    assert_eq!(of(json!([-80.0, -60.0, 170.0, 130.0])), (2, vec![]));
    // Nothing is left to train on.
    let mut tiny = annotation(7, 1);
    tiny["bbox"] = json!([3.0, 3.0, 1e-200, 1e-200]);
    let dir = layout(&document(1, vec![tiny]), &document(11, vec![annotation(4, 11)]));
    assert!(open(&dir).unwrap_err().message.contains("no person of train2017/ has a joint and a box to learn from"));
}

#[test]
fn a_picture_must_have_the_size_that_was_annotated() {
    let load = |size: [u64; 2], orientation| {
        let mut value = document(11, vec![annotation(4, 11), annotation(101, 12)]);
        (value["images"][1]["width"], value["images"][1]["height"]) = (json!(size[0]), json!(size[1]));
        let dir = layout(&document(1, vec![annotation(1, 1)]), &value);
        let file = dir.path().join("annotations/person_keypoints_val2017.json");
        let data = Dataset::open_annotations(&file, &dir.path().join("val2017"), Some(&animal())).unwrap();
        let options = DecodeOptions { orientation, ..DecodeOptions::default() };
        let person = data.load(Split::Val, 1, &options).map_err(|e| e.to_string());
        assert_eq!(person, data.load_image(1, &options).map_err(|e| e.to_string()));
        assert!(data.load(Split::Val, 0, &options).is_ok());
        person.map(|image| (image.width, image.height))
    };
    assert_eq!(load([17, 13], Orientation::Exif), Ok((17, 13)));
    assert_eq!(
        load([170, 130], Orientation::Exif),
        Err("12.png: is 17 × 13, the annotations say 170 × 130".to_owned())
    );
    let error = load([13, 17], Orientation::Exif).unwrap_err();
    assert!(error.starts_with("12.png: is 17 × 13, the annotations say 13 × 17; a quarter turn"), "{error}");
    assert!(error.contains("data.orientation = \"ignore\""), "{error}");
    let error = load([13, 17], Orientation::Ignore).unwrap_err();
    assert!(error.contains("data.orientation = \"exif\""), "{error}");
}

#[test]
fn a_picture_of_another_size_is_broken_in_a_batch_too() {
    let mut train = document(1, vec![annotation(1, 1), annotation(2, 1), annotation(3, 2)]);
    train["images"][1]["width"] = json!(13);
    train["images"][1]["height"] = json!(17);
    let dir = layout(&train, &document(11, vec![annotation(4, 12)]));
    let data = Arc::new(open(&dir).unwrap());
    let (batches, broken) = batches(&data, None, &LoaderOptions { max_broken: 1, ..LoaderOptions::default() });
    assert_eq!((batches.iter().map(Batch::len).sum::<usize>(), broken), (2, vec!["train2017/2.png#3".to_owned()]));
}
