//! `dyconv import`: what PyTorch wrote comes in and answers as in PyTorch. `golden/torch/LIST` says what each file is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyconv::file::Model;
use dyconv::task::{CropMode, Interpolation};
use serde_json::{Value, json};

use crate::common::{Shell, text};

/// Largest relative difference from PyTorch's answers.
const BOUND: f64 = 1e-5;

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/torch").join(name).display().to_string()
}

/// The lines of the list, word by word.
fn list() -> Vec<Vec<String>> {
    let text = fs::read_to_string(golden("LIST")).unwrap();
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn model(shell: &Shell, name: &str) -> Model {
    Model::read(&shell.path(name)).unwrap()
}

#[test]
fn every_state_dict_answers_as_in_pytorch() {
    let shell = Shell::new();
    let mut seen = 0;
    for words in list().iter().filter(|words| words[3] != "refused") {
        let [file, arch, tau, input, output] = words.as_slice() else { panic!("{words:?}") };
        let tau = if tau == "-" { String::new() } else { format!("--tau {tau}") };
        let (source, input, output) = (golden(file), golden(input), golden(output));
        let report = shell.ok(&format!("import {source} --out {file}.model --check {input} {output} {tau} --json"));
        let report = parsed(&report);
        let difference = report["check"]["largest_relative_difference"].as_f64().unwrap();
        assert!(difference <= BOUND, "{file}: {difference}");
        assert_eq!(report["check"]["rows"], report["check"]["top1_agrees"], "{file}: {report}");
        assert_eq!((&report["architecture"], &report["written"]), (&json!(arch), &json!(true)), "{file}");
        assert_eq!(report["dynamic_layers"].as_u64().unwrap() > 0, arch.starts_with("dy_"), "{file}");
        assert_eq!(report["tensors"]["missing"], json!([]), "{file}");
        assert!(model(&shell, &format!("{file}.model")).provenance.model == *arch);
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} files are in the list");
}

#[test]
fn what_is_refused_is_named() {
    let shell = Shell::new();
    let mut seen = 0;
    for words in list().iter().filter(|words| words[3] == "refused") {
        let error = shell.error(&format!("import {} --out out.safetensors", golden(&words[0])));
        for expected in &words[4..] {
            assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{}: {error}", words[0]);
        }
        assert!(!shell.path("out.safetensors").exists(), "{}", words[0]);
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} refused files are in the list");
}

#[test]
fn the_first_line_says_how_far_the_answers_are_apart() {
    let shell = Shell::new();
    let (source, input, output) = (golden("rn4.pth"), golden("pictures.npy"), golden("rn4.out.npy"));
    let said = shell.ok(&format!("import {source} --out a.safetensors --check {input} {output}"));
    let first = said.lines().next().unwrap();
    assert!(first.contains("rn4.out.npy: largest relative difference ") && first.contains("top-1 agrees in"), "{said}");
    for words in ["matched", "missing", "unused", "names of torchvision", "parameters", "a.safetensors: written"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    for words in [
        "note: the source does not say how images are prepared: assumed resize",
        "; --set preprocessing.KEY=VALUE says otherwise\n",
        "note: the source does not name the 5 classes: they are numbered; see --classes\n",
    ] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    let said = shell.ok(&format!("import {source} --out b.safetensors"));
    assert!(said.starts_with("answers not compared: there was nothing to compare with (see --check)\n"), "{said}");

    // Answers of another network: the report is printed, no model is written.
    let other = golden("mb4.out.npy");
    let output = shell.run(&format!("import {source} --out c.safetensors --check {input} {other}"));
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("does not answer as the original") && error.contains("nothing was written"), "{error}");
    assert!(said.contains("mb4.out.npy") && !said.contains("written\n"), "{said}");
    assert!(!shell.path("c.safetensors").exists());
}

#[test]
fn names_and_preprocessing_are_set_by_hand() {
    let shell = Shell::new();
    let source = golden("rn4.safetensors");
    let outputs = Model::read(&{
        shell.ok(&format!("import {source} --out plain.safetensors"));
        shell.path("plain.safetensors")
    });
    let outputs = outputs.unwrap().classes().len();
    let names: Vec<String> = (0..outputs).map(|i| format!("thing {i}")).collect();
    shell.write("names.txt", names.join("\r\n").as_bytes());
    shell.ok(&format!(
        "import {source} --out set.safetensors --classes names.txt --set preprocessing.interpolation=bicubic --set \
         preprocessing.mean=[0.5,0.25,0.125] --set preprocessing.resize=40 --set preprocessing.crop=squash"
    ));
    let made = model(&shell, "set.safetensors");
    assert_eq!(made.classes(), names);
    let p = &made.preprocessing;
    assert_eq!((p.interpolation, p.crop, p.resize), (Interpolation::Bicubic, CropMode::Squash, 40));
    assert_eq!(p.mean, [0.5, 0.25, 0.125]);

    shell.write("few.txt", b"a\nb\n");
    let expected =
        format!("few.txt: 2 classes are named, but the network has {outputs} outputs; write one name per line");
    shell.says(&format!("import {source} --out x.safetensors --classes few.txt"), &expected);
    shell.write("gap.txt", b"a\n\nb\n");
    shell.says(&format!("import {source} --out x.safetensors --classes gap.txt"), "gap.txt: line 2 is empty");
    let set = |set: &str| format!("import {source} --out x.safetensors --set {set}");
    shell.says(&set("preprocessing.interpolation=cubic"), "unknown variant `cubic`, expected one of `nearest`");
    shell.says(&set("model.kernels=4"), "only keys of the preprocessing can be set here");
    shell
        .says(&set("preprocessing.image_size=[8,8]"), "the network decides it; --image-size sets the height and width");
    shell.says(
        &format!("import {source} --out x.safetensors --tau 0"),
        "must be a positive finite number, got 0; see --tau",
    );
    shell.says(&format!("import {source} --out plain.safetensors"), "plain.safetensors exists already");
    assert!(!shell.path("x.safetensors").exists());
}

/// A folder as timm writes it.
fn hub(shell: &Shell, folder: &str, labels: usize) -> PathBuf {
    let names: Vec<String> = (0..labels).map(|i| format!("label {i}")).collect();
    let config = json!({
        "architecture": "rn4_x0_5",
        "num_classes": labels,
        "label_names": names,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "interpolation": "bicubic",
            "crop_pct": 0.8,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
    });
    shell.write(&format!("{folder}/config.json"), config.to_string().as_bytes());
    let weights = fs::read(golden("rn4.safetensors")).unwrap();
    shell.write(&format!("{folder}/model.safetensors"), &weights);
    shell.path(folder)
}

#[test]
fn a_hub_folder_brings_its_names_and_preprocessing() {
    let shell = Shell::new();
    shell.ok(&format!("import {} --out plain.safetensors", golden("rn4.safetensors")));
    let outputs = model(&shell, "plain.safetensors").classes().len();
    hub(&shell, "hub", outputs);
    let check = |made: &Model| {
        assert_eq!(made.classes()[1], "label 1");
        let p = &made.preprocessing;
        assert_eq!((p.image_size, p.resize, p.interpolation), ([32, 32], 40, Interpolation::Bicubic));
        assert_eq!((p.mean.as_slice(), p.std.as_slice()), (&[0.5; 3][..], &[0.25; 3][..]));
    };
    let said = shell.ok("import hub --out a.safetensors");
    assert!(said.contains("hub folder") && !said.contains("assumed"), "{said}");
    check(&model(&shell, "a.safetensors"));
    // The same file by its name.
    let said = shell.ok("import hub/model.safetensors --out b.safetensors");
    assert!(said.contains("`config.json` beside the weights was read"), "{said}");
    check(&model(&shell, "b.safetensors"));
    // Wrong labels are an error, unless others are given.
    hub(&shell, "wrong", outputs + 3);
    let expected =
        format!("names {} classes, but the network has {outputs} outputs; name them with --classes FILE", outputs + 3);
    shell.says("import wrong --out c.safetensors", &expected);
    let names: String = (0..outputs).map(|i| format!("{i}\n")).collect();
    shell.write("names.txt", names.as_bytes());
    shell.ok("import wrong --out c.safetensors --classes names.txt");

    // In the local cache of the hub.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let cache = "cache/models--someone--net";
    shell.write(&format!("{cache}/refs/main"), commit.as_bytes());
    hub(&shell, &format!("{cache}/snapshots/{commit}"), outputs);
    let import = |name: &str, out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
        command.args(["import", name, "--out", out]).env("HF_HUB_CACHE", shell.path("cache"));
        command.current_dir(shell.path("")).output().unwrap()
    };
    let output = import("hub:someone/net", "d.safetensors");
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&model(&shell, "d.safetensors"));
    let output = import("hub:someone/other", "e.safetensors");
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("someone/other"), "{error}");
}

