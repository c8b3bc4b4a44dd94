//! `dyconv new`: writes an untrained model file, which other tools can fill with weights.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use dyconv_file::{MAX_FILE_BYTES, Model, Provenance};
use dyconv_graph::{Init, RouterInit, cost, init};
use dyconv_models::ModelName;
use dyconv_task::{Preprocessing, Skeleton, Task};

use crate::memory;
use crate::model_args::ModelArgs;
use crate::output::{print, thousands};
use crate::skeleton;

/// Write an untrained model file that other tools can fill with weights
#[derive(clap::Args)]
#[command(after_help = "Tensors are named <node>.<parameter>; docs/model-file.md describes the format.

Examples:
  dyconv new dy_mobilenet_v2_x1_0 --out fresh.safetensors
  dyconv new dy_resnet10 --classes 10 --image-size 32 --small-stem --out cifar.safetensors
  dyconv new pose_dy_mobilenet_v2_x0_5_b --out pose.safetensors
  dyconv new pose_resnet18_a --joints 21 --skeleton hand.toml --image-size 128 --out hand.safetensors")]
pub struct Args {
    /// Name of an architecture (see `dyconv models`)
    name: String,
    /// File to write; must not exist
    #[arg(long)]
    out: PathBuf,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Temperature of the routers' softmax
    #[arg(long, default_value_t = 1.0)]
    tau: f32,
    /// Initialize routers with a peaky attention instead of a nearly uniform one
    #[arg(long)]
    large_router_init: bool,
    /// Keypoint networks: keypoints as TOML (`joints`, `sigmas`; optionally `bones`, `flip_pairs`, `upper_body`)
    /// [default: COCO person]
    #[arg(long, value_name = "FILE")]
    skeleton: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

impl Args {
    /// The task of the network.
    fn task(&self) -> anyhow::Result<Task> {
        if self.name.parse::<ModelName>()?.head.is_none() {
            ensure!(
                self.skeleton.is_none(),
                "--skeleton is for keypoint networks (pose_…), `{}` is a classifier",
                self.name
            );
            return Ok(Task::Classification { classes: (0..self.model.classes).map(|c| c.to_string()).collect() });
        }
        let skeleton = match &self.skeleton {
            None => Skeleton::coco(),
            Some(path) => skeleton::read(path)?,
        };
        let (given, asked) = (skeleton.joints.len(), self.model.joints);
        ensure!(given == asked, "the skeleton has {given} joints, --joints asks for {asked}; give both");
        Ok(Task::Keypoints(skeleton))
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.out.exists() {
        bail!("{} exists already; choose another file", args.out.display());
    }
    let graph = args.model.build(&args.name)?;
    let task = args.task()?;
    let bytes = 4 * graph.parameters().iter().map(|p| p.elements() as u64).sum::<u64>();
    ensure!(
        bytes <= MAX_FILE_BYTES,
        "{} would have {bytes} bytes of weights, and a model file has at most {MAX_FILE_BYTES}; ask for a smaller network",
        args.name
    );
    // The weights, their serialized bytes, and the file.
    memory::check(3 * bytes, || format!("{}: writing it", args.out.display()))?;
    let router = if args.large_router_init { RouterInit::Large } else { RouterInit::Small };
    let [channels, height, width] = graph.input_dims();
    let model = Model {
        weights: init(&graph, Init { seed: args.seed, router }),
        preprocessing: Preprocessing::usual(channels, [height, width], (height.min(width) * 256 / 224).min(16_384)),
        task,
        provenance: Provenance {
            producer: concat!("dyconv ", env!("CARGO_PKG_VERSION")).into(),
            model: args.name.clone(),
            ..Provenance::default()
        },
        tau: args.tau,
        graph,
    };
    model.write(&args.out)?;
    let params = thousands(cost(&model.graph).params);
    print(&format!("{}: {} with {params} parameters\n", args.out.display(), args.name))
}
