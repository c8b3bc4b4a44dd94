//! Operators on constants.

use std::rc::Rc;

use super::constant::{Constant, Data, broadcast, broadcast_strides, elements, strides, walk};
use super::context::{Context, NodeView, Outputs, Value, axes, axis, reshape_dims};
use crate::proto::data_type;

/// Computes an operator of which all inputs are constants; `None` if it is not among those that are computed.
pub(super) fn fold(cx: &mut Context, node: &NodeView) -> Option<Outputs> {
    let inputs: Option<Vec<&Constant>> = node
        .inputs
        .iter()
        .flatten()
        .map(|value| match value {
            Value::Constant(constant) => Some(constant),
            Value::Computed(_) | Value::Product(_) | Value::Unknown => None,
        })
        .collect();
    let all = inputs.filter(|all| !all.is_empty())?;
    let one = |result: Result<Constant, String>| Some(result.map(|c| vec![Value::Constant(c)]));
    match node.op() {
        "Identity" => one(Ok(all[0].clone())),
        "Cast" => one(cast(cx, all[0], node.int("to").unwrap_or(0))),
        "CastLike" => {
            let to = match all.get(1)?.data {
                Data::Floats(_) => data_type::FLOAT,
                Data::Ints(_) => data_type::INT64,
            };
            one(cast(cx, all[0], i64::from(to)))
        }
        "Reshape" => one((|| {
            let to = all.get(1).and_then(|c| c.as_ints()).ok_or("lacks a shape")?;
            Ok(all[0].reshaped(reshape_dims(&all[0].dims, to, node.int("allowzero") == Some(1))?))
        })()),
        "Flatten" => one((|| {
            let rank = all[0].dims.len();
            let at = node.int("axis").unwrap_or(1);
            let at = if at == rank as i64 { rank } else { axis(at, rank)? };
            let (outer, inner) = all[0].dims.split_at(at);
            let product = |dims: &[usize]| elements(dims).ok_or("is too large");
            Ok(all[0].reshaped(vec![product(outer)?, product(inner)?]))
        })()),
        "Unsqueeze" => one((|| {
            let list = node.list(1, "axes")?.ok_or("lacks its axes")?;
            let rank = super::constant::rank(all[0].dims.len() + list.len())?;
            let at = axes(&list, rank)?;
            let mut left = all[0].dims.iter();
            let dims = (0..rank).map(|i| if at.contains(&i) { 1 } else { left.next().copied().unwrap_or(1) }).collect();
            Ok(all[0].reshaped(dims))
        })()),
        "Squeeze" => one((|| {
            let rank = all[0].dims.len();
            let at = match node.list(1, "axes")? {
                Some(list) => axes(&list, rank)?,
                None => (0..rank).filter(|i| all[0].dims[*i] == 1).collect(),
            };
            if at.iter().any(|i| all[0].dims[*i] != 1) {
                return Err(format!("squeezes axes {at:?} of {:?}", all[0].dims));
            }
            Ok(all[0].reshaped((0..rank).filter(|i| !at.contains(i)).map(|i| all[0].dims[i]).collect()))
        })()),
        "Transpose" => one((|| {
            let order = super::layout::order(node, all[0].dims.len())?;
            cx.spend(all[0].len())?;
            let own = strides(&all[0].dims);
            let dims: Vec<usize> = order.iter().map(|i| all[0].dims[*i]).collect();
            let steps: Vec<usize> = order.iter().map(|i| own[*i]).collect();
            Ok(all[0].picked(dims.clone(), walk(&dims, &steps)))
        })()),
        "Expand" => one((|| {
            let to: Vec<usize> = all
                .get(1)
                .and_then(|c| c.as_ints())
                .ok_or("lacks a shape")?
                .iter()
                .map(|d| usize::try_from(*d).map_err(|_| format!("expands to {d}")))
                .collect::<Result<_, _>>()?;
            let dims = broadcast(&all[0].dims, &to).ok_or_else(|| format!("expands {:?} to {to:?}", all[0].dims))?;
            cx.spend(elements(&dims).ok_or("is too large")?)?;
            let steps = broadcast_strides(&all[0].dims, &dims);
            Ok(all[0].picked(dims.clone(), walk(&dims, &steps)))
        })()),
        "Concat" => one(concat(cx, node, &all)),
        "Gather" => one(gather(cx, node, &all)),
        "Slice" => one((|| {
            let dims = all[0].dims.clone();
            let cuts = super::layout::cuts(node, &dims)?;
            let own = strides(&dims);
            let to: Vec<usize> = cuts.iter().map(|c| c.count).collect();
            cx.spend(elements(&to).ok_or("is too large")?)?;
            let mut places = vec![0usize];
            for (cut, step) in cuts.iter().zip(&own) {
                let positions = (0..cut.count).map(|i| cut.position(i) * step);
                let positions: Vec<usize> = positions.collect();
                places = places.iter().flat_map(|p| positions.iter().map(move |q| p + q)).collect();
            }
            Ok(all[0].picked(to, places.into_iter()))
        })()),
        "Split" => Some((|| {
            let at = axis(node.int("axis").unwrap_or(0), all[0].dims.len())?;
            let parts = super::layout::parts(node, all[0].dims[at])?;
            let own = strides(&all[0].dims);
            cx.spend(all[0].len())?;
            let mut start = 0;
            let mut values = Vec::new();
            for part in parts {
                let mut dims = all[0].dims.clone();
                dims[at] = part;
                let first = start * own[at];
                values.push(Value::Constant(all[0].picked(dims.clone(), walk(&dims, &own).map(move |i| i + first))));
                start += part;
            }
            Ok(values)
        })()),
        "Shape" => one(Ok(Constant::ints(super::layout::shape_slice(node, &all[0].dims)))),
        "Size" => one(Ok(Constant::int(all[0].len() as i64))),
        "ConstantOfShape" => one((|| {
            let dims: Vec<usize> = all[0]
                .as_ints()
                .ok_or("lacks a shape")?
                .iter()
                .map(|d| usize::try_from(*d).map_err(|_| format!("has the dimension {d}")))
                .collect::<Result<_, _>>()?;
            let count = elements(&dims).ok_or("is too large")?;
            cx.spend(count)?;
            let value = match node.attributes.get("value").and_then(|a| a.t.as_deref()) {
                Some(tensor) => super::tensor::decode(tensor, None)?,
                None => Constant::floats(&[1], vec![0.0]),
            };
            if value.len() != 1 {
                return Err("expects one value".into());
            }
            Ok(value.picked(dims, std::iter::repeat_n(0, count)))
        })()),
        "Range" => one((|| {
            let [start, limit, delta] = [0, 1, 2].map(|i| all.get(i).and_then(|c| c.scalar()));
            let (Some(start), Some(limit), Some(delta)) = (start, limit, delta) else {
                return Err("expects three numbers".into());
            };
            let count = ((limit - start) / delta).ceil().max(0.0);
            if count.is_nan() || count >= (1u64 << 31) as f64 {
                return Err("is too long".into());
            }
            cx.spend(count as usize)?;
            let values = (0..count as usize).map(|i| start + i as f64 * delta);
            Ok(match all[0].data {
                Data::Ints(_) => Constant::ints(values.map(|v| v as i64).collect()),
                Data::Floats(_) => {
                    let values: Vec<f32> = values.map(|v| v as f32).collect();
                    Constant::floats(&[values.len()], values)
                }
            })
        })()),
        "Clip" => {
            let bound =
                |i: usize| node.optional(i).and_then(|v| if let Value::Constant(c) = v { c.scalar() } else { None });
            let (low, high) = (bound(1).unwrap_or(f64::NEG_INFINITY), bound(2).unwrap_or(f64::INFINITY));
            let clip = |v: f64| v.max(low).min(high);
            one(cx.spend(all[0].len()).map(|()| {
                let data = match &all[0].data {
                    Data::Ints(v) => Data::Ints(Rc::new(v.iter().map(|v| clip(*v as f64) as i64).collect())),
                    Data::Floats(v) => Data::Floats(Rc::new(v.iter().map(|v| clip(f64::from(*v)) as f32).collect())),
                };
                Constant { data, ..all[0].clone() }
            }))
        }
        "Where" => one((|| {
            let [c, x, y] = all.as_slice() else { return Err("expects three inputs".into()) };
            let dims = broadcast(&c.dims, &x.dims)
                .and_then(|d| broadcast(&d, &y.dims))
                .ok_or("does not broadcast its inputs")?;
            cx.spend(elements(&dims).ok_or("is too large")?)?;
            let places = |c: &Constant| walk(&dims, &broadcast_strides(&c.dims, &dims)).collect::<Vec<usize>>();
            let chosen = c.as_ints().ok_or("expects truth values")?;
            let (pc, px, py) = (places(c), places(x), places(y));
            Ok(match (&x.data, &y.data) {
                (Data::Ints(a), Data::Ints(b)) => Constant {
                    data: Data::Ints(Rc::new(
                        (0..pc.len()).map(|i| if chosen[pc[i]] != 0 { a[px[i]] } else { b[py[i]] }).collect(),
                    )),
                    dims,
                    name: None,
                },
                _ => {
                    let (a, b) = (x.to_floats(), y.to_floats());
                    let pick = |i: usize| if chosen[pc[i]] != 0 { a[px[i]] } else { b[py[i]] };
                    Constant::floats(&dims, (0..pc.len()).map(pick).collect())
                }
            })
        })()),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let keep = node.int("keepdims").unwrap_or(1) == 1;
            if node.list(1, "axes").ok().flatten().is_some_and(|axes| axes.len() != all[0].dims.len()) {
                return None;
            }
            if let Err(error) = cx.spend(all[0].len()) {
                return Some(Err(error));
            }
            let dims = if keep { vec![1; all[0].dims.len()] } else { Vec::new() };
            let op = node.op().to_owned();
            let reduce = |values: &mut dyn Iterator<Item = f64>| match op.as_str() {
                "ReduceProd" => values.product::<f64>(),
                "ReduceSum" => values.sum(),
                "ReduceMax" => values.fold(f64::NEG_INFINITY, f64::max),
                _ => values.fold(f64::INFINITY, f64::min),
            };
            one(Ok(match &all[0].data {
                Data::Ints(v) => Constant {
                    dims,
                    data: Data::Ints(Rc::new(vec![reduce(&mut v.iter().map(|v| *v as f64)) as i64])),
                    name: None,
                },
                Data::Floats(v) => Constant::floats(&dims, vec![reduce(&mut v.iter().map(|v| f64::from(*v))) as f32]),
            }))
        }
        _ => arithmetic(cx, node.op(), &all).map(|result| result.map(|c| vec![Value::Constant(c)])),
    }
}

