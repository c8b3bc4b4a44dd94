//! `dyconv cost`: counts parameters and multiply-adds of a network.

use dyconv_file::Model;
use dyconv_graph::{Graph, Madds, NetworkCost, cost};
use serde::Serialize;

use crate::model_args::ModelArgs;
use crate::name_or_file::NameOrFile;
use crate::output::{print, print_json, thousands};
use crate::table::Table;

/// Count the parameters and multiply-adds of an architecture or a model file
#[derive(clap::Args)]
#[command(
    after_help = "convolution: all convolutions and every linear layer outside the routers; attention: the routers' linear layers; mixing: the weighted sum of the kernels; pooling: additions of the routers' average pooling, which count as half a multiply-add in the total.

Examples:
  dyconv cost dy_mobilenet_v2_x0_5
  dyconv cost dy_resnet18 --image-size 64 --small-stem --layers
  dyconv cost runs/digits-1/model.safetensors --json"
)]
pub struct Args {
    /// Name of an architecture (see `dyconv models`) or a model file
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// Print one line per layer
    #[arg(long)]
    layers: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Serialize)]
struct Json {
    params: u64,
    attention_params: u64,
    madds: MaddsJson,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerJson>,
}

#[derive(Serialize)]
struct MaddsJson {
    #[serde(flatten)]
    parts: Madds,
    total: u64,
}

#[derive(Serialize)]
struct LayerJson {
    name: String,
    op: &'static str,
    shape: Vec<usize>,
    params: u64,
    madds: MaddsJson,
}

impl From<Madds> for MaddsJson {
    fn from(parts: Madds) -> Self {
        Self { parts, total: parts.total() }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let graph = match NameOrFile::new(&args.what)? {
        NameOrFile::Name(name) => args.model.build(&name)?,
        NameOrFile::File(path) => Model::read(&path)?.graph,
    };
    let counted = cost(&graph);
    let layers = if args.layers { layers(&graph, &counted) } else { Vec::new() };
    if args.json {
        let NetworkCost { params, attention_params, total, .. } = counted;
        return print_json(&Json { params, attention_params, madds: total.into(), layers });
    }
    if args.layers {
        let mut table =
            Table::new(&["layer", "op", "output", "params", "convolution", "attention", "mixing", "pooling"]);
        for l in &layers {
            let m = &l.madds.parts;
            let shape = l.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
            let mut cells = vec![l.name.clone(), l.op.into(), format!("[{shape}]")];
            cells.extend([l.params, m.convolution, m.attention, m.mixing, m.pooling].map(thousands));
            table.row(cells);
        }
        print(&format!("{table}\n"))?;
    }
    let m = counted.total;
    let [c, h, w] = graph.input_dims();
    let mut table = Table::new(&["", "count"]);
    for (what, n) in [
        ("parameters", counted.params),
        ("  of these in routers", counted.attention_params),
        ("multiply-adds", m.total()),
        ("  convolution", m.convolution),
        ("  attention", m.attention),
        ("  mixing", m.mixing),
        ("  pooling (additions, half)", m.pooling),
        ("dynamic layers", graph.dynamic_layers() as u64),
    ] {
        table.row(vec![what.into(), thousands(n)]);
    }
    print(&format!("{table}\nfor one input of {c} × {h} × {w}\n"))
}

/// Every node with a cost.
fn layers(graph: &Graph, counted: &NetworkCost) -> Vec<LayerJson> {
    let costly = counted.nodes.iter().filter(|n| n.params > 0 || n.madds != Madds::default());
    costly
        .map(|n| {
            let node = graph.node(n.node);
            LayerJson {
                name: node.name.clone(),
                op: node.op.name(),
                shape: node.shape.dims(),
                params: n.params,
                madds: n.madds.into(),
            }
        })
        .collect()
}
