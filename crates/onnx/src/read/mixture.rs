//! Sums of products: linear layers, and the forms in which exporters leave dynamic layers.
//!
//! Every `MatMul`, `Gemm`, `Einsum`, and `Mul` that a `ReduceSum` follows is a contraction: two factors with aligned axes,
//! some of which are summed away. A vector π contracted with a bank is a linear layer without a bias; where its outputs
//! become the weight of a convolution, or are contracted with a map, it is the mixture of a dynamic layer. So is π
//! contracted with the outputs of one static convolution that has the outputs of all kernels, or of several convolutions
//! that were joined.

use std::rc::Rc;

use dyconv_graph::{Activation, Conv2d, Linear, MixConv, MixLinear, Op, Shape};

use super::axes::{Atom, Axes, Axis, Origin, is_channels, merged, offsets, size, whole};
use super::constant::{Constant, strides, walk};
use super::context::{Computed, Context, Factor, NodeView, Outputs, PRODUCT, Product, Value, axes, axis};
use super::net::{Kind, Named, near, uniform, zip};
use super::window::{self, Windows};

// ------------------------------------------------------------------------------------------------ operators

pub(super) fn mat_mul(cx: &mut Context, node: &NodeView) -> Outputs {
    let (a, b) = (factor(node.input(0)?)?, factor(node.input(1)?)?);
    product(cx, a, b)
}

/// `a · b` as `MatMul` has it.
fn product(cx: &mut Context, a: Factor, b: Factor) -> Outputs {
    let (rank_a, rank_b) = (a.dims().len(), b.dims().len());
    if rank_a == 0 || rank_b == 0 {
        return Err("multiplies a single number".into());
    }
    // Axes: batch…, rows of a, columns of b, summed.
    let batch = rank_a.max(rank_b).saturating_sub(2);
    let place = |rank: usize, i: usize| {
        // The axis of a factor for batch axis i.
        (i + rank.saturating_sub(2)).checked_sub(batch)
    };
    let mut left: Vec<Option<usize>> = (0..batch).map(|i| place(rank_a, i).filter(|_| rank_a > 2)).collect();
    let mut right: Vec<Option<usize>> = (0..batch).map(|i| place(rank_b, i).filter(|_| rank_b > 2)).collect();
    left.extend([rank_a.checked_sub(2), None, Some(rank_a - 1)]);
    right.extend([None, (rank_b > 1).then(|| rank_b - 1), Some(rank_b.saturating_sub(2))]);
    let mut reduced = vec![false; batch + 3];
    reduced[batch + 2] = true;
    let value = contract(cx, [spread(&a, &left), spread(&b, &right)], &reduced)?;
    let mut keep: Vec<usize> = (0..batch).collect();
    keep.extend((rank_a > 1).then_some(batch));
    keep.extend((rank_b > 1).then_some(batch + 1));
    Ok(vec![Value::Computed(Computed { axes: value.axes.transpose(&keep), ..value })])
}

pub(super) fn gemm(cx: &mut Context, node: &NodeView) -> Outputs {
    if node.int("transA") == Some(1) {
        return Err("transposes its first input".into());
    }
    let (alpha, beta) = (node.float("alpha").unwrap_or(1.0), node.float("beta").unwrap_or(1.0));
    let a = factor(node.input(0)?)?;
    let mut b = factor(node.input(1)?)?;
    if [a.dims().len(), b.dims().len()] != [2, 2] {
        return Err(format!("multiplies {:?} and {:?}; it needs matrices", a.dims(), b.dims()));
    }
    // The usual layer, with its weight as it is.
    let bias = match node.optional(2) {
        None => None,
        Some(Value::Constant(c)) => Some(c.clone()),
        Some(Value::Computed(_)) => None,
        Some(Value::Product(_) | Value::Unknown) => return Err(PRODUCT.into()),
    };
    if let (Factor::Computed { node: x, axes }, Factor::Constant(weight), true) =
        (&a, &b, node.int("transB") == Some(1) && [alpha, beta] == [1.0, 1.0])
        && let Some(done) = plain_linear(cx, *x, axes, weight, bias.as_ref())?
    {
        return add_computed(cx, node, done);
    }
    if node.int("transB") == Some(1) {
        b = match b {
            Factor::Constant(c) => {
                let [m, k] = [c.dims[0], c.dims[1]];
                cx.spend(c.len())?;
                Factor::Constant(c.picked(vec![k, m], walk(&[k, m], &[1, k])))
            }
            Factor::Computed { node, axes } => Factor::Computed { node, axes: Axes(axes).transpose(&[1, 0]).0 },
        };
    }
    let mut values = product(cx, a, b)?;
    let Some(Value::Computed(y)) = values.pop() else { return Err(PRODUCT.into()) };
    let origins = cx.origins.clone();
    let mut done = cx.net.affine(y.node, vec![f64::from(alpha)], vec![0.0], origins.clone())?;
    if let Some(bias) = bias {
        let channels = cx.net.shape(y.node).channels();
        let shift = cx.per_channel(&bias, &y.axes, channels).ok_or("has a bias of another shape than its outputs")?;
        let shift = shift.iter().map(|v| v * f64::from(beta)).collect();
        done = cx.net.affine(done, vec![1.0], shift, origins)?;
    }
    let value = Computed { node: done, ..y };
    add_computed(cx, node, value)
}