fn cast(cx: &mut Context, constant: &Constant, to: i64) -> Result<Constant, String> {
    let to = i32::try_from(to).unwrap_or(0);
    let data = match (&constant.data, to) {
        (Data::Floats(_), data_type::FLOAT | data_type::DOUBLE) => constant.data.clone(),
        (Data::Ints(values), data_type::FLOAT | data_type::DOUBLE) => {
            cx.spend(values.len())?;
            Data::Floats(constant.to_floats())
        }
        (Data::Floats(values), data_type::INT64 | data_type::INT32) => {
            cx.spend(values.len())?;
            Data::Ints(Rc::new(values.iter().map(|v| *v as i64).collect()))
        }
        (Data::Ints(_), data_type::INT64 | data_type::INT32) => constant.data.clone(),
        (_, data_type::BOOL) => {
            cx.spend(constant.len())?;
            Data::Ints(Rc::new(constant.to_floats().iter().map(|v| i64::from(*v != 0.0)).collect()))
        }
        _ => return Err(format!("casts to {}", data_type::name(to))),
    };
    Ok(Constant { data, ..constant.clone() })
}

fn concat(cx: &mut Context, node: &NodeView, all: &[&Constant]) -> Result<Constant, String> {
    let rank = all[0].dims.len();
    let at = axis(node.int("axis").ok_or("lacks its axis")?, rank)?;
    let fits = |c: &&Constant| c.dims.len() == rank && (0..rank).all(|i| i == at || c.dims[i] == all[0].dims[i]);
    if !all.iter().all(fits) {
        return Err("joins constants of different shapes".into());
    }
    let mut dims = all[0].dims.clone();
    dims[at] = all.iter().map(|c| c.dims[at]).fold(0, usize::saturating_add);
    cx.spend(elements(&dims).ok_or("is too large")?)?;
    let outer: usize = dims[..at].iter().product();
    let run = |c: &Constant| c.dims[at..].iter().product::<usize>();
    let ints: Option<Vec<&[i64]>> = all.iter().map(|c| c.as_ints()).collect();
    let data = match ints {
        Some(ints) => {
            let piece =
                |o: usize| all.iter().zip(&ints).flat_map(move |(c, v)| v[o * run(c)..][..run(c)].iter().copied());
            Data::Ints(Rc::new((0..outer).flat_map(piece).collect()))
        }
        None => {
            let floats: Vec<Rc<Vec<f32>>> = all.iter().map(|c| c.to_floats()).collect();
            let mut values = Vec::new();
            for o in 0..outer {
                for (c, v) in all.iter().zip(&floats) {
                    values.extend_from_slice(&v[o * run(c)..][..run(c)]);
                }
            }
            Data::Floats(Rc::new(values))
        }
    };
    Ok(Constant { dims, data, name: None })
}

