//! `dyconv export`: what is written is read back, by the command itself and here.

use std::path::Path;

use dyconv::file::Model;
use serde_json::{Value, json};

use crate::common::Shell;

/// A small dynamic network, and its static twin.
const NEW: &str = "new dy_resnet10_x0_125 --classes 5 --image-size 24 --small-stem --tau 4 --large-router-init --out";
const STATIC: &str = "new mobilenet_v3_small_x0_5 --classes 7 --image-size 32 --out";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn model(shell: &Shell, name: &str) -> Model {
    Model::read(&shell.path(name)).unwrap()
}

/// The largest difference over all checks of a report.
fn difference(report: &Value) -> f64 {
    let checks = report["checks"].as_array().unwrap();
    assert!(!checks.is_empty(), "{report}");
    checks.iter().map(|c| c["largest_relative_difference"].as_f64().unwrap()).fold(0.0, f64::max)
}

/// Whether two models are the same but for the graph, whose constants may be folded.
fn same_but_for_the_graph(a: &Model, b: &Model) {
    assert_eq!((a.tau, &a.task, &a.preprocessing), (b.tau, &b.task, &b.preprocessing));
    assert_eq!((&a.provenance.model, a.graph.input_dims()), (&b.provenance.model, b.graph.input_dims()));
    assert_eq!(a.graph.dynamic_layers(), b.graph.dynamic_layers());
}

#[test]
fn every_form_of_onnx_comes_back() {
    let shell = Shell::new();
    shell.ok(&format!("{NEW} dynamic.safetensors"));
    shell.ok(&format!("{STATIC} static.safetensors"));
    for (from, flags, form, batch) in [
        ("dynamic", "", json!("portable"), json!(null)),
        ("dynamic", "--form portable --batch 4", json!("portable"), json!(4)),
        ("dynamic", "--form exact", json!("exact"), json!(1)),
        ("dynamic", "--form portable --with-preprocessing", json!("portable"), json!(null)),
        ("static", "", json!(null), json!(null)),
        ("static", "--with-preprocessing --batch 2", json!(null), json!(2)),
    ] {
        let file = format!("{from}{}.onnx", flags.replace([' ', '-'], ""));
        let report = parsed(&shell.ok(&format!("export {from}.safetensors --onnx {file} {flags} --json")));
        assert!(difference(&report) <= 1e-4, "{file}: {report}");
        assert_eq!((&report["form"], &report["batch"]), (&form, &batch), "{report}");
        assert_eq!((&report["opset"], &report["ir"]), (&json!(17), &json!(8)));
        assert_eq!(report["files"][0]["bytes"], shell.path(&file).metadata().unwrap().len());
        let said = shell.ok(&format!("import {file} --out {file}.safetensors"));
        let (original, back) =
            (model(&shell, &format!("{from}.safetensors")), model(&shell, &format!("{file}.safetensors")));
        if flags.contains("--with-preprocessing") {
            // The network normalizes pixels itself.
            assert_eq!(back.preprocessing.mean, [0.0; 3], "{said}");
        } else {
            same_but_for_the_graph(&original, &back);
        }
    }
    let said = shell.ok("export dynamic.safetensors --onnx text.onnx");
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("read back and run with a batch of 1: largest relative difference "), "{said}");
    assert!(said.contains("batch of 3") && said.contains("form portable, batch free, opset 17, IR 8"), "{said}");
}

#[test]
fn a_keypoint_network_comes_back() {
    let shell = Shell::new();
    shell.ok("new pose_dy_mobilenet_v2_x0_35_b --image-size 32 --out pose.safetensors --head-width 0.1");
    let report = parsed(&shell.ok("export pose.safetensors --onnx pose.onnx --json"));
    assert!(difference(&report) <= 1e-4, "{report}");
    shell.ok("import pose.onnx --out back.safetensors");
    same_but_for_the_graph(&model(&shell, "pose.safetensors"), &model(&shell, "back.safetensors"));
    shell.says("export pose.safetensors --hub hub", "a hub folder is for classifiers");
    assert!(!shell.path("hub").exists());
}

