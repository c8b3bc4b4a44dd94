//! Operators that arrange values: reshapes, transpositions, slices and joins.

use dyconv_graph::{Op, Shape};

use super::axes::{Atom, Axes, Axis, Origin, merged, size};
use super::constant::Constant;
use super::context::{Computed, Context, NodeView, Outputs, Value, axes, axis, reshape_dims};
use super::net::{Fill, Kind};
use crate::proto::data_type;

/// A part of one axis: positions start, start + step, …, or start, start − step, … backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub start: usize,
    pub step: usize,
    pub count: usize,
    pub backwards: bool,
}

impl Cut {
    /// The position of its i-th element.
    pub fn position(&self, i: usize) -> usize {
        if self.backwards { self.start.saturating_sub(i * self.step) } else { self.start + i * self.step }
    }
}

/// The value of `x` with other axes.
fn arranged(cx: &Context, x: &Computed, axes: Axes) -> Outputs {
    let layout = Some(cx.origins.clone());
    Ok(vec![Value::Computed(Computed { node: x.node, axes, layout, sample: None })])
}

pub(super) fn reshape(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    let to = node.list(1, "shape")?.ok_or("lacks a shape")?;
    let from = x.axes.dims();
    let dims = reshape_dims(&from, &to, node.int("allowzero") == Some(1))?;
    regroup(cx, x, &from, &dims)
}

fn regroup(cx: &Context, x: &Computed, from: &[usize], dims: &[usize]) -> Outputs {
    let axes = x
        .axes
        .reshape(dims)
        .ok_or_else(|| format!("reshapes {from:?} to {dims:?}, which cuts an axis that other axes were merged into"))?;
    arranged(cx, x, axes)
}

pub(super) fn flatten(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    let from = x.axes.dims();
    let at = node.int("axis").unwrap_or(1);
    let at = if at == from.len() as i64 { from.len() } else { axis(at, from.len())? };
    let dims = [from[..at].iter().product(), from[at..].iter().product()];
    regroup(cx, x, &from, &dims)
}

pub(super) fn squeeze(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    let rank = x.axes.0.len();
    let gone = match node.list(1, "axes")? {
        Some(list) => axes(&list, rank)?,
        None => (0..rank).filter(|i| x.axes.0[*i].is_empty()).collect(),
    };
    if let Some(i) = gone.iter().find(|i| !x.axes.0[**i].is_empty()) {
        return Err(format!("squeezes axis {i} of {:?}", x.axes.dims()));
    }
    let left = (0..rank).filter(|i| !gone.contains(i)).collect::<Vec<_>>();
    arranged(cx, x, x.axes.transpose(&left))
}

pub(super) fn unsqueeze(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    let list = node.list(1, "axes")?.ok_or("lacks its axes")?;
    let rank = super::constant::rank(x.axes.0.len() + list.len())?;
    let added = axes(&list, rank)?;
    let mut left = x.axes.0.iter().cloned();
    let all = (0..rank).map(|i| if added.contains(&i) { Axis::new() } else { left.next().unwrap_or_default() });
    arranged(cx, x, Axes(all.collect()))
}

pub(super) fn transpose(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    arranged(cx, x, x.axes.transpose(&order(node, x.axes.0.len())?))
}

