//! Keypoints where something is wrong with some pictures, boxes or numbers: an answer for every other, and nothing that was
//! not scored is 0 %.
#![cfg(unix)]

use std::io::Cursor;
use std::process::Output;

use crate::common::{Shell, text};
use dyconv::file::{Model, Provenance};
use dyconv::graph::{Activation, Builder, Conv2d, Op, Tensor, Weights};
use dyconv::task::{Orientation, Preprocessing, Skeleton, Task};
use image::{GrayImage, ImageFormat, Luma};
use serde_json::{Value, json};

const MODEL: &str = "m.safetensors";

/// Sees COCO's 17 joints in the upper left corner of dark pictures. For light ones +∞ and −∞ meet, so that every output is
/// NaN.
fn model(orientation: Orientation) -> Model {
    let mut b = Builder::new([1, 8, 8]).unwrap();
    let conv = |out_channels| Op::Conv(Conv2d::new(out_channels, [1, 1]));
    let mut x = b.input();
    let relu = Op::Activation(Activation::Relu);
    for (name, op) in [("huge", conv(1)), ("relu", relu), ("infinite", conv(2)), ("joints", conv(17))] {
        x = b.push(name, op, &[x]).unwrap();
    }
    let graph = b.finish(x).unwrap();
    let weights = graph.parameters().into_iter().map(|p| {
        let values = match p.name.as_str() {
            "huge.weight" => vec![3e38],
            "infinite.weight" => vec![2.0, -2.0],
            _ => vec![1.0; p.shape.iter().product()],
        };
        (p.name, Tensor::new(&p.shape, values))
    });
    Model {
        weights: Weights(weights.collect()),
        graph,
        tau: 1.0,
        preprocessing: Preprocessing { orientation, ..Preprocessing::usual(1, [8, 8], 8) },
        task: Task::Keypoints(Skeleton::coco()),
        provenance: Provenance::default(),
    }
}

/// A folder with the model and pictures of 24 × 16 pixels: 1, 2 and 3 dark, 4 light, 5 no picture.
fn shell() -> Shell {
    let shell = Shell::new();
    model(Orientation::Exif).write(&shell.path(MODEL)).unwrap();
    for (name, shade) in [("1.png", 0), ("2.png", 9), ("3.png", 20), ("4.png", 255)] {
        shell.write(&format!("pictures/{name}"), &png(24, 16, shade));
    }
    shell.write("pictures/5.png", b"no picture");
    shell
}

fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_pixel(width, height, Luma([shade])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A dark JPEG that says it is to be turned by a quarter.
fn turned_jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_pixel(width, height, Luma([9])).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let bytes = bytes.into_inner();
    [&bytes[..2], exif, &bytes[2..]].concat()
}

/// Annotations of the pictures, one person each.
fn annotations(pictures: &[(u64, &str, [u64; 2])]) -> Value {
    let coco = Skeleton::coco();
    let keypoints = [3, 3, 2].repeat(17);
    let image = |(id, name, [width, height]): &(u64, &str, [u64; 2])| json!({"id": id, "file_name": name, "width": width, "height": height});
    let person = |(id, ..): &(u64, &str, [u64; 2])| {
        json!({"id": 100 + id, "image_id": id, "category_id": 1, "iscrowd": 0, "area": 100.0, "bbox": [1, 1, 10, 10],
            "num_keypoints": 17, "keypoints": keypoints})
    };
    json!({
        "images": pictures.iter().map(image).collect::<Vec<_>>(),
        "annotations": pictures.iter().map(person).collect::<Vec<_>>(),
        "categories": [{"id": 1, "name": "person", "keypoints": coco.joints}],
    })
}

fn eval(shell: &Shell, pictures: &[(u64, &str, [u64; 2])], options: &str) -> Output {
    shell.write("a.json", annotations(pictures).to_string().as_bytes());
    shell.run(&format!("eval {MODEL} --data a.json --images pictures {options}"))
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stdout)))
}

