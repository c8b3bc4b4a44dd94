//! Merges what our graph has no node for into the nodes around it: affine maps, borders, the temperature.

use std::rc::Rc;

use dyconv_graph::{Activation, Conv2d, Linear, MixConv, MixLinear, Op, Shape};

use super::arithmetic::never_negative;
use super::net::{Fill, Kind, Named, Net, near, uniform, zip};
use super::window::{merge_pad, one_tap};

/// Largest vector of which an affine map becomes a linear layer of its own.
const MAX_DIAGONAL: usize = 2048;
/// The ε of batch norms that stand for an affine map.
const EPS: f32 = 1e-5;

/// The temperature of all softmax routers: what all of them divide their scores by. If they differ, the divisions stay.
pub(super) fn temperature(net: &mut Net, output: usize) -> f32 {
    let live = net.live(output);
    let softmax: Vec<usize> = (0..net.nodes.len()).filter(|i| live[*i] && net.op(*i) == Some(&Op::Softmax)).collect();
    let factor = |net: &Net, node: usize| match &net.nodes[net.nodes[node].inputs[0]].kind {
        Kind::Affine { scale, shift } if uniform(shift) == Some(0.0) => uniform(scale),
        _ => None,
    };
    let Some(first) = softmax.first().and_then(|s| factor(net, *s)) else { return 1.0 };
    let tau = (1.0 / first) as f32;
    let same = softmax.iter().all(|s| factor(net, *s).is_some_and(|f| near(f, first)));
    if !(same && tau.is_finite() && tau > 0.0) {
        return 1.0;
    }
    for node in softmax {
        let scores = net.nodes[net.nodes[node].inputs[0]].inputs[0];
        net.nodes[node].inputs[0] = scores;
    }
    tau
}

/// Merges borders and affine maps; returns the output and what was folded.
pub(super) fn settle(net: &mut Net, mut output: usize) -> Result<(usize, usize), String> {
    let mut folded = 0;
    let mut live = net.live(output);
    let positive = never_negative(net);
    // Borders first: they may become the padding of their readers.
    for i in 0..net.nodes.len() {
        let Kind::Pad { begin, end, fill } = net.nodes[i].kind else { continue };
        if !live[i] {
            continue;
        }
        let input = net.nodes[i].inputs[0];
        let positive = fill == Fill::Zero && positive[input];
        let readers = net.readers(&live, i);
        live[i] = i == output;
        for reader in readers {
            let merged = match &net.nodes[reader].kind {
                Kind::Op(op) if net.nodes[reader].inputs[0] == i => merge_pad(op, begin, end, fill, positive),
                _ => None,
            };
            match merged {
                Some(op) => {
                    net.nodes[reader].kind = Kind::Op(op);
                    net.nodes[reader].inputs[0] = input;
                    folded += 1;
                }
                None => live[i] = true,
            }
        }
    }
    // Affine maps: into the layer before, else into all layers behind, else a layer of their own.
    for i in 0..net.nodes.len() {
        if !live[i] || !matches!(net.nodes[i].kind, Kind::Affine { .. }) {
            continue;
        }
        let readers = net.readers(&live, i);
        if into_affine(net, i, &readers, output) {
            // Its reader comes later.
            live[i] = false;
        } else if into_producer(net, i, &live, output) {
            folded += 1;
            let input = net.nodes[i].inputs[0];
            replace(net, i, input);
            if output == i {
                output = input;
            }
            live[i] = false;
        } else if into_readers(net, i, readers, output) {
            folded += 1;
            live[i] = false;
        } else {
            own_layer(net, i)?;
        }
    }
    for i in (0..net.nodes.len()).filter(|i| live[*i]) {
        let channels = net.nodes[i].shape.channels();
        if let Some((conv, tensors)) = one_tap(&net.nodes[i].kind, channels) {
            net.hold(channels)?;
            net.nodes[i].kind = Kind::Op(Op::Conv(conv));
            net.nodes[i].tensors = tensors;
        } else if !matches!(net.nodes[i].kind, Kind::Op(_)) {
            let what = match net.nodes[i].kind {
                Kind::Erf => "computes the error function outside a gelu",
                Kind::Pad { .. } => "pads with -inf what no maximum reads",
                Kind::Op(_) | Kind::Affine { .. } | Kind::Subsample(_) => "cannot be merged",
            };
            return Err(format!("node `{}` {what}", dyconv_graph::short_name(&net.nodes[i].origins.node)));
        }
    }
    Ok((output, folded))
}

/// Lets all readers of `from` read `to`.
fn replace(net: &mut Net, from: usize, to: usize) {
    for node in &mut net.nodes {
        for input in &mut node.inputs {
            if *input == from {
                *input = to;
            }
        }
    }
}

/// One value of a list that may have a single one for all.
fn at(values: &[f64], i: usize) -> f64 {
    values.get(i).or(values.first()).copied().unwrap_or(0.0)
}

fn affine(net: &Net, node: usize) -> (Vec<f64>, Vec<f64>) {
    match &net.nodes[node].kind {
        Kind::Affine { scale, shift } => (scale.clone(), shift.clone()),
        Kind::Op(_) | Kind::Erf | Kind::Pad { .. } | Kind::Subsample(_) => (vec![1.0], vec![0.0]),
    }
}

