//! Networks out of bytes.

use arbitrary::{Result, Unstructured};
use dyconv::graph::{
    Activation, AvgPool2d, Builder, Conv2d, ConvTranspose2d, Gate, Graph, GraphError, Linear, MixConv, MixLinear,
    NodeId, Op, Pool2d, Router, Shape, UpsampleMode, samples,
};

/// Sizes on both sides of sixteen lanes.
const CHANNELS: [usize; 17] = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 64, 65];
const SIDES: [usize; 13] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 19, 24];

/// A network of up to twelve nodes and what joins their ends; none where the bytes fit no network.
pub fn graph(u: &mut Unstructured) -> Result<Option<Graph>> {
    let dims = [*u.choose(&CHANNELS[..14])?, *u.choose(&SIDES)?, *u.choose(&SIDES)?];
    let mut b = Builder::new(dims).expect("small sizes");
    let mut live = vec![b.input()];
    for i in 0..u.int_in_range(1..=12)? {
        let back = u.int_in_range(0..=3usize)?.min(live.len() - 1);
        let x = live[live.len() - 1 - back];
        let name = format!("n{i}");
        let pushed = match b.shape(x) {
            Shape::Map(dims) => map(u, &mut b, &name, x, dims, &live)?,
            Shape::Vector(_) => vector(u, &mut b, &name, x, &live)?,
        };
        live.extend(pushed);
        if b.shape(live[live.len() - 1]).elements() > 8_000 {
            break;
        }
    }
    if let Ok(graph) = b.clone().finish(live[live.len() - 1]) {
        return Ok(Some(graph));
    }
    Ok(joined(b, &live).ok())
}

/// All nodes brought to one size and added, so that each is read.
fn joined(mut b: Builder, live: &[NodeId]) -> std::result::Result<Graph, GraphError> {
    let mut sum = None;
    for (i, node) in live.iter().enumerate() {
        let vector = match b.shape(*node) {
            Shape::Map(_) => b.push(&format!("pool{i}"), Op::GlobalAvgPool, &[*node])?,
            Shape::Vector(_) => *node,
        };
        let part = b.push(&format!("end{i}"), Op::Linear(Linear { out_features: 5, bias: false }), &[vector])?;
        sum = Some(match sum {
            Some(sum) => b.push(&format!("sum{i}"), Op::Add, &[sum, part])?,
            None => part,
        });
    }
    b.finish(sum.expect("there is an input"))
}

/// A node behind a map; none where it does not fit.
fn map(
    u: &mut Unstructured,
    b: &mut Builder,
    name: &str,
    x: NodeId,
    [channels, height, width]: [usize; 3],
    live: &[NodeId],
) -> Result<Option<NodeId>> {
    let op = match u.int_in_range(0..=21u8)? {
        0 | 1 => Op::Conv(conv(u, channels, height, width)?),
        2 | 3 => {
            let kernels = u.int_in_range(1..=9)?;
            let conv = conv(u, channels, height, width)?;
            if b.clone().push(name, Op::Conv(conv.clone()), &[x]).is_err() {
                return Ok(None);
            }
            let gate = if u.arbitrary()? { Gate::Softmax } else { Gate::Sigmoid };
            let router = Router { kernels, reduction: 4, min_hidden: 1, gate };
            let pi = b.router(&format!("{name}.router"), x, &router).expect("a router fits everywhere");
            return Ok(b.push(name, Op::MixConv(MixConv { kernels, conv }), &[x, pi]).ok());
        }
        4 => Op::ConvTranspose(transpose(u, channels)?),
        5 => Op::BatchNorm { eps: 1e-3 },
        6 | 7 => Op::Activation(*u.choose(&samples::activations())?),
        8 => return Ok(b.push(name, Op::Add, &[x, alike(u, b, x, live)?]).ok()),
        9 => {
            let pool = b.push(&format!("{name}.pool"), Op::GlobalAvgPool, &[x]).expect("a map has a mean");
            let gate = Op::Activation(Activation::HardSigmoid);
            let gate = b.push(&format!("{name}.gate"), gate, &[pool]).expect("a vector has a gate");
            return Ok(b.push(name, Op::Scale, &[x, gate]).ok());
        }
        10 => Op::GlobalAvgPool,
        11 => {
            let kernel = [u.int_in_range(1..=4)?, u.int_in_range(1..=4)?];
            let stride = [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?];
            let padding = [u.int_in_range(0..=kernel[0] / 2)?, u.int_in_range(0..=kernel[1] / 2)?];
            let end_padding = end_padding(u, padding, [kernel[0] - 1, kernel[1] - 1])?;
            let pool = Pool2d { kernel, stride, padding, end_padding };
            match u.int_in_range(0..=2u8)? {
                0 => Op::MaxPool(pool),
                n => Op::AvgPool(AvgPool2d { pool, count_padding: n == 1 }),
            }
        }
        12 => {
            let mode = if u.arbitrary()? { UpsampleMode::Bilinear } else { UpsampleMode::Nearest };
            Op::Upsample { scale: u.int_in_range(1..=4)?, mode }
        }
        13 => Op::LeakyRelu { slope: 0.25 },
        14 => return Ok(b.push(name, Op::Mul, &[x, alike(u, b, x, live)?]).ok()),
        15 | 16 => return concat(u, b, name, x, live),
        17 | 18 => slice(u, channels)?,
        19 => Op::ChannelShuffle { groups: u.int_in_range(1..=4)? },
        20 => Op::Flatten,
        _ => Op::Dropout { rate: 0.2 },
    };
    Ok(b.push(name, op, &[x]).ok())
}

