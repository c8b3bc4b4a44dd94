//! Dynamic layers, in the forms in which exporters leave them.
//!
//! A vector π contracted with a bank is a linear layer without a bias; where its outputs become the weight of a
//! convolution, or are contracted with a map, it is the mixture of a dynamic layer. So is π contracted with the outputs
//! of one static convolution that has the outputs of all kernels, or of several convolutions that were joined.

use std::rc::Rc;

use dyconv_graph::{Activation, Conv2d, Linear, MixConv, MixLinear, Op, Shape};

use super::axes::{Atom, Axes, Axis, Origin, is_channels, merged, offsets, size, whole};
use super::context::{Computed, Context, NodeView, Outputs, PRODUCT, Value};
use super::net::{Kind, Named, near, zip};
use super::window::{self, Windows};

/// Σ_k π_k · bank_k (+ a constant): the node of π, the bank `[M, K]` with one row per element, and the constant `[M]`.
struct Mixture {
    pi: usize,
    kernels: usize,
    bank: Rc<Vec<f32>>,
    constant: Option<Vec<f64>>,
    name: Option<Rc<str>>,
}

impl Mixture {
    /// The values of these rows of the bank, kernel by kernel.
    fn by_kernel(&self, rows: &[usize]) -> Vec<f32> {
        (0..self.kernels).flat_map(|k| rows.iter().map(move |row| self.bank[row * self.kernels + k])).collect()
    }

    /// The bank of a vector, `[K, outputs]`.
    fn biases(&self, outputs: usize) -> Vec<f32> {
        self.by_kernel(&(0..outputs).collect::<Vec<usize>>())
    }
}

/// A vector as a mixture: a linear layer.
fn mixture(cx: &Context, node: usize) -> Option<Mixture> {
    let normal = cx.net.normal(node);
    if normal.scale.iter().any(|s| *s != 1.0) {
        return None;
    }
    let base = &cx.net.nodes[normal.base];
    let Kind::Op(Op::Linear(linear)) = &base.kind else { return None };
    let pi = base.inputs[0];
    let mut constant = None;
    if let Some(bias) = base.tensor("bias") {
        constant = Some(bias.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>());
    }
    if normal.shift.iter().any(|v| *v != 0.0) {
        let zeros = vec![0.0; linear.out_features];
        constant = Some(zip(constant.as_ref().unwrap_or(&zeros), &normal.shift, |a, b| a + b));
    }
    Some(Mixture {
        pi,
        kernels: cx.net.shape(pi).channels(),
        bank: Rc::clone(base.tensor("weight")?),
        constant,
        name: base.origins.tensor.clone(),
    })
}

/// Whether a node is the gate of a router.
fn is_gate(cx: &Context, node: usize) -> bool {
    match cx.net.op(cx.net.normal(node).base) {
        Some(Op::Softmax) => true,
        Some(Op::Activation(function)) => match function {
            Activation::Sigmoid | Activation::HardSigmoid => true,
            Activation::Relu | Activation::Relu6 | Activation::HardSwish | Activation::Silu | Activation::Gelu => false,
        },
        _ => false,
    }
}

pub(super) type Side<'a> = (usize, &'a Vec<Axis>);

/// A contraction of two computed values is a dynamic layer.
pub(super) fn two_values(cx: &mut Context, a: Side, b: Side, reduced: &[bool]) -> Result<Computed, String> {
    let layer = |cx: &Context, node: usize| {
        matches!(cx.net.op(node), Some(Op::Conv(_) | Op::Concat))
            || (matches!(cx.net.op(node), Some(Op::Linear(_))) && !is_gate_layer(cx, node))
    };
    let vector = |cx: &Context, side: Side| {
        let channels = cx.net.shape(side.0).channels();
        let axis: Axis = side.1.iter().zip(reduced).filter(|(_, r)| **r).flat_map(|(a, _)| a.clone()).collect();
        matches!(cx.net.shape(side.0), Shape::Vector(_)) && is_channels(&axis) && size(&axis) == channels
    };
    for (pi, outputs) in [(a, b), (b, a)] {
        if vector(cx, pi) && layer(cx, outputs.0) {
            return mix_outputs(cx, pi, outputs, reduced);
        }
    }
    for (weight, x) in [(a, b), (b, a)] {
        if let Some(mixture) = mixture(cx, weight.0) {
            return mix_weight(cx, mixture, weight.1, x, reduced);
        }
    }
    Err("multiplies two values that are computed from the input, neither of which is a mixture of kernels".into())
}