/// Scales the values of a tensor: the factor of each is that of its output, found by `output`.
fn scaled(tensors: &mut [Named], name: &str, by: impl Fn(usize) -> f64) {
    for tensor in tensors.iter_mut().filter(|t| t.0 == name) {
        for (i, v) in Rc::make_mut(&mut tensor.2).iter_mut().enumerate() {
            *v = (f64::from(*v) * by(i)) as f32;
        }
    }
}

/// Adds to a bias, which is made if there is none.
fn shifted(tensors: &mut Vec<Named>, shape: Vec<usize>, scale: impl Fn(usize) -> f64, shift: impl Fn(usize) -> f64) {
    let count = shape.iter().product();
    let old = tensors.iter().position(|t| t.0 == "bias").map(|i| tensors.remove(i).2);
    let values =
        (0..count).map(|i| (old.as_ref().map_or(0.0, |b| f64::from(b[i])) * scale(i) + shift(i)) as f32).collect();
    tensors.push(("bias", shape, Rc::new(values)));
}

/// Whether the coefficients of every sample sum to one.
fn sums_to_one(net: &Net, pi: usize) -> bool {
    net.op(pi) == Some(&Op::Softmax)
}

/// Folds an affine map into the layer before it, of which it must be the only reader.
fn into_producer(net: &mut Net, node: usize, live: &[bool], output: usize) -> bool {
    let producer = net.nodes[node].inputs[0];
    if producer == output || net.readers(live, producer).len() != 1 {
        return false;
    }
    let (scale, shift) = affine(net, node);
    let moved = shift.iter().any(|t| *t != 0.0);
    let pi = net.nodes[producer].inputs.get(1).copied();
    let one = pi.is_some_and(|pi| sums_to_one(net, pi));
    let entry = &mut net.nodes[producer];
    let Kind::Op(op) = &mut entry.kind else { return false };
    match op {
        Op::Conv(Conv2d { out_channels: outputs, bias, .. }) | Op::Linear(Linear { out_features: outputs, bias }) => {
            let outputs = *outputs;
            *bias |= moved;
            let biased = *bias;
            let row = entry.tensors.first().map_or(1, |t| t.2.len() / outputs);
            scaled(&mut entry.tensors, "weight", |i| at(&scale, i / row));
            if biased {
                shifted(&mut entry.tensors, vec![outputs], |o| at(&scale, o), |o| at(&shift, o));
            }
        }
        Op::ConvTranspose(conv) => {
            let (outputs, groups) = (conv.out_channels, conv.groups);
            conv.bias |= moved;
            let biased = conv.bias;
            let (area, each) = (conv.kernel[0] * conv.kernel[1], outputs / groups);
            let inputs = entry.tensors.first().map_or(1, |t| t.1[0]);
            let of = |i: usize| i / (area * each) / (inputs / groups) * each + i / area % each;
            scaled(&mut entry.tensors, "weight", |i| at(&scale, of(i)));
            if biased {
                shifted(&mut entry.tensors, vec![outputs], |o| at(&scale, o), |o| at(&shift, o));
            }
        }
        Op::MixConv(MixConv { kernels, conv: Conv2d { out_channels: outputs, bias, .. } })
        | Op::MixLinear(MixLinear { kernels, linear: Linear { out_features: outputs, bias } }) => {
            if moved && !one {
                return false;
            }
            let (kernels, outputs) = (*kernels, *outputs);
            *bias |= moved;
            let biased = *bias;
            let row = entry.tensors.first().map_or(1, |t| t.2.len() / (kernels * outputs));
            scaled(&mut entry.tensors, "weight", |i| at(&scale, i / row % outputs));
            if biased {
                let (by, add) = (|i: usize| at(&scale, i % outputs), |i: usize| at(&shift, i % outputs));
                shifted(&mut entry.tensors, vec![kernels, outputs], by, add);
            }
        }
        Op::BatchNorm { .. } => {
            let channels = entry.shape.channels();
            scaled(&mut entry.tensors, "weight", |i| at(&scale, i));
            let bias = entry.tensors.iter().position(|t| t.0 == "bias");
            if let Some(i) = bias {
                let old = entry.tensors[i].2.clone();
                let new = (0..channels).map(|c| (f64::from(old[c]) * at(&scale, c) + at(&shift, c)) as f32);
                entry.tensors[i].2 = Rc::new(new.collect());
            }
        }
        Op::Input
        | Op::Activation(
            Activation::Relu
            | Activation::Relu6
            | Activation::HardSwish
            | Activation::HardSigmoid
            | Activation::Sigmoid
            | Activation::Silu
            | Activation::Gelu,
        )
        | Op::LeakyRelu { .. }
        | Op::Softmax
        | Op::Add
        | Op::Mul
        | Op::Scale
        | Op::GlobalAvgPool
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => return false,
    }
    true
}

