//! Shape rules: the output shape of every op for its inputs, or a message that says what is wrong with them.
//!
//! The limits keep all sizes in a graph small enough to compute with, whatever a file claims. They bound the time of a
//! node and the memory that padding adds.

use crate::op::{AvgPool2d, Conv2d, ConvTranspose2d, Linear, Op, Pool2d};
use crate::shape::Shape;

/// Largest channel count, feature count or kernel-bank size in a graph.
const MAX_CHANNELS: usize = 1 << 16;
/// Largest height or width of a map, in pixels.
const MAX_SIDE: usize = 1 << 14;
/// Largest stride of a transposed convolution: each remainder modulo the stride is computed separately.
const MAX_UPSCALE: usize = 64;
/// Maximum number of elements of one tensor (activation or parameter).
const MAX_ELEMENTS: usize = 1 << 31;
/// Maximum number of elements to which padding may enlarge a map, unless they are at most [`MAX_PADDED`] times the map,
/// which is what a window reaching over twice the map needs.
const MAX_PADDED_ELEMENTS: usize = 1 << 26;
/// See [`MAX_PADDED_ELEMENTS`].
const MAX_PADDED: usize = 9;
/// Maximum number of operations of one node for one sample: a minute on a fast CPU. The largest convolutions of
/// published networks have a fortieth of this.
const MAX_NODE_OPERATIONS: u64 = 1 << 42;
/// Maximum number of values that a pool may read for one sample: three times as many as 3 × 3 windows on the largest
/// possible map.
const MAX_POOLED: u64 = 1 << 36;
/// Maximum number of operations of a whole graph for one sample.
pub(crate) const MAX_OPERATIONS: u64 = 1 << 46;

impl Op {
    /// Output shape for these input shapes, or a message that says what is wrong with them.
    pub(crate) fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let (expected, fits) = match self.arity() {
            Some(n) => (n.to_string(), inputs.len() == n),
            None => ("two or more".into(), inputs.len() >= 2),
        };
        if !fits {
            return Err(format!("`{}` takes {expected} inputs, got {}", self.name(), inputs.len()));
        }
        match self {
            Op::Input => Err("`input` is written by the graph itself".into()),
            Op::Conv(conv) => conv.infer(inputs[0], 1),
            Op::MixConv(mix) => {
                check_coefficients(mix.kernels, inputs[1])?;
                mix.conv.infer(inputs[0], mix.kernels)
            }
            Op::ConvTranspose(conv) => conv.infer(inputs[0]),
            Op::Linear(linear) => linear.infer(inputs[0], 1),
            Op::MixLinear(mix) => {
                check_coefficients(mix.kernels, inputs[1])?;
                mix.linear.infer(inputs[0], mix.kernels)
            }
            Op::BatchNorm { eps } => {
                if !(eps.is_finite() && *eps > 0.0) {
                    return Err(format!("eps must be positive, got {eps}"));
                }
                map(inputs[0]).map(Shape::Map)
            }
            Op::Activation(_) => Ok(inputs[0]),
            Op::Softmax => match inputs[0] {
                Shape::Vector(_) => Ok(inputs[0]),
                other => Err(format!("expects a vector, got {other}")),
            },
            Op::Add | Op::Mul => {
                if inputs[0] == inputs[1] {
                    Ok(inputs[0])
                } else {
                    Err(format!("expects equal shapes, got {} and {}", inputs[0], inputs[1]))
                }
            }
            Op::Scale => {
                let [channels, ..] = map(inputs[0])?;
                if inputs[1] == Shape::Vector(channels) {
                    Ok(inputs[0])
                } else {
                    Err(format!("expects one factor for each of the {channels} channels, got {}", inputs[1]))
                }
            }
            Op::GlobalAvgPool => map(inputs[0]).map(|[channels, ..]| Shape::Vector(channels)),
            Op::MaxPool(pool) => pool.infer(inputs[0]),
            Op::AvgPool(pool) => pool.pool.infer(inputs[0]),
            Op::LeakyRelu { slope } => {
                if slope.is_finite() {
                    Ok(inputs[0])
                } else {
                    Err(format!("slope must be finite, got {slope}"))
                }
            }
            Op::Concat => concat(inputs),
            Op::Slice { start, channels } => {
                let of = inputs[0].channels();
                match start.checked_add(*channels) {
                    Some(end) if *channels > 0 && end <= of => Ok(with_channels(inputs[0], *channels)),
                    _ => Err(format!("channels {start}.. ({channels} of them) do not lie within {of} channels")),
                }
            }
            Op::Flatten => {
                let map = map(inputs[0])?;
                let features = map.iter().product();
                check_count("features", features)?;
                Ok(Shape::Vector(features))
            }
            Op::ChannelShuffle { groups } => {
                let [channels, ..] = map(inputs[0])?;
                if *groups > 0 && channels.is_multiple_of(*groups) {
                    Ok(inputs[0])
                } else {
                    Err(format!("groups {groups} must divide the {channels} channels"))
                }
            }
            Op::Upsample { scale, .. } => {
                let map = map(inputs[0])?;
                check_side("scale", *scale)?;
                resized(map, map[0], |_, size| check_side("output side", size * scale))
            }
            Op::Dropout { rate } => {
                if (0.0..1.0).contains(rate) {
                    Ok(inputs[0])
                } else {
                    Err(format!("rate must lie in [0, 1), got {rate}"))
                }
            }
        }
    }
}

