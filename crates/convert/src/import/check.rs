//! Compares an imported network with the answers of the original: arrays that the caller has, or the test data beside an
//! ONNX file.

use std::path::{Path, PathBuf};

use dyconv_graph::{Graph, Weights};
use dyconv_metrics::softmax;
use dyconv_onnx::Ending;

use super::options::{Array, Pair};
use super::report::ImportCheck;
use crate::answers::{Difference, answers};
use crate::error::ConvertError;
use crate::files;

/// What a comparison with an ONNX file needs.
pub struct Onnx {
    /// The folder of the file, where its test data lie.
    pub folder: PathBuf,
    /// What the file computes of the answers of the graph.
    pub ending: Ending,
}

/// Runs the network on what there is to compare with, `given` or beside an ONNX file; `None` if there is nothing.
pub fn check(
    given: Option<Pair>,
    onnx: Option<&Onnx>,
    graph: &Graph,
    weights: &Weights,
    tau: f32,
) -> Result<Option<ImportCheck>, ConvertError> {
    let (pairs, expected) = match (given, onnx) {
        (Some(pair), _) => {
            let expected = pair.output.name.clone();
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
    Ok(sum.map(|difference| ImportCheck { expected, difference }))
}

fn compare(
    pair: &Pair,
    graph: &Graph,
    weights: &Weights,
    tau: f32,
    ending: Ending,
) -> Result<Difference, ConvertError> {
    let Pair { input, output } = pair;
    let fails = |array: &Array, message| Err(ConvertError::Array { name: array.name.clone(), message });
    for array in [input, output] {
        let Array { shape, values, .. } = array;
        if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) != Some(values.len()) {
            return fails(array, format!("has shape {shape:?}, but {} values", values.len()));
        }
    }
    let [c, h, w] = graph.input_dims();
    let shape = &input.shape;
    if shape.len() != 4 || shape[1..] != [c, h, w] || shape[0] == 0 {
        return fails(input, format!("has shape {shape:?}, the network expects [N, {c}, {h}, {w}]"));
    }
    let rows = shape[0];
    let each = graph.output_shape();
    // A vector may come as a map of one pixel.
    let dims: Vec<usize> = output.shape.iter().copied().skip(1).collect();
    let ends_in_ones = dims.len() > 1 && dims[1..].iter().all(|d| *d == 1);
    let fits = dims == each.dims() || (ends_in_ones && dims[..1] == each.dims());
    if output.shape.first() != Some(&rows) || !fits {
        return fails(output, format!("has shape {:?}, the network answers {rows} × {each}", output.shape));
    }
    let (input, expected) = (&input.values, &output.values);
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
fn test_data(folder: &Path) -> Result<(Vec<String>, Vec<Pair>), ConvertError> {
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
fn tensor(path: &Path) -> Result<Array, ConvertError> {
    let name = path.display().to_string();
    match dyconv_onnx::read_tensor(&files::read(path)?) {
        Ok(tensor) => Ok(Array { name, shape: tensor.shape, values: tensor.data }),
        Err(error) => Err(ConvertError::Onnx { name, error }),
    }
}
