//! A model file is read back unchanged, and every kind of invalid file ends in an error that names the fault.

use std::collections::HashMap;

use dyconv_file::{CropMode, Interpolation, Model, Orientation, Preprocessing, Provenance, Task};
use dyconv_graph::{Builder, Conv2d, Graph, Init, Linear, MixConv, Op, Router, init};
use safetensors::tensor::{Dtype, TensorView};

fn graph() -> Graph {
    let mut b = Builder::new([1, 6, 5]).unwrap();
    let x = b.input();
    let pi = b.router("conv.router", x, &Router::default()).unwrap();
    let y = b.push("conv", Op::MixConv(MixConv { kernels: 4, conv: Conv2d::new(3, [3, 3]) }), &[x, pi]).unwrap();
    let y = b.push("conv.bn", Op::BatchNorm { eps: 1e-5 }, &[y]).unwrap();
    let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
    let y = b.push("classifier", Op::Linear(Linear { out_features: 2, bias: true }), &[y]).unwrap();
    b.finish(y).unwrap()
}

fn model() -> Model {
    let graph = graph();
    Model {
        weights: init(&graph, Init::default()),
        graph,
        tau: 3.7,
        preprocessing: Preprocessing { mean: vec![0.485], std: vec![0.229], ..Preprocessing::usual(1, [6, 5], 6) },
        task: Task::Classification { classes: vec!["cat".into(), "dog".into()] },
        provenance: Provenance { model: "tiny".into(), ..Provenance::default() },
    }
}