#[test]
fn frozen_attention_is_scored_beside_the_original() {
    let shell = Shell::new();
    shell.ok(
        "new dy_resnet10_x0_125 --classes 10 --channels 1 --image-size 8 --small-stem --large-router-init --out digits.safetensors",
    );
    let export = "export digits.safetensors --form frozen --data digits --onnx";
    let report = parsed(&shell.ok(&format!("{export} frozen.onnx --json")));
    assert!(difference(&report) <= 1e-4, "{report}");
    let frozen = &report["frozen"];
    assert!(frozen["images"].as_u64().unwrap() > 100, "{report}");
    assert_eq!(frozen["metric"], "top1");
    for network in ["dynamic", "frozen"] {
        assert!((0.0..=1.0).contains(&frozen[network].as_f64().unwrap()), "{report}");
    }
    let said = shell.ok(&format!("{export} again.onnx"));
    assert!(said.contains("of each input") && said.contains("frozen at its mean"), "{said}");
    shell.ok("import frozen.onnx --out frozen.safetensors");
    let (original, frozen) = (model(&shell, "digits.safetensors"), model(&shell, "frozen.safetensors"));
    assert_eq!(frozen.graph.dynamic_layers(), 0);
    let numbers = |model: &Model| model.weights.0.values().map(|tensor| tensor.data.len()).sum::<usize>();
    assert!(numbers(&frozen) < numbers(&original) / 2);
    assert_eq!(frozen.preprocessing, original.preprocessing);
}

#[test]
fn state_dicts_come_back_bit_by_bit() {
    let shell = Shell::new();
    shell.ok(&format!("{NEW} dynamic.safetensors"));
    shell.ok(&format!("{STATIC} static.safetensors"));
    for from in ["dynamic", "static"] {
        let original = model(&shell, &format!("{from}.safetensors"));
        for names in ["torchvision", "timm"] {
            let file = format!("{from}_{names}.safetensors");
            let export = format!("export {from}.safetensors --torch {file} --names {names} --json");
            let report = parsed(&shell.ok(&export));
            assert_eq!((difference(&report), &report["names"]), (0.0, &json!(names)));
            assert_eq!(report["notes"], json!([]));
            shell.ok(&format!("import {file} --out back_{file}"));
            let back = model(&shell, &format!("back_{file}"));
            assert!(back.graph == original.graph && back.weights == original.weights, "{file}");
            assert_eq!(back.tau, if from == "dynamic" { original.tau } else { 1.0 }, "{file}");
        }
        let report = parsed(&shell.ok(&format!("export {from}.safetensors --hub {from}_hub --json")));
        let files: Vec<_> = report["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
        let names: Vec<_> = files.iter().map(|f| Path::new(f).file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["README.md", "config.json", "model.safetensors"]);
        shell.ok(&format!("import {from}_hub --out {from}_back.safetensors --tau {}", original.tau));
        let back = model(&shell, &format!("{from}_back.safetensors"));
        assert!(back.graph == original.graph && back.weights == original.weights && back.task == original.task);
        assert_eq!(back.preprocessing.mean, original.preprocessing.mean);
        assert_eq!(back.preprocessing.resize, original.preprocessing.resize);
    }
}

#[test]
fn what_cannot_be_exported_is_one_clear_line() {
    let shell = Shell::new();
    shell.ok(&format!("{NEW} dynamic.safetensors"));
    shell.ok(&format!("{STATIC} static.safetensors"));
    shell.says("export static.safetensors --onnx x.onnx --form exact", "the network is static");
    shell.says("export dynamic.safetensors --onnx x.onnx --form frozen", "with --data");
    shell.says("export dynamic.safetensors --onnx x.onnx --data digits", "--data: means nothing for another form");
    shell.says(
        "export dynamic.safetensors --onnx x.onnx --form exact --batch free",
        "needs a batch of 1, got a free batch; --form portable takes any",
    );
    shell.says("export dynamic.safetensors --onnx static.safetensors", "static.safetensors exists already");
    shell.write("full/file", b"");
    shell.says("export dynamic.safetensors --hub full", "full exists already and is not empty");
    shell.says("export absent.safetensors --onnx x.onnx", "absent.safetensors");
    shell.says("export dynamic.safetensors --onnx absent/x.onnx", "absent/x.onnx: cannot be written");
    assert!(!shell.path("x.onnx").exists());
    for flag in ["--form exact", "--batch 2", "--with-preprocessing", "--data digits"] {
        let name = flag.split(' ').next().unwrap();
        let expected = format!("{name}: means nothing for an export without --onnx");
        shell.says(&format!("export dynamic.safetensors --torch a {flag}"), &expected);
    }
    shell.says(
        "export dynamic.safetensors --onnx a --names timm",
        "--names: means nothing for an export without --torch",
    );
    for wrong in ["export dynamic.safetensors", "export dynamic.safetensors --onnx a --torch b"] {
        assert_eq!(shell.run(wrong).status.code(), Some(2), "{wrong}");
    }
}
