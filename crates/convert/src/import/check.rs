//! Compares an imported network with the answers of the original: arrays that the user names, or the test data beside an
//! ONNX file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use dyconv_graph::{Graph, Weights};
use dyconv_metrics::softmax;
use dyconv_onnx::Ending;
use serde::Serialize;

use super::args::Args;
use crate::answers::{Difference, answers};
use crate::npy;

/// Largest relative difference from the original.
pub const BOUND: f64 = 1e-3;

/// What a comparison with an ONNX file needs.
pub struct Onnx {
    /// The folder of the file, where its test data lie.
    pub folder: PathBuf,
    /// What the file computes of the answers of the graph.
    pub ending: Ending,
}

/// The outcome of a comparison.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Where the original's answers are from.
    pub expected: String,
    #[serde(flatten)]
    pub difference: Difference,
}

/// Inputs and expected outputs, both with their shapes.
pub struct Pair {
    input: (PathBuf, Vec<usize>, Vec<f32>),
    output: (PathBuf, Vec<usize>, Vec<f32>),
}

impl Pair {
    /// The arrays of `--check`, if it is given.
    pub fn given(args: &Args) -> anyhow::Result<Option<Self>> {
        let Some([input, output]) = args.check.as_deref() else { return Ok(None) };
        let read = |path: &Path| npy::read(path).map(|(shape, values)| (path.to_owned(), shape, values));
        Ok(Some(Self { input: read(input)?, output: read(output)? }))
    }

    /// Height and width of the inputs, if they are images.
    pub fn image_size(&self) -> Option<[usize; 2]> {
        match self.input.1[..] {
            [_, _, height, width] => Some([height, width]),
            _ => None,
        }
    }
}

/// Runs the network on what there is to compare with, `given` or beside an ONNX file; `None` if there is nothing.
pub fn check(
    given: Option<Pair>,
    onnx: Option<&Onnx>,
    graph: &Graph,
    weights: &Weights,
    tau: f32,
) -> anyhow::Result<Option<Check>> {
    let (pairs, expected) = match (given, onnx) {
        (Some(pair), _) => {
            let expected = pair.output.0.display().to_string();
            (vec![pair], expected)
        }
        (_, Some(onnx)) => {
            let (sets, pairs) = test_data(&onnx.folder)?;
            (pairs, sets.join(", "))
        }
        _ => return Ok(None),
    };
    let ending = onnx.map_or(Ending::Values, |onnx| onnx.ending);
    let mut sum: Option<Difference> = None;
    for pair in &pairs {
        let difference = compare(pair, graph, weights, tau, ending)?;
        sum = Some(sum.map_or(difference, |sum| sum.and(difference)));
    }
    Ok(sum.map(|difference| Check { expected, difference }))
}

fn compare(pair: &Pair, graph: &Graph, weights: &Weights, tau: f32, ending: Ending) -> anyhow::Result<Difference> {
    let (path, shape, input) = &pair.input;
    let [c, h, w] = graph.input_dims();
    ensure!(
        shape.len() == 4 && shape[1..] == [c, h, w] && shape[0] > 0,
        "{}: has shape {shape:?}, the network expects [N, {c}, {h}, {w}]",
        path.display()
    );
    let (path, found, expected) = &pair.output;
    let rows = shape[0];
    let each = graph.output_shape();
    // A vector may come as a map of one pixel.
    let dims: Vec<usize> = found.iter().copied().skip(1).collect();
    let ends_in_ones = dims.len() > 1 && dims[1..].iter().all(|d| *d == 1);
    let fits = dims == each.dims() || (ends_in_ones && dims[..1] == each.dims());
    ensure!(
        found.first() == Some(&rows) && fits,
        "{}: has shape {found:?}, the network answers {rows} × {each}",
        path.display()
    );
    let found = answers(graph, weights, tau, input, rows)?;
    let plain = Difference::of(&found, expected, rows, each);
    let ended = Difference::of(&ended(&found, rows, ending), expected, rows, each);
    // What is expected may be the answers of the ONNX file, or those of the network that it was exported from.
    Ok(if ended.largest_relative_difference < plain.largest_relative_difference { ended } else { plain })
}

/// The answers as an ONNX file with this ending gives them.
fn ended(answers: &[f32], rows: usize, ending: Ending) -> Vec<f32> {
    let each = (answers.len() / rows.max(1)).max(1);
    match ending {
        Ending::Values => answers.to_vec(),
        Ending::Softmax => answers.chunks(each).flat_map(softmax).collect(),
        Ending::LogSoftmax => answers.chunks(each).flat_map(softmax).map(f32::ln).collect(),
    }
}

/// The test data beside an ONNX file, as its tools write them: `test_data_set_0/input_0.pb` and `output_0.pb`, and further
/// sets. Returns their names, and the data.
fn test_data(folder: &Path) -> anyhow::Result<(Vec<String>, Vec<Pair>)> {
    let (mut names, mut pairs) = (Vec::new(), Vec::new());
    for number in 0.. {
        let name = format!("test_data_set_{number}");
        let [input, output] = ["input_0.pb", "output_0.pb"].map(|file| folder.join(&name).join(file));
        if !input.is_file() || !output.is_file() {
            break;
        }
        pairs.push(Pair { input: tensor(&input)?, output: tensor(&output)? });
        names.push(name);
    }
    Ok((names, pairs))
}

/// Reads a tensor in ONNX's form.
fn tensor(path: &Path) -> anyhow::Result<(PathBuf, Vec<usize>, Vec<f32>)> {
    let name = path.display();
    let about = fs::metadata(path).with_context(|| format!("{name}: cannot be read"))?;
    crate::memory::check(2 * about.len(), || format!("{name}: reading it"))?;
    let bytes = fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    let tensor = dyconv_onnx::read_tensor(&bytes).map_err(|e| anyhow!("{name}: {e}"))?;
    Ok((path.to_owned(), tensor.shape, tensor.data))
}
