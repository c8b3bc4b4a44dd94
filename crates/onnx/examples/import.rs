//! Imports ONNX files and compares their answers with stored ones.
//!
//! `cargo run -p dyconv-onnx --example import -- FILE.onnx [INPUT.npy OUTPUT.npy]`
use std::error::Error;
use std::path::Path;

use dyconv_engine::oracle;
use dyconv_onnx::read;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.first().ok_or("which file?")?;
    let start = std::time::Instant::now();
    let imported = read(&std::fs::read(file)?, Path::new(file).parent())?;
    let took = start.elapsed();
    if std::env::var_os("NODES").is_some() {
        for node in imported.graph.nodes() {
            let inputs: Vec<&str> = node.inputs.iter().map(|i| imported.graph.node(*i).name.as_str()).collect();
            say(&format!("{} {} {} {inputs:?}", node.name, node.op.name(), node.shape));
        }
        say(&serde_json::to_string_pretty(&imported.report)?);
    }
    let mut line = format!(
        "{} nodes, {} dynamic, tau {}, {:.0} ms, {:?} {:?}",
        imported.graph.nodes().len(),
        imported.graph.dynamic_layers(),
        imported.tau,
        took.as_secs_f64() * 1e3,
        imported.report.folded,
        imported.report.notes
    );
    if let [_, input, output] = arguments.as_slice() {
        let (x, y) = (npy(input)?, npy(output)?);
        let samples = x.len() / imported.graph.input_dims().iter().product::<usize>();
        let answer = oracle::run(&imported.graph, &imported.weights, imported.tau, &x, samples)?;
        let largest = y.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let apart = answer.iter().zip(&y).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        if answer.len() != y.len() {
            line = format!("LENGTH {} {} {line}", answer.len(), y.len());
        }
        line = format!("{:.1e} {line}", apart / largest);
    }
    say(&line);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example prints")]
fn say(line: &str) {
    println!("{line}");
}

/// The values of a float32 array in NumPy's format.
fn npy(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    Ok(bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