fn gather(cx: &mut Context, node: &NodeView, all: &[&Constant]) -> Result<Constant, String> {
    let [from, indices] = all else { return Err("expects two inputs".into()) };
    let at = axis(node.int("axis").unwrap_or(0), from.dims.len())?;
    let dim = from.dims[at];
    let chosen: Vec<usize> =
        indices.as_ints().ok_or("expects integers")?.iter().map(|i| axis(*i, dim)).collect::<Result<_, _>>()?;
    let dims = [&from.dims[..at], &indices.dims, &from.dims[at + 1..]].concat();
    cx.spend(elements(&dims).ok_or("is too large")?)?;
    let outer: usize = from.dims[..at].iter().product();
    let inner: usize = from.dims[at + 1..].iter().product();
    let positions = (0..outer).flat_map(|o| {
        let chosen = &chosen;
        chosen.iter().flat_map(move |i| (0..inner).map(move |k| (o * dim + i) * inner + k))
    });
    Ok(from.picked(dims, positions))
}

/// Element-wise arithmetic; integers stay integers.
fn arithmetic(cx: &mut Context, op: &str, all: &[&Constant]) -> Option<Result<Constant, String>> {
    type Unary = fn(f64) -> f64;
    let unary: Option<Unary> = match op {
        "Neg" => Some(|x| -x),
        "Abs" => Some(f64::abs),
        "Sqrt" => Some(f64::sqrt),
        "Exp" => Some(f64::exp),
        "Log" => Some(f64::ln),
        "Floor" => Some(f64::floor),
        "Ceil" => Some(f64::ceil),
        "Round" => Some(f64::round_ties_even),
        "Reciprocal" => Some(f64::recip),
        "Not" => Some(|x| f64::from(u8::from(x == 0.0))),
        _ => None,
    };
    if let Some(f) = unary {
        return Some(cx.spend(all[0].len()).map(|()| {
            let data = match &all[0].data {
                Data::Ints(v) => Data::Ints(Rc::new(v.iter().map(|v| f(*v as f64) as i64).collect())),
                Data::Floats(v) => Data::Floats(Rc::new(v.iter().map(|v| f(f64::from(*v)) as f32).collect())),
            };
            Constant { data, ..all[0].clone() }
        }));
    }
    type Floats = fn(f64, f64) -> f64;
    type Ints = fn(i64, i64) -> Option<i64>;
    let (floats, ints, truth): (Floats, Ints, bool) = match op {
        "Add" | "Sum" => (|x, y| x + y, i64::checked_add, false),
        "Sub" => (|x, y| x - y, i64::checked_sub, false),
        "Mul" => (|x, y| x * y, i64::checked_mul, false),
        "Div" => (|x, y| x / y, i64::checked_div, false),
        "Mod" => (|x, y| x % y, |x, y| x.checked_rem_euclid(y), false),
        "Min" => (f64::min, |x, y| Some(x.min(y)), false),
        "Max" => (f64::max, |x, y| Some(x.max(y)), false),
        "Pow" => (f64::powf, |x, y| u32::try_from(y).ok().and_then(|y| x.checked_pow(y)), false),
        "Equal" => (|x, y| f64::from(u8::from(x == y)), |x, y| Some(i64::from(x == y)), true),
        "Less" => (|x, y| f64::from(u8::from(x < y)), |x, y| Some(i64::from(x < y)), true),
        "Greater" => (|x, y| f64::from(u8::from(x > y)), |x, y| Some(i64::from(x > y)), true),
        "LessOrEqual" => (|x, y| f64::from(u8::from(x <= y)), |x, y| Some(i64::from(x <= y)), true),
        "GreaterOrEqual" => (|x, y| f64::from(u8::from(x >= y)), |x, y| Some(i64::from(x >= y)), true),
        "And" => (|x, y| x * y, |x, y| Some(x & y), true),
        "Or" => (f64::max, |x, y| Some(x | y), true),
        _ => return None,
    };
    let [a, b] = all else { return None };
    let Some(dims) = broadcast(&a.dims, &b.dims) else {
        return Some(Err(format!("does not broadcast {:?} and {:?}", a.dims, b.dims)));
    };
    let Some(count) = elements(&dims) else { return Some(Err("is too large".into())) };
    if let Err(e) = cx.spend(count) {
        return Some(Err(e));
    }
    let places = walk(&dims, &broadcast_strides(&a.dims, &dims)).zip(walk(&dims, &broadcast_strides(&b.dims, &dims)));
    let result = match (&a.data, &b.data) {
        (Data::Ints(x), Data::Ints(y)) => places
            .map(|(i, j)| ints(x[i], y[j]))
            .collect::<Option<Vec<i64>>>()
            .map(|v| Data::Ints(Rc::new(v)))
            .ok_or_else(|| "overflows".to_owned()),
        _ => {
            let (x, y) = (a.to_floats(), b.to_floats());
            let values = places.map(|(i, j)| floats(f64::from(x[i]), f64::from(y[j])));
            Ok(if truth {
                Data::Ints(Rc::new(values.map(|v| v as i64).collect()))
            } else {
                Data::Floats(Rc::new(values.map(|v| v as f32).collect()))
            })
        }
    };
    Some(result.map(|data| Constant { dims, data, name: a.name.clone().or_else(|| b.name.clone()) }))
}