#[test]
fn a_model_comes_back_as_it_was_and_as_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model().write(&path).unwrap();
    assert_eq!(Model::read(&path).unwrap(), model());
    assert_eq!(std::fs::read(&path).unwrap(), model().to_bytes().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_failed_write_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model().write(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut broken = model();
    broken.weights.0.get_mut("conv.weight").unwrap().data[7] = f32::NAN;
    let error = broken.write(&path).unwrap_err().to_string();
    assert!(error.contains("tensor `conv.weight` holds NaN at position 7"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let error = model().write(&folder.path().join("absent/model.safetensors")).unwrap_err().to_string();
    assert!(error.contains("cannot be written"), "{error}");
}

/// Rewrites a good file with a changed header and changed tensors.
fn rewritten(
    change: impl FnOnce(
        &mut serde_json::Value,
        &mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
        &mut HashMap<String, String>,
    ),
) -> Result<Model, String> {
    let bytes = model().to_bytes().unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = metadata.metadata().clone().unwrap();
    let mut header = serde_json::from_str(&metadata["dyconv"]).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<_> =
        tensors.iter().map(|(n, v)| (n.to_owned(), v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect();
    metadata.clear();
    change(&mut header, &mut list, &mut metadata);
    if metadata.is_empty() {
        metadata.insert("dyconv".into(), header.to_string());
    }
    let views = list.iter().map(|(n, d, s, b)| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    Model::from_bytes(&bytes).map_err(|e| e.to_string())
}

/// The error message for a file that was changed this way.
fn lie(
    change: impl FnOnce(
        &mut serde_json::Value,
        &mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
        &mut HashMap<String, String>,
    ),
) -> String {
    rewritten(change).unwrap_err()
}

#[test]
fn a_file_of_version_1_is_read_and_leaves_photographs_as_they_lie() {
    let old = rewritten(|h, _, _| {
        h["version"] = 1.into();
        let fields = h["preprocessing"].as_object_mut().unwrap();
        ["orientation", "interpolation", "crop"].iter().for_each(|field| drop(fields.remove(*field).unwrap()));
    });
    let mut expected = model();
    expected.preprocessing.orientation = Orientation::Ignore;
    assert_eq!(old, Ok(expected.clone()));
    assert_eq!(Model::from_bytes(&expected.to_bytes().unwrap()).unwrap(), expected);
}

#[test]
fn a_file_of_version_2_from_before_interpolation_and_crop_is_bilinear_and_center() {
    let old = rewritten(|h, _, _| {
        let fields = h["preprocessing"].as_object_mut().unwrap();
        ["interpolation", "crop"].iter().for_each(|field| drop(fields.remove(*field).unwrap()));
    });
    assert_eq!(old, Ok(model()));
    assert_eq!((model().preprocessing.interpolation, model().preprocessing.crop), Default::default());
}

#[test]
fn interpolation_and_crop_come_back() {
    let mut new = model();
    (new.preprocessing.interpolation, new.preprocessing.crop) = (Interpolation::Lanczos, CropMode::Border);
    assert_eq!(Model::from_bytes(&new.to_bytes().unwrap()).unwrap(), new);
}

#[test]
fn every_lie_is_named() {
    let says = |found: String, expected: &str| assert!(found.contains(expected), "`{found}` does not say `{expected}`");
    says(lie(|_, _, m| drop(m.insert("other".into(), "x".into()))), "its metadata has no key `dyconv`");
    says(lie(|_, _, m| drop(m.insert("dyconv".into(), "{".into()))), "header that cannot be used");
    says(lie(|h, _, _| h["version"] = 3.into()), "has model-file version 3, this program reads versions 1 to 2");
    says(lie(|h, _, _| drop(h.as_object_mut().unwrap().remove("version"))), "`version` is missing");
    says(lie(|h, _, _| drop(h.as_object_mut().unwrap().remove("tau"))), "missing field `tau`");
    says(lie(|h, _, _| h["tau"] = 0.into()), "tau must be a positive number, got 0");
    says(lie(|h, _, _| drop(h["preprocessing"].as_object_mut().unwrap().remove("orientation"))), "field `orientation`");
    says(lie(|h, _, _| h["preprocessing"]["orientation"] = "up".into()), "unknown variant `up`, expected `exif` or");
    says(
        lie(|h, _, _| h["preprocessing"]["interpolation"] = "cubic".into()),
        "preprocessing: interpolation: unknown variant `cubic`, expected one of `nearest`, `bilinear`, `bicubic`, `lanczos`",
    );
    says(
        lie(|h, _, _| h["preprocessing"]["crop"] = "centre".into()),
        "preprocessing: crop: unknown variant `centre`, expected one of `center`, `squash`, `border`",
    );
    says(lie(|h, _, _| h["preprocessing"]["crop"] = 3.into()), "preprocessing: crop: invalid type: ");
    says(lie(|h, _, _| h["version"] = 1.into()), "unknown field `orientation`");
    says(
        lie(|h, _, _| {
            h["version"] = 1.into();
            h["preprocessing"].as_object_mut().unwrap().remove("orientation");
        }),
        "unknown field `interpolation`, which came with version 2",
    );
    says(lie(|h, _, _| h["colour"] = 0.into()), "unknown field `colour`");
    says(lie(|h, _, _| h["preprocessing"]["std"][0] = 0.into()), "preprocessing: std holds");
    says(lie(|h, _, _| h["preprocessing"]["mean"] = serde_json::json!([0.1, 0.2])), "one value for each of 1 channels");
    says(lie(|h, _, _| h["preprocessing"]["image_size"][0] = 7.into()), "the graph's input is [1, 6, 5]");
    says(lie(|h, _, _| h["task"]["classification"]["classes"] = serde_json::json!(["cat"])), "1 class names");
    let joints = serde_json::json!({ "keypoints": { "joints": ["nose", "tail"], "sigmas": [0.1, 0.1] } });
    says(
        lie(|h, _, _| {
            h["task"] = joints.clone();
            h["preprocessing"]["crop"] = "squash".into();
        }),
        "preprocessing: crop is squash, and a keypoint network has none but center",
    );
    says(lie(|h, _, _| h["task"] = joints.clone()), "2 joints, but the graph's answer has shape [2]");
    says(
        lie(|h, _, _| {
            h["task"] = joints.clone();
            h["task"]["keypoints"]["bones"] = serde_json::json!([[0, 2]]);
        }),
        "task: keypoints: bones: [0, 2] is no pair of two of the 2 joints",
    );
    says(lie(|h, _, _| h["graph"]["output"] = "nowhere".into()), "output `nowhere` is not a node");
    says(lie(|_, t, _| t.retain(|t| t.0 != "conv.weight")), "tensor `conv.weight` [4, 3, 1, 3, 3] is missing");
    says(lie(|_, t, _| t[0].0 = "stranger.weight".into()), "is missing");
    says(
        lie(|_, t, _| t.push(("stranger.weight".into(), Dtype::F32, vec![1], vec![0; 4]))),
        "tensor `stranger.weight` belongs to no node",
    );
    let find = |t: &[(String, Dtype, Vec<usize>, Vec<u8>)], name: &str| t.iter().position(|t| t.0 == name).unwrap();
    says(
        lie(|_, t, _| {
            let i = find(t, "conv.weight");
            t[i].2 = vec![3, 4, 1, 3, 3];
        }),
        "has shape [3, 4, 1, 3, 3], the graph expects [4, 3, 1, 3, 3]",
    );
    says(
        lie(|_, t, _| {
            let i = find(t, "conv.bn.running_var");
            t[i].3[..4].copy_from_slice(&(-1f32).to_le_bytes());
        }),
        "negative variance -1",
    );
    says(
        lie(|_, t, _| {
            let i = find(t, "classifier.bias");
            t[i].3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        }),
        "tensor `classifier.bias` holds inf at position 0",
    );
    says(
        lie(|_, t, _| {
            let i = find(t, "classifier.bias");
            (t[i].1, t[i].3) = (Dtype::F16, vec![0; 4]);
        }),
        "tensor `classifier.bias` is stored as F16, expected F32",
    );
}

#[test]
fn long_headers_are_refused_before_they_are_read() {
    // Not JSON at all: a parser would report that.
    let long = 16 * 1024 * 1024 + 1;
    let mut bytes = (long as u64).to_le_bytes().to_vec();
    bytes.resize(8 + long, b'[');
    let error = Model::from_bytes(&bytes).unwrap_err().to_string();
    assert_eq!(error, "has a header that cannot be used: it has 16777217 bytes, and may have at most 16777216");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let error = Model::open(&path).unwrap_err().to_string();
    assert!(error.contains("long.safetensors: has a header that cannot be used: it has 16777217 bytes"), "{error}");
    // One byte less is accepted by the length check, and then fails to parse.
    bytes[..8].copy_from_slice(&(long as u64 - 1).to_le_bytes());
    assert!(Model::from_bytes(&bytes).unwrap_err().to_string().contains("not a whole safetensors file"));
    // What could not be read back is not written.
    let mut model = model();
    model.provenance.recipe = "#".repeat(long);
    assert!(model.to_bytes().unwrap_err().to_string().contains("and may have at most 16777216"));
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, folder.path(), std::path::Path::new("/dev/null")] {
        let error = Model::open(path).unwrap_err().to_string();
        assert!(error.contains("it is a folder, a pipe or a device, expected a file"), "{error}");
    }
}

#[test]
fn names_of_megabytes_are_not_repeated() {
    let short = |error: String, what: &str| assert!(error.len() < 1500 && error.contains(what), "{what}: {error}");
    let name = "n\u{1b}".repeat(1 << 18);
    short(lie(|_, t, _| t.push((name.clone(), Dtype::F32, vec![1], vec![0; 4]))), "belongs to no node");
    short(lie(|_, t, _| t.push((name.clone(), Dtype::F16, vec![1], vec![0; 2]))), "is stored as F16");
    short(lie(|h, _, _| h[name.as_str()] = 0.into()), "unknown field");
    short(lie(|h, _, _| h["graph"]["output"] = name.as_str().into()), "is not a node");
    short(lie(|h, _, _| h["graph"]["nodes"][0]["name"] = name.as_str().into()), "1 to 200 letters");
    short(lie(|h, _, _| h["graph"]["nodes"][0]["inputs"][0] = name.as_str().into()), "reads `n");
    short(lie(|h, _, _| h["graph"]["nodes"][0]["op"] = name.as_str().into()), "unknown variant");
    let ones = vec![1; 1 << 16];
    short(
        lie(|_, t, _| t.iter_mut().find(|t| t.0 == "classifier.bias").unwrap().2 = [vec![2], ones].concat()),
        "shape",
    );
}

#[test]
fn damaged_containers_are_refused() {
    let bytes = model().to_bytes().unwrap();
    for cut in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = Model::from_bytes(&bytes[..cut]).unwrap_err().to_string();
        assert!(error.contains("not a whole safetensors file"), "{cut}: {error}");
    }
    let mut claims = bytes.clone();
    claims[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Model::from_bytes(&claims).unwrap_err().to_string().contains("not a whole safetensors file"));
    assert!(Model::from_bytes(b"GIF89a: certainly no model").is_err());
    let mut longer = bytes;
    longer.push(0);
    assert!(Model::from_bytes(&longer).is_err());
}