/// Whether a linear layer reads a gate, so that its outputs are mixed kernels.
fn is_gate_layer(cx: &Context, node: usize) -> bool {
    cx.net.nodes[node].inputs.first().is_some_and(|x| is_gate(cx, *x))
}

/// The layer of which all kernels were computed: its rows, and what is common to them.
struct AllKernels {
    input: usize,
    op: Op,
    /// Number of weights of one output.
    row: usize,
    /// For each output channel: its layer and its row there.
    rows: Vec<(usize, usize)>,
    name: Option<Rc<str>>,
    nodes: Vec<usize>,
}

fn all_kernels(cx: &Context, node: usize) -> Option<AllKernels> {
    let nodes = match cx.net.op(node)? {
        Op::Concat => cx.net.nodes[node].inputs.clone(),
        _ => vec![node],
    };
    let first = &cx.net.nodes[*nodes.first()?];
    let Kind::Op(op) = &first.kind else { return None };
    if !matches!(op, Op::Conv(_) | Op::Linear(_)) {
        return None;
    }
    let outputs = first.shape.channels();
    let mut rows = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let layer = &cx.net.nodes[*node];
        if layer.kind != first.kind || layer.inputs != first.inputs {
            return None;
        }
        rows.extend((0..outputs).map(|o| (i, o)));
    }
    let row = first.tensor("weight")?.len() / outputs;
    let name = first.origins.tensor.clone();
    Some(AllKernels { input: *first.inputs.first()?, op: op.clone(), row, rows, name, nodes })
}

/// π contracted with the outputs of all kernels.
fn mix_outputs(cx: &mut Context, pi: Side, y: Side, reduced: &[bool]) -> Result<Computed, String> {
    let all = all_kernels(cx, y.0)
        .ok_or("mixes values that are not the outputs of one layer, or of equal layers of one input")?;
    let kernels = cx.net.shape(pi.0).channels();
    let mut kernel_of = vec![(0usize, 0usize)];
    let mut outputs = vec![0usize];
    let mut axes = Vec::new();
    for (i, summed) in reduced.iter().enumerate() {
        let (p, v) = (&pi.1[i], &y.1[i]);
        if *summed {
            if !is_channels(v) || size(v) != size(p) {
                return Err("sums over other axes than the kernels".into());
            }
            let (ours, theirs) = (offsets(p), offsets(v));
            kernel_of = kernel_of
                .iter()
                .flat_map(|(k, c)| ours.iter().zip(&theirs).map(move |(a, b)| (k + a, c + b)))
                .collect();
            axes.push(Axis::new());
            continue;
        }
        if !(p.is_empty() || p == v) {
            return Err("mixes with other coefficients along an axis".into());
        }
        let own: Axis = v.iter().filter(|a| a.origin == Origin::Channel).copied().collect();
        let places = offsets(&own);
        outputs = outputs.iter().flat_map(|o| places.iter().map(move |p| o + p)).collect();
        axes.push(v.clone());
    }
    let total = all.rows.len();
    if outputs.len().checked_mul(kernel_of.len()) != Some(total) || kernel_of.len() != kernels {
        return Err(format!("mixes {kernels} kernels with {total} outputs"));
    }
    kernel_of.sort_unstable();
    // Which output comes where: the channels that are left, in their order.
    let mut below = outputs.len();
    for axis in &mut axes {
        for atom in axis.iter_mut().filter(|a| a.origin == Origin::Channel) {
            below /= atom.size;
            atom.below = below;
        }
        *axis = merged(std::mem::take(axis));
    }
    let count = outputs.len();
    let row_of = |k: usize, o: usize| all.rows.get(kernel_of[k].1 + outputs[o]).copied();
    cx.spend(total.checked_mul(all.row).ok_or("is too large")?)?;
    let weights: Vec<Rc<Vec<f32>>> =
        all.nodes.iter().filter_map(|n| cx.net.nodes[*n].tensor("weight").cloned()).collect();
    let biases: Vec<Rc<Vec<f32>>> = all.nodes.iter().filter_map(|n| cx.net.nodes[*n].tensor("bias").cloned()).collect();
    let biased = !biases.is_empty();
    let (mut bank, mut bias) = (Vec::with_capacity(total * all.row), Vec::new());
    let groups = if let Op::Conv(conv) = &all.op { conv.groups } else { 1 };
    for k in 0..kernels {
        for o in 0..count {
            let (layer, row) = row_of(k, o).ok_or("mixes outputs that are not there")?;
            let each = weights[layer].len() / all.row;
            if groups > 1 && row / (each / groups) != o / count.div_ceil(groups) {
                return Err("mixes outputs of different groups".into());
            }
            bank.extend_from_slice(&weights[layer][row * all.row..][..all.row]);
            if biased {
                bias.push(biases[layer][row]);
            }
        }
    }
    let op = match &all.op {
        Op::Conv(conv) => {
            let conv = Conv2d { out_channels: count, bias: biased, ..conv.clone() };
            Op::MixConv(MixConv { kernels, conv })
        }
        _ => Op::MixLinear(MixLinear { kernels, linear: Linear { out_features: count, bias: biased } }),
    };
    let mut shape = vec![kernels, count];
    match &all.op {
        Op::Conv(conv) => shape.extend([all.row / (conv.kernel[0] * conv.kernel[1]), conv.kernel[0], conv.kernel[1]]),
        _ => shape.push(all.row),
    }
    let tensors = mixed_tensors(shape, bank, kernels, biased.then_some(bias));
    let node = cx.push_layer(op, &[all.input, pi.0], tensors, all.name.as_ref())?;
    Ok(Computed { node, axes: Axes(axes), layout: Some(cx.origins.clone()), sample: None })
}

