//! Weights of PyTorch in, ONNX out, without the program:
//!
//! ```sh
//! cargo run --release --example convert -- resnet18.pth resnet18.onnx
//! ```
//!
//! The source may also be a hub folder, or `hub:owner/name` in the local Hugging Face cache. The written file is read
//! back, and both networks answer a test input.

#![allow(clippy::print_stdout, reason = "an example says what it found")]

use std::path::Path;

use dyconv::engine::{Plan, Session};
use dyconv::onnx::{self, write::WriteOptions};
use dyconv::torch;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(source), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: convert WEIGHTS OUT.onnx".into());
    };
    // The architecture is recognized by the names and shapes of the tensors.
    let source = torch::open(&source)?;
    let imported = source.import(None, None)?;
    println!("{} with the names of {}: {} tensors", imported.arch, imported.dialect, imported.report.matched);
    imported.report.unused.iter().for_each(|tensor| println!("unused: {}", tensor.name));

    let written = onnx::write::write(&imported.graph, &imported.weights, 1.0, &WriteOptions::default())?;
    std::fs::write(&out, &written.model)?;
    println!("{out}: opset {}, {} bytes", written.opset, written.model.len());

    let back = onnx::read(&written.model, Path::new(&out).parent())?;
    let [c, h, w] = imported.graph.input_dims();
    let input: Vec<f32> = (0..c * h * w).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let answer = Session::new(Plan::new(&imported.graph, &imported.weights, 1.0)?).predict(&input, 1)?;
    let again = Session::new(Plan::new(&back.graph, &back.weights, back.tau)?).predict(&input, 1)?;
    let apart = answer.iter().zip(&again).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference: {apart:e}");
    Ok(())
}