/// Adds the third input of a `Gemm` where that is computed.
fn add_computed(cx: &mut Context, node: &NodeView, y: Computed) -> Outputs {
    match node.optional(2) {
        Some(Value::Computed(bias)) => match with_bias(cx, &y, bias, &bias.axes.0)? {
            Some(done) => Ok(vec![cx.replaced(&y, done)]),
            None => Err("has a bias that is computed otherwise than its weight".into()),
        },
        _ => Ok(vec![Value::Computed(y)]),
    }
}

/// A linear layer `[M, C]` of a vector `[N, C]`.
fn plain_linear(
    cx: &mut Context,
    x: usize,
    axes: &[Axis],
    weight: &Constant,
    bias: Option<&Constant>,
) -> Result<Option<Computed>, String> {
    let value = Computed { node: x, axes: Axes(axes.to_vec()), layout: None, sample: None };
    let Ok(input) = cx.vector(&value) else { return Ok(None) };
    let features = cx.net.shape(input).channels();
    let [outputs, inputs] = [weight.dims[0], weight.dims[1]];
    let fits = bias.is_none_or(|b| b.len() == outputs && b.dims.last() == Some(&outputs));
    if inputs != features || !fits || outputs == 0 || weight.as_ints().is_some() {
        return Ok(None);
    }
    let tensors = window::layer(vec![outputs, inputs], weight.to_floats(), bias.map(Constant::to_floats));
    let op = Op::Linear(Linear { out_features: outputs, bias: bias.is_some() });
    let node = cx.push_layer(op, &[input], tensors, weight.name.as_ref())?;
    let axes = Axes(vec![axes[0].clone(), whole(Origin::Channel, outputs)]);
    Ok(Some(Computed { node, axes, layout: None, sample: None }))
}

/// Two factors with named axes: `nk,koihw->noihw`.
pub(super) fn einsum(cx: &mut Context, node: &NodeView) -> Outputs {
    let equation: String = node.text("equation").unwrap_or("").chars().filter(|c| !c.is_whitespace()).collect();
    let shown = dyconv_graph::short_name(&equation);
    let refuse = || format!("has the equation `{shown}`; two factors with simple axes are read");
    let (inputs, output) = equation.split_once("->").ok_or_else(refuse)?;
    let (first, second) = inputs.split_once(',').ok_or_else(refuse)?;
    let (a, b) = match node.inputs.as_slice() {
        [Some(a), Some(b)] => (factor(a)?, factor(b)?),
        _ => return Err(refuse()),
    };
    // `...` stands for axes without names: capital letters, which exporters do not use, the last axis first.
    let unnamed = |term: &str, rank: usize| rank.saturating_sub(term.len().saturating_sub(3));
    let lengths = [(first, a.dims().len()), (second, b.dims().len())]
        .map(|(t, r)| if t.contains("...") { unnamed(t, r) } else { 0 });
    let named = |term: &str, count: usize| {
        let letters: String = ('A'..='Z').take(count).collect::<Vec<char>>().into_iter().rev().collect();
        term.replacen("...", &letters, 1)
    };
    let longest = lengths[0].max(lengths[1]);
    let (first, second, output) = (named(first, lengths[0]), named(second, lengths[1]), named(output, longest));
    let (first, second, output) = (first.as_str(), second.as_str(), output.as_str());
    let simple = |s: &str| {
        let bytes = s.as_bytes();
        bytes.iter().all(u8::is_ascii_alphabetic) && (0..bytes.len()).all(|i| !bytes[i + 1..].contains(&bytes[i]))
    };
    if longest > 16 || ![first, second, output].into_iter().all(simple) {
        return Err(refuse());
    }
    if a.dims().len() != first.len() || b.dims().len() != second.len() {
        return Err(refuse());
    }
    let inside = |c: char| first.contains(c) || second.contains(c);
    if !output.chars().all(inside) {
        return Err(refuse());
    }
    let mut labels: Vec<char> = output.chars().collect();
    for c in first.chars().chain(second.chars()) {
        if !labels.contains(&c) {
            labels.push(c);
        }
    }
    let reduced: Vec<bool> = (0..labels.len()).map(|i| i >= output.len()).collect();
    let places = |s: &str| labels.iter().map(|c| s.find(*c)).collect::<Vec<_>>();
    let value = contract(cx, [spread(&a, &places(first)), spread(&b, &places(second))], &reduced)?;
    let keep: Vec<usize> = (0..output.len()).collect();
    Ok(vec![Value::Computed(Computed { axes: value.axes.transpose(&keep), ..value })])
}

