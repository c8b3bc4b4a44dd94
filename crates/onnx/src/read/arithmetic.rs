//! Element-wise operators, batch norm and softmax.

use std::rc::Rc;

use dyconv_graph::{Activation, Op, Shape};

use super::axes::{Axes, Axis, Origin, size};
use super::constant::Constant;
use super::context::{Computed, Context, Factor, NodeView, Outputs, PRODUCT, Product, Value, axis};
use super::mixture;
use super::net::{Fill, Kind, near};

/// A function of one value.
pub(super) fn activation(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let simple = |function| Ok(Some(function));
    let function: Result<Option<Activation>, String> = match node.op() {
        "Relu" => simple(Activation::Relu),
        "Sigmoid" => simple(Activation::Sigmoid),
        "HardSwish" => simple(Activation::HardSwish),
        "HardSigmoid" => {
            let (alpha, beta) = (node.float("alpha").unwrap_or(0.2), node.float("beta").unwrap_or(0.5));
            if near(f64::from(alpha), 1.0 / 6.0) && beta == 0.5 {
                simple(Activation::HardSigmoid)
            } else {
                Err(format!("has alpha {alpha} and beta {beta}; only 1/6 and 0.5 are read"))
            }
        }
        "Swish" => match node.float("alpha").unwrap_or(1.0) {
            1.0 => simple(Activation::Silu),
            alpha => Err(format!("has alpha {alpha}; only 1 is read")),
        },
        "Gelu" => match node.text("approximate").unwrap_or("none") {
            "none" => simple(Activation::Gelu),
            other => Err(format!("approximates by `{}`; only the exact form is read", dyconv_graph::short_name(other))),
        },
        "Clip" => clip(cx, node),
        _ => Err("is not read".into()),
    };
    let node = match function? {
        Some(function) => cx.net.activation(x.node, function, cx.origins.clone())?,
        None => x.node,
    };
    Ok(vec![cx.replaced(&x, node)])
}

/// The function that a `Clip` is; `None` for no bounds at all.
fn clip(cx: &mut Context, node: &NodeView) -> Result<Option<Activation>, String> {
    let bound = |i: usize, name: &str, none: f64| match node.optional(i) {
        Some(_) => node.constant(i, "bound")?.scalar().ok_or_else(|| "has several bounds".to_owned()),
        None => Ok(node.float(name).map_or(none, f64::from)),
    };
    let (low, high) = (bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?);
    let (least, most) = (f64::from(f32::MIN), f64::from(f32::MAX));
    match (low, high) {
        (0.0, 6.0) => Ok(Some(Activation::Relu6)),
        (0.0, high) if high >= most => Ok(Some(Activation::Relu)),
        (low, high) if low <= least && high >= most => {
            cx.count("identities");
            Ok(None)
        }
        _ => Err(format!("clips to [{low}, {high}]; only [0, 6] and [0, ∞) are read")),
    }
}

/// `Max` with 0, and `Min` with 6 of what is positive.
pub(super) fn bound(cx: &mut Context, node: &NodeView) -> Outputs {
    let refuse = || "takes a maximum or minimum of other values than 0 and 6".to_owned();
    let [Some(a), Some(b)] = node.inputs.as_slice() else { return Err(refuse()) };
    let (x, limit) = match (a, b) {
        (Value::Computed(x), Value::Constant(c)) | (Value::Constant(c), Value::Computed(x)) => {
            (x.clone(), c.scalar().ok_or_else(refuse)?)
        }
        _ => return Err(refuse()),
    };
    let relu = Some(&Op::Activation(Activation::Relu));
    let (of, function) = match (node.op(), limit) {
        ("Max", 0.0) => (x.node, Activation::Relu),
        ("Min", 6.0) if cx.net.op(x.node) == relu => (cx.net.nodes[x.node].inputs[0], Activation::Relu6),
        _ => return Err(refuse()),
    };
    let node = cx.net.activation(of, function, cx.origins.clone())?;
    Ok(vec![cx.replaced(&x, node)])
}

pub(super) fn leaky_relu(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let slope = match node.op() {
        "PRelu" => {
            let slopes = node.constant(1, "slope")?.to_floats();
            let first = *slopes.first().ok_or("has no slope")?;
            if slopes.iter().any(|s| *s != first) {
                return Err("has a slope per channel; only one slope is read".into());
            }
            first
        }
        _ => node.float("alpha").unwrap_or(0.01),
    };
    let node = cx.push(Op::LeakyRelu { slope }, &[x.node], Vec::new())?;
    Ok(vec![cx.replaced(&x, node)])
}

