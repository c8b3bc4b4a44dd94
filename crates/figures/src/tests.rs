//! Whole pictures and sets of them.

use std::collections::BTreeMap;
use std::path::Path;

use dyconv_data::{DecodeOptions, Split, load};
use serde_json::Value;

use super::*;

const VAL: FigureOptions = FigureOptions { train: 0, val: 4, seed: 3, threads: 1, overwrite: false };

/// The content of every file below a folder, by path.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    files
        .map(|e| (e.path().strip_prefix(root).unwrap().display().to_string(), std::fs::read(e.path()).unwrap()))
        .collect()
}

fn make(options: FigureOptions) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    make_figures(dir.path(), &options, &mut |_| {}).unwrap();
    files(dir.path())
}

#[test]
fn a_set_depends_on_its_seed_alone_and_a_larger_one_begins_with_it() {
    let small = make(VAL);
    assert_eq!(small.len(), 5);
    assert_eq!(small, make(FigureOptions { threads: 3, ..VAL }));
    let large = make(FigureOptions { val: 6, threads: 2, train: 1, ..VAL });
    let json = "annotations/person_keypoints_val2017.json";
    for (name, bytes) in small.iter().filter(|(name, _)| *name != json) {
        assert_eq!(large[name], *bytes, "{name}");
    }
    let list = |set: &BTreeMap<String, Vec<u8>>, what: &str| {
        let truth: Value = serde_json::from_slice(&set[json]).unwrap();
        truth[what].as_array().unwrap().clone()
    };
    for what in ["images", "annotations"] {
        let few = list(&small, what);
        assert!(!few.is_empty());
        assert_eq!(list(&large, what)[..few.len()], few);
    }
    assert_ne!(make(FigureOptions { seed: 4, ..VAL })["val2017/000000000001.jpg"], small["val2017/000000000001.jpg"]);
    assert_ne!(large["train2017/000000000001.jpg"], large["val2017/000000000001.jpg"]);
}