/// The sum over axes of a product, or over the channels of a vector.
pub(super) fn reduce_sum(cx: &mut Context, node: &NodeView) -> Outputs {
    let factors = match node.input(0)? {
        Value::Product(product) => product.factors.clone(),
        Value::Computed(x) => {
            let factor = Factor::Computed { node: x.node, axes: x.axes.0.clone() };
            let ones = Constant::floats(&vec![1; x.axes.0.len()], vec![1.0]);
            [factor, Factor::Constant(ones)]
        }
        Value::Constant(_) | Value::Unknown => return Err("sums a constant".into()),
    };
    let rank = factors[0].dims().len();
    let gone = match node.list(1, "axes")? {
        Some(list) if !list.is_empty() => axes(&list, rank)?,
        _ => (0..rank).collect(),
    };
    let reduced: Vec<bool> = (0..rank).map(|i| gone.contains(&i)).collect();
    let value = contract(cx, factors, &reduced)?;
    let keep = node.int("keepdims").unwrap_or(1) == 1;
    let left: Vec<usize> = (0..rank).filter(|i| keep || !reduced[*i]).collect();
    Ok(vec![Value::Computed(Computed { axes: value.axes.transpose(&left), ..value })])
}

/// A product with its axes in another arrangement that keeps them apart: a reshape that adds or drops axes of size one.
pub(super) fn arrange_product(node: &NodeView, product: &Product) -> Outputs {
    let dims: Vec<usize> = {
        let [a, b] = product.factors.each_ref().map(Factor::dims);
        a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect()
    };
    let rank = dims.len();
    let order: Vec<Option<usize>> = match node.op() {
        "Transpose" => {
            let perm = node.ints("perm").ok_or(PRODUCT)?;
            perm.iter().map(|p| axis(*p, rank).map(Some)).collect::<Result<_, _>>()?
        }
        "Unsqueeze" => {
            let list = node.list(1, "axes")?.ok_or("lacks its axes")?;
            let added = axes(&list, rank + list.len())?;
            let mut left = 0..rank;
            (0..rank + list.len()).map(|i| if added.contains(&i) { None } else { left.next() }).collect()
        }
        _ => return Err(PRODUCT.into()),
    };
    let factors = product.factors.each_ref().map(|f| spread(f, &order));
    Ok(vec![Value::Product(Rc::new(Product { factors, sample: product.sample }))])
}

// ------------------------------------------------------------------------------------------------ factors

fn factor(value: &Value) -> Result<Factor, String> {
    match value {
        Value::Constant(c) => Ok(Factor::Constant(c.clone())),
        Value::Computed(x) => Ok(Factor::Computed { node: x.node, axes: x.axes.0.clone() }),
        Value::Product(_) | Value::Unknown => Err(PRODUCT.into()),
    }
}

/// A factor with its axes at other places; places without an axis of it have size one.
fn spread(factor: &Factor, places: &[Option<usize>]) -> Factor {
    match factor {
        Factor::Computed { node, axes } => Factor::Computed {
            node: *node,
            axes: places.iter().map(|p| p.map_or_else(Axis::new, |i| axes[i].clone())).collect(),
        },
        Factor::Constant(c) => {
            let own = strides(&c.dims);
            let dims: Vec<usize> = places.iter().map(|p| p.map_or(1, |i| c.dims[i])).collect();
            let steps: Vec<usize> = places.iter().map(|p| p.map_or(0, |i| own[i])).collect();
            let natural = strides(&dims).iter().zip(&steps).zip(&dims).all(|((a, b), d)| *d == 1 || a == b);
            if natural {
                Factor::Constant(c.reshaped(dims))
            } else {
                Factor::Constant(c.picked(dims.clone(), walk(&dims, &steps)))
            }
        }
    }
}

