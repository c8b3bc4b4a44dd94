//! What is written passes ONNX's own checker and gives the same answers in ONNX Runtime, for batches of 1, 3 and 8. The
//! files and the answers that are expected go into a folder (`DYCONV_EXPORTS`, to keep them), which
//! `tests/python/check_exports.py` reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyconv_engine::{Plan, Session, oracle};
use dyconv_file::Preprocessing;
use dyconv_graph::{Graph, Weights};
use dyconv_models::{FAMILIES, Options};
use dyconv_onnx::write::{Batch, Form, WriteOptions, write};
use serde_json::json;

use crate::networks::{TAU, attention, frozen, noise, small, weights};

const BATCH: usize = 8;

/// A folder of exports in the making.
struct Exports {
    folder: PathBuf,
    entries: Vec<serde_json::Value>,
    _temporary: Option<tempfile::TempDir>,
}

impl Exports {
    fn new(name: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let (folder, temporary) = match std::env::var_os("DYCONV_EXPORTS") {
            Some(folder) => (Path::new(&folder).join(name), None),
            None => (temporary.path().to_owned(), Some(temporary)),
        };
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, entries: Vec::new(), _temporary: temporary }
    }

    /// Writes one export with its input (one of the element types `f4` and `u1`) and the answer that is expected.
    fn add(&mut self, network: &str, model: &[u8], input: (&str, &[u8], &[usize]), answer: &[f32], batches: &[usize]) {
        let file = |suffix: &str, bytes: &[u8]| {
            let name = format!("{}{suffix}", self.entries.len());
            std::fs::write(self.folder.join(&name), bytes).unwrap();
            name
        };
        let (kind, values, shape) = input;
        let entry = json!({
            "network": network,
            "model": file(".onnx", model),
            "input": {"file": file(".input", values), "type": kind, "shape": shape},
            "answer": file(".answer", &bytes(answer)),
            "batches": batches,
        });
        self.entries.push(entry);
    }

    /// A network in every form, and the answers for `input` that `run` computes.
    fn add_forms(&mut self, name: &str, graph: &Graph, weights: &Weights, run: Run) {
        let [c, h, w] = graph.input_dims();
        let input = noise(9, BATCH * c * h * w);
        let answer = run(graph, weights, &input);
        let mut add = |form, batch, answer: &[f32], batches: &[usize], pi: Option<&BTreeMap<String, Vec<f32>>>| {
            let options = WriteOptions { form, batch, attention: pi, ..WriteOptions::default() };
            let written = write(graph, weights, TAU, &options).unwrap();
            assert!(written.external.is_none());
            let name = format!("{name} {}", format!("{form:?}").to_lowercase());
            self.add(&name, &written.model, ("f4", &bytes(&input), &[c, h, w]), answer, batches);
        };
        add(Form::Portable, Batch::Free, &answer, &[1, 3, BATCH], None);
        if graph.dynamic_layers() > 0 {
            add(Form::Exact, Batch::Fixed(1), &answer, &[1], None);
            let pi = attention(graph);
            let (constant, mixed) = frozen(graph, weights, &pi);
            let answer = run(&constant, &mixed, &input);
            add(Form::Frozen, Batch::Free, &answer, &[1, 3, BATCH], Some(&pi));
        }
    }

    /// Runs the checker and the runtime.
    fn check(self) {
        std::fs::write(self.folder.join("exports.json"), json!(self.entries).to_string()).unwrap();
        let Some(python) = python() else {
            return skip("no python3 with onnx and onnxruntime; set DYCONV_TEST_PYTHON to one");
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/check_exports.py");
        let output = Command::new(python).arg(script).arg(&self.folder).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        say(&text(&output.stdout));
    }
}

type Run = fn(&Graph, &Weights, &[f32]) -> Vec<f32>;

fn by_oracle(graph: &Graph, weights: &Weights, input: &[f32]) -> Vec<f32> {
    oracle::run(graph, weights, TAU, input, BATCH).unwrap()
}