/// The order of axes that a `Transpose` makes.
pub(super) fn order(node: &NodeView, rank: usize) -> Result<Vec<usize>, String> {
    let order = match node.ints("perm") {
        Some(perm) => perm.iter().map(|p| axis(*p, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("`perm` {order:?} is no order of {rank} axes"));
    }
    Ok(order)
}

/// An `Expand` that changes nothing.
pub(super) fn expand(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?;
    let to = node.list(1, "shape")?.ok_or("lacks a shape")?;
    let dims = x.axes.dims();
    let rank = dims.len().max(to.len());
    let own = |i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let wanted = |i: usize| (i + to.len()).checked_sub(rank).map_or(1, |i| to[i]);
    if (0..rank).any(|i| wanted(i) != 1 && wanted(i) != own(i) as i64) {
        return Err(format!("expands {dims:?} to {to:?}; values are not repeated"));
    }
    let mut all = vec![Axis::new(); rank - dims.len()];
    all.extend(x.axes.0.iter().cloned());
    arranged(cx, x, Axes(all))
}

/// The dimensions that a `Shape` returns of all.
pub(super) fn shape_slice(node: &NodeView, dims: &[usize]) -> Vec<i64> {
    let rank = dims.len() as i64;
    let at = |name: &str, default: i64| {
        let at = node.int(name).unwrap_or(default);
        (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
    };
    let (start, end) = (at("start", 0), at("end", rank));
    dims[start.min(end)..end].iter().map(|d| *d as i64).collect()
}

pub(super) fn shape(node: &NodeView) -> Outputs {
    let dims = match node.input(0)? {
        Value::Computed(x) => x.axes.dims(),
        Value::Product(product) => {
            let [a, b] = product.factors.each_ref().map(super::context::Factor::dims);
            a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect()
        }
        Value::Constant(_) | Value::Unknown => return Err("reads a constant".into()),
    };
    Ok(vec![Value::Constant(match node.op() {
        "Size" => Constant::int(dims.iter().map(|d| *d as i64).product()),
        _ => Constant::ints(shape_slice(node, &dims)),
    })])
}

pub(super) fn cast(cx: &mut Context, node: &NodeView) -> Outputs {
    let to = i32::try_from(node.int("to").unwrap_or(0)).unwrap_or(0);
    let float = node.op() == "CastLike" || to == data_type::FLOAT;
    if !float {
        return Err(format!("casts a value to {}; only FLOAT is computed with", data_type::name(to)));
    }
    cx.count("identities");
    Ok(vec![node.input(0)?.clone()])
}

/// What a `Slice` takes of each axis.
pub(super) fn cuts(node: &NodeView, dims: &[usize]) -> Result<Vec<Cut>, String> {
    let starts = node.list(1, "starts")?.ok_or("lacks its starts")?;
    let ends = node.list(2, "ends")?.ok_or("lacks its ends")?;
    let list = node.list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), list.len(), steps.len()] != [starts.len(); 3] {
        return Err("has lists of different lengths".into());
    }
    axes(&list, dims.len())?;
    let mut cuts: Vec<Cut> = dims.iter().map(|d| Cut { start: 0, step: 1, count: *d, backwards: false }).collect();
    for (i, at) in list.iter().enumerate() {
        let at = axis(*at, dims.len())?;
        let dim = dims[at] as i64;
        let backwards = steps[i] < 0;
        let step = usize::try_from(steps[i].unsigned_abs()).ok().filter(|s| (1..1 << 31).contains(s));
        let step = step.ok_or_else(|| format!("steps by {}", steps[i]))?;
        let from_end = |p: i64| if p < 0 { p.saturating_add(dim) } else { p };
        let (start, count) = if backwards {
            let (start, end) = (from_end(starts[i]).min(dim - 1), from_end(ends[i]).max(-1));
            (start.max(0), (start - end).max(0))
        } else {
            let (start, end) = (from_end(starts[i]).clamp(0, dim), from_end(ends[i]).clamp(0, dim));
            (start, (end - start).max(0))
        };
        cuts[at] = Cut { start: start as usize, step, count: (count as usize).div_ceil(step), backwards };
    }
    Ok(cuts)
}

