//! The network while it is read: nodes of our graph, and a few that exist only until they are merged into others.

use std::collections::HashMap;
use std::rc::Rc;

use dyconv_graph::{Activation, AvgPool2d, Conv2d, ConvTranspose2d, Linear, MixConv, MixLinear, Op, Pool2d, Shape};

/// What fills a border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Zero,
    /// −∞, which is never a maximum.
    Lowest,
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// An operation of the graph.
    Op(Op),
    /// x · scale + shift; either list has one value, or one per channel.
    Affine { scale: Vec<f64>, shift: Vec<f64> },
    /// The error function, a part of gelu.
    Erf,
    /// A border around a map: (top, left), (bottom, right).
    Pad { begin: [usize; 2], end: [usize; 2], fill: Fill },
    /// Every n-th row and column.
    Subsample([usize; 2]),
}

/// A tensor of a node: its name in the graph, its shape, its values.
pub(super) type Named = (&'static str, Vec<usize>, Rc<Vec<f32>>);

/// What a node is named after.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    /// The initializer of its weights.
    pub tensor: Option<Rc<str>>,
    /// The ONNX node.
    pub node: Rc<str>,
    /// Position of the ONNX node in the file.
    pub at: usize,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct NetNode {
    pub kind: Kind,
    pub inputs: Vec<usize>,
    pub tensors: Vec<Named>,
    pub shape: Shape,
    pub origins: Origins,
}

impl NetNode {
    /// The values of one of its tensors.
    pub fn tensor(&self, name: &str) -> Option<&Rc<Vec<f32>>> {
        self.tensors.iter().find(|t| t.0 == name).map(|t| &t.2)
    }
}

/// Nodes, each after those it reads; the first is the input.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub nodes: Vec<NetNode>,
    /// Nodes by what they read, to find equal ones.
    by_inputs: HashMap<Vec<usize>, Vec<usize>>,
    /// Values of the constants in the file, each counted once.
    pub stored: usize,
    /// Values of the tensors of all nodes.
    held: usize,
}

/// More nodes than a graph may have, as some are merged or never read.
const MAX_NODES: usize = 20_000;
/// Values that tensors of nodes may have, for each one in the file: layers may share their weights, and parts of a
/// dynamic layer hold its bank on the way.
const MAX_SHARED: usize = 16;
/// Values that tensors of nodes may have in addition.
const ALLOWANCE: usize = 1 << 22;
/// Most channels of a value that is made by joining others, as in a graph.
const MAX_CHANNELS: usize = 1 << 16;
/// Nodes that read the same and are compared with a new one.
const MAX_ALIKE: usize = 64;

impl Net {
    pub fn new(input: [usize; 3]) -> Self {
        let node = NetNode {
            kind: Kind::Op(Op::Input),
            inputs: Vec::new(),
            tensors: Vec::new(),
            shape: Shape::Map(input),
            origins: Origins { node: "input".into(), ..Origins::default() },
        };
        Self { nodes: vec![node], by_inputs: HashMap::new(), stored: 0, held: 0 }
    }

    pub fn shape(&self, node: usize) -> Shape {
        self.nodes[node].shape
    }

    pub fn op(&self, node: usize) -> Option<&Op> {
        match &self.nodes[node].kind {
            Kind::Op(op) => Some(op),
            Kind::Affine { .. } | Kind::Erf | Kind::Pad { .. } | Kind::Subsample(_) => None,
        }
    }

    /// Adds a node, or finds an equal one.
    pub fn push(
        &mut self,
        kind: Kind,
        inputs: &[usize],
        tensors: Vec<Named>,
        origins: Origins,
    ) -> Result<usize, String> {
        let alike = self.by_inputs.get(inputs).map(Vec::as_slice).unwrap_or_default();
        let equal = |i: &&usize| self.nodes[**i].kind == kind && self.nodes[**i].tensors == tensors;
        if let Some(found) = alike.iter().take(MAX_ALIKE).find(equal) {
            return Ok(*found);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} operations"));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|i| self.nodes[*i].shape).collect();
        let shape = infer(&kind, &shapes)?;
        let elements = shape.dims().iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if elements.is_none_or(|n| n > 1 << 40) {
            return Err("a value is too large".into());
        }
        if matches!(kind, Kind::Op(Op::Concat | Op::Flatten)) && shape.channels() > MAX_CHANNELS {
            return Err(format!("makes a value of {} channels; at most {MAX_CHANNELS} are read", shape.channels()));
        }
        self.hold(match &kind {
            // Numbers of 64 bits, which become tensors.
            Kind::Affine { scale, shift } => 2 * (scale.len() + shift.len()),
            Kind::Op(_) | Kind::Erf | Kind::Pad { .. } | Kind::Subsample(_) => tensors.iter().map(|t| t.2.len()).sum(),
        })?;
        self.by_inputs.entry(inputs.to_vec()).or_default().push(self.nodes.len());
        self.nodes.push(NetNode { kind, inputs: inputs.to_vec(), tensors, shape, origins });
        Ok(self.nodes.len() - 1)
    }