#[test]
fn annotations_are_those_of_coco() {
    let dir = tempfile::tempdir().unwrap();
    let mut calls = Vec::new();
    let options = FigureOptions { train: 3, threads: 2, ..VAL };
    let summary = make_figures(dir.path(), &options, &mut |done| calls.push(done)).unwrap();
    assert_eq!(calls, [1, 2, 3, 4, 5, 6, 7]);
    let part = summary.val.unwrap();
    let truth: Value = serde_json::from_slice(&std::fs::read(&part.annotations).unwrap()).unwrap();

    let person = &truth["categories"][0];
    assert_eq!((&person["id"], &person["name"]), (&1.into(), &"person".into()));
    assert_eq!((&person["keypoints"][0], &person["keypoints"][16]), (&"nose".into(), &"right_ankle".into()));
    assert_eq!(person["skeleton"][0], serde_json::json!([16, 14]), "counted from 1");

    let mut ids = std::collections::BTreeSet::new();
    let mut seen = 0;
    for annotation in truth["annotations"].as_array().unwrap() {
        assert!(ids.insert(annotation["id"].as_u64().unwrap()), "an id twice");
        assert_eq!((&annotation["category_id"], &annotation["iscrowd"]), (&1.into(), &0.into()));
        let image = truth["images"].as_array().unwrap().iter().find(|i| i["id"] == annotation["image_id"]).unwrap();
        let keypoints: Vec<f64> =
            annotation["keypoints"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert_eq!(keypoints.len(), 51);
        let labelled = keypoints.chunks(3).filter(|k| k[2] > 0.0).count();
        assert_eq!(annotation["num_keypoints"], labelled);
        seen += keypoints.chunks(3).filter(|k| k[2] == 2.0).count();
        let number = |value: &Value| value.as_f64().unwrap();
        for k in keypoints.chunks(3) {
            let inside =
                k[0] >= -0.5 && k[1] >= -0.5 && k[0] < number(&image["width"]) && k[1] < number(&image["height"]);
            assert!(if k[2] == 0.0 { k[..2] == [0.0, 0.0] } else { inside }, "{k:?}");
        }
        let b = &annotation["bbox"];
        assert!(number(&b[0]) >= 0.0 && number(&b[0]) + number(&b[2]) <= number(&image["width"]));
        assert!(number(&annotation["area"]) <= number(&b[2]) * number(&b[3]));
    }
    assert_eq!((part.persons as usize, part.joints_seen as usize), (ids.len(), seen));
    for image in truth["images"].as_array().unwrap() {
        let picture =
            load(&part.images_dir.join(image["file_name"].as_str().unwrap()), &DecodeOptions::default()).unwrap();
        assert_eq!((picture.width, picture.height, picture.channels), {
            (image["width"].as_u64().unwrap() as usize, image["height"].as_u64().unwrap() as usize, 3)
        });
    }
}

#[test]
fn joints_lie_on_their_figures_and_every_kind_of_label_occurs() {
    let mut by_kind = [[0usize; 3]; 17];
    let (mut persons, mut crowded, mut cut, mut bare) = (0, 0, 0, 0);
    for index in 0..120 {
        let picture = figure_picture(9, Split::Train, index);
        crowded += usize::from(picture.persons.len() > 1);
        for person in &picture.persons {
            persons += 1;
            let [left, top, width, height] = person.bbox;
            let (w, h) = (picture.image.width as f32, picture.image.height as f32);
            assert!(left >= 0.0 && top >= 0.0 && left + width <= w && top + height <= h && width * height > 0.0);
            cut += usize::from(left == 0.0 || top == 0.0 || left + width == w || top + height == h);
            bare += usize::from(person.joints.iter().all(|joint| joint.1 == 0));
            for (joint, ([x, y], v)) in person.joints.iter().enumerate() {
                by_kind[joint][usize::from(*v)] += 1;
                // A joint is inside a part of its figure. Half a pixel for the pixel's own size, and two because the
                // farthest joints of the head lie just below its surface.
                let near = *x >= left - 2.5 && *x <= left + width + 2.5 && *y >= top - 2.5 && *y <= top + height + 2.5;
                assert!(*v == 0 || near, "picture {index}, joint {joint}: {x}, {y} is outside {:?}", person.bbox);
            }
        }
    }
    println!("{persons} persons, {crowded} pictures of several, {cut} cut, {bare} without joints: {by_kind:?}");
    assert!(crowded > 25 && cut > 20, "{crowded} {cut}");
    for (joint, [outside, hidden, seen]) in by_kind.into_iter().enumerate() {
        assert!(outside >= 3 && hidden >= 5 && seen >= persons / 4, "joint {joint}: {by_kind:?}");
    }
}

/// A figure that faces the viewer has its left on the viewer's right, a visible nose, and eyes that are whiter than its
/// skin; one that does not has none of these.
#[test]
fn left_and_right_follow_from_the_face() {
    let [mut facing, mut turned] = [0; 2];
    for index in 0..150 {
        for person in figure_picture(5, Split::Val, index).persons {
            let seen = |joint: usize| person.joints[joint].1 == 2;
            let at = |joint: usize| person.joints[joint].0;
            let upright = at(5)[1] < at(11)[1] && at(6)[1] < at(12)[1];
            if !(seen(5) && seen(6) && upright && (at(5)[0] - at(6)[0]).abs() > 0.5 * (at(11)[1] - at(5)[1])) {
                continue;
            }
            if seen(0) && seen(1) && seen(2) {
                facing += 1;
                assert!(
                    at(5)[0] > at(6)[0],
                    "picture {index}: both eyes are seen, so the left shoulder is on our right"
                );
                let apart = [at(1)[0] - at(2)[0], at(1)[1] - at(2)[1]];
                assert!(
                    apart[0] > -apart[1].abs(),
                    "picture {index}: and so is the left eye, if the head is not tilted"
                );
            } else if at(5)[0] < at(6)[0] {
                turned += 1;
                assert!(!(seen(1) && seen(2)), "picture {index}: who turns the back to us shows at most one eye");
            }
        }
    }
    println!("{facing} face us, {turned} do not");
    assert!(facing > 20 && turned > 10, "{facing} {turned}");
}

#[test]
fn what_cannot_be_made_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let error = |out: &Path, options| make_figures(out, &options, &mut |_| {}).unwrap_err().to_string();
    let none = error(dir.path(), FigureOptions { val: 0, ..VAL });
    assert_eq!(none, "0 training and 0 validation pictures, expected at least one and at most 999999999999 of a kind");
    std::fs::write(dir.path().join("mine"), "").unwrap();
    assert!(error(dir.path(), VAL).ends_with("is not empty; choose another folder, or write over what is there"));
    assert!(error(&dir.path().join("mine/set"), VAL).contains("mine/set/val2017: cannot be made: "));
    // A folder has the name of a picture: the run fails, and no file of annotations is written.
    std::fs::create_dir_all(dir.path().join("val2017/000000000002.jpg")).unwrap();
    let blocked = error(dir.path(), FigureOptions { threads: 2, overwrite: true, val: 50, ..VAL });
    assert!(blocked.contains("000000000002.jpg: cannot be written: "), "{blocked}");
    assert!(!files(dir.path()).keys().any(|name| name.starts_with("annotations/")));
}