pub(super) fn slice(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let dims = x.axes.dims();
    let mut value = x;
    let all = cuts(node, &dims)?;
    let changed = |i: &usize| all[*i] != Cut { start: 0, step: 1, count: dims[*i], backwards: false };
    let mut pixels = None;
    for at in (0..dims.len()).filter(changed) {
        let Cut { start, step, count, backwards } = all[at];
        let origin = value.axes.0[at].first().map(|a| a.origin);
        let rows = matches!(origin, Some(Origin::Height | Origin::Width));
        if backwards {
            return Err("takes positions backwards".into());
        } else if rows && start == 0 && step > 1 && count == dims[at].div_ceil(step) {
            let step_of = pixels.get_or_insert([1, 1]);
            step_of[usize::from(origin == Some(Origin::Width))] = step;
        } else if step == 1 && count > 0 {
            value = slice_channels(cx, &value, at, start, count)?;
        } else {
            return Err(format!(
                "takes {count} positions from {start} in steps of {step} of axis {at} of {dims:?}; only channels are cut"
            ));
        }
    }
    if let Some(step) = pixels {
        let node = cx.map(&value)?;
        let node = cx.net.push(Kind::Subsample(step), &[node], Vec::new(), cx.origins.clone())?;
        return Ok(vec![cx.plain(node)]);
    }
    Ok(vec![Value::Computed(value)])
}

/// `count` positions of the outermost factor of the channels.
fn slice_channels(cx: &mut Context, x: &Computed, at: usize, start: usize, count: usize) -> Result<Computed, String> {
    let shape = cx.net.shape(x.node);
    let dims = x.axes.dims();
    // Shuffled channels are put in their order first.
    if let (4, [_, _]) = (x.axes.0.len(), x.axes.0[at].as_slice())
        && super::axes::is_channels(&x.axes.0[at])
        && let Ok(node) = cx.map(x)
        && node != x.node
        && let Value::Computed(plain) = cx.plain(node)
    {
        return slice_channels(cx, &plain, at, start, count);
    }
    let refuse = || {
        format!(
            "takes {count} positions from {start} of axis {at} of {dims:?}; only channels are cut, not the batch or pixels"
        )
    };
    let [atom] = x.axes.0[at].as_slice() else { return Err(refuse()) };
    if atom.origin == Origin::Batch && count == 1 && atom.size == cx.batch {
        let mut axes = x.axes.clone();
        axes.0[at] = Axis::new();
        return Ok(Computed { axes, sample: Some(start), ..x.clone() });
    }
    let outermost = atom.origin == Origin::Channel && atom.below * atom.size == shape.channels();
    if !outermost {
        return Err(refuse());
    }
    let below = atom.below;
    let op = Op::Slice { start: start * below, channels: count * below };
    let node = cx.push(op, &[x.node], Vec::new())?;
    let mut axes = x.axes.clone();
    axes.0[at] = if count == 1 { Axis::new() } else { vec![Atom { origin: Origin::Channel, below, size: count }] };
    Ok(Computed { node, axes, layout: x.layout.clone(), sample: None })
}

/// The sizes into which a `Split` cuts an axis.
pub(super) fn parts(node: &NodeView, dim: usize) -> Result<Vec<usize>, String> {
    let outputs = node.proto.output.len().max(1);
    let sizes = match node.list(1, "split")? {
        Some(list) => list
            .iter()
            .map(|s| usize::try_from(*s).map_err(|_| format!("has a part of {s} positions")))
            .collect::<Result<Vec<_>, _>>()?,
        None => {
            let each = dim.div_ceil(outputs);
            (0..outputs).map(|i| each.min(dim.saturating_sub(i * each))).collect()
        }
    };
    if sizes.iter().fold(0usize, |n, s| n.saturating_add(*s)) != dim || sizes.len() != outputs {
        return Err(format!("cuts {dim} positions into {outputs} parts of {sizes:?}"));
    }
    Ok(sizes)
}

pub(super) fn split(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let at = axis(node.int("axis").unwrap_or(0), x.axes.0.len())?;
    let mut start = 0;
    let mut values = Vec::new();
    for count in parts(node, size(&x.axes.0[at]))? {
        if count == 0 {
            return Err("makes a part without positions".into());
        }
        values.push(Value::Computed(if count == size(&x.axes.0[at]) {
            x.clone()
        } else {
            slice_channels(cx, &x, at, start, count)?
        }));
        start += count;
    }
    Ok(values)
}