fn mixed_tensors(shape: Vec<usize>, bank: Vec<f32>, kernels: usize, bias: Option<Vec<f32>>) -> Vec<Named> {
    let bias = bias.map(|b| ("bias", vec![kernels, b.len() / kernels], Rc::new(b)));
    [("weight", shape, Rc::new(bank))].into_iter().chain(bias).collect()
}

/// A mixed weight contracted with a map or a vector: a dynamic 1×1 convolution or linear layer.
fn mix_weight(cx: &mut Context, mix: Mixture, w: &[Axis], x: Side, reduced: &[bool]) -> Result<Computed, String> {
    if mix.constant.is_some() {
        return Err("has a weight that is a mixture and a constant".into());
    }
    let channels = cx.net.shape(x.0).channels();
    let batch = whole(Origin::Batch, cx.batch);
    // Rows of the bank for each (group, output) and each (group, input), and the channel of x that belongs to the latter.
    let (mut group_rows, mut out_rows, mut inputs) = (vec![(0usize, 0usize)], vec![0usize], vec![(0usize, 0usize)]);
    let (mut group_at, mut out_at) = (Vec::new(), Vec::new());
    let mut axes: Vec<Axis> = vec![Axis::new(); reduced.len()];
    for i in 0..reduced.len() {
        let (ours, theirs) = (&w[i], &x.1[i]);
        let pair = |places: &[(usize, usize)]| -> Vec<(usize, usize)> {
            let (a, b) = (offsets(ours), offsets(theirs));
            places.iter().flat_map(|(m, c)| a.iter().zip(&b).map(move |(x, y)| (m + x, c + y))).collect()
        };
        let both = is_channels(ours) && is_channels(theirs) && size(ours) == size(theirs);
        if reduced[i] {
            if !both {
                return Err("sums a mixed weight over other axes than channels".into());
            }
            inputs = pair(&inputs);
        } else if *ours == batch && *theirs == batch {
            axes[i] = batch.clone();
        } else if ours.is_empty() {
            if theirs.iter().any(|a| a.origin == Origin::Channel) {
                return Err("does not sum all channels".into());
            }
            axes[i] = theirs.clone();
        } else if theirs.is_empty() && is_channels(ours) {
            let own = offsets(ours);
            out_rows = out_rows.iter().flat_map(|m| own.iter().map(move |o| m + o)).collect();
            out_at.push(i);
        } else if both {
            if !out_at.is_empty() {
                return Err("has groups inside its outputs".into());
            }
            group_rows = pair(&group_rows);
            group_at.push(i);
        } else {
            return Err("multiplies a mixed weight along axes that do not belong together".into());
        }
    }
    let (groups, outputs, each) = (group_rows.len(), out_rows.len(), inputs.len());
    if groups.checked_mul(each) != Some(channels) {
        return Err(format!("sums {} of {channels} channels", groups.saturating_mul(each)));
    }
    // The channels of a group follow one another; within a group they may be in any order.
    let mut ordered = inputs.clone();
    ordered.sort_unstable_by_key(|(_, c)| *c);
    let grouped = group_rows.iter().enumerate().all(|(g, (_, c))| *c == g * each);
    if !ordered.iter().enumerate().all(|(i, (_, c))| i == *c) || !grouped {
        return Err("multiplies channels that were exchanged".into());
    }
    let kernels = mix.kernels;
    let total = mix.bank.len();
    if groups.checked_mul(outputs).and_then(|n| n.checked_mul(each)).and_then(|n| n.checked_mul(kernels)) != Some(total)
    {
        return Err("uses a part of a mixed weight".into());
    }
    cx.spend(total)?;
    let mut rows = Vec::with_capacity(groups * outputs * each);
    for (g, _) in &group_rows {
        for o in &out_rows {
            rows.extend(ordered.iter().map(|(i, _)| g + o + i));
        }
    }
    let bank = mix.by_kernel(&rows);
    let count = groups * outputs;
    let (op, shape, input) = match cx.net.shape(x.0) {
        Shape::Vector(_) if groups == 1 => {
            let linear = Linear { out_features: count, bias: false };
            (Op::MixLinear(MixLinear { kernels, linear }), vec![kernels, count, each], x.0)
        }
        Shape::Vector(_) => return Err("mixes the weights of a linear layer with groups".into()),
        Shape::Map(_) => {
            let mut conv = Conv2d { groups, ..Conv2d::new(count, [1, 1]) };
            let mut input = x.0;
            if let Kind::Subsample(step) = cx.net.nodes[x.0].kind {
                conv.stride = step;
                input = cx.net.nodes[x.0].inputs[0];
            }
            (Op::MixConv(MixConv { kernels, conv }), vec![kernels, count, each, 1, 1], input)
        }
    };
    let tensors = mixed_tensors(shape, bank, kernels, None);
    let node = cx.push_layer(op, &[input, mix.pi], tensors, mix.name.as_ref())?;
    let mut below = count;
    for i in group_at.into_iter().chain(out_at) {
        below /= size(&w[i]);
        axes[i] = whole(Origin::Channel, size(&w[i]));
        axes[i].iter_mut().for_each(|a| a.below = below);
    }
    Ok(Computed { node, axes: Axes(axes), layout: Some(cx.origins.clone()), sample: None })
}

