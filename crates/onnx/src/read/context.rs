//! What the readers of operators work with: values, the node's parameters, the network under construction.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use dyconv_graph::{Op, Shape, short_name};

use super::axes::{Axes, Axis, Origin, offsets, size};
use super::constant::{Constant, elements};
use super::net::{Kind, Named, Net, Origins};
use crate::proto::{AttributeProto, NodeProto};

/// A value of the ONNX graph.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Constant(Constant),
    /// Computed from the input.
    Computed(Computed),
    /// The product of two values along different axes, which only a sum makes a value of our graph.
    Product(Rc<Product>),
    /// Made by a node that was not understood.
    Unknown,
}

/// A node's value, with its axes arranged in some way.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    pub node: usize,
    pub axes: Axes,
    /// The ONNX node that arranged the axes, if they are not those of the node's own value.
    pub layout: Option<Origins>,
    /// The only sample that it is of, where the file computes samples one by one; then no axis is the batch.
    pub sample: Option<usize>,
}

/// A factor of a product, broadcast to the axes of the product.
#[derive(Debug, Clone)]
pub(super) enum Factor {
    Computed { node: usize, axes: Vec<Axis> },
    Constant(Constant),
}

/// The element-wise product of two factors with the same number of axes.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub factors: [Factor; 2],
    /// As of a [`Computed`].
    pub sample: Option<usize>,
}

impl Factor {
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Factor::Computed { axes, .. } => axes.iter().map(|axis| size(axis)).collect(),
            Factor::Constant(constant) => constant.dims.clone(),
        }
    }
}

/// The outcome of reading one operator: its outputs, or why it was not understood.
pub(super) type Outputs = Result<Vec<Value>, String>;

/// The network under construction and what is known besides.
pub(super) struct Context {
    pub net: Net,
    /// Number of samples with which the values are arranged.
    pub batch: usize,
    /// Elements that may still be computed from constants.
    pub budget: usize,
    /// The ONNX node being read.
    pub origins: Origins,
    pub counts: BTreeMap<&'static str, usize>,
    pub notes: Vec<String>,
    /// Softmax nodes that are a `LogSoftmax`, which is understood only at the end.
    pub logarithms: Vec<usize>,
}