#[test]
fn every_picture_has_an_answer_or_an_error() {
    let shell = shell();
    let boxes = json!([
        {"file_name": "1.png", "bbox": [1, 1, 8.0, 8]}, {"image_id": "1", "bbox": [100, 1, 8, 8]},
        {"image_id": 3.0, "bbox": [1, 1, 1e300, 8]}, {"image_id": 4, "bbox": [0, 0, 24, 16]},
        {"image_id": 5, "bbox": [0, 0, 24, 16]}, {"image_id": 3, "bbox": [1, 1, 1e-200, 8]},
        {"image_id": 77, "bbox": [1, 1, 8, 8]}
    ]);
    shell.write("boxes.json", format!("\u{feff}{boxes}").as_bytes());
    let pictures: Vec<String> = (1..=6).map(|i| format!("pictures/{i}.png")).collect();
    let words = format!("predict {MODEL} {} --boxes boxes.json", pictures.join(" "));
    let output = shell.run(&format!("{words} --json"));
    let (answers, err) = (parsed(&output), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("note: 1 boxes of other images, left out (numbers 7)"), "{err}");
    assert!(err.ends_with("error: 5 of 6 images have no answer\n"), "{err}");
    let images: Vec<&str> = answers.as_array().unwrap().iter().map(|a| a["image"].as_str().unwrap()).collect();
    assert_eq!(images, pictures);
    let (all, none) = (|i: usize| answers[i]["poses"].as_array().unwrap(), Value::Null);
    // One box good, one outside; no box at all; one too large and one too small; NaN; no picture; no file.
    assert_eq!((all(0).len(), all(0)[0]["joints"].as_array().unwrap().len()), (2, 17));
    let outside = "the box 100,1,8,8 has less than half a pixel inside the image of 24 × 16 pixels";
    assert_eq!((&all(0)[0]["error"], all(0)[1]["error"].as_str()), (&none, Some(outside)));
    assert_eq!(answers[1], json!({"image": "pictures/2.png", "poses": []}));
    assert_eq!(all(2)[0]["box"], json!([1.0, 1.0, 23.0, 8.0]));
    assert!(all(2)[1]["error"].as_str().unwrap().contains(" has less than half a pixel inside"));
    for (i, reason) in
        [(3, "no answer: 17 of 17 heat maps hold NaN or infinity"), (4, "pictures/5.png: "), (5, "6.png: ")]
    {
        let error = answers[i]["error"].as_str().unwrap();
        assert!(error.contains(reason) && all(i).is_empty(), "{error}");
        assert!(err.contains("skipped: pictures/") && err.contains(reason), "{err}");
    }

    let output = shell.run(&words);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(table.lines().count(), 2 + 2 * 17, "{table}");
    assert!(table.starts_with("image ") && !table.contains("NaN") && !table.contains("4.png"), "{table}");
}

#[test]
fn one_picture_alone_fails_in_one_line() {
    let shell = shell();
    let error = shell.error(&format!("predict {MODEL} pictures/1.png --box 9000,1,5,5"));
    let expected = "the box 9000,1,5,5 has less than half a pixel inside the image of 24 × 16 pixels";
    assert_eq!(error, format!("error: pictures/1.png: {expected}"));
    for side in ["1e-200", "5e-324", "0.4"] {
        shell.says(&format!("predict {MODEL} pictures/1.png --box 1,1,{side},5"), "has less than half a pixel inside");
    }
    shell.ok(&format!("predict {MODEL} pictures/1.png --box=-1e300,-1e300,2e300,2e300"));
    shell.says(&format!("predict {MODEL} pictures/4.png"), "pictures/4.png: no answer: 17 of 17 heat maps hold NaN");
    shell.write("none.json", b"[]");
    let answers = parsed(&shell.run(&format!("predict {MODEL} pictures/1.png --boxes none.json --json")));
    assert_eq!(answers, json!([{"image": "pictures/1.png", "poses": []}]));
}