#[test]
fn a_static_network_becomes_dynamic_and_answers_the_same() {
    let shell = Shell::new();
    let source = golden("rn4.pth");
    let report = parsed(&shell.ok(&format!("import {source} --out dynamic.safetensors --to-dynamic 4 --json")));
    let dynamic = &report["to_dynamic"];
    assert!(dynamic["largest_relative_difference"].as_f64().unwrap() < 1e-4, "{report}");
    assert_eq!(dynamic["kernels"], 4);
    assert!(dynamic["layers"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(dynamic["layers"], report["dynamic_layers"]);
    assert_eq!(model(&shell, "dynamic.safetensors").graph.dynamic_layers() as u64, dynamic["layers"].as_u64().unwrap());
    let said = shell.ok(&format!("import {source} --out again.safetensors --to-dynamic 2"));
    assert!(said.contains("layers made dynamic, 2 kernels each; against the static network: largest"), "{said}");
    // Again: all that can be is dynamic.
    let dynamic = golden("dy_rn4_golden.pth");
    shell.error(&format!("import {dynamic} --out x.safetensors --to-dynamic 4"));
}

#[test]
fn what_is_no_network_is_one_clear_line() {
    let shell = Shell::new();
    let says = |source: &str, expected: &str| shell.says(&format!("import {source} --out out.safetensors"), expected);
    shell.write("text.pth", b"these are words");
    says("text.pth", "text.pth: ");
    shell.write("empty.pth", b"");
    says("empty.pth", "empty.pth: is empty");
    shell.write("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    says("lfs.safetensors", "is a pointer of Git LFS, not the file itself");
    says("absent.pth", "absent.pth: cannot be read");
    fs::create_dir(shell.path("folder")).unwrap();
    says("folder", "folder: the folder holds no weights");
    for name in ["rn4.pth", "rn4_legacy.pth", "rn4.safetensors", "rn4_module.pt"] {
        let bytes = fs::read(golden(name)).unwrap();
        for part in [16, bytes.len() / 2, bytes.len() - 1] {
            shell.write("cut", &bytes[..part]);
            let error = shell.error("import cut --out out.safetensors");
            assert!(error.contains("cut: "), "{name} cut to {part}: {error}");
        }
    }
    let rn4 = golden("rn4.pth");
    let arch = |name: &str| format!("import {rn4} --arch {name} --out out.safetensors");
    shell.says(&arch("resnet_18"), "did you mean `resnet18`? (`dyconv models` lists all)");
    shell.says(&arch("mobilenet_v2"), "the state dict does not fit");
    shell.ok(&format!("import {rn4} --out ours.safetensors"));
    says("ours.safetensors", "is a model file of dyconv already");
    let pictures = golden("pictures.npy");
    let check = |output: &str| format!("import {rn4} --out out.safetensors --check {pictures} {output}");
    shell.says(&check(&pictures), "has shape [2, 3, 32, 32], the network answers 2 × [");
    shell.says(&check("absent.npy"), "absent.npy: cannot be read");
    assert!(!shell.path("out.safetensors").exists());
}

/// The bytes of a safetensors file with this header.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn a_name_that_occurs_twice_is_named() {
    let shell = Shell::new();
    let header = r#"{"a.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"module.a.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    shell.write("twice.safetensors", &safetensors(header, &[0; 8]));
    shell.says("import twice.safetensors --out out.safetensors", "tensor `a.weight` occurs twice");
}

fn onnx(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/onnx").join(name).display().to_string()
}

#[test]
fn every_onnx_file_answers_as_in_pytorch() {
    let shell = Shell::new();
    let list = fs::read_to_string(onnx("LIST")).unwrap();
    let mut dynamic = 0;
    for line in list.lines() {
        let [file, input, output] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let import = format!("import {} --out {file}.safetensors --json", onnx(file));
        let report = parsed(&shell.ok(&format!("{import} --check {} {}", onnx(input), onnx(output))));
        let difference = report["check"]["largest_relative_difference"].as_f64().unwrap();
        assert!(difference <= 1e-4, "{file}: {difference}");
        assert_eq!((&report["kind"], &report["written"]), (&json!("ONNX"), &json!(true)), "{file}");
        let is_dynamic = ["golden_", "kaijieshi7_", "tardelean_", "timm_condconv_"].iter().any(|f| file.starts_with(f));
        assert_eq!(report["dynamic_layers"].as_u64().unwrap() > 0, is_dynamic, "{file}: {report}");
        dynamic += usize::from(is_dynamic);
    }
    assert!(dynamic >= 10 && list.lines().count() >= 40, "{dynamic} of {}", list.lines().count());
}

/// An array in NumPy's form as a tensor in ONNX's.
fn tensor(npy: &str, dims: &[u8]) -> Vec<u8> {
    let bytes = fs::read(npy).unwrap();
    let data = &bytes[10 + usize::from(bytes[8]) + 256 * usize::from(bytes[9])..];
    // dims (field 1), data_type (field 2) FLOAT, raw_data (field 9) with its length.
    let mut tensor: Vec<u8> = dims.iter().flat_map(|d| [0x08, *d]).chain([0x10, 1, 0x4a]).collect();
    let mut length = data.len();
    while length >= 0x80 {
        tensor.push(length as u8 | 0x80);
        length >>= 7;
    }
    tensor.push(length as u8);
    tensor.extend(data);
    tensor
}

#[test]
fn the_test_data_beside_an_onnx_file_are_compared() {
    let shell = Shell::new();
    let (file, input, output) =
        ("tv_resnet_basic-torchscript.onnx", "pictures_2x3x32x32.npy", "tv_resnet_basic.out.npy");
    let bytes = fs::read(onnx(file)).unwrap();
    shell.write("zoo/model", &bytes);
    shell.write("zoo/test_data_set_0/input_0.pb", &tensor(&onnx(input), &[2, 3, 32, 32]));
    shell.write("zoo/test_data_set_0/output_0.pb", &tensor(&onnx(output), &[2, 5]));
    // The file is recognized by its content.
    let said = shell.ok("import zoo/model --out a.safetensors");
    assert!(said.starts_with("answers compared with test_data_set_0: largest relative difference "), "{said}");
    shell.write("zoo/test_data_set_0/output_0.pb", &tensor(&onnx("tv_vgg.out.npy"), &[2, 5]));
    shell.says("import zoo/model --out b.safetensors", "does not answer as the original");
    shell.write("zoo/test_data_set_0/output_0.pb", &tensor(&onnx(output), &[1, 10]));
    shell.says("import zoo/model --out b.safetensors", "output_0.pb: has shape [1, 10], the network answers 2 × [5]");
    shell.write("zoo/test_data_set_0/output_0.pb", b"\x08");
    shell.says("import zoo/model --out b.safetensors", "output_0.pb: not a valid ONNX model");

    for part in [1, 100, bytes.len() / 2, bytes.len() - 1] {
        shell.write("cut.onnx", &bytes[..part]);
        let error = shell.error("import cut.onnx --out b.safetensors");
        assert!(error.contains("cut.onnx: "), "cut to {part}: {error}");
    }
    shell.write("words.onnx", b"these are words");
    shell.says("import words.onnx --out b.safetensors", "words.onnx: not a valid ONNX model");
    let expected =
        "naming an architecture means nothing for an ONNX file, which describes its network itself; leave --arch out";
    shell.says("import zoo/model --out b.safetensors --arch resnet18", expected);
    assert!(!shell.path("b.safetensors").exists());
}