/// Merges an affine map into the affine map that is its only reader.
fn into_affine(net: &mut Net, node: usize, readers: &[usize], output: usize) -> bool {
    let [reader] = *readers else { return false };
    if node == output || !matches!(net.nodes[reader].kind, Kind::Affine { .. }) {
        return false;
    }
    let ((s, t), (scale, shift)) = (affine(net, node), affine(net, reader));
    let shift = zip(&zip(&scale, &t, |a, b| a * b), &shift, |a, b| a + b);
    net.nodes[reader].kind = Kind::Affine { scale: zip(&scale, &s, |a, b| a * b), shift };
    net.nodes[reader].inputs[0] = net.nodes[node].inputs[0];
    true
}

/// Folds an affine map into the layers that read it.
fn into_readers(net: &mut Net, node: usize, readers: Vec<usize>, output: usize) -> bool {
    if node == output {
        return false;
    }
    let (scale, shift) = affine(net, node);
    let moved = shift.iter().any(|t| *t != 0.0);
    let takes = |reader: &usize| {
        let entry = &net.nodes[*reader];
        let Kind::Op(op) = &entry.kind else { return false };
        if entry.inputs[0] != node || entry.inputs[1..].contains(&node) {
            return false;
        }
        match op {
            Op::Linear(_) | Op::MixLinear(_) => true,
            Op::Conv(conv) | Op::MixConv(MixConv { conv, .. }) => {
                !moved || (conv.padding == [0; 2] && conv.end_padding() == [0; 2])
            }
            _ => false,
        }
    };
    if readers.is_empty() || !readers.iter().all(takes) {
        return false;
    }
    let input = net.nodes[node].inputs[0];
    for reader in readers {
        let channels = net.nodes[node].shape.channels();
        let entry = &mut net.nodes[reader];
        entry.inputs[0] = input;
        let Kind::Op(op) = &mut entry.kind else { continue };
        // Weight [B, I, A]: rows, input channels of one group, taps; and the group of a row.
        let (kernels, outputs, groups, area, bias) = match op {
            Op::Linear(l) => (1, l.out_features, 1, 1, &mut l.bias),
            Op::MixLinear(m) => (m.kernels, m.linear.out_features, 1, 1, &mut m.linear.bias),
            Op::Conv(c) => (1, c.out_channels, c.groups, c.kernel[0] * c.kernel[1], &mut c.bias),
            Op::MixConv(m) => {
                let c = &mut m.conv;
                (m.kernels, c.out_channels, c.groups, c.kernel[0] * c.kernel[1], &mut c.bias)
            }
            _ => continue,
        };
        *bias |= moved;
        let inputs = channels / groups;
        let channel = |i: usize| {
            let row = i / (inputs * area) % outputs;
            row / (outputs / groups) * inputs + i / area % inputs
        };
        let mixed = entry.inputs.len() > 1;
        if moved {
            let weight = entry.tensors.first().map(|t| Rc::clone(&t.2)).unwrap_or_default();
            let size = inputs * area;
            let sum = |row: usize| {
                (0..size).map(|k| f64::from(weight[row * size + k]) * at(&shift, channel(row * size + k))).sum::<f64>()
            };
            let shape = if mixed { vec![kernels, outputs] } else { vec![outputs] };
            shifted(&mut entry.tensors, shape, |_| 1.0, sum);
        }
        scaled(&mut entry.tensors, "weight", |i| at(&scale, channel(i)));
    }
    true
}

/// An affine map as a batch norm, or as a linear layer.
fn own_layer(net: &mut Net, node: usize) -> Result<(), String> {
    let (scale, shift) = affine(net, node);
    let channels = net.nodes[node].shape.channels();
    net.hold(match net.nodes[node].shape {
        Shape::Map(_) => 4 * channels,
        Shape::Vector(_) => channels.min(MAX_DIAGONAL).pow(2),
    })?;
    let all = |values: &[f64]| Rc::new((0..channels).map(|c| at(values, c) as f32).collect::<Vec<f32>>());
    let entry = &mut net.nodes[node];
    match entry.shape {
        Shape::Map(_) => {
            let same = |value: f32| Rc::new(vec![value; channels]);
            entry.kind = Kind::Op(Op::BatchNorm { eps: EPS });
            entry.tensors = [
                ("weight", all(&scale)),
                ("bias", all(&shift)),
                ("running_mean", same(0.0)),
                ("running_var", same(1.0 - EPS)),
            ]
            .map(|(name, values)| (name, vec![channels], values))
            .into();
        }
        Shape::Vector(_) if channels <= MAX_DIAGONAL => {
            let mut weight = vec![0.0; channels * channels];
            (0..channels).for_each(|c| weight[c * channels + c] = at(&scale, c) as f32);
            let moved = shift.iter().any(|t| *t != 0.0);
            entry.kind = Kind::Op(Op::Linear(Linear { out_features: channels, bias: moved }));
            entry.tensors = super::window::layer(vec![channels, channels], Rc::new(weight), moved.then(|| all(&shift)));
        }
        Shape::Vector(_) => {
            let name = dyconv_graph::short_name(&entry.origins.node);
            return Err(format!("node `{name}` scales a vector of {channels} values that no layer makes or reads"));
        }
    }
    Ok(())
}