impl Context {
    /// Counts something that has no node of its own in our graph.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Takes elements from the budget of computed constants.
    pub fn spend(&mut self, count: usize) -> Result<(), String> {
        match self.budget.checked_sub(count) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err("its constants are too large to compute".into()),
        }
    }

    /// Adds a node named after the ONNX node being read.
    pub fn push(&mut self, op: Op, inputs: &[usize], tensors: Vec<Named>) -> Result<usize, String> {
        self.net.push(Kind::Op(op), inputs, tensors, self.origins.clone())
    }

    /// Adds a node with weights, named after their initializer.
    pub fn push_layer(
        &mut self,
        op: Op,
        inputs: &[usize],
        tensors: Vec<Named>,
        name: Option<&Rc<str>>,
    ) -> Result<usize, String> {
        let origins = Origins { tensor: name.cloned(), ..self.origins.clone() };
        self.net.push(Kind::Op(op), inputs, tensors, origins)
    }

    /// A node's value in the order of its own axes.
    pub fn plain(&self, node: usize) -> Value {
        let axes = Axes::of(self.batch, self.net.shape(node));
        Value::Computed(Computed { node, axes, layout: None, sample: None })
    }

    /// A node that took the place of another of the same shape, with the axes of the other.
    pub fn replaced(&self, like: &Computed, node: usize) -> Value {
        Value::Computed(Computed { node, ..like.clone() })
    }

    /// The node whose own value is this map `[N, C, H, W]`, or `[N, C, 1, 1]` of a vector.
    pub fn map(&mut self, value: &Computed) -> Result<usize, String> {
        let shape = self.net.shape(value.node);
        let mut wanted = Axes::of(self.batch, shape);
        wanted.0.resize(4, Axis::new());
        if value.axes.0.len() != 4 {
            return Err(format!("needs a value [N, C, H, W], got {:?}", value.axes.dims()));
        }
        if value.axes == wanted {
            return Ok(value.node);
        }
        // The channels may be shuffled, all else may not.
        let shuffled = &value.axes.0[1];
        let rest = [0, 2, 3].iter().all(|i| value.axes.0[*i] == wanted.0[*i]);
        if rest
            && shuffled.len() == 2
            && shuffled.iter().all(|a| a.origin == Origin::Channel)
            && shuffled[0].below == 1
            && shuffled[1].below == shuffled[0].size
            && size(shuffled) == shape.channels()
            && matches!(shape, Shape::Map(_))
        {
            let op = Op::ChannelShuffle { groups: shuffled[1].size };
            let origins = value.layout.clone().unwrap_or_else(|| self.origins.clone());
            return self.net.push(Kind::Op(op), &[value.node], Vec::new(), origins);
        }
        Err(format!(
            "needs a value [N, C, H, W], but the axes of its input {:?} were exchanged or merged before",
            value.axes.dims()
        ))
    }

    /// The node of this vector `[N, C]`, which may have further axes of size one; a map becomes a vector.
    pub fn vector(&mut self, value: &Computed) -> Result<usize, String> {
        let shape = self.net.shape(value.node);
        let own = Axes::of(self.batch, shape);
        let found = value.axes.squeezed();
        match shape {
            Shape::Vector(_) => {
                if found == own.squeezed() {
                    return Ok(value.node);
                }
            }
            Shape::Map(dims) => {
                let flat = own.reshape(&[self.batch, dims.iter().product()]);
                if flat.as_ref().is_some_and(|flat| flat.squeezed() == found)
                    || (dims[1..] == [1, 1] && found == own.squeezed())
                {
                    let origins = value.layout.clone().unwrap_or_else(|| self.origins.clone());
                    return self.net.push(Kind::Op(Op::Flatten), &[value.node], Vec::new(), origins);
                }
            }
        }
        Err(format!("needs a value [N, C], but the axes of its input {:?} were exchanged before", value.axes.dims()))
    }

    /// The values of a constant for each channel, or its only value; `None` if it varies along other axes than channels.
    /// `dims` is that of the constant, broadcast to as many axes as the value has.
    pub fn per_channel(&self, constant: &Constant, axes: &Axes, channels: usize) -> Option<Vec<f64>> {
        let values = constant.to_floats();
        if values.len() == 1 {
            return Some(vec![f64::from(values[0])]);
        }
        let rank = axes.0.len();
        let skipped = rank.checked_sub(constant.dims.len())?;
        let own = super::constant::strides(&constant.dims);
        let mut places = vec![None; channels];
        let mut strides = vec![0; rank];
        for (i, axis) in axes.0.iter().enumerate().skip(skipped) {
            let dim = constant.dims[i - skipped];
            if dim == 1 {
                continue;
            }
            if dim != size(axis) || !super::axes::is_channels(axis) {
                return None;
            }
            strides[i] = own[i - skipped];
        }
        // Every position of the axes that the constant varies along is a channel, or several that share a value.
        let mut found = vec![(0usize, 0usize)];
        for (axis, stride) in axes.0.iter().zip(&strides) {
            let channel: Vec<_> = axis.iter().filter(|a| a.origin == Origin::Channel).copied().collect();
            if channel.is_empty() {
                continue;
            }
            let offsets = offsets(&channel);
            if found.len().checked_mul(offsets.len())? > channels {
                return None;
            }
            found = found
                .iter()
                .flat_map(|(c, v)| offsets.iter().enumerate().map(move |(i, o)| (c + o, v + i * stride)))
                .collect();
        }
        for (channel, value) in found {
            *places.get_mut(channel)? = Some(f64::from(*values.get(value)?));
        }
        places.into_iter().collect()
    }
}

/// The parameters of a node.
pub(super) struct NodeView<'a> {
    pub proto: &'a NodeProto,
    pub inputs: Vec<Option<Value>>,
    /// Version of ONNX's operators.
    pub opset: i64,
    pub attributes: BTreeMap<&'a str, &'a AttributeProto>,
}