fn by_engine(graph: &Graph, weights: &Weights, input: &[f32]) -> Vec<f32> {
    Session::new(Plan::new(graph, weights, TAU).unwrap()).predict(input, BATCH).unwrap().to_vec()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The Python to use: `DYCONV_TEST_PYTHON`, which must work, or `python3`, if it has the packages.
fn python() -> Option<String> {
    if let Ok(python) = std::env::var("DYCONV_TEST_PYTHON") {
        return Some(python);
    }
    let has = Command::new("python3").args(["-c", "import onnx, onnxruntime"]).output();
    has.is_ok_and(|o| o.status.success()).then(|| "python3".into())
}

/// Says why a test cannot be done on this machine. Where `DYCONV_TEST_ALL` is set, as in CI, that is a failure.
fn skip(reason: &str) {
    assert!(std::env::var_os("DYCONV_TEST_ALL").is_none(), "may not be skipped where DYCONV_TEST_ALL is set: {reason}");
    say(&format!("skipped: {reason}"));
}

#[allow(clippy::print_stdout, reason = "a test says what it measured, and what it could not try")]
fn say(text: &str) {
    println!("{text}");
}

#[test]
fn every_op_and_every_kind_of_dynamic_layer() {
    let mut exports = Exports::new("small");
    for (name, graph) in small() {
        exports.add_forms(&name, &graph, &weights(&graph), by_oracle);
    }
    exports.check();
}

/// Every family, static and dynamic, as a classifier and with both keypoint heads: narrow, so that files are small.
#[test]
fn every_family() {
    let options = Options { classes: 10, joints: 5, image_size: [64, 64], width: Some(0.125), ..Options::default() };
    for family in FAMILIES {
        let family = family.name;
        let mut exports = Exports::new(family);
        let pose = ["a", "b"].map(|head| [format!("pose_{family}_{head}"), format!("pose_dy_{family}_{head}")]);
        for name in [family.to_owned(), format!("dy_{family}")].into_iter().chain(pose.into_iter().flatten()) {
            let head_width = if name.starts_with("pose_") { 0.125 } else { 1.0 };
            let graph = dyconv_models::build(&name, &Options { head_width, ..options.clone() }).unwrap();
            let mut weights = weights(&graph);
            if let Some(heatmaps) = weights.0.get_mut("heatmaps.weight") {
                // As large as other layers: near zero, the bias would be all of the answer.
                heatmaps.data.iter_mut().for_each(|w| *w *= 300.0);
            }
            exports.add_forms(&name, &graph, &weights, by_engine);
        }
        exports.check();
    }
}

#[test]
fn a_fixed_batch_and_preprocessing_inside() {
    let mut exports = Exports::new("preprocessing");
    let options = Options { classes: 10, image_size: [32, 24], small_stem: true, ..Options::default() };
    for name in ["mb4", "dy_rn4"] {
        let graph = dyconv_models::build(name, &options).unwrap();
        let weights = weights(&graph);
        let preprocessing = Preprocessing::usual(3, [32, 24], 32);
        let pixels: Vec<u8> = noise(5, BATCH * 32 * 24 * 3).iter().map(|v| ((v + 1.0) * 127.0) as u8).collect();
        let Preprocessing { mean, std, .. } = &preprocessing;
        let mut input = Vec::new();
        for sample in pixels.chunks(32 * 24 * 3) {
            for c in 0..3 {
                input.extend(sample[c..].iter().step_by(3).map(|v| (f32::from(*v) / 255.0 - mean[c]) / std[c]));
            }
        }
        let answer = by_engine(&graph, &weights, &input);
        for (batch, batches) in [(Batch::Free, [1, 3, BATCH].as_slice()), (Batch::Fixed(3), &[3])] {
            let options = WriteOptions { batch, preprocessing: Some(&preprocessing), ..WriteOptions::default() };
            let written = write(&graph, &weights, TAU, &options).unwrap();
            exports.add(name, &written.model, ("u1", &pixels, &[32, 24, 3]), &answer, batches);
            let options = WriteOptions { preprocessing: None, ..options };
            let written = write(&graph, &weights, TAU, &options).unwrap();
            exports.add(name, &written.model, ("f4", &bytes(&input), &[3, 32, 24]), &answer, batches);
        }
    }
    exports.check();
}