#[test]
fn a_drawing_that_cannot_be_written_is_one_failure() {
    let shell = shell();
    std::fs::create_dir_all(shell.path("drawn/2.png")).unwrap();
    let output =
        shell.run(&format!("predict {MODEL} pictures/1.png pictures/2.png pictures/3.png --draw drawn --json"));
    let answers = parsed(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).ends_with("error: 1 of 3 images have no answer\n"));
    let error = answers[1]["error"].as_str().unwrap();
    assert!(error.contains("drawn/2.png"), "{error}");
    for (i, name) in ["1.png", "2.png", "3.png"].iter().enumerate() {
        assert_eq!(answers[i]["poses"].as_array().unwrap().len(), 1, "{name}");
    }
    assert!(shell.path("drawn/1.png").is_file() && shell.path("drawn/3.png").is_file());
}

#[test]
fn outputs_that_are_nan_are_counted_and_their_persons_not_found() {
    let shell = shell();
    let size = [24, 16];
    let pictures = [(1, "1.png", size), (2, "2.png", size), (4, "4.png", size)];
    let output = eval(&shell, &pictures, "--json --out out.json");
    let (result, err) = (parsed(&output), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert_eq!((&result["persons"], &result["unanswered"]), (&json!(2), &json!(1)));
    assert!(err.contains("warning: 1 of 3 boxes have no answer"), "{err}");
    let written: Value = serde_json::from_slice(&std::fs::read(shell.path("out.json")).unwrap()).unwrap();
    assert_eq!(written.as_array().unwrap().len(), 2);
    // Persons of 100 square pixels are neither medium nor large: not defined.
    assert_eq!((&result["AP_M"], &result["AP_L"]), (&Value::Null, &Value::Null));
    assert!(text(&eval(&shell, &pictures, "").stdout).contains('–'));
}

#[test]
fn more_than_half_broken_is_an_error_however_many_are_allowed() {
    let shell = shell();
    let size = [24, 16];
    let output = eval(&shell, &[(1, "1.png", size), (5, "5.png", size)], "--json");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(parsed(&output)["broken"], 1);
    let output = eval(&shell, &[(1, "1.png", size), (5, "5.png", size), (6, "6.png", size)], "--max-broken 9");
    let err = text(&output.stderr);
    assert!(err.contains("2 of 3 images broken, which is more than half: pictures/5.png: "), "{err}");
    let output = eval(&shell, &[(5, "5.png", size)], "--max-broken 9");
    assert!(text(&output.stderr).contains("1 of 1 images broken"), "{}", text(&output.stderr));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn a_turned_photograph_is_the_annotated_one_or_broken() {
    let shell = shell();
    for i in 1..4 {
        shell.write(&format!("pictures/t{i}.jpg"), &turned_jpeg(16, 24));
    }
    let pictures = [(1, "t1.jpg", [24, 16]), (2, "t2.jpg", [24, 16]), (3, "t3.jpg", [24, 16])];
    assert_eq!(parsed(&eval(&shell, &pictures, "--json"))["broken"], 0);
    // Annotated as they are stored.
    let stored = [(1, "t1.jpg", [16, 24]), pictures[1], pictures[2]];
    let output = eval(&shell, &stored, "--json");
    assert_eq!(parsed(&output)["broken"], 1);
    let err = text(&output.stderr);
    assert!(err.contains("skipped: t1.jpg: is 24 × 16, the annotations say 16 × 24; a quarter turn"), "{err}");
    assert!(err.contains("data.orientation = \"ignore\""), "{err}");
    model(Orientation::Ignore).write(&shell.path(MODEL)).unwrap();
    let output = eval(&shell, &[stored[0], (2, "t2.jpg", [16, 24]), pictures[2]], "--json");
    assert_eq!(parsed(&output)["broken"], 1);
    let err = text(&output.stderr);
    assert!(err.contains("skipped: t3.jpg: is 16 × 24, the annotations say 24 × 16; a quarter turn"), "{err}");
}