impl NodeView<'_> {
    pub fn op(&self) -> &str {
        self.proto.op_type.as_deref().unwrap_or("")
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.attributes.get(name).and_then(|a| a.i)
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.attributes.get(name).and_then(|a| a.f)
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attributes.get(name).map(|a| a.ints.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let text: Option<&Bytes> = self.attributes.get(name).and_then(|a| a.s.as_ref());
        text.and_then(|text| std::str::from_utf8(text).ok())
    }

    /// A list of as many sizes as the default, each within reason.
    pub fn sizes<const N: usize>(&self, name: &str, default: [usize; N]) -> Result<[usize; N], String> {
        let Some(ints) = self.ints(name) else { return Ok(default) };
        let sizes: Vec<usize> = ints.iter().filter_map(|i| usize::try_from(*i).ok()).filter(|i| *i < 1 << 31).collect();
        <[usize; N]>::try_from(sizes)
            .ok()
            .filter(|_| ints.len() == N)
            .ok_or_else(|| format!("expects {N} sizes as `{name}`, got {:?}", &ints[..ints.len().min(8)]))
    }

    /// An input that must be there.
    pub fn input(&self, i: usize) -> Result<&Value, String> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("lacks its input {}", i + 1))
    }

    /// An input that may be absent.
    pub fn optional(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// An input that must be computed from the network's input.
    pub fn computed(&self, i: usize) -> Result<&Computed, String> {
        match self.input(i)? {
            Value::Computed(computed) => Ok(computed),
            Value::Product(_) => Err(PRODUCT.into()),
            Value::Constant(_) | Value::Unknown => Err(format!("its input {} is a constant", i + 1)),
        }
    }

    /// An input that must be a constant.
    pub fn constant(&self, i: usize, what: &str) -> Result<&Constant, String> {
        match self.input(i)? {
            Value::Constant(constant) => Ok(constant),
            Value::Computed(_) | Value::Product(_) | Value::Unknown => {
                Err(format!("its {what} is computed from the network's input"))
            }
        }
    }

    /// Integers that newer operator sets have as an input, and older ones as an attribute.
    pub fn list(&self, i: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
        let few = |ints: Option<&[i64]>| match ints {
            Some(ints) if ints.len() <= 64 => Ok(Some(ints.to_vec())),
            _ => Err(format!("expects a few integers as `{name}`")),
        };
        if let Some(ints) = self.ints(name) {
            return few(Some(ints));
        }
        match self.optional(i) {
            None => Ok(None),
            Some(Value::Constant(constant)) => few(constant.as_ints()),
            Some(_) => Err(format!("its `{name}` is computed from the network's input")),
        }
    }

    /// Its name and operator, for messages.
    pub fn title(&self) -> String {
        let name = self.proto.name.as_deref().filter(|n| !n.is_empty());
        let name = name.or_else(|| self.proto.output.first().map(String::as_str)).unwrap_or("");
        format!("`{}` ({})", short_name(name), short_name(self.op()))
    }
}

/// Why a product along different axes cannot be used.
pub(super) const PRODUCT: &str =
    "its input is a product of two values that were broadcast along different axes, which only a sum may read";

/// An axis of a value of this rank, counted from the end if negative.
pub(super) fn axis(position: i64, rank: usize) -> Result<usize, String> {
    let rank_i = rank as i64;
    let at = if position < 0 { position.saturating_add(rank_i) } else { position };
    usize::try_from(at).ok().filter(|at| *at < rank).ok_or_else(|| format!("has no axis {position} among {rank}"))
}

/// Several axes, each once.
pub(super) fn axes(positions: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut all: Vec<usize> = positions.iter().map(|p| axis(*p, rank)).collect::<Result<_, _>>()?;
    all.sort_unstable();
    all.dedup();
    if all.len() == positions.len() { Ok(all) } else { Err(format!("names an axis twice in {positions:?}")) }
}

/// The dimensions that a `Reshape` asks for, of a value of these dimensions.
pub(super) fn reshape_dims(from: &[usize], to: &[i64], zero_is_zero: bool) -> Result<Vec<usize>, String> {
    let fail = || format!("reshapes {from:?} to {to:?}");
    if to.len() > 16 {
        return Err("reshapes to too many axes".into());
    }
    let total = elements(from).ok_or_else(fail)?;
    let mut dims = Vec::with_capacity(to.len());
    let mut open = None;
    for (i, d) in to.iter().enumerate() {
        match *d {
            -1 if open.is_none() => {
                open = Some(i);
                dims.push(1);
            }
            0 if !zero_is_zero => dims.push(*from.get(i).ok_or_else(fail)?),
            d => dims.push(usize::try_from(d).map_err(|_| fail())?),
        }
    }
    let known = elements(&dims).ok_or_else(fail)?;
    if let Some(i) = open {
        dims[i] = total.checked_div(known).ok_or_else(fail)?;
    }
    if elements(&dims) == Some(total) { Ok(dims) } else { Err(fail()) }
}