/// A convolution with a mixed weight, of one sample or with the batch in its groups.
pub(super) fn conv(cx: &mut Context, node: &NodeView) -> Outputs {
    let (x, weight) = (&node.computed(0)?.clone(), &node.computed(1)?.clone());
    let groups = window::groups(node)?;
    let mix = mixture(cx, weight.node)
        .filter(|mix| mix.constant.is_none())
        .ok_or("has a weight that is computed from the input, but is no mixture of kernels")?;
    let batch = whole(Origin::Batch, cx.batch);
    let groups = Some(groups)
        .filter(|g| g.is_multiple_of(cx.batch))
        .map(|g| g / cx.batch)
        .ok_or_else(|| format!("has {groups} groups for {} samples", cx.batch))?;
    let with_batch = |axis: &Axis| axis.strip_prefix(batch.as_slice()).map(<[Atom]>::to_vec);
    let [rows, inputs, height, width] = weight.axes.0.as_slice() else {
        return Err(format!("has a weight {:?}; only 2-D convolutions are read", weight.axes.dims()));
    };
    let rows = with_batch(rows).filter(|a| is_channels(a)).ok_or("has a weight with its batch at another place")?;
    if ![inputs, height, width].into_iter().all(|a| is_channels(a)) {
        return Err("has a weight with its batch at another place".into());
    }
    // The map of one sample, or of all samples behind one another.
    let shape = cx.net.shape(x.node);
    let Shape::Map([channels, h, w]) = shape else {
        return Err("convolves a single pixel with a mixed weight".into());
    };
    let input = if x.axes == batch_in_channels(cx.batch, shape) {
        x.node
    } else if cx.batch == 1 {
        cx.map(x)?
    } else {
        return Err(format!("convolves {:?} with a mixed weight; the batch must be in its channels", x.axes.dims()));
    };
    let (outputs, each, kernel) = (size(&rows), size(inputs), [size(height), size(width)]);
    if Some(channels) != each.checked_mul(groups) || !outputs.is_multiple_of(groups) {
        return Err(format!("has a mixed weight {outputs} × {each} and {groups} groups for {channels} channels"));
    }
    let windows = Windows::read(node, node.sizes("kernel_shape", kernel)?, [h, w])?;
    if windows.kernel != kernel {
        return Err(format!("says `kernel_shape` {:?}, but its weight is {kernel:?}", windows.kernel));
    }
    let kernels = mix.kernels;
    let places: Vec<usize> = offsets(&[rows.clone(), inputs.clone(), height.clone(), width.clone()].concat());
    if places.len().checked_mul(kernels) != Some(mix.bank.len()) {
        return Err("uses a part of a mixed weight".into());
    }
    cx.spend(mix.bank.len())?;
    let bank = mix.by_kernel(&places);
    let mut constant = None;
    let bias = match node.optional(2) {
        None => None,
        Some(Value::Constant(_)) => {
            constant = window::bias(node, 2, outputs)?;
            None
        }
        Some(Value::Computed(bias)) => {
            let axis = bias.axes.squeezed().into_iter().flatten().copied().collect::<Axis>();
            let own = with_batch(&axis).filter(|a| *a == whole(Origin::Channel, outputs));
            let mixed = own.and_then(|_| mixture(cx, bias.node)).filter(|b| b.pi == mix.pi);
            let mixed = mixed.ok_or("has a bias that is mixed otherwise than its weight")?;
            constant = mixed.constant.as_ref().map(|c| Rc::new(c.iter().map(|v| *v as f32).collect::<Vec<f32>>()));
            Some(mixed.biases(outputs))
        }
        Some(Value::Product(_) | Value::Unknown) => return Err(PRODUCT.into()),
    };
    let conv = windows.conv(outputs, groups, bias.is_some());
    let tensors = mixed_tensors(vec![kernels, outputs, each, kernel[0], kernel[1]], bank, kernels, bias);
    let mut done =
        cx.push_layer(Op::MixConv(MixConv { kernels, conv }), &[input, mix.pi], tensors, mix.name.as_ref())?;
    if let Some(constant) = constant {
        let shift = constant.iter().map(|v| f64::from(*v)).collect();
        done = cx.net.affine(done, vec![1.0], shift, cx.origins.clone())?;
    }
    let axes = batch_in_channels(cx.batch, cx.net.shape(done));
    let layout = Some(cx.origins.clone());
    Ok(vec![Value::Computed(Computed { node: done, axes, layout, sample: None })])
}

