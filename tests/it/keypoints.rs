//! Keypoint networks as users meet them: figures are made, learned, scored, found and drawn.
#![cfg(all(feature = "train", unix))]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Shell, text};
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use dyconv::data::{Dataset, HeatMaps, PersonBox, PersonCrop, Transform, load};
use dyconv::engine::{Plan, Session};
use dyconv::file::Model;
use dyconv::graph::Shape;
use dyconv::metrics::{Detection, keypoint_scores};
use dyconv::nn::Network;
use serde_json::{Value, json};

/// Small enough for seconds, with something random in every step and checkpoints in the middle of epochs.
const RECIPE: &str = "--data figures --model pose_dy_rn4_a --image-size 64x48 --epochs 2 --batch 8 \
     --set model.head_width=0.125 --set model.small_stem=false --set train.optimizer=adam --set train.lr=0.005 \
     --set train.checkpoint_steps=2 --set train.log_steps=2 --set train.ema=0.9 --set augment.rotate=30 \
     --set augment.scale=[0.7,1.3] --set augment.half_body=0.3 --set temperature.epochs=1";

/// A folder with a few figures and a network that has seen them twice.
static TRAINED: LazyLock<Shell> = LazyLock::new(|| {
    let shell = Shell::new();
    shell.ok("make-figures --out figures --train 24 --val 6 --seed 3");
    let table = shell.ok(&format!("train {RECIPE} --out run"));
    assert!(table.contains("validation AP") && table.contains("one person, one thread"), "{table}");
    shell
});

/// f32 sums in two orders, through a shallow network.
const AGREE: f32 = 1e-4;

const MODEL: &str = "run/model.safetensors";
const VAL: &str = "figures/annotations/person_keypoints_val2017.json";

fn read_json(shell: &Shell, file: &str) -> Value {
    serde_json::from_slice(&fs::read(shell.path(file)).unwrap()).unwrap()
}

/// Writes a changed copy of the annotations of the validation part.
fn annotations(shell: &Shell, file: &str, change: impl FnOnce(&mut Value)) {
    let mut value = read_json(shell, VAL);
    change(&mut value);
    shell.write(file, value.to_string().as_bytes());
}

/// The lines of the metrics without times.
fn metrics(shell: &Shell, run: &str) -> Vec<Value> {
    let lines = fs::read_to_string(shell.path(run).join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time").expect("every line has its time");
        line
    });
    lines.collect()
}

