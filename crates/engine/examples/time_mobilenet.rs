//! Times a MobileNetV2 of random weights, static and dynamic (K = 4), on one thread:
//!
//! ```text
//! cargo run --release -p dyconv-engine --example time_mobilenet
//! ```
//!

use std::time::Instant;

use dyconv_engine::{Plan, Session};
use dyconv_graph::{
    Activation, Builder, Conv2d, Graph, GraphError, Init, Linear, MixConv, NodeId, Op, Router, cost, init,
};

struct Net {
    b: Builder,
    dynamic: bool,
}

impl Net {
    /// Convolution, batch norm, ReLU6.
    fn conv(&mut self, name: &str, x: NodeId, conv: Conv2d, dynamic: bool, act: bool) -> Result<NodeId, GraphError> {
        let mut y = if dynamic {
            let pi = self.b.router(&format!("{name}.router"), x, &Router::default())?;
            self.b.push(name, Op::MixConv(MixConv { kernels: 4, conv }), &[x, pi])?
        } else {
            self.b.push(name, Op::Conv(conv), &[x])?
        };
        y = self.b.push(&format!("{name}.bn"), Op::BatchNorm { eps: 1e-5 }, &[y])?;
        if act {
            y = self.b.push(&format!("{name}.act"), Op::Activation(Activation::Relu6), &[y])?;
        }
        Ok(y)
    }
}

/// (expansion, output channels, blocks, stride of the first)
const ROWS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

fn mobilenet_v2(dynamic: bool) -> Result<Graph, GraphError> {
    let mut n = Net { b: Builder::new([3, 224, 224])?, dynamic };
    let three = |c: usize, s: usize, groups: usize| Conv2d {
        stride: [s, s],
        padding: [1, 1],
        groups,
        ..Conv2d::new(c, [3, 3])
    };
    let (mut x, mut c) = (n.b.input(), 32);
    x = n.conv("stem", x, three(32, 2, 1), false, true)?;
    for (row, (expansion, out, blocks, first_stride)) in ROWS.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let (wide, dynamic) = (c * expansion, n.dynamic);
            let name = |part: &str| format!("blocks.{row}.{block}.{part}");
            let mut y = x;
            if expansion > 1 {
                y = n.conv(&name("expand"), y, Conv2d::new(wide, [1, 1]), dynamic, true)?;
            }
            y = n.conv(&name("depthwise"), y, three(wide, stride, wide), dynamic, true)?;
            y = n.conv(&name("project"), y, Conv2d::new(out, [1, 1]), dynamic, false)?;
            x = if stride == 1 && c == out { n.b.push(&name("add"), Op::Add, &[x, y])? } else { y };
            c = out;
        }
    }
    x = n.conv("head", x, Conv2d::new(1280, [1, 1]), false, true)?;
    x = n.b.push("pool", Op::GlobalAvgPool, &[x])?;
    x = n.b.push("classifier", Op::Linear(Linear { out_features: 1000, bias: true }), &[x])?;
    n.b.finish(x)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for dynamic in [false, true] {
        let graph = mobilenet_v2(dynamic)?;
        let plan = Plan::new(&graph, &init(&graph, Init::default()), 1.0)?;
        println!(
            "{} MobileNetV2: {:.1} M MAdds, weights {:.1} MB, arena {:.1} MB, scratch {:.1} MB",
            if dynamic { "dynamic" } else { "static" },
            cost(&graph).total.total() as f64 / 1e6,
            plan.weight_bytes() as f64 / 1e6,
            plan.arena_bytes() as f64 / 1e6,
            plan.scratch_bytes() as f64 / 1e6,
        );
        let mut session = Session::new(plan);
        let x: Vec<f32> = (0..3 * 224 * 224).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut y = vec![0.0; 1000];
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..60 {
            let start = Instant::now();
            session.run(&x, 1, &mut y)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!("  median {:.2} ms, fastest {:.2} ms", times[times.len() / 2], times[0]);
    }
    Ok(())
}