/// The sum over the reduced axes of the product of two factors, as a value with the same axes.
fn contract(cx: &mut Context, factors: [Factor; 2], reduced: &[bool]) -> Result<Computed, String> {
    let [a, b] = factors.each_ref().map(Factor::dims);
    if a.iter().zip(&b).any(|(x, y)| x != y && *x != 1 && *y != 1) {
        return Err(format!("multiplies axes of different sizes, {a:?} and {b:?}"));
    }
    match &factors {
        [Factor::Computed { node, axes }, Factor::Constant(c)]
        | [Factor::Constant(c), Factor::Computed { node, axes }] => with_bank(cx, *node, axes, c, reduced),
        [Factor::Computed { node: a, axes: left }, Factor::Computed { node: b, axes: right }] => {
            two_values(cx, (*a, left), (*b, right), reduced)
        }
        [Factor::Constant(_), Factor::Constant(_)] => Err("multiplies constants".into()),
    }
}

/// A linear layer, or a 1×1 convolution, with any arrangement of its weight.
fn with_bank(
    cx: &mut Context,
    mut x: usize,
    x_axes: &[Axis],
    bank: &Constant,
    reduced: &[bool],
) -> Result<Computed, String> {
    let mut x_axes = x_axes.to_vec();
    let summed = |axes: &[Axis]| -> Axis {
        axes.iter().zip(reduced).filter(|(_, r)| **r).flat_map(|(a, _)| a.clone()).collect()
    };
    // A map that was flattened into the summed axis is a vector.
    let flat = Axes::of(cx.batch, cx.net.shape(x)).0[1..].concat();
    if let (Shape::Map(_), true) = (cx.net.shape(x), !is_channels(&summed(&x_axes)))
        && summed(&x_axes) == flat
    {
        let at = reduced.iter().position(|r| *r).unwrap_or(0);
        let value = Computed { node: x, axes: Axes(x_axes.clone()), layout: None, sample: None };
        x = cx.vector(&value)?;
        x_axes[at] = whole(Origin::Channel, cx.net.shape(x).channels());
    }
    let channels = cx.net.shape(x).channels();
    let axis = summed(&x_axes);
    if !is_channels(&axis) || size(&axis) != channels {
        return Err(format!("sums {} of {channels} channels, or other axes", size(&axis)));
    }
    let steps = strides(&bank.dims);
    let mut out_dims = Vec::new();
    let mut out_steps = Vec::new();
    let mut in_offsets = vec![(0usize, 0usize)];
    let mut outputs: Vec<usize> = Vec::new();
    for i in 0..reduced.len() {
        let dim = bank.dims[i];
        if reduced[i] {
            if dim != 1 && dim != size(&x_axes[i]) {
                return Err("sums a constant over an axis that its input does not have".into());
            }
            let step = if dim == 1 { 0 } else { steps[i] };
            let own = offsets(&x_axes[i]);
            in_offsets = in_offsets
                .iter()
                .flat_map(|(c, p)| own.iter().enumerate().map(move |(k, o)| (c + o, p + k * step)))
                .collect();
        } else if dim != 1 {
            if !x_axes[i].is_empty() {
                return Err("has another weight for each position of an axis".into());
            }
            out_dims.push(dim);
            out_steps.push(steps[i]);
            outputs.push(i);
        }
    }
    let count: usize = super::constant::elements(&out_dims).ok_or("is too large")?;
    if count == 0 {
        return Err("has no outputs".into());
    }
    // Factors of the vector before it belong into the weight.
    let mut input = x;
    let mut factors = None;
    if let (Shape::Vector(_), Kind::Affine { scale, shift }) = (cx.net.shape(x), &cx.net.nodes[x].kind)
        && uniform(shift) == Some(0.0)
    {
        factors = Some(scale.clone());
        input = cx.net.nodes[x].inputs[0];
    }
    let values = bank.to_floats();
    in_offsets.sort_unstable();
    let natural = factors.is_none() && in_offsets.iter().enumerate().all(|(c, (o, p))| c == *o && c == *p);
    let weight = if natural && out_dims.len() <= 1 && out_steps.first().is_none_or(|s| *s == channels) {
        Rc::clone(&values)
    } else {
        cx.spend(count.checked_mul(channels).ok_or("is too large")?)?;
        let by = |c: usize| factors.as_ref().map_or(1.0, |f| if f.len() == 1 { f[0] } else { f[c] });
        let row = |m: usize| {
            let (values, in_offsets) = (&values, &in_offsets);
            in_offsets.iter().map(move |(c, p)| {
                if factors_is_one(by(*c)) { values[m + p] } else { (f64::from(values[m + p]) * by(*c)) as f32 }
            })
        };
        Rc::new(walk(&out_dims, &out_steps).flat_map(row).collect())
    };
    let (op, shape) = match cx.net.shape(x) {
        Shape::Vector(_) => (Op::Linear(Linear { out_features: count, bias: false }), vec![count, channels]),
        Shape::Map(_) => (Op::Conv(Conv2d::new(count, [1, 1])), vec![count, channels, 1, 1]),
    };
    let node = cx.push_layer(op, &[input], window::layer(shape, weight, None), bank.name.as_ref())?;
    let out_strides = strides(&out_dims);
    let axes = (0..reduced.len())
        .map(|i| match outputs.iter().position(|o| *o == i) {
            Some(k) => vec![Atom { origin: Origin::Channel, below: out_strides[k], size: out_dims[k] }],
            None if reduced[i] => Axis::new(),
            None => x_axes[i].clone(),
        })
        .collect();
    Ok(Computed { node, axes: Axes(axes), layout: Some(cx.origins.clone()), sample: None })
}

