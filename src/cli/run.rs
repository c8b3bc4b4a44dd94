//! `dyconv run`: raw tensors in and out, for checks against other tools.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use dyconv::engine::{Plan, Session, oracle};
use dyconv::file::Model;
use dyconv::graph::Shape;

use super::npy;
use super::output::print;

/// Run a model on raw tensors, for checks against other tools
#[derive(clap::Args)]
#[command(
    after_help = "The input is an array [N, C, H, W] of 32-bit floats as it stands after preprocessing; the output is the array of answers, logits [N, classes] for a classifier.

Engines: plan    the optimised CPU engine
         oracle  the same network in naive loops
         burn    the same network through Burn (in builds that can train)

Examples:
  dyconv run model.safetensors --input x.npy --output y.npy
  dyconv run model.safetensors --input x.npy --all nodes/ --engine oracle"
)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Input array [N, C, H, W], .npy
    #[arg(long)]
    input: PathBuf,
    /// Where to write the answers, .npy
    #[arg(long, required_unless_present = "all")]
    output: Option<PathBuf>,
    /// Write the value of every node to DIR/<node>.npy; nodes that the plan fused away have none
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// What runs the network
    #[arg(long, value_enum, default_value = "plan")]
    engine: Engine,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Engine {
    Plan,
    Oracle,
    Burn,
}

/// Called with the name, the shape of one sample, and the values of the batch.
type Visit<'a> = &'a mut dyn FnMut(&str, Shape, &[f32]);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let model = Model::read(&args.model)?;
    let (shape, input) = npy::read(&args.input)?;
    let [c, h, w] = model.graph.input_dims();
    ensure!(
        shape.len() == 4 && shape[1..] == [c, h, w] && shape[0] > 0,
        "{}: has shape {shape:?}, the model expects [N, {c}, {h}, {w}]",
        args.input.display()
    );
    let batch = shape[0];
    if let Some(folder) = &args.all {
        std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let mut failed = None;
        let mut written = 0;
        all(args.engine, &model, &input, batch, &mut |name, shape, values| {
            if failed.is_none() {
                failed = write(&folder.join(format!("{name}.npy")), batch, shape, values).err();
                written += 1;
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        print(&format!("{}: {written} arrays\n", folder.display()))?;
    }
    if let Some(path) = &args.output {
        let answers = answers(args.engine, &model, &input, batch)?;
        write(path, batch, model.graph.output_shape(), &answers)?;
        print(&format!("{}: {batch} × {}\n", path.display(), model.graph.output_shape()))?;
    }
    Ok(())
}

fn write(path: &Path, batch: usize, shape: Shape, values: &[f32]) -> anyhow::Result<()> {
    let dims: Vec<usize> = [batch].into_iter().chain(shape.dims()).collect();
    npy::write(path, &dims, values)
}

fn answers(engine: Engine, model: &Model, input: &[f32], batch: usize) -> anyhow::Result<Vec<f32>> {
    Ok(match engine {
        Engine::Plan => Session::new(Plan::new(&model.graph, &model.weights, model.tau)?).predict(input, batch)?,
        Engine::Oracle => oracle::run(&model.graph, &model.weights, model.tau, input, batch)?,
        Engine::Burn => through_burn(model, input, batch, &mut |_, _, _| {})?,
    })
}

fn all(engine: Engine, model: &Model, input: &[f32], batch: usize, visit: Visit<'_>) -> anyhow::Result<()> {
    match engine {
        Engine::Plan => {
            Session::new(Plan::new(&model.graph, &model.weights, model.tau)?).run_all(input, batch, visit)?
        }
        Engine::Oracle => oracle::run_all(&model.graph, &model.weights, model.tau, input, batch, visit)?,
        Engine::Burn => drop(through_burn(model, input, batch, visit)?),
    }
    Ok(())
}

#[cfg(feature = "train")]
fn through_burn(model: &Model, input: &[f32], batch: usize, visit: Visit<'_>) -> anyhow::Result<Vec<f32>> {
    use burn::tensor::{Device, Tensor, TensorData};
    let device = Device::flex();
    let network = dyconv::nn::Network::new(&model.graph, &model.weights, model.tau, &device)?;
    let [c, h, w] = model.graph.input_dims();
    let x = Tensor::<4>::from_data(TensorData::new(input.to_vec(), [batch, c, h, w]), &device);
    let answer = network.forward_all(x, |node, value| visit(&node.name, node.shape, &value.clone().into_vec()));
    Ok(answer.into_vec())
}

#[cfg(not(feature = "train"))]
fn through_burn(_: &Model, _: &[f32], _: usize, _: Visit<'_>) -> anyhow::Result<Vec<f32>> {
    anyhow::bail!("this build has no Burn: build with the feature `train`, or use --engine plan or oracle")
}
