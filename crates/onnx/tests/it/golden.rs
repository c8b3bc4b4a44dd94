//! Small networks as PyTorch's two exporters write them, with PyTorch's answers (`golden/onnx`).

use std::path::Path;

use dyconv_engine::oracle;
use dyconv_onnx::read;

/// Largest difference relative to the largest answer: f32 against f64, through tens of layers.
const TOLERANCE: f32 = 1e-4;

fn npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn pytorchs_exports_give_pytorchs_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/onnx");
    let list = std::fs::read_to_string(folder.join("LIST")).unwrap();
    let mut failures = Vec::new();
    for line in list.lines() {
        let [file, pictures, logits] = *line.split_whitespace().collect::<Vec<_>>() else { panic!("{line}") };
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let imported = match read(&bytes, Some(&folder)) {
            Ok(imported) => imported,
            Err(error) => {
                failures.push(format!("{file}: {error}"));
                continue;
            }
        };
        let (x, expected) = (npy(&folder.join(pictures)), npy(&folder.join(logits)));
        let samples = x.len() / imported.graph.input_dims().iter().product::<usize>();
        let mut found = oracle::run(&imported.graph, &imported.weights, imported.tau, &x, samples).unwrap();
        for row in found.chunks_mut(imported.graph.output_shape().elements()) {
            // What was left out at the end.
            let sum: f32 = row.iter().map(|v| v.exp()).sum();
            for note in &imported.report.notes {
                if note.starts_with("the softmax") {
                    row.iter_mut().for_each(|v| *v = v.exp() / sum);
                } else if note.starts_with("the log-softmax") {
                    row.iter_mut().for_each(|v| *v -= sum.ln());
                }
            }
        }
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let apart = found.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        let dynamic = ["kaijieshi7", "tardelean", "condconv", "matmul", "einsum", "sum_b"];
        let missing = dynamic.iter().any(|d| file.contains(d)) && imported.graph.dynamic_layers() == 0;
        if found.len() != expected.len() || apart > TOLERANCE * largest || missing {
            let relative = apart / largest;
            let layers = imported.graph.dynamic_layers();
            failures.push(format!("{file}: {relative:.1e} apart, {} values, {layers} dynamic layers", found.len()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