/// One position, or consecutive ones.
pub(super) fn gather(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let at = axis(node.int("axis").unwrap_or(0), x.axes.0.len())?;
    let indices = node.constant(1, "index")?;
    let dim = size(&x.axes.0[at]);
    let list: Vec<usize> = indices
        .as_ints()
        .ok_or("expects integers as index")?
        .iter()
        .map(|i| axis(*i, dim))
        .collect::<Result<_, _>>()?;
    let (Some(start), true) = (list.first().copied(), list.windows(2).all(|w| w[0] + 1 == w[1])) else {
        return Err("picks positions that are not consecutive".into());
    };
    let mut value = if list.len() == dim { x } else { slice_channels(cx, &x, at, start, list.len())? };
    match indices.dims.len() {
        0 => {
            value.axes.0.remove(at);
            value.layout = Some(cx.origins.clone());
        }
        1 => {}
        _ => return Err("has an index of several axes".into()),
    }
    Ok(vec![Value::Computed(value)])
}

/// Values behind one another along their channels.
pub(super) fn concat(cx: &mut Context, node: &NodeView) -> Outputs {
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    if let [one] = values.as_slice() {
        return Ok(vec![(*one).clone()]);
    }
    let all: Vec<Computed> = values
        .iter()
        .map(|value| match value {
            Value::Computed(x) => Ok(x.clone()),
            Value::Constant(_) => Err("joins a constant with a value that is computed from the input".to_owned()),
            Value::Product(_) | Value::Unknown => Err(super::context::PRODUCT.to_owned()),
        })
        .collect::<Result<_, _>>()?;
    let rank = all.first().ok_or("has no inputs")?.axes.0.len();
    let at = axis(node.int("axis").unwrap_or(1), rank)?;
    let others = |x: &Computed| (0..rank).filter(|i| *i != at).map(|i| x.axes.0[i].clone()).collect::<Vec<_>>();
    let channels_only = all.iter().all(|x| x.axes.0.len() == rank && super::axes::is_channels(&x.axes.0[at]));
    if !channels_only {
        return Err(format!("joins along axis {at} of {:?}; only channels are joined", all[0].axes.dims()));
    }
    let shapes: Vec<Shape> = all.iter().map(|x| cx.net.shape(x.node)).collect();
    // The whole channel axis of each, or a new axis around it.
    let whole = all.iter().zip(&shapes).all(|(x, s)| size(&x.axes.0[at]) == s.channels());
    let around =
        all.iter().all(|x| x.axes.0[at].is_empty() && x.axes == all[0].axes) && shapes.iter().all(|s| *s == shapes[0]);
    if whole && all.iter().all(|x| others(x) == others(&all[0])) {
        let natural = |x: &Computed| x.axes.0[at].len() <= 1;
        let plain: Vec<usize> = if all.iter().all(natural) {
            all.iter().map(|x| x.node).collect()
        } else {
            all.iter().map(|x| cx.map(x)).collect::<Result<_, _>>()?
        };
        let nodes = alike(cx, &plain)?;
        let joined = cx.push(Op::Concat, &nodes, Vec::new())?;
        let mut axes = all[0].axes.clone();
        axes.0[at] = super::axes::whole(Origin::Channel, cx.net.shape(joined).channels());
        let same = Axes::of(cx.batch, cx.net.shape(joined));
        let layout = if same == axes { None } else { all[0].layout.clone() };
        return Ok(vec![Value::Computed(Computed { node: joined, axes, layout, sample: None })]);
    }
    if around {
        let nodes: Vec<usize> = all.iter().map(|x| x.node).collect();
        let below = shapes[0].channels();
        let joined = cx.push(Op::Concat, &nodes, Vec::new())?;
        let mut axes = all[0].axes.clone();
        axes.0[at] = merged(vec![Atom { origin: Origin::Channel, below, size: all.len() }]);
        let layout = Some(cx.origins.clone());
        return Ok(vec![Value::Computed(Computed { node: joined, axes, layout, sample: None })]);
    }
    let dims: Vec<Vec<usize>> = all.iter().take(4).map(|x| x.axes.dims()).collect();
    Err(format!("joins {dims:?} along axis {at}; only whole channel axes of equal maps are joined"))
}