impl Conv2d {
    /// Output shape of a convolution with a bank of `kernels` kernels, or one.
    fn infer(&self, input: Shape, kernels: usize) -> Result<Shape, String> {
        let map = map(input)?;
        check_channels(map[0], self.out_channels, self.groups)?;
        let shape = resized(map, self.out_channels, |axis, size| {
            let padding = [self.padding[axis], self.end_padding()[axis]];
            window(size, self.kernel[axis], self.stride[axis], padding, self.dilation[axis])
        })?;
        check_bank(kernels, self.weights(map[0]))?;
        check_padded(map, self.padding, self.end_padding())?;
        Ok(shape)
    }
}

impl ConvTranspose2d {
    fn infer(&self, input: Shape) -> Result<Shape, String> {
        let map = map(input)?;
        check_channels(map[0], self.out_channels, self.groups)?;
        let shape = resized(map, self.out_channels, |axis, size| {
            let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
            check_side("kernel", kernel)?;
            if !(1..=MAX_UPSCALE).contains(&stride) {
                return Err(format!("stride must lie in 1..={MAX_UPSCALE}, got {stride}"));
            }
            check_padding(padding)?;
            let added = self.output_padding[axis];
            if added >= stride {
                return Err(format!("output_padding {added} must be smaller than the stride {stride}"));
            }
            let whole = (size - 1) * stride + kernel + added;
            if whole <= 2 * padding {
                return Err(format!("padding {padding} leaves nothing of {whole} pixels"));
            }
            check_side("output side", whole - 2 * padding)
        })?;
        check_bank(1, self.weights(map[0]))?;
        Ok(shape)
    }
}

impl Pool2d {
    fn infer(&self, input: Shape) -> Result<Shape, String> {
        let map = map(input)?;
        resized(map, map[0], |axis, size| {
            let (kernel, padding) = (self.kernel[axis], [self.padding[axis], self.end_padding()[axis]]);
            for padding in padding {
                check_padding(padding)?;
                if padding >= kernel && padding > 0 {
                    return Err(format!("padding {padding} is not smaller than the window {kernel}"));
                }
            }
            window(size, kernel, self.stride[axis], padding, 1)
        })
    }
}

impl Linear {
    /// Output shape of a linear layer with a bank of `kernels` weight matrices, or one.
    fn infer(&self, input: Shape, kernels: usize) -> Result<Shape, String> {
        check_count("out_features", self.out_features)?;
        let Shape::Vector(features) = input else {
            return Err(format!("expects a vector, got {input}; put `global_avg_pool` before it"));
        };
        check_bank(kernels, self.out_features * features)?;
        Ok(Shape::Vector(self.out_features))
    }
}

/// Checks the shape of a network input.
pub(crate) fn check_input(dims: [usize; 3]) -> Result<Shape, String> {
    check_count("input channels", dims[0])?;
    for side in &dims[1..] {
        if *side == 0 || *side > MAX_SIDE {
            return Err(format!("input sides must lie in 1..={MAX_SIDE} pixels, got {} × {}", dims[1], dims[2]));
        }
    }
    checked(Shape::Map(dims))
}

/// The dimensions of a map `[C, H, W]`.
fn map(shape: Shape) -> Result<[usize; 3], String> {
    match shape {
        Shape::Map(dims) => Ok(dims),
        other => Err(format!("expects a map [C, H, W], got {other}")),
    }
}

/// A map with `channels` channels; `side` computes each side from its axis and the side of the input.
fn resized(
    input: [usize; 3],
    channels: usize,
    side: impl Fn(usize, usize) -> Result<usize, String>,
) -> Result<Shape, String> {
    checked(Shape::Map([channels, side(0, input[1])?, side(1, input[2])?]))
}

/// One map or vector with the channels of all.
fn concat(inputs: &[Shape]) -> Result<Shape, String> {
    let first = inputs[0];
    let mut channels = 0;
    for shape in inputs {
        if with_channels(*shape, 1) != with_channels(first, 1) {
            return Err(format!("expects maps of equal height and width, or vectors, got {first} and {shape}"));
        }
        channels += shape.channels();
    }
    check_count("channels", channels)?;
    checked(with_channels(first, channels))
}

/// The shape with another number of channels.
fn with_channels(shape: Shape, channels: usize) -> Shape {
    match shape {
        Shape::Map([_, height, width]) => Shape::Map([channels, height, width]),
        Shape::Vector(_) => Shape::Vector(channels),
    }
}