    /// Counts values of tensors, which may be many more than the file has only by its repeating them.
    pub fn hold(&mut self, values: usize) -> Result<(), String> {
        self.held = self.held.saturating_add(values);
        if self.held > self.stored.saturating_mul(MAX_SHARED).saturating_add(ALLOWANCE) {
            let (held, stored) = (self.held, self.stored);
            return Err(format!("with it the layers have {held} weights, but the file has only {stored} numbers"));
        }
        Ok(())
    }

    /// The live nodes that read a node, each as often as it does.
    pub fn readers(&self, live: &[bool], node: usize) -> Vec<usize> {
        let reads = |i: usize| self.nodes[i].inputs.iter().filter(|input| **input == node).count();
        // They come after it.
        (node + 1..self.nodes.len()).filter(|i| live[*i]).flat_map(|i| std::iter::repeat_n(i, reads(i))).collect()
    }

    /// Which nodes the output depends on.
    pub fn live(&self, output: usize) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        let mut open = vec![output];
        while let Some(node) = open.pop() {
            if !live[node] {
                live[node] = true;
                open.extend(&self.nodes[node].inputs);
            }
        }
        live
    }
}

/// The shape of a value; the graph's builder checks again, and more.
fn infer(kind: &Kind, inputs: &[Shape]) -> Result<Shape, String> {
    let first = inputs.first().copied().unwrap_or(Shape::Vector(1));
    let map = || match first {
        Shape::Map(dims) => Ok(dims),
        Shape::Vector(_) => Err("needs a map [N, C, H, W], got one value per channel".to_owned()),
    };
    let op = match kind {
        Kind::Op(op) => op,
        Kind::Affine { .. } | Kind::Erf => return Ok(first),
        Kind::Pad { begin, end, .. } => {
            let [c, h, w] = map()?;
            let sum = |n: usize, i: usize| n.saturating_add(begin[i]).saturating_add(end[i]);
            return Ok(Shape::Map([c, sum(h, 0), sum(w, 1)]));
        }
        Kind::Subsample(step) => {
            let [c, h, w] = map()?;
            return Ok(Shape::Map([c, h.div_ceil(step[0]), w.div_ceil(step[1])]));
        }
    };
    let conv = |spec: &Conv2d| {
        let [_, h, w] = map()?;
        let end = spec.end_padding();
        let side = |n, i: usize| {
            window(n, spec.kernel[i], spec.stride[i], [spec.padding[i], end[i]], spec.dilation[i])
                .ok_or_else(|| format!("a window of {:?} does not fit into {h} × {w} pixels", spec.kernel))
        };
        Ok::<Shape, String>(Shape::Map([spec.out_channels, side(h, 0)?, side(w, 1)?]))
    };
    let pool = |pool: &Pool2d| {
        let [c, h, w] = map()?;
        let end = pool.end_padding();
        let side = |n, i: usize| {
            window(n, pool.kernel[i], pool.stride[i], [pool.padding[i], end[i]], 1)
                .ok_or_else(|| format!("a window of {:?} does not fit into {h} × {w} pixels", pool.kernel))
        };
        Ok::<Shape, String>(Shape::Map([c, side(h, 0)?, side(w, 1)?]))
    };
    match op {
        Op::Input
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::LeakyRelu { .. }
        | Op::Softmax
        | Op::Dropout { .. }
        | Op::ChannelShuffle { .. }
        | Op::Add
        | Op::Mul
        | Op::Scale => Ok(first),
        Op::Conv(spec) | Op::MixConv(MixConv { conv: spec, .. }) => conv(spec),
        Op::ConvTranspose(spec) => {
            let [_, h, w] = map()?;
            let side = |n: usize, i: usize| {
                transposed_side(n, spec, i).ok_or_else(|| "a transposed convolution without output".to_owned())
            };
            Ok(Shape::Map([spec.out_channels, side(h, 0)?, side(w, 1)?]))
        }
        Op::Linear(Linear { out_features, .. })
        | Op::MixLinear(MixLinear { linear: Linear { out_features, .. }, .. }) => Ok(Shape::Vector(*out_features)),
        Op::GlobalAvgPool => Ok(Shape::Vector(first.channels())),
        Op::MaxPool(window) | Op::AvgPool(AvgPool2d { pool: window, .. }) => pool(window),
        Op::Upsample { scale, .. } => {
            let [c, h, w] = map()?;
            Ok(Shape::Map([c, h.saturating_mul(*scale), w.saturating_mul(*scale)]))
        }
        Op::Concat => {
            let channels = inputs.iter().fold(0usize, |n, s| n.saturating_add(s.channels()));
            Ok(match first {
                Shape::Map([_, h, w]) => Shape::Map([channels, h, w]),
                Shape::Vector(_) => Shape::Vector(channels),
            })
        }
        Op::Slice { channels, .. } => Ok(match first {
            Shape::Map([_, h, w]) => Shape::Map([*channels, h, w]),
            Shape::Vector(_) => Shape::Vector(*channels),
        }),
        Op::Flatten => first
            .dims()
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .map(Shape::Vector)
            .ok_or_else(|| "a value is too large".to_owned()),
    }
}

