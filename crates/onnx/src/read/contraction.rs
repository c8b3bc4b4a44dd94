//! Sums of products: linear layers, and the beginnings of dynamic layers.
//!
//! Every `MatMul`, `Gemm`, `Einsum`, and `Mul` that a `ReduceSum` follows is a contraction: two factors with aligned axes,
//! some of which are summed away. One with a constant is a linear layer without a bias, or a 1×1 convolution; one of two
//! computed values is the mixture of a dynamic layer (`mixture`).

use std::rc::Rc;

use dyconv_graph::{Conv2d, Linear, Op, Shape};

use super::axes::{Atom, Axes, Axis, Origin, is_channels, offsets, size, whole};
use super::constant::{Constant, strides, walk};
use super::context::{Computed, Context, Factor, NodeView, Outputs, PRODUCT, Product, Value, axes, axis};
use super::net::{Kind, uniform};
use super::{mixture, window};

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
        Some(Value::Computed(bias)) => match mixture::with_bias(cx, &y, bias, &bias.axes.0)? {
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
            let all = super::constant::rank(rank + list.len())?;
            let added = axes(&list, all)?;
            let mut left = 0..rank;
            (0..all).map(|i| if added.contains(&i) { None } else { left.next() }).collect()
        }
        _ => return Err(PRODUCT.into()),
    };
    let factors = product.factors.each_ref().map(|f| spread(f, &order));
    Ok(vec![Value::Product(Rc::new(Product { factors, sample: product.sample }))])
}

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
            mixture::two_values(cx, (*a, left), (*b, right), reduced)
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
                if by(*c) == 1.0 { values[m + p] } else { (f64::from(values[m + p]) * by(*c)) as f32 }
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