fn factors_is_one(factor: f64) -> bool {
    factor == 1.0
}

// ------------------------------------------------------------------------------------------------ mixtures

/// Σ_k π_k · bank_k (+ a constant): the node of π, the bank `[M, K]` with one row per element, and the constant `[M]`.
struct Mixture {
    pi: usize,
    kernels: usize,
    bank: Rc<Vec<f32>>,
    constant: Option<Vec<f64>>,
    name: Option<Rc<str>>,
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

type Side<'a> = (usize, &'a Vec<Axis>);

/// A contraction of two computed values is a dynamic layer.
fn two_values(cx: &mut Context, a: Side, b: Side, reduced: &[bool]) -> Result<Computed, String> {
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
    if outputs.len().checked_mul(kernels_len(&kernel_of)) != Some(total) || kernel_of.len() != kernels {
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

fn kernels_len(kernel_of: &[(usize, usize)]) -> usize {
    kernel_of.len()
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
    let mut bank = Vec::with_capacity(total);
    for k in 0..kernels {
        for (g, _) in &group_rows {
            for o in &out_rows {
                for (i, _) in &ordered {
                    bank.push(mix.bank[(g + o + i) * kernels + k]);
                }
            }
        }
    }
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
    let mut own = Axes::of(cx.batch, shape).0;
    let flat = [std::mem::take(&mut own[0]), std::mem::take(&mut own[1])].concat();
    own[1] = flat;
    let input = if x.axes.0 == own {
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
    let bank = (0..kernels).flat_map(|k| places.iter().map(move |m| (m, k))).map(|(m, k)| mix.bank[m * kernels + k]);
    let bank: Vec<f32> = bank.collect();
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
            Some((0..kernels).flat_map(|k| (0..outputs).map(move |o| o * kernels + k)).map(|i| mixed.bank[i]).collect())
        }
        Some(Value::Product(_) | Value::Unknown) => return Err(PRODUCT.into()),
    };
    let conv = Conv2d {
        out_channels: outputs,
        kernel,
        stride: windows.stride,
        padding: windows.padding,
        end_padding: windows.end_padding(),
        dilation: windows.dilation,
        groups,
        bias: bias.is_some(),
    };
    let tensors = mixed_tensors(vec![kernels, outputs, each, kernel[0], kernel[1]], bank, kernels, bias);
    let mut done =
        cx.push_layer(Op::MixConv(MixConv { kernels, conv }), &[input, mix.pi], tensors, mix.name.as_ref())?;
    if let Some(constant) = constant {
        let shift = constant.iter().map(|v| f64::from(*v)).collect();
        done = cx.net.affine(done, vec![1.0], shift, cx.origins.clone())?;
    }
    let mut axes = Axes::of(cx.batch, cx.net.shape(done)).0;
    let flat = [std::mem::take(&mut axes[0]), std::mem::take(&mut axes[1])].concat();
    axes[1] = flat;
    let layout = Some(cx.origins.clone());
    Ok(vec![Value::Computed(Computed { node: done, axes: Axes(axes), layout, sample: None })])
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
    let kernels = mixed.kernels;
    let values: Vec<f32> =
        (0..kernels).flat_map(|k| (0..outputs).map(move |o| o * kernels + k)).map(|i| mixed.bank[i]).collect();
    let mut tensors = node.tensors.clone();
    tensors.push(("bias", vec![kernels, outputs], Rc::new(values)));
    let (inputs, origins) = (node.inputs.clone(), node.origins.clone());
    let mut done = cx.net.push(Kind::Op(op), &inputs, tensors, origins)?;
    if let Some(constant) = mixed.constant
        && !constant.iter().all(|v| near(*v, 0.0))
    {
        done = cx.net.affine(done, vec![1.0], constant, cx.origins.clone())?;
    }
    Ok(Some(done))
}