#[test]
fn a_run_that_is_killed_ends_as_one_that_was_left_alone() {
    let shell = &*TRAINED;
    let begun = Instant::now();
    let begin = format!("train {RECIPE} --out killed");
    let mut hit = 0;
    for words in [&begin, "train --resume killed", "train --resume killed"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
        command.args(words.split_whitespace()).current_dir(shell.path("."));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let written = fs::metadata(shell.path("killed/metrics.jsonl")).map_or(0, |m| m.len());
        // A line more than before, then the end.
        while fs::metadata(shell.path("killed/metrics.jsonl")).map_or(0, |m| m.len()) <= written
            && child.try_wait().unwrap().is_none()
        {
            assert!(begun.elapsed() < Duration::from_secs(300), "no iteration was done");
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        hit += usize::from(!child.wait().unwrap().success());
    }
    assert!(hit > 0, "no kill met a living process");
    shell.ok("train --resume killed");
    for file in ["model.safetensors", "evaluation.json", "recipe.toml", "run.json"] {
        let read = |run: &str| fs::read(shell.path(run).join(file)).unwrap();
        assert!(read("run") == read("killed"), "{file} differs");
    }
    assert_eq!(metrics(shell, "run"), metrics(shell, "killed"));
    let last = metrics(shell, "run").pop().unwrap();
    assert!(last["ap"].is_number() && last["val_loss"].is_number() && last.get("accuracy").is_none(), "{last}");
    let report = fs::read_to_string(shell.path("killed/report.html")).unwrap();
    assert!(report.contains("AP (held-out), points") && report.contains("2 of 2 epochs"));
}

#[test]
fn results_that_are_written_score_what_is_printed() {
    let shell = &*TRAINED;
    for options in ["", "--flip"] {
        let said: Value =
            serde_json::from_str(&shell.ok(&format!("eval {MODEL} --data figures --json --out out.json {options}")))
                .unwrap();
        let results = read_json(shell, "out.json");
        let found = results.as_array().unwrap().iter().map(|result| {
            let numbers: Vec<f64> =
                result["keypoints"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!((numbers.len(), result["category_id"].as_u64()), (51, Some(1)));
            assert!(result.get("bbox").is_none(), "pycocotools would take the area from it");
            Detection {
                image: result["image_id"].as_u64().unwrap(),
                joints: numbers.chunks_exact(3).map(|joint| [joint[0], joint[1]]).collect(),
                score: result["score"].as_f64().unwrap(),
            }
        });
        let found: Vec<Detection> = found.collect();
        let data = Dataset::open_people(&shell.path("figures"), None).unwrap();
        let people = data.people().unwrap();
        let scores = keypoint_scores(&people.truth(|_| true), &found, &people.sigmas()).unwrap();
        for (name, value) in scores.stats() {
            assert_eq!(said[name].as_f64(), value, "{name}");
        }
        // One file of annotations gives the same.
        let words = format!("eval {MODEL} --data {VAL} --images figures/val2017 --json {options}");
        assert_eq!(serde_json::from_str::<Value>(&shell.ok(&words)).unwrap(), said);
    }
}

/// Every heat map and every joint of the validation part, of the trained network: what training saw is what is answered.
#[test]
fn engine_and_burn_find_the_same_joints() {
    let shell = &*TRAINED;
    let model = Model::read(&shell.path(MODEL)).unwrap();
    let transform = Transform::new(model.preprocessing.clone()).unwrap();
    let Shape::Map([_, height, width]) = model.graph.output_shape() else { panic!("the answer is a map") };
    let maps = HeatMaps { input: model.preprocessing.image_size, map: [height, width] };
    let network = Network::new(&model.graph, &model.weights, model.tau, &Device::flex()).unwrap();
    let mut session = Session::new(Plan::new(&model.graph, &model.weights, model.tau).unwrap());
    let annotations = read_json(shell, VAL);
    let persons = annotations["annotations"].as_array().unwrap();
    let (mut joints, mut same) = (0, 0);
    for person in persons {
        let path = format!("figures/val2017/{:012}.jpg", person["image_id"].as_u64().unwrap());
        let image = load(&shell.path(&path), &transform.decode_options()).unwrap();
        let [x, y, width, height] = [0, 1, 2, 3].map(|i| person["bbox"][i].as_f64().unwrap());
        let crop = PersonCrop::around(PersonBox { x, y, width, height }, maps.input);
        let input = transform.crop(&image, crop);
        let dims = model.graph.input_dims();
        let engine = session.predict(&input, 1).unwrap();
        let x = BurnTensor::from_data(TensorData::new(input, [1, dims[0], dims[1], dims[2]]), &Device::flex());
        let burn = network.forward(x).into_vec();
        let largest = burn.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (engine, burn) in engine.iter().zip(&burn) {
            assert!((engine - burn).abs() <= AGREE * largest, "{path}: {engine} and {burn}, of {largest}");
        }
        let (engine, burn) = (maps.decode(&engine), maps.decode(&burn));
        joints += engine.len();
        same += engine.iter().zip(&burn).filter(|(a, b)| (a.x, a.y) == (b.x, b.y)).count();
    }
    // Of two cells, or two neighbours of the best, that are equal but for rounding, either is right.
    assert!(joints >= 17 && same * 20 >= joints * 19, "{same} of {joints} joints are in the same place");
}

#[test]
fn a_detector_s_boxes_are_scored_and_second_answers_dropped() {
    let shell = &*TRAINED;
    let annotations = read_json(shell, VAL);
    let box_of =
        |a: &Value, score: f64| json!({"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": score});
    let own = annotations["annotations"].as_array().unwrap().iter().filter(|a| a["num_keypoints"].as_u64() > Some(0));
    let own: Vec<&Value> = own.collect();
    // Every person twice.
    let boxes: Vec<Value> = own.iter().flat_map(|a| [box_of(a, 0.9), box_of(a, 0.8)]).collect();
    shell.write("boxes.json", json!(boxes).to_string().as_bytes());
    let said: Value =
        serde_json::from_str(&shell.ok(&format!("eval {MODEL} --data figures --boxes boxes.json --json"))).unwrap();
    let (persons, suppressed) = (said["persons"].as_u64().unwrap(), said["suppressed"].as_u64().unwrap());
    assert_eq!(persons + suppressed, boxes.len() as u64);
    assert!(suppressed >= own.len() as u64, "{suppressed} of {}", boxes.len());
    let table = shell.ok(&format!("eval {MODEL} --data figures --boxes boxes.json"));
    assert!(table.contains("suppressed") && table.contains("AP_M"), "{table}");

    shell.write("other.json", br#"[{"image_id": 987654, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]"#);
    shell.says(
        &format!("eval {MODEL} --data figures --boxes other.json"),
        "box 1: image_id 987654 is no image of these",
    );
    shell.write("broken.json", br#"[{"image_id": 1, "category_id": 1, "score": 0.5}]"#);
    shell.says(&format!("eval {MODEL} --data figures --boxes broken.json"), "box 1: missing field `bbox`");
}

#[test]
fn joints_are_found_in_image_coordinates_and_drawn() {
    let shell = &*TRAINED;
    let annotations = read_json(shell, VAL);
    let person = &annotations["annotations"][0];
    let image = annotations["images"].as_array().unwrap().iter().find(|i| i["id"] == person["image_id"]).unwrap();
    let file = image["file_name"].as_str().unwrap();
    let path = format!("figures/val2017/{file}");
    let bbox: Vec<f64> = person["bbox"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let words = format!("--box {},{},{},{}", bbox[0], bbox[1], bbox[2], bbox[3]);
    let predict = |options: &str| -> Value {
        serde_json::from_str(&shell.ok(&format!("predict {MODEL} {path} --json {options}"))).unwrap()
    };
    let given = predict(&format!("{words} --draw drawn"));
    let joints = given[0]["poses"][0]["joints"].as_array().unwrap();
    assert_eq!((joints.len(), joints[0]["joint"].as_str()), (17, Some("nose")));
    // Half of what a crop shows: 1.25 / 0.75 / 2 of the longer side at most.
    let reach = 0.84 * bbox[2].max(bbox[3]);
    for joint in joints {
        let at = |axis: &str| joint[axis].as_f64().unwrap();
        let (dx, dy) = (at("x") - bbox[0] - 0.5 * bbox[2], at("y") - bbox[1] - 0.5 * bbox[3]);
        assert!(dx.abs() <= reach && dy.abs() <= reach, "{joint} and {bbox:?}");
    }
    let drawn = image::open(shell.path("drawn").join(file)).unwrap();
    assert_eq!(Some(u64::from(drawn.width())), image["width"].as_u64());

    // The same box by a file, by name and by the image's number.
    let number: u64 = file.trim_end_matches(".jpg").parse().unwrap();
    shell.write("by_name.json", json!([{"file_name": file, "bbox": person["bbox"]}]).to_string().as_bytes());
    let record = json!([{"image_id": number, "category_id": 1, "bbox": person["bbox"], "score": 0.5}]);
    shell.write("by_number.json", record.to_string().as_bytes());
    for file in ["by_name.json", "by_number.json"] {
        assert_eq!(predict(&format!("--boxes {file}")), given);
    }
    // Without a box the whole image is one; the flip test may move joints.
    let whole = predict("");
    assert_eq!(whole[0]["poses"][0]["box"], json!([0.0, 0.0, image["width"].as_f64(), image["height"].as_f64()]));
    assert_eq!(predict("--flip")[0]["poses"][0]["joints"].as_array().unwrap().len(), 17);
    let table = shell.ok(&format!("predict {MODEL} {path}"));
    assert!(table.contains("left_wrist") && table.contains("score"), "{table}");

    shell.write("elsewhere.json", br#"[{"file_name": "other.jpg", "bbox": [1, 1, 5, 5]}]"#);
    shell.says(
        &format!("predict {MODEL} {path} --boxes elsewhere.json"),
        "elsewhere.json: none of its 1 boxes is of one of the 1 images",
    );
    shell.write("nobody.json", br#"[{"bbox": [1, 1, 5, 5]}]"#);
    shell.says(&format!("predict {MODEL} {path} --boxes nobody.json"), "box 1: has neither `file_name` nor `image_id`");
    shell.says(
        &format!("predict {MODEL} {path} --box 9000,1,5,5"),
        "the box 9000,1,5,5 has less than half a pixel inside the image of",
    );
    shell.says(&format!("predict {MODEL} {path} --draw figures/val2017"), "would be drawn over");
    let output = shell.run(&format!("predict {MODEL} {path} --box 1,2,0,5"));
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("width and height must be above 0"));
}

#[test]
fn missing_images_are_counted_and_skipped() {
    let shell = Shell::new();
    shell.ok("make-figures --out figures --train 8 --val 4 --seed 5");
    let model = TRAINED.path(MODEL).display().to_string();
    let first = read_json(&shell, VAL)["annotations"][0]["image_id"].as_u64().unwrap();
    fs::remove_file(shell.path(&format!("figures/val2017/{first:012}.jpg"))).unwrap();
    let output = shell.run(&format!("eval {model} --data figures --json"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && err.contains("skipped: ") && err.contains(&format!("{first:012}.jpg")), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["broken"], 1);
    shell.says(&format!("eval {model} --data figures --max-broken 0"), "1 broken image, but at most 0 are allowed");
    let train = format!("train {RECIPE} --epochs 1 --out run");
    let train = train.replacen("--epochs 2 ", "", 1);
    let output = shell.run(&train);
    let err = text(&output.stderr);
    assert!(output.status.success() && err.contains(&format!("{first:012}.jpg")), "{err}");
}

#[test]
fn annotations_that_are_wrong_are_named_by_record() {
    let shell = &*TRAINED;
    let says = |change: &dyn Fn(&mut Value), expected: &str| {
        annotations(shell, "wrong.json", change);
        shell.says(&format!("eval {MODEL} --data wrong.json --images figures/val2017"), expected);
    };
    let id = read_json(shell, VAL)["annotations"][0]["id"].as_u64().unwrap();
    let at = |message: &str| format!("wrong.json: annotation {id}: {message}");
    says(&|v| drop(v["annotations"][0].as_object_mut().unwrap().remove("bbox")), &at("missing field `bbox`"));
    says(&|v| v["annotations"][0]["category_id"] = json!(9), &at("category_id 9 is no category"));
    says(&|v| v["annotations"][0]["image_id"] = json!(987_654), &at("image_id 987654 is no image"));
    says(&|v| v["annotations"][0]["keypoints"] = json!([1, 2, 2]), &at("has 3 numbers in `keypoints`"));
    says(&|v| v["annotations"][0]["bbox"][2] = json!(-1), &at("bbox ["));
    says(&|v| drop(v["categories"][0]["keypoints"].as_array_mut().unwrap().pop()), "has 16 joints (nose, left_eye");
    says(&|v| v["categories"][0]["keypoints"][0] = json!("beak"), "joint 1 is called `beak`, expected `nose`");
    annotations(shell, "empty_box.json", |v| v["annotations"][0]["bbox"][2] = json!(0));
    let output = shell.run(&format!("eval {MODEL} --data empty_box.json --images figures/val2017"));
    let err = text(&output.stderr);
    assert!(
        output.status.success()
            && err.contains("1 persons whose box has less than half a pixel inside the image")
            && err.contains(&id.to_string())
    );
    shell.says(&format!("eval {MODEL} --data {VAL}"), "--images: name the folder of the images of");
    shell.says(&format!("eval {MODEL} --data digits"), "a keypoint network is scored on COCO keypoints");
    shell.says(&format!("eval {MODEL} --data {VAL} --images nowhere"), "is no folder, expected that of the images");
}

#[test]
fn options_and_networks_of_the_other_task_are_refused() {
    let shell = &*TRAINED;
    shell.ok("train --data digits --model resnet10_x0_125 --image-size 8 --epochs 1 --batch 256 --out digits");
    let classifier = "digits/model.safetensors";
    for option in ["--flip", "--boxes b.json", "--out o.json", "--images figures"] {
        let expected = format!("{}: means nothing for a classifier", option.split(' ').next().unwrap());
        shell.says(&format!("eval {classifier} --data digits {option}"), &expected);
    }
    let image = "figures/val2017/000000000001.jpg";
    for option in ["--flip", "--boxes b.json", "--draw d", "--box 1,2,3,4"] {
        let expected = format!("{}: means nothing for a classifier", option.split(' ').next().unwrap());
        shell.says(&format!("predict {classifier} {image} {option}"), &expected);
    }
    shell.says(&format!("eval {MODEL} --data figures --split all"), "--split: means nothing for a keypoint network");
    shell.says(&format!("predict {MODEL} {image} --top 3"), "--top: means nothing for a keypoint network");
    shell.says(
        "train --data figures --model dy_resnet10_x0_125",
        "answers with classes, the data hold persons with joints",
    );
    shell.says("train --data digits --model pose_dy_rn4_a", "answers with joints, the data hold images with classes");
    shell
        .says(&format!("train {RECIPE} --set augment.mixup=0.2 --out x"), "`augment.mixup` is for images with classes");
    shell.says("train --data digits --set augment.rotate=9 --out x", "`augment.rotate` is for persons with joints");
    shell.write("hand.toml", b"joints = [\"wrist\", \"thumb\"]\nsigmas = [0.1]");
    shell.says(
        &format!("train {RECIPE} --set data.skeleton=hand.toml --out x"),
        "hand.toml: sigmas: expected one for each of the 2 joints, got 1",
    );
    shell.write("hand.toml", b"joints = [\"wrist\", \"thumb\"]\nsigmas = [0.1, 0.1]");
    shell.says(&format!("train {RECIPE} --set data.skeleton=hand.toml --out x"), "has 17 joints (nose, left_eye");
}

#[test]
fn a_keypoint_network_goes_on_from_others() {
    let shell = &*TRAINED;
    let short = "--data figures --epochs 1 --batch 16 --image-size 64x48 --set model.head_width=0.125 \
         --set model.small_stem=false --set temperature.schedule=constant";
    let said = |words: &str| {
        let output = shell.run(words);
        let err = text(&output.stderr);
        assert!(output.status.success(), "{err}");
        err
    };
    // Its static twin and back, by the names of the nodes.
    said(&format!("train {short} --model pose_rn4_a --out static"));
    let err = said(&format!("train {short} --model pose_dy_rn4_a --from static/model.safetensors --out warm"));
    assert!(err.contains("made into banks") && !err.contains("new"), "{err}");
    // A classifier's backbone.
    said(
        "train --data digits --model rn4 --image-size 64x48 --set data.channels=3 --set model.small_stem=false \
         --epochs 1 --batch 512 --out backbone",
    );
    let err = said(&format!("train {short} --model pose_dy_rn4_a --from backbone/model.safetensors --out head"));
    assert!(err.contains("made into banks") && err.contains("of the head new") && err.contains("left out"), "{err}");
    // The same network goes on as it is.
    let err = said(&format!("train --data figures --from {MODEL} --epochs 1 --batch 16 --out on"));
    assert!(err.contains("tensors copied") && !err.contains("new"), "{err}");
}