/// Number of positions of a sliding window along one axis, for the padding at its beginning and its end.
fn window(size: usize, kernel: usize, stride: usize, padding: [usize; 2], dilation: usize) -> Result<usize, String> {
    for (what, n) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        check_side(what, n)?;
    }
    padding.into_iter().try_for_each(check_padding)?;
    let padded = size + padding[0] + padding[1];
    let reach = dilation * (kernel - 1) + 1;
    if reach > padded {
        return Err(format!(
            "a window reaching over {reach} pixels does not fit into {size} pixels padded to {padded}"
        ));
    }
    Ok((padded - reach) / stride + 1)
}

/// Checks that padding does not enlarge a map excessively.
fn check_padded(map: [usize; 3], padding: [usize; 2], end: [usize; 2]) -> Result<(), String> {
    let padded = [map[0], map[1] + padding[0] + end[0], map[2] + padding[1] + end[1]];
    let elements: usize = padded.iter().product();
    if elements <= MAX_PADDED_ELEMENTS.max(MAX_PADDED * map.iter().product::<usize>()) {
        Ok(())
    } else {
        let (padded, map) = (Shape::Map(padded), Shape::Map(map));
        Err(format!("padding {padding:?} makes a map {padded} of {map}, nearly all of it zeros"))
    }
}

/// Number of multiply-adds of a node for one sample (values read for a pool), or of elements if that is larger.
pub(crate) fn operations(op: &Op, input: Shape, output: Shape) -> Result<u64, String> {
    let (channels, pixels) = (input.channels(), output.pixels() as u64);
    let elements = input.elements().max(output.elements()) as u64;
    let count = match op {
        Op::Conv(conv) => conv.weights(channels) as u64 * pixels,
        Op::MixConv(mix) => mix.conv.weights(channels) as u64 * (pixels + mix.kernels as u64),
        Op::ConvTranspose(conv) => conv.weights(channels) as u64 * input.pixels() as u64,
        Op::Linear(linear) => (channels * linear.out_features) as u64,
        Op::MixLinear(mix) => (channels * mix.linear.out_features) as u64 * (1 + mix.kernels as u64),
        Op::MaxPool(pool) | Op::AvgPool(AvgPool2d { pool, .. }) => {
            let [height, width] = pool.kernel;
            let count = output.elements() as u64 * (height * width) as u64;
            if count > MAX_POOLED {
                let at = Shape::Map([channels, height, width]);
                return Err(format!(
                    "windows {at} at {pixels} places read {count} values for one sample, more than {MAX_POOLED}"
                ));
            }
            count
        }
        Op::Input
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Scale
        | Op::GlobalAvgPool
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => elements,
    };
    if count > MAX_NODE_OPERATIONS {
        return Err(format!("takes {count} multiply-adds for one sample, more than {MAX_NODE_OPERATIONS}"));
    }
    Ok(count.max(elements))
}

/// The shape, if it does not have too many elements.
fn checked(shape: Shape) -> Result<Shape, String> {
    match shape.dims().iter().try_fold(1usize, |n, d| n.checked_mul(*d)) {
        Some(n) if n <= MAX_ELEMENTS => Ok(shape),
        _ => Err(format!("a tensor of shape {shape} is too large")),
    }
}

fn check_coefficients(kernels: usize, coefficients: Shape) -> Result<(), String> {
    check_count("kernels", kernels)?;
    if coefficients == Shape::Vector(kernels) {
        Ok(())
    } else {
        Err(format!("expects one coefficient for each of its {kernels} kernels, got {coefficients}"))
    }
}

fn check_bank(kernels: usize, weights: usize) -> Result<(), String> {
    match kernels.checked_mul(weights) {
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(format!("a bank of {kernels} kernels of {weights} weights is too large")),
    }
}

fn check_channels(inputs: usize, outputs: usize, groups: usize) -> Result<(), String> {
    check_count("out_channels", outputs)?;
    check_count("groups", groups)?;
    if inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        Ok(())
    } else {
        Err(format!("groups {groups} must divide the {inputs} input and {outputs} output channels"))
    }
}

fn check_count(what: &str, n: usize) -> Result<(), String> {
    if (1..=MAX_CHANNELS).contains(&n) {
        Ok(())
    } else {
        Err(format!("{what} must lie in 1..={MAX_CHANNELS}, got {n}"))
    }
}

/// The side, if it is valid.
fn check_side(what: &str, n: usize) -> Result<usize, String> {
    if (1..=MAX_SIDE).contains(&n) { Ok(n) } else { Err(format!("{what} must lie in 1..={MAX_SIDE}, got {n}")) }
}

fn check_padding(n: usize) -> Result<(), String> {
    if n <= MAX_SIDE { Ok(()) } else { Err(format!("padding must be at most {MAX_SIDE}, got {n}")) }
}