/// Number of positions of a window along one axis.
pub(super) fn window(size: usize, kernel: usize, stride: usize, padding: [usize; 2], dilation: usize) -> Option<usize> {
    let padded = size.checked_add(padding[0])?.checked_add(padding[1])?;
    let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    padded.checked_sub(reach)?.checked_div(stride)?.checked_add(1)
}

fn transposed_side(size: usize, spec: &ConvTranspose2d, i: usize) -> Option<usize> {
    let whole = size
        .checked_sub(1)?
        .checked_mul(spec.stride[i])?
        .checked_add(spec.kernel[i])?
        .checked_add(spec.output_padding[i])?;
    whole.checked_sub(spec.padding[i].checked_mul(2)?).filter(|n| *n > 0)
}

// ------------------------------------------------------------------------------------------------ affine maps

/// A value as an affine map of the node `base`.
pub(super) struct Normal {
    pub base: usize,
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
}

/// Combines two lists of which one may hold a single value for all channels.
pub(super) fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    match (a.len(), b.len()) {
        (1, _) => b.iter().map(|y| f(a[0], *y)).collect(),
        (_, 1) => a.iter().map(|x| f(*x, b[0])).collect(),
        _ => a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect(),
    }
}

/// Whether a value is another one but for rounding in f32.
pub(super) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1e-30)
}

fn all_near(values: &[f64], to: f64) -> bool {
    values.iter().all(|v| near(*v, to) || (to == 0.0 && v.abs() < 1e-12))
}