/// The samples of a batch that were computed one by one, joined again.
pub(super) fn join_samples(cx: &Context, node: &NodeView) -> Option<Computed> {
    let all: Vec<&Computed> = node
        .inputs
        .iter()
        .flatten()
        .map(|value| match value {
            Value::Computed(x) => Some(x),
            Value::Constant(_) | Value::Product(_) | Value::Unknown => None,
        })
        .collect::<Option<_>>()?;
    let first = *all.first()?;
    let at = axis(node.int("axis").unwrap_or(1), first.axes.0.len()).ok()?;
    let same = |(i, x): (usize, &&Computed)| x.sample == Some(i) && x.node == first.node && x.axes == first.axes;
    if all.len() != cx.batch || !first.axes.0[at].is_empty() || !all.iter().enumerate().all(same) {
        return None;
    }
    let mut axes = first.axes.clone();
    axes.0[at] = super::axes::whole(Origin::Batch, cx.batch);
    Some(Computed { axes, sample: None, ..first.clone() })
}

/// Nodes that are all maps or all vectors: maps of one pixel become vectors where others are vectors.
fn alike(cx: &mut Context, nodes: &[usize]) -> Result<Vec<usize>, String> {
    if nodes.iter().all(|n| matches!(cx.net.shape(*n), Shape::Map(_))) {
        return Ok(nodes.to_vec());
    }
    nodes
        .iter()
        .map(|n| match cx.net.shape(*n) {
            Shape::Vector(_) => Ok(*n),
            Shape::Map([_, 1, 1]) => cx.push(Op::Flatten, &[*n], Vec::new()),
            Shape::Map(_) => Err("joins maps and vectors".into()),
        })
        .collect()
}

/// A border of zeros, or of −∞ for a maximum, around a map.
pub(super) fn pad(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let mode = node.text("mode").unwrap_or("constant");
    if mode != "constant" {
        return Err(format!("pads in mode `{}`; only `constant` is read", dyconv_graph::short_name(mode)));
    }
    let pads = node.list(1, "pads")?.ok_or("lacks its pads")?;
    let rank = x.axes.0.len();
    let list = match node.optional(3) {
        Some(_) => node.list(3, "axes")?.unwrap_or_default(),
        None => (0..rank as i64).collect(),
    };
    if pads.len() != 2 * list.len() {
        return Err(format!("has {} pads for {} axes", pads.len(), list.len()));
    }
    axes(&list, rank)?;
    let (mut begin, mut end) = ([0; 2], [0; 2]);
    for (i, at) in list.iter().enumerate() {
        let at = axis(*at, rank)?;
        let sizes = [pads[i], pads[i + list.len()]];
        if sizes == [0, 0] {
            continue;
        }
        let (2 | 3, [Ok(first), Ok(last)]) = (at, sizes.map(usize::try_from)) else {
            return Err(format!("pads axis {at} by {sizes:?}; only rows and columns grow"));
        };
        if first.max(last) > 1 << 14 {
            return Err(format!("pads by {sizes:?}"));
        }
        (begin[at - 2], end[at - 2]) = (first, last);
    }
    if begin == [0; 2] && end == [0; 2] {
        cx.count("identities");
        return Ok(vec![Value::Computed(x)]);
    }
    let value = match node.optional(2) {
        Some(Value::Constant(c)) => c.scalar().ok_or("pads with several values")?,
        Some(_) => return Err("pads with a computed value".into()),
        None => f64::from(node.float("value").unwrap_or(0.0)),
    };
    let fill = if value == 0.0 {
        Fill::Zero
    } else if value <= f64::from(f32::MIN) {
        Fill::Lowest
    } else {
        return Err(format!("pads with {value}; only zeros, and -inf before a maximum, are read"));
    };
    let map = cx.map(&x)?;
    let node = cx.net.push(Kind::Pad { begin, end, fill }, &[map], Vec::new(), cx.origins.clone())?;
    Ok(vec![cx.plain(node)])
}