/// The axes `[1, N·C, H, W]` of the maps of all samples behind one another.
fn batch_in_channels(batch: usize, shape: Shape) -> Axes {
    let mut axes = Axes::of(batch, shape).0;
    axes[1] = [std::mem::take(&mut axes[0]), std::mem::take(&mut axes[1])].concat();
    Axes(axes)
}

/// A dynamic layer without a bias, and the bias that was added to it: mixed by the same π.
pub(super) fn with_bias(
    cx: &mut Context,
    layer: &Computed,
    bias: &Computed,
    axes: &[Axis],
) -> Result<Option<usize>, String> {
    let node = &cx.net.nodes[layer.node];
    let Some(mixed) = mixture(cx, bias.node).filter(|m| node.inputs.get(1) == Some(&m.pi)) else { return Ok(None) };
    let rank = layer.axes.0.len().max(axes.len());
    let mut own = vec![Axis::new(); rank - layer.axes.0.len()];
    own.extend(layer.axes.0.iter().cloned());
    let mut added = vec![Axis::new(); rank - axes.len()];
    added.extend(axes.iter().cloned());
    let pixels = |axis: &Axis| axis.iter().all(|a| matches!(a.origin, Origin::Height | Origin::Width));
    if !own.iter().zip(&added).all(|(y, b)| y == b || (b.is_empty() && pixels(y))) {
        return Ok(None);
    }
    let (op, outputs) = match &node.kind {
        Kind::Op(Op::MixConv(mix)) if !mix.conv.bias => {
            let conv = Conv2d { bias: true, ..mix.conv.clone() };
            (Op::MixConv(MixConv { conv, ..mix.clone() }), mix.conv.out_channels)
        }
        Kind::Op(Op::MixLinear(mix)) if !mix.linear.bias => {
            let linear = Linear { bias: true, ..mix.linear };
            (Op::MixLinear(MixLinear { linear, ..mix.clone() }), mix.linear.out_features)
        }
        _ => return Ok(None),
    };
    let mut tensors = node.tensors.clone();
    tensors.push(("bias", vec![mixed.kernels, outputs], Rc::new(mixed.biases(outputs))));
    let (inputs, origins) = (node.inputs.clone(), node.origins.clone());
    let mut done = cx.net.push(Kind::Op(op), &inputs, tensors, origins)?;
    if let Some(constant) = mixed.constant
        && !constant.iter().all(|v| near(*v, 0.0))
    {
        done = cx.net.affine(done, vec![1.0], constant, cx.origins.clone())?;
    }
    Ok(Some(done))
}