/// A node behind a vector.
fn vector(u: &mut Unstructured, b: &mut Builder, name: &str, x: NodeId, live: &[NodeId]) -> Result<Option<NodeId>> {
    let op = match u.int_in_range(0..=8u8)? {
        0 => Op::Linear(Linear { out_features: u.int_in_range(1..=70)?, bias: u.arbitrary()? }),
        1 => {
            let kernels = u.int_in_range(1..=6)?;
            let router = Router { kernels, ..Router::default() };
            let pi = b.router(&format!("{name}.router"), x, &router).expect("a router fits everywhere");
            let linear = Linear { out_features: u.int_in_range(1..=40)?, bias: u.arbitrary()? };
            return Ok(b.push(name, Op::MixLinear(MixLinear { kernels, linear }), &[x, pi]).ok());
        }
        2 => Op::Softmax,
        3 => Op::Activation(*u.choose(&samples::activations())?),
        4 => Op::LeakyRelu { slope: -0.5 },
        5 => return Ok(b.push(name, Op::Mul, &[x, alike(u, b, x, live)?]).ok()),
        6 => return concat(u, b, name, x, live),
        7 => slice(u, b.shape(x).channels())?,
        _ => return Ok(b.push(name, Op::Add, &[x, alike(u, b, x, live)?]).ok()),
    };
    Ok(b.push(name, op, &[x]).ok())
}

/// A node of the same shape.
fn alike(u: &mut Unstructured, b: &Builder, x: NodeId, live: &[NodeId]) -> Result<NodeId> {
    let same: Vec<NodeId> = live.iter().copied().filter(|y| b.shape(*y) == b.shape(x)).collect();
    u.choose(&same).copied()
}

/// Two to four nodes of equal height and width behind each other.
fn concat(u: &mut Unstructured, b: &mut Builder, name: &str, x: NodeId, live: &[NodeId]) -> Result<Option<NodeId>> {
    let sides = |y: NodeId| match b.shape(y) {
        Shape::Map([_, height, width]) => Some([height, width]),
        Shape::Vector(_) => None,
    };
    let fitting: Vec<NodeId> = live.iter().copied().filter(|y| sides(*y) == sides(x)).collect();
    let mut inputs = vec![x];
    for _ in 0..u.int_in_range(1..=3)? {
        inputs.push(*u.choose(&fitting)?);
    }
    Ok(b.push(name, Op::Concat, &inputs).ok())
}

fn slice(u: &mut Unstructured, of: usize) -> Result<Op> {
    let start = u.int_in_range(0..=of - 1)?;
    Ok(Op::Slice { start, channels: u.int_in_range(1..=of - start)? })
}

/// Padding at the end that differs from that at the beginning, or nothing.
fn end_padding(u: &mut Unstructured, padding: [usize; 2], most: [usize; 2]) -> Result<Option<[usize; 2]>> {
    if u.ratio(3, 4)? {
        return Ok(None);
    }
    let end = [u.int_in_range(0..=most[0])?, u.int_in_range(0..=most[1])?];
    Ok((end != padding).then_some(end))
}

fn conv(u: &mut Unstructured, channels: usize, height: usize, width: usize) -> Result<Conv2d> {
    let groups = match u.int_in_range(0..=5u8)? {
        0..=2 => 1,
        3 => channels,
        _ => *u.choose(&(1..=channels).filter(|g| channels.is_multiple_of(*g)).collect::<Vec<_>>())?,
    };
    let out_channels = match groups {
        1 => *u.choose(&CHANNELS)?,
        _ if groups == channels && u.arbitrary()? => channels,
        _ => groups * u.int_in_range(1..=4)?,
    };
    let side = |u: &mut Unstructured, size: usize| match u.int_in_range(0..=4u8)? {
        0 => Ok(1),
        1 | 2 => Ok(3),
        _ => u.int_in_range(1..=(size + 4).min(7)),
    };
    let kernel = [side(u, height)?, side(u, width)?];
    let step = |u: &mut Unstructured| match u.int_in_range(0..=5u8)? {
        0..=3 => Ok(1),
        4 => Ok(2),
        _ => u.int_in_range(1..=5),
    };
    let padding = [u.int_in_range(0..=4)?, u.int_in_range(0..=4)?];
    let end_padding = end_padding(u, padding, [4, 4])?;
    Ok(Conv2d {
        out_channels,
        kernel,
        stride: [step(u)?, step(u)?],
        padding,
        end_padding,
        dilation: [step(u)?, step(u)?],
        groups,
        bias: u.arbitrary()?,
    })
}

fn transpose(u: &mut Unstructured, channels: usize) -> Result<ConvTranspose2d> {
    let depthwise = u.ratio(1, 4)?;
    Ok(ConvTranspose2d {
        out_channels: if depthwise { channels } else { u.int_in_range(1..=40)? },
        kernel: [u.int_in_range(1..=5)?, u.int_in_range(1..=5)?],
        stride: [u.int_in_range(1..=4)?, u.int_in_range(1..=4)?],
        padding: [u.int_in_range(0..=2)?, u.int_in_range(0..=2)?],
        output_padding: [u.int_in_range(0..=2)?, u.int_in_range(0..=2)?],
        groups: if depthwise { channels } else { 1 },
        bias: u.arbitrary()?,
    })
}