/// The only value of a list, if all are equal.
pub(super) fn uniform(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

impl Net {
    /// The value as an affine map of the first node that is none.
    pub fn normal(&self, node: usize) -> Normal {
        let (mut base, mut scale, mut shift) = (node, vec![1.0], vec![0.0]);
        while let Kind::Affine { scale: s, shift: t } = &self.nodes[base].kind {
            shift = zip(&zip(&scale, t, |a, b| a * b), &shift, |a, b| a + b);
            scale = zip(&scale, s, |a, b| a * b);
            base = self.nodes[base].inputs[0];
        }
        Normal { base, scale, shift }
    }

    /// Numbers q and r with a = q·b + r, if there are any.
    pub fn ratio(&self, a: usize, b: usize) -> Option<(f64, f64)> {
        if a == b {
            return Some((1.0, 0.0));
        }
        let (a, b) = (self.normal(a), self.normal(b));
        if a.base != b.base {
            return None;
        }
        let q = zip(&a.scale, &b.scale, |x, y| x / y);
        let first = *q.first()?;
        if !first.is_finite() || !all_near(&q, first) {
            return None;
        }
        let r = zip(&a.shift, &b.shift, |x, y| x - first * y);
        let shift = *r.first()?;
        let room = 1e-6 * a.shift.iter().chain(&b.shift).fold(0.0f64, |m, v| m.max(v.abs()));
        r.iter().all(|v| (v - shift).abs() <= room).then_some((first, if shift.abs() <= room { 0.0 } else { shift }))
    }

    /// A node as factor · other, where the factor is one number: the factor and the node.
    fn factor(&self, node: usize) -> (f64, usize) {
        let (mut factor, mut at) = (1.0, node);
        while let Kind::Affine { scale, shift } = &self.nodes[at].kind {
            match (uniform(scale), uniform(shift)) {
                (Some(s), Some(0.0)) => factor *= s,
                _ => break,
            }
            at = self.nodes[at].inputs[0];
        }
        (factor, at)
    }

    /// x · scale + shift, without a node where that is x.
    pub fn affine(&mut self, x: usize, scale: Vec<f64>, shift: Vec<f64>, origins: Origins) -> Result<usize, String> {
        let (mut base, mut scale, mut shift) = (x, scale, shift);
        // Factors on factors are one; what they cancel out is gone.
        while let Kind::Affine { scale: s, shift: t } = &self.nodes[base].kind {
            let whole = zip(&scale, s, |a, b| a * b);
            let moved = zip(&zip(&scale, t, |a, b| a * b), &shift, |a, b| a + b);
            let (factor, inner) = (uniform(&scale), uniform(s));
            let both = factor.is_some() && inner.is_some();
            if !(both && all_near(&moved, 0.0)) {
                break;
            }
            (base, scale, shift) = (self.nodes[base].inputs[0], whole, moved);
        }
        if all_near(&scale, 1.0) && all_near(&shift, 0.0) {
            return Ok(base);
        }
        self.push(Kind::Affine { scale, shift }, &[base], Vec::new(), origins)
    }

    /// An element-wise function.
    pub fn activation(&mut self, x: usize, function: Activation, origins: Origins) -> Result<usize, String> {
        // clip(x + 3, 0, 6) is six times the hard sigmoid of x.
        if let (Activation::Relu6, Kind::Affine { scale, shift }) = (function, &self.nodes[x].kind)
            && all_near(scale, 1.0)
            && all_near(shift, 3.0)
        {
            let of = self.nodes[x].inputs[0];
            let sigmoid = Kind::Op(Op::Activation(Activation::HardSigmoid));
            let node = self.push(sigmoid, &[of], Vec::new(), origins.clone())?;
            return self.affine(node, vec![6.0], vec![0.0], origins);
        }
        self.push(Kind::Op(Op::Activation(function)), &[x], Vec::new(), origins)
    }

    /// The product of two values of equal shape, with what products of a value and a function of it are called.
    pub fn product(&mut self, a: usize, b: usize, origins: Origins) -> Result<usize, String> {
        for (x, f) in [(a, b), (b, a)] {
            if let Some((function, factor)) = self.gated(x, f) {
                let of = self.gate_input(f);
                let node = self.push(Kind::Op(Op::Activation(function)), &[of], Vec::new(), origins.clone())?;
                return self.affine(node, vec![factor], vec![0.0], origins);
            }
        }
        self.push(Kind::Op(Op::Mul), &[a, b], Vec::new(), origins)
    }

    /// The value to which the function inside `f` is applied.
    fn gate_input(&self, f: usize) -> usize {
        let base = self.normal(f).base;
        let of = self.nodes[base].inputs[0];
        if self.nodes[base].kind == Kind::Erf { self.erf_input(of) } else { of }
    }

    /// x of erf(x / √2).
    fn erf_input(&self, of: usize) -> usize {
        match &self.nodes[of].kind {
            Kind::Affine { scale, shift }
                if all_near(shift, 0.0) && all_near(scale, std::f64::consts::FRAC_1_SQRT_2) =>
            {
                self.nodes[of].inputs[0]
            }
            _ => of,
        }
    }

    /// x · f as factor · function(x).
    fn gated(&self, x: usize, f: usize) -> Option<(Activation, f64)> {
        let (outer, gate) = self.factor(f);
        if let Some(Op::Activation(function)) = self.op(gate) {
            let function = match function {
                Activation::Sigmoid => Activation::Silu,
                Activation::HardSigmoid => Activation::HardSwish,
                Activation::Relu | Activation::Relu6 | Activation::HardSwish | Activation::Silu | Activation::Gelu => {
                    return None;
                }
            };
            let (q, r) = self.ratio(x, self.nodes[gate].inputs[0])?;
            return (r == 0.0 && uniform(&[q]).is_some()).then_some((function, outer * q));
        }
        // p · (1 + erf(y / √2)) · q · y = 2 · p · q · gelu(y)
        let normal = self.normal(f);
        if self.nodes[normal.base].kind != Kind::Erf {
            return None;
        }
        let (p, t) = (uniform(&normal.scale)?, uniform(&normal.shift)?);
        let of = self.nodes[normal.base].inputs[0];
        let y = self.erf_input(of);
        let inner = self.ratio(of, y)?;
        let (q, r) = self.ratio(x, y)?;
        let root = near(inner.0, std::f64::consts::FRAC_1_SQRT_2) && inner.1 == 0.0;
        (near(p, t) && r == 0.0 && root).then_some((Activation::Gelu, 2.0 * p * q))
    }
}
