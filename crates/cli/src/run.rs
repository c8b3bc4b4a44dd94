//! `dyconv run`: runs a model on raw tensors, to compare it with other tools.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use dyconv_engine::{Session, oracle};
use dyconv_file::{Mapped, Model};
use dyconv_graph::Shape;

use crate::bank::Bank;
use crate::npy;
use crate::output::{note, print};

/// Run a model on raw tensors, to compare it with other tools
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
    /// Output array, .npy
    #[arg(long, required_unless_present = "all")]
    output: Option<PathBuf>,
    /// Write the value of every node to DIR/<node>.npy, except for nodes that the plan fused into others
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// Engine that runs the network
    #[arg(long, value_enum, default_value = "plan")]
    engine: Engine,
    /// Storage of the kernel banks in the engine `plan`
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
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
    let model = Model::open(&args.model)?;
    let (shape, input) = npy::read(&args.input)?;
    let [c, h, w] = model.graph.input_dims();
    ensure!(
        shape.len() == 4 && shape[1..] == [c, h, w] && shape[0] > 0,
        "{}: has shape {shape:?}, the model expects [N, {c}, {h}, {w}]",
        args.input.display()
    );
    ensure!(
        args.engine == Engine::Plan || args.bank == Bank::F32,
        "--bank: only the engine `plan` stores kernel banks; leave it out"
    );
    let (batch, answer) = (shape[0], model.graph.output_shape());
    let Some(folder) = &args.all else {
        let answers = run_network(args, model, &input, batch, None)?;
        return finish(args, batch, answer, &answers);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut failed = None;
    let mut written = 0;
    let mut visit = |name: &str, shape: Shape, values: &[f32]| {
        if failed.is_none() {
            failed = write(&folder.join(format!("{name}.npy")), batch, shape, values).err();
            written += 1;
        }
    };
    let answers = run_network(args, model, &input, batch, Some(&mut visit))?;
    if let Some(error) = failed {
        return Err(error);
    }
    print(&format!("{}: {written} arrays\n", folder.display()))?;
    finish(args, batch, answer, &answers)
}

fn finish(args: &Args, batch: usize, shape: Shape, answers: &[f32]) -> anyhow::Result<()> {
    if let Some(words) = not_finite(answers) {
        note(words);
    }
    let Some(path) = &args.output else { return Ok(()) };
    write(path, batch, shape, answers)?;
    print(&format!("{}: {batch} × {shape}\n", path.display()))
}

/// A warning if outputs are not finite.
fn not_finite(answers: &[f32]) -> Option<String> {
    let nan = answers.iter().filter(|v| v.is_nan()).count();
    let infinite = answers.iter().filter(|v| v.is_infinite()).count();
    let all = answers.len();
    (nan + infinite > 0)
        .then(|| format!("note: of {all} values of the answers {nan} are NaN and {infinite} are infinite"))
}

fn write(path: &Path, batch: usize, shape: Shape, values: &[f32]) -> anyhow::Result<()> {
    let dims: Vec<usize> = [batch].into_iter().chain(shape.dims()).collect();
    npy::write(path, &dims, values)
}

/// Runs the network once; passes the value of every node to `visit`, if there is one.
fn run_network(
    args: &Args,
    model: Model<Mapped>,
    input: &[f32],
    batch: usize,
    visit: Option<Visit<'_>>,
) -> anyhow::Result<Vec<f32>> {
    if args.engine == Engine::Plan {
        let (model, weights) = model.split();
        let mut session = Session::try_with_threads(args.bank.plan(&args.model, &model, &weights)?, 1)?;
        return Ok(match visit {
            Some(visit) => session.run_all(input, batch, visit)?,
            None => session.predict(input, batch)?,
        });
    }
    let model = Model::read(&args.model)?;
    let mut nobody = |_: &str, _: Shape, _: &[f32]| {};
    let visit = visit.unwrap_or(&mut nobody);
    match args.engine {
        Engine::Burn => through_burn(&model, input, batch, visit),
        _ => Ok(oracle::run_all(&model.graph, &model.weights, model.tau, input, batch, visit)?),
    }
}

#[cfg(feature = "train")]
fn through_burn(model: &Model, input: &[f32], batch: usize, visit: Visit<'_>) -> anyhow::Result<Vec<f32>> {
    use burn::tensor::{Device, Tensor, TensorData};
    let wanted = dyconv_nn::wanted_threads();
    crate::threads::tell(wanted, dyconv_nn::start_threads());
    let device = Device::flex();
    let network = dyconv_nn::Network::new(&model.graph, &model.weights, model.tau, &device)?;
    let [c, h, w] = model.graph.input_dims();
    let x = Tensor::<4>::from_data(TensorData::new(input.to_vec(), [batch, c, h, w]), &device);
    let answer = network.forward_all(x, |node, value| visit(&node.name, node.shape, &value.clone().into_vec()));
    Ok(answer.into_vec())
}

#[cfg(not(feature = "train"))]
fn through_burn(_: &Model, _: &[f32], _: usize, _: Visit<'_>) -> anyhow::Result<Vec<f32>> {
    anyhow::bail!("this build has no Burn: build with the feature `train`, or use --engine plan or oracle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_not_finite_are_counted() {
        assert_eq!(not_finite(&[0.0, f32::MAX]), None);
        let words = not_finite(&[f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY]).unwrap();
        assert_eq!(words, "note: of 4 values of the answers 1 are NaN and 2 are infinite");
    }
}
