//! `dyconv new`: an untrained model file, so that other tools can fill in weights.

use std::path::PathBuf;

use anyhow::bail;
use dyconv::file::{Model, Preprocessing, Provenance, Task};
use dyconv::graph::{Init, RouterInit, cost, init};

use super::model_args::ModelArgs;
use super::output::{print, thousands};

/// Write an untrained model file that other tools can fill with weights
#[derive(clap::Args)]
#[command(after_help = "Tensors are named <node>.<parameter>; docs/model-file.md describes the format.

Examples:
  dyconv new dy_mobilenet_v2_x1_0 --out fresh.safetensors
  dyconv new dy_resnet10 --classes 10 --image-size 32 --small-stem --out cifar.safetensors")]
pub struct Args {
    /// Name of an architecture (see `dyconv models`)
    name: String,
    /// File to write; must not exist
    #[arg(long)]
    out: PathBuf,
    /// Seed of the first weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Temperature of the routers' softmax
    #[arg(long, default_value_t = 1.0)]
    tau: f32,
    /// Peaky first attention instead of a near uniform one
    #[arg(long)]
    large_router_init: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.out.exists() {
        bail!("{} exists already; choose another file", args.out.display());
    }
    let graph = args.model.build(&args.name)?;
    let router = if args.large_router_init { RouterInit::Large } else { RouterInit::Small };
    let side = args.model.image_size;
    let model = Model {
        weights: init(&graph, Init { seed: args.seed, router }),
        preprocessing: Preprocessing::usual(args.model.channels, [side, side], side * 256 / 224),
        task: Task::Classification { classes: (0..args.model.classes).map(|c| c.to_string()).collect() },
        provenance: Provenance {
            producer: concat!("dyconv ", env!("CARGO_PKG_VERSION")).into(),
            model: args.name.clone(),
            recipe: String::new(),
        },
        tau: args.tau,
        graph,
    };
    model.write(&args.out)?;
    let params = thousands(cost(&model.graph).params);
    print(&format!("{}: {} with {params} parameters\n", args.out.display(), args.name))
}