pub(super) fn erf(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let node = cx.net.push(Kind::Erf, &[x.node], Vec::new(), cx.origins.clone())?;
    Ok(vec![cx.replaced(&x, node)])
}

pub(super) fn pow(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let exponent = node.constant(1, "exponent")?.scalar();
    let node = match exponent {
        Some(1.0) => x.node,
        Some(2.0) => cx.net.product(x.node, x.node, cx.origins.clone())?,
        _ => return Err("raises to a power other than 1 and 2".into()),
    };
    Ok(vec![cx.replaced(&x, node)])
}

pub(super) fn negate(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let node = cx.net.affine(x.node, vec![-1.0], vec![0.0], cx.origins.clone())?;
    Ok(vec![cx.replaced(&x, node)])
}

pub(super) fn batch_norm(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    if node.int("training_mode") == Some(1) {
        return Err("is in training mode; export the network in evaluation mode".into());
    }
    let eps = node.float("epsilon").unwrap_or(1e-5);
    let channels = cx.net.shape(x.node).channels();
    let mut tensors = Vec::new();
    let mut name = None;
    for (i, of) in [(1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")] {
        let constant = node.constant(i, of)?;
        let values = constant.to_floats();
        if values.len() != channels {
            return Err(format!("has a {of} {:?} for {channels} channels", constant.dims));
        }
        name = name.or_else(|| constant.name.clone());
        tensors.push((of, vec![channels], values));
    }
    let own = super::axes::whole(Origin::Channel, channels);
    if x.axes.0.get(1) != Some(&own) {
        return Err("normalizes another axis than the channels".into());
    }
    let done = match cx.net.shape(x.node) {
        Shape::Map(_) => cx.push_layer(Op::BatchNorm { eps }, &[x.node], tensors, name.as_ref())?,
        Shape::Vector(_) => {
            cx.count("batch norms of vectors");
            let at = |i: usize, c: usize| f64::from(tensors[i].2[c]);
            let scale: Vec<f64> = (0..channels).map(|c| at(0, c) / (at(3, c) + f64::from(eps)).sqrt()).collect();
            if scale.iter().any(|s| !s.is_finite()) {
                return Err("has a variance that is not positive".into());
            }
            let shift = (0..channels).map(|c| at(1, c) - at(2, c) * scale[c]).collect();
            cx.net.affine(x.node, scale, shift, cx.origins.clone())?
        }
    };
    Ok(vec![cx.replaced(&x, done)])
}

/// Softmax over the channels of a vector.
pub(super) fn softmax(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let rank = x.axes.0.len();
    let at = axis(node.int("axis").unwrap_or(if node.opset < 13 { 1 } else { -1 }), rank)?;
    let of = cx.net.shape(x.node);
    // Before opset 13 all axes from this one on were one.
    let over: Vec<_> = if node.opset < 13 { x.axes.0[at..].concat() } else { x.axes.0[at].clone() };
    let channels = super::axes::whole(Origin::Channel, of.channels());
    let vector = matches!(of, Shape::Vector(_)) || matches!(of, Shape::Map([_, 1, 1]));
    if !(vector && over == channels) {
        return Err(format!("is taken over axis {at} of {:?}; only over the channels of [N, C]", x.axes.dims()));
    }
    let input = match of {
        Shape::Vector(_) => x.node,
        Shape::Map(_) => cx.push(Op::Flatten, &[x.node], Vec::new())?,
    };
    let done = cx.push(Op::Softmax, &[input], Vec::new())?;
    if node.op() == "LogSoftmax" {
        cx.logarithms.push(done);
    }
    Ok(vec![cx.replaced(&x, done)])
}

/// `Add`, `Sub`, `Mul` and `Div`.
pub(super) fn binary(cx: &mut Context, node: &NodeView) -> Outputs {
    let op = node.op();
    match (node.input(0)?, node.input(1)?) {
        (Value::Product(_), _) | (_, Value::Product(_)) => Err(PRODUCT.into()),
        (Value::Computed(a), Value::Computed(b)) => {
            let (a, b) = (a.clone(), b.clone());
            match op {
                "Add" | "Sum" if node.inputs.len() == 2 => add(cx, &a, &b),
                "Sub" => {
                    let minus = cx.net.affine(b.node, vec![-1.0], vec![0.0], cx.origins.clone())?;
                    add(cx, &a, &Computed { node: minus, ..b })
                }
                "Mul" => multiply(cx, &a, &b),
                "Div" => Err("divides by a value that is computed from the input".into()),
                _ => Err("sums several values".into()),
            }
        }
        (Value::Computed(x), Value::Constant(c)) => {
            let (x, c) = (x.clone(), c.clone());
            with_constant(cx, op, &x, &c, false)
        }
        (Value::Constant(c), Value::Computed(x)) => {
            let (x, c) = (x.clone(), c.clone());
            with_constant(cx, op, &x, &c, true)
        }
        (Value::Constant(_) | Value::Unknown, _) | (_, Value::Unknown) => Err("has no value to compute with".into()),
    }
}

/// Axes of both values, the shorter one continued in front.
fn aligned(a: &Axes, b: &Axes) -> [Vec<Axis>; 2] {
    let rank = a.0.len().max(b.0.len());
    [a, b].map(|axes| {
        let mut all = vec![Axis::new(); rank - axes.0.len()];
        all.extend(axes.0.iter().cloned());
        all
    })
}

/// The sum of two values of equal shape. A bias that is mixed as the layer before it is part of that layer.
fn add(cx: &mut Context, a: &Computed, b: &Computed) -> Outputs {
    let [left, right] = aligned(&a.axes, &b.axes);
    let (one, two) = (cx.net.shape(a.node), cx.net.shape(b.node));
    for (layer, bias, axes) in [(a, b, &right), (b, a, &left)] {
        if cx.net.shape(layer.node).channels() == cx.net.shape(bias.node).channels()
            && let Some(node) = mixture::with_bias(cx, layer, bias, axes)?
        {
            return Ok(vec![cx.replaced(layer, node)]);
        }
    }
    if left != right {
        let (x, y) = (a.axes.dims(), b.axes.dims());
        return Err(format!("adds values of different shapes or order, {x:?} and {y:?}"));
    }
    let like = if a.axes.0.len() >= b.axes.0.len() { a } else { b };
    let nodes = match (one, two) {
        (Shape::Map(_), Shape::Vector(_)) => [cx.push(Op::Flatten, &[a.node], Vec::new())?, b.node],
        (Shape::Vector(_), Shape::Map(_)) => [a.node, cx.push(Op::Flatten, &[b.node], Vec::new())?],
        _ => [a.node, b.node],
    };
    let sum = cx.push(Op::Add, &nodes, Vec::new())?;
    Ok(vec![cx.replaced(like, sum)])
}

/// The product of equal shapes, of a map and its factors per channel, or along different axes.
fn multiply(cx: &mut Context, a: &Computed, b: &Computed) -> Outputs {
    let axes = aligned(&a.axes, &b.axes);
    let like = if a.axes.0.len() >= b.axes.0.len() { a } else { b };
    let (one, two) = (cx.net.shape(a.node), cx.net.shape(b.node));
    let same_kind = matches!((one, two), (Shape::Map(_), Shape::Map(_)) | (Shape::Vector(_), Shape::Vector(_)));
    if axes[0] == axes[1] && same_kind && one == two {
        let node = cx.net.product(a.node, b.node, cx.origins.clone())?;
        return Ok(vec![cx.replaced(like, node)]);
    }
    let pixels = |axis: &Axis| axis.iter().all(|a| matches!(a.origin, Origin::Height | Origin::Width));
    for (map, by, i) in [(a, b, 0), (b, a, 1)] {
        let (of, factors) = (&axes[i], &axes[1 - i]);
        let fits = of.iter().zip(factors).all(|(x, f)| x == f || (f.is_empty() && pixels(x)));
        let kinds = (cx.net.shape(map.node), cx.net.shape(by.node));
        if let (true, (Shape::Map(_), Shape::Vector(_))) = (fits, kinds)
            && kinds.0.channels() == kinds.1.channels()
        {
            let node = cx.push(Op::Scale, &[map.node, by.node], Vec::new())?;
            return Ok(vec![cx.replaced(&Computed { axes: Axes(of.clone()), ..map.clone() }, node)]);
        }
    }
    let fits = axes[0].iter().zip(&axes[1]).all(|(x, y)| x.is_empty() || y.is_empty() || size(x) == size(y));
    if !fits {
        return Err(format!("multiplies values of shapes {:?} and {:?}", a.axes.dims(), b.axes.dims()));
    }
    let [left, right] = axes;
    Ok(vec![Value::Product(Rc::new(Product {
        factors: [Factor::Computed { node: a.node, axes: left }, Factor::Computed { node: b.node, axes: right }],
        sample: a.sample,
    }))])
}

/// A value and a constant; `reversed` if the constant comes first.
fn with_constant(cx: &mut Context, op: &str, x: &Computed, c: &Constant, reversed: bool) -> Outputs {
    let rank = x.axes.0.len().max(c.dims.len());
    let mut axes = vec![Axis::new(); rank - x.axes.0.len()];
    axes.extend(x.axes.0.iter().cloned());
    let axes = Axes(axes);
    let channels = cx.net.shape(x.node).channels();
    let Some(values) = cx.per_channel(c, &axes, channels) else {
        return outer(cx, op, x, axes, c);
    };
    let count = values.len();
    let ones = vec![1.0; count];
    let zeros = vec![0.0; count];
    let minus = |values: &[f64]| values.iter().map(|v| -v).collect::<Vec<f64>>();
    let (scale, shift) = match (op, reversed) {
        ("Add" | "Sum", _) => (ones, values),
        ("Sub", false) => (ones, minus(&values)),
        ("Sub", true) => (minus(&ones), values),
        ("Mul", _) => (values, zeros),
        ("Div", false) => (values.iter().map(|v| 1.0 / v).collect(), zeros),
        _ => return Err("divides by a value that is computed from the input".into()),
    };
    if scale.iter().chain(&shift).any(|v| !v.is_finite()) {
        return Err("has a constant that is not finite".into());
    }
    let node = cx.net.affine(x.node, scale, shift, cx.origins.clone())?;
    Ok(vec![cx.replaced(&Computed { axes, ..x.clone() }, node)])
}

/// The product of a value with a constant that has further axes.
fn outer(cx: &Context, op: &str, x: &Computed, axes: Axes, c: &Constant) -> Outputs {
    let dims = axes.dims();
    let mut own = vec![1; dims.len() - c.dims.len()];
    own.extend(&c.dims);
    let fits = dims.iter().zip(&own).all(|(a, b)| a == b || *a == 1 || *b == 1);
    if op == "Mul" && fits && matches!(cx.net.shape(x.node), Shape::Vector(_)) {
        let factors = [Factor::Computed { node: x.node, axes: axes.0 }, Factor::Constant(c.reshaped(own))];
        return Ok(vec![Value::Product(Rc::new(Product { factors, sample: x.sample }))]);
    }
    Err(format!("combines a value {dims:?} with a constant {own:?}, which is not one number per channel"))
}

/// For each node, whether no element of its value is negative.
pub(super) fn never_negative(net: &super::net::Net) -> Vec<bool> {
    let mut positive = Vec::with_capacity(net.nodes.len());
    for node in &net.nodes {
        // Nodes come after those that they read.
        let inputs = node.inputs.iter().all(|i| positive.get(*i) == Some(&true));
        positive.push(stays_positive(&node.kind, inputs));
    }
    positive
}

/// Whether no element of a value is negative, if that is so of the values that it is made of.
fn stays_positive(kind: &Kind, inputs: bool) -> bool {
    match kind {
        Kind::Op(op) => match op {
            Op::Activation(Activation::Relu | Activation::Relu6 | Activation::Sigmoid | Activation::HardSigmoid)
            | Op::Softmax => true,
            Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Upsample { .. }
            | Op::GlobalAvgPool
            | Op::Slice { .. }
            | Op::Flatten
            | Op::ChannelShuffle { .. }
            | Op::Dropout { .. }
            | Op::Concat
            | Op::Add
            | Op::Mul
            | Op::Scale => inputs,
            Op::Input
            | Op::Conv(_)
            | Op::MixConv(_)
            | Op::ConvTranspose(_)
            | Op::Linear(_)
            | Op::MixLinear(_)
            | Op::BatchNorm { .. }
            | Op::LeakyRelu { .. }
            | Op::Activation(Activation::HardSwish | Activation::Silu | Activation::Gelu) => false,
        },
        Kind::Pad { fill: Fill::Zero, .. } | Kind::Subsample(_) => inputs,
        Kind::Pad { .. } | Kind::Affine { .. } | Kind::Erf => false,
    }
}
