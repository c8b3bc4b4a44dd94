//! `dyconv models`: lists every architecture with its cost, static and dynamic side by side.

use dyconv_graph::cost;
use dyconv_models::{ALL, FAMILIES, ModelName, Options, build, dynamic_form, pose_names};
use serde::Serialize;

use crate::output::{print, print_json, thousands};
use crate::table::Table;

/// List the architectures with their parameters and multiply-adds
#[derive(clap::Args)]
#[command(
    after_help = "Every network exists as a static twin and, with `dy_` in front, as a dynamic network. Any width can be asked for by name: mobilenet_v2_x0_6, dy_resnet18_x0_25. With `pose_` in front it is the backbone of a keypoint network, whose head is `_a` (transposed convolutions) or `_b` (upsampling and inverted residual blocks, dynamic too): pose_dy_mobilenet_v2_x0_5_b.

Examples:
  dyconv models
  dyconv models --json | python3 -m json.tool"
)]
pub struct Args {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    params: u64,
    madds: u64,
    static_twin: String,
    static_params: u64,
    static_madds: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for twin in ALL.iter().map(|n| (*n).to_owned()).chain(pose_names()) {
        let name = dynamic_form(&twin);
        let options = Options { image_size: twin.parse::<ModelName>()?.image_size(), ..Options::default() };
        let [dynamic, still] = [&name, &twin].map(|name| build(name, &options).map(|g| cost(&g)));
        let (dynamic, still) = (dynamic?, still?);
        rows.push(Row {
            name,
            params: dynamic.params,
            madds: dynamic.total.total(),
            static_twin: twin,
            static_params: still.params,
            static_madds: still.total.total(),
        });
    }
    if args.json {
        return print_json(&rows);
    }
    let mut table = Table::new(&["name", "params", "MAdds", "static twin", "params", "MAdds", "more MAdds"]);
    for r in &rows {
        let more = 100.0 * (r.madds as f64 / r.static_madds as f64 - 1.0);
        table.row(vec![
            r.name.clone(),
            thousands(r.params),
            thousands(r.madds),
            r.static_twin.clone(),
            thousands(r.static_params),
            thousands(r.static_madds),
            format!("+{more:.1} %"),
        ]);
    }
    print(&format!(
        "{table}\n224 × 224 pixels, 1000 classes, K = 4; keypoint networks (pose_…) 256 × 192 pixels, 17 joints. A pooling addition counts as half a multiply-add.\n\n"
    ))?;
    let mut table = Table::new(&["family", "source"]);
    for family in FAMILIES {
        table.row(vec![family.name.into(), family.source.into()]);
    }
    print(&table.to_string())
}
