//! Convolutions with constant weights, pools and upsampling.

use std::rc::Rc;

use dyconv_graph::{
    AvgPool2d, Conv2d, ConvTranspose2d, Linear, Op, Pool2d, Shape, UpsampleMode, same_padding, short_name,
};

use super::axes::Origin;
use super::constant::Constant;
use super::context::{Computed, Context, NodeView, Outputs, Value, axes};
use super::net::{Fill, Kind, Named, window};

/// Where windows lie: the parameters of a convolution or pool.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: [usize; 2],
    pub end: [usize; 2],
}

impl Windows {
    /// Reads the attributes of a node over a map of `sides` pixels.
    pub fn read(node: &NodeView, kernel: [usize; 2], sides: [usize; 2]) -> Result<Self, String> {
        let stride = node.sizes("strides", [1, 1])?;
        let dilation = node.sizes("dilations", [1, 1])?;
        if kernel.iter().chain(&stride).chain(&dilation).any(|n| *n == 0 || *n > 1 << 14) {
            return Err(format!("has windows of {kernel:?}, steps of {stride:?} and dilations of {dilation:?}"));
        }
        let [top, left, bottom, right] = node.sizes("pads", [0; 4])?;
        if [top, left, bottom, right].iter().any(|p| *p > 1 << 14) {
            return Err("has absurd pads".into());
        }
        let mut windows = Self { kernel, stride, dilation, padding: [top, left], end: [bottom, right] };
        let auto = node.text("auto_pad").unwrap_or("NOTSET");
        match auto {
            "NOTSET" | "" => {}
            "VALID" => (windows.padding, windows.end) = ([0; 2], [0; 2]),
            "SAME_UPPER" | "SAME_LOWER" => {
                for i in 0..2 {
                    let reach = dilation[i] * (kernel[i] - 1) + 1;
                    let [less, more] = same_padding(sides[i], reach, stride[i]);
                    let upper = auto == "SAME_UPPER";
                    windows.padding[i] = if upper { less } else { more };
                    windows.end[i] = if upper { more } else { less };
                }
            }
            other => return Err(format!("has the unknown auto_pad `{}`", short_name(other))),
        }
        Ok(windows)
    }

    /// The end padding as graphs have it.
    pub fn end_padding(&self) -> Option<[usize; 2]> {
        (self.end != self.padding).then_some(self.end)
    }

    /// A convolution with these windows.
    pub fn conv(&self, out_channels: usize, groups: usize, bias: bool) -> Conv2d {
        Conv2d {
            out_channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            end_padding: self.end_padding(),
            dilation: self.dilation,
            groups,
            bias,
        }
    }

    fn pool(&self) -> Pool2d {
        Pool2d { kernel: self.kernel, stride: self.stride, padding: self.padding, end_padding: self.end_padding() }
    }
}

/// The sides of the map in a value `[N, C, H, W]`.
fn sides(cx: &Context, x: &Computed) -> Result<[usize; 2], String> {
    match (cx.net.shape(x.node), x.axes.0.len()) {
        (Shape::Map([_, h, w]), 4) => Ok([h, w]),
        (Shape::Vector(_), 4) => Ok([1, 1]),
        _ => Err(format!("needs a value [N, C, H, W], got {:?}", x.axes.dims())),
    }
}

/// The kernel of a convolution from its attribute or its weight.
fn kernel(node: &NodeView, dims: &[usize]) -> Result<[usize; 2], String> {
    let [_, _, kh, kw] = dims else {
        return Err(format!("has a weight {dims:?}; only 2-D convolutions are read"));
    };
    let kernel = node.sizes("kernel_shape", [*kh, *kw])?;
    if kernel == [*kh, *kw] {
        Ok(kernel)
    } else {
        Err(format!("says `kernel_shape` {kernel:?}, but its weight is {dims:?}"))
    }
}

/// A tensor of floats.
fn floats(constant: &Constant, what: &str) -> Result<Rc<Vec<f32>>, String> {
    match constant.as_ints() {
        None => Ok(constant.to_floats()),
        Some(_) => Err(format!("its {what} is of integers; quantized networks are not read")),
    }
}

/// A bias with a value per output channel.
pub(super) fn bias(node: &NodeView, i: usize, outputs: usize) -> Result<Option<Rc<Vec<f32>>>, String> {
    match node.optional(i) {
        None => Ok(None),
        Some(_) => {
            let constant = node.constant(i, "bias")?;
            let values = floats(constant, "bias")?;
            if values.len() == outputs {
                Ok(Some(values))
            } else {
                Err(format!("has a bias {:?} for {outputs} outputs", constant.dims))
            }
        }
    }
}

/// The tensors of a layer.
pub(super) fn layer(shape: Vec<usize>, weight: Rc<Vec<f32>>, bias: Option<Rc<Vec<f32>>>) -> Vec<Named> {
    let bias = bias.map(|b| ("bias", vec![b.len()], b));
    [("weight", shape, weight)].into_iter().chain(bias).collect()
}

/// The number of groups of a convolution.
pub(super) fn groups(node: &NodeView) -> Result<usize, String> {
    let groups = node.int("group").unwrap_or(1);
    usize::try_from(groups).ok().filter(|g| *g > 0).ok_or_else(|| format!("has {groups} groups"))
}

/// A convolution with a constant weight.
pub(super) fn conv(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let groups = groups(node)?;
    let weight = match node.input(1)? {
        Value::Constant(weight) => weight.clone(),
        Value::Computed(_) | Value::Product(_) | Value::Unknown => return Err(super::context::PRODUCT.into()),
    };
    let kernel = kernel(node, &weight.dims)?;
    let windows = Windows::read(node, kernel, sides(cx, &x)?)?;
    let values = floats(&weight, "weight")?;
    let (outputs, inputs) = (weight.dims[0], weight.dims[1]);
    let channels = cx.net.shape(x.node).channels();
    if outputs == 0 || Some(channels) != inputs.checked_mul(groups) || !outputs.is_multiple_of(groups) {
        return Err(format!("has a weight {:?} and {groups} groups for {channels} channels", weight.dims));
    }
    let bias = bias(node, 2, outputs)?;
    let input = cx.map(&x)?;
    if let Shape::Vector(_) = cx.net.shape(input) {
        return pixel(cx, &windows, &weight, &values, bias, input, groups);
    }
    let op = Op::Conv(windows.conv(outputs, groups, bias.is_some()));
    let tensors = layer(weight.dims.clone(), values, bias);
    let node = cx.push_layer(op, &[input], tensors, weight.name.as_ref())?;
    Ok(vec![cx.plain(node)])
}

/// A convolution over one pixel is a linear layer of one of its taps.
fn pixel(
    cx: &mut Context,
    windows: &Windows,
    weight: &Constant,
    values: &Rc<Vec<f32>>,
    bias: Option<Rc<Vec<f32>>>,
    input: usize,
    groups: usize,
) -> Outputs {
    let mut taps = [0; 2];
    for (i, tap) in taps.iter_mut().enumerate() {
        let outputs =
            window(1, windows.kernel[i], windows.stride[i], [windows.padding[i], windows.end[i]], windows.dilation[i]);
        if outputs != Some(1) || !windows.padding[i].is_multiple_of(windows.dilation[i]) {
            return Err("makes several pixels of one, or none".into());
        }
        *tap = windows.padding[i] / windows.dilation[i];
    }
    let (outputs, inputs, area) = (weight.dims[0], weight.dims[1], windows.kernel[0] * windows.kernel[1]);
    let tap = taps[0] * windows.kernel[1] + taps[1];
    let channels = inputs * groups;
    let linear = if area == 1 && groups == 1 {
        Rc::clone(values)
    } else {
        let count = outputs.checked_mul(channels).ok_or("is too large")?;
        cx.spend(count)?;
        let mut dense = vec![0.0; count];
        for o in 0..outputs {
            let first = o / (outputs / groups) * inputs;
            for i in 0..inputs {
                dense[o * channels + first + i] = values[(o * inputs + i) * area + tap];
            }
        }
        Rc::new(dense)
    };
    let op = Op::Linear(Linear { out_features: outputs, bias: bias.is_some() });
    let tensors = layer(vec![outputs, channels], linear, bias);
    let node = cx.push_layer(op, &[input], tensors, weight.name.as_ref())?;
    Ok(vec![pixel_value(cx, node)])
}

/// A vector as the map `[N, C, 1, 1]` that ONNX has.
pub(super) fn pixel_value(cx: &Context, node: usize) -> Value {
    let mut axes = super::axes::Axes::of(cx.batch, cx.net.shape(node));
    axes.0.resize(4, Vec::new());
    Value::Computed(Computed { node, axes, layout: None, sample: None })
}

pub(super) fn conv_transpose(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let weight = node.constant(1, "weight")?.clone();
    let kernel = kernel(node, &weight.dims)?;
    let values = floats(&weight, "weight")?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).unwrap_or(0);
    let (inputs, each) = (weight.dims[0], weight.dims[1]);
    let channels = cx.net.shape(x.node).channels();
    let outputs = each.checked_mul(groups).filter(|n| *n > 0).ok_or("has no outputs")?;
    if inputs != channels || !inputs.is_multiple_of(groups) {
        return Err(format!("has a weight {:?} and {groups} groups for {channels} channels", weight.dims));
    }
    if node.ints("output_shape").is_some() {
        return Err("has an `output_shape`; only pads and `output_padding` are read".into());
    }
    let windows = Windows::read(node, kernel, sides(cx, &x)?)?;
    if windows.dilation != [1, 1] {
        return Err(format!("has dilations {:?}; only 1 is read", windows.dilation));
    }
    let (mut padding, mut end) = (windows.padding, windows.end);
    let mut added = node.sizes("output_padding", [0; 2])?;
    let auto = node.text("auto_pad").unwrap_or("NOTSET");
    if matches!(auto, "SAME_UPPER" | "SAME_LOWER") {
        for i in 0..2 {
            let total = (kernel[i] + added[i]).saturating_sub(windows.stride[i]);
            let (less, more) = (total / 2, total - total / 2);
            (padding[i], end[i]) = if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
        }
    }
    for i in 0..2 {
        // What is cropped less at the end than at the beginning is appended.
        let whole = added[i] + padding[i];
        added[i] = whole.checked_sub(end[i]).ok_or_else(|| {
            format!("crops {} pixels at the beginning and {} at the end of an axis", padding[i], end[i])
        })?;
    }
    let bias = bias(node, 2, outputs)?;
    let input = cx.map(&x)?;
    let op = Op::ConvTranspose(ConvTranspose2d {
        out_channels: outputs,
        kernel,
        stride: windows.stride,
        padding,
        output_padding: added,
        groups,
        bias: bias.is_some(),
    });
    let tensors = layer(weight.dims.clone(), values, bias);
    let node = cx.push_layer(op, &[input], tensors, weight.name.as_ref())?;
    Ok(vec![cx.plain(node)])
}

/// The kernel of a pool and its windows, with the end padding that yields the output of `ceil_mode`.
fn pool_windows(cx: &Context, node: &NodeView, x: &Computed) -> Result<(Windows, bool), String> {
    let rank = node.ints("kernel_shape").map_or(0, <[i64]>::len);
    if rank != 2 {
        return Err(format!("has windows of {rank} axes; only 2-D pools are read"));
    }
    let kernel = node.sizes("kernel_shape", [0; 2])?;
    let sides = sides(cx, x)?;
    let mut windows = Windows::read(node, kernel, sides)?;
    let mut beyond = false;
    if node.int("ceil_mode") == Some(1) {
        for i in 0..2 {
            let (k, s, begin, end) = (kernel[i], windows.stride[i], windows.padding[i], windows.end[i]);
            let reach = windows.dilation[i] * (k - 1) + 1;
            let padded = sides[i] + begin + end;
            let Some(room) = padded.checked_sub(reach) else {
                return Err(format!("a window of {kernel:?} does not fit into {sides:?} pixels"));
            };
            let mut outputs = room.div_ceil(s) + 1;
            // The last window must begin inside the map or the padding before it.
            if (outputs - 1) * s >= sides[i] + begin {
                outputs -= 1;
            }
            let needed = ((outputs - 1) * s + reach).saturating_sub(sides[i] + begin);
            if window(sides[i], k, s, [begin, end], windows.dilation[i]) != Some(outputs) {
                beyond |= needed > end;
                windows.end[i] = needed;
            }
        }
    }
    if windows.dilation != [1, 1] {
        return Err(format!("has dilations {:?}; only 1 is read", windows.dilation));
    }
    Ok((windows, beyond))
}

pub(super) fn max_pool(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    if node.proto.output.get(1).is_some_and(|name| !name.is_empty()) {
        return Err("returns the places of its maxima, which are not computed".into());
    }
    let (windows, _) = pool_windows(cx, node, &x)?;
    let input = cx.map(&x)?;
    if [windows.kernel, windows.stride] == [[1, 1]; 2] && windows.padding == [0; 2] && windows.end == [0; 2] {
        cx.count("identities");
        return Ok(vec![Value::Computed(x)]);
    }
    let node = cx.push(Op::MaxPool(windows.pool()), &[input], Vec::new())?;
    Ok(vec![cx.plain(node)])
}

pub(super) fn average_pool(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let (windows, beyond) = pool_windows(cx, node, &x)?;
    let padded = windows.padding != [0; 2] || windows.end != [0; 2];
    let mut count_padding = node.int("count_include_pad") == Some(1);
    if beyond && count_padding {
        let declared = node.sizes("pads", [0; 4])?;
        if declared != [0; 4] {
            return Err(format!("counts its pads {declared:?}, but not what `ceil_mode` adds to them"));
        }
        count_padding = false;
    }
    let input = cx.map(&x)?;
    let shape = cx.net.shape(input);
    let whole = matches!(shape, Shape::Map([_, h, w]) if windows.kernel == [h, w]);
    if whole && !padded {
        let node = cx.push(Op::GlobalAvgPool, &[input], Vec::new())?;
        return Ok(vec![pixel_value(cx, node)]);
    }
    if [windows.kernel, windows.stride] == [[1, 1]; 2] && !padded {
        cx.count("identities");
        return Ok(vec![Value::Computed(x)]);
    }
    let op = Op::AvgPool(AvgPool2d { pool: windows.pool(), count_padding });
    let node = cx.push(op, &[input], Vec::new())?;
    Ok(vec![cx.plain(node)])
}

/// A mean or maximum over all pixels: `GlobalAveragePool`, `GlobalMaxPool`, `ReduceMean`, `ReduceMax`.
pub(super) fn reduce_pixels(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let global = node.op().starts_with("Global");
    let rank = x.axes.0.len();
    let gone = if global {
        (2..rank).collect()
    } else {
        let list = node.list(1, "axes")?;
        match list {
            Some(list) if !list.is_empty() => axes(&list, rank)?,
            _ if node.int("noop_with_empty_axes") == Some(1) => return Ok(vec![Value::Computed(x)]),
            _ => (0..rank).collect(),
        }
    };
    let pixels = |origin: Origin| matches!(origin, Origin::Height | Origin::Width);
    let inside = gone.iter().all(|i| x.axes.0[*i].iter().all(|a| pixels(a.origin)));
    let outside = (0..rank).filter(|i| !gone.contains(i)).all(|i| x.axes.0[i].iter().all(|a| !pixels(a.origin)));
    if !(inside && outside) {
        let dims = x.axes.dims();
        return Err(format!("reduces axes {gone:?} of {dims:?}; only all pixels of a map are reduced"));
    }
    let reduced = match cx.net.shape(x.node) {
        Shape::Vector(_) => x.node,
        Shape::Map([_, h, w]) => match node.op() {
            "GlobalAveragePool" | "ReduceMean" => cx.push(Op::GlobalAvgPool, &[x.node], Vec::new())?,
            _ if [h, w] == [1, 1] => x.node,
            _ => {
                let pool = Pool2d { kernel: [h, w], stride: [1, 1], padding: [0, 0], end_padding: None };
                cx.push(Op::MaxPool(pool), &[x.node], Vec::new())?
            }
        },
    };
    let keep = global || node.int("keepdims").unwrap_or(1) == 1;
    let left = (0..rank).filter(|i| keep || !gone.contains(i));
    let all = left.map(|i| if gone.contains(&i) { Vec::new() } else { x.axes.0[i].clone() }).collect();
    let axes = super::axes::Axes(all);
    Ok(vec![Value::Computed(Computed { node: reduced, axes, layout: x.layout, sample: None })])
}

/// Nearest and bilinear upsampling by one whole number.
pub(super) fn resize(cx: &mut Context, node: &NodeView) -> Outputs {
    let x = node.computed(0)?.clone();
    let old = node.op() == "Upsample" || node.inputs.len() == 2;
    let from = x.axes.dims();
    let given = |i: usize| match node.optional(i) {
        Some(Value::Constant(c)) if c.len() > 0 => Ok(Some(c.to_floats())),
        Some(Value::Constant(_)) | None => Ok(None),
        Some(_) => Err("has a size that is computed from pixels".to_owned()),
    };
    let (scales, sizes) = if old { (given(1)?, None) } else { (given(2)?, given(3)?) };
    let places: Vec<usize> = match node.ints("axes") {
        Some(list) => list.iter().map(|a| super::context::axis(*a, from.len())).collect::<Result<_, _>>()?,
        None => (0..from.len()).collect(),
    };
    let mut factors = vec![1.0; from.len()];
    match (&scales, &sizes) {
        (Some(scales), None) if scales.len() == places.len() => {
            places.iter().zip(scales.iter()).for_each(|(at, s)| factors[*at] = f64::from(*s));
        }
        (None, Some(sizes)) if sizes.len() == places.len() => {
            places.iter().zip(sizes.iter()).for_each(|(at, s)| factors[*at] = f64::from(*s) / from[*at] as f64);
        }
        _ => return Err("needs either scales or sizes, one for each axis".into()),
    }
    let policy = node.text("keep_aspect_ratio_policy").unwrap_or("stretch");
    if sizes.is_some() && policy != "stretch" {
        return Err(format!("has the keep_aspect_ratio_policy `{}`", short_name(policy)));
    }
    let [n, c, h, w] = factors.as_slice() else { return Err(format!("resizes {from:?}; only [N, C, H, W] is read")) };
    if [*n, *c] != [1.0, 1.0] || h != w || h.fract() != 0.0 || !(1.0..=16384.0).contains(h) {
        return Err(format!("resizes {from:?} by {factors:?}; only one whole number for rows and columns is read"));
    }
    let scale = *h as usize;
    let mode = node.text("mode").unwrap_or("nearest");
    let place = node.text("coordinate_transformation_mode").unwrap_or(if old { "asymmetric" } else { "half_pixel" });
    let round = node.text("nearest_mode").unwrap_or(if old { "floor" } else { "round_prefer_floor" });
    if node.int("antialias") == Some(1) {
        return Err("has `antialias`".into());
    }
    if scale == 1 {
        cx.count("identities");
        return Ok(vec![Value::Computed(x)]);
    }
    let mode = match mode {
        // Whole numbers: ⌊o / s⌋; and (o + ½) / s − ½ is less than ½ away from it.
        "nearest"
            if (place == "asymmetric" && round == "floor")
                || (matches!(place, "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel")
                    && round.starts_with("round_prefer")) =>
        {
            UpsampleMode::Nearest
        }
        "linear" | "bilinear" if matches!(place, "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel") => {
            UpsampleMode::Bilinear
        }
        other => {
            return Err(format!(
                "resizes in mode `{}` with the coordinate_transformation_mode `{}` and the nearest_mode `{}`; bilinear \
                 with half pixels, and nearest as PyTorch has it, are read",
                short_name(other),
                short_name(place),
                short_name(round)
            ));
        }
    };
    let input = cx.map(&x)?;
    let node = cx.push(Op::Upsample { scale, mode }, &[input], Vec::new())?;
    Ok(vec![cx.plain(node)])
}

/// A border that a window can have as its padding: merged where that is the same.
pub(super) fn merge_pad(op: &Op, begin: [usize; 2], end: [usize; 2], fill: Fill, positive: bool) -> Option<Op> {
    let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
    let grown = |padding: &mut [usize; 2], last: &mut Option<[usize; 2]>| {
        let old_end = last.unwrap_or(*padding);
        *padding = add(*padding, begin);
        let new_end = add(old_end, end);
        *last = (new_end != *padding).then_some(new_end);
    };
    let mut op = op.clone();
    match &mut op {
        Op::Conv(conv) if fill == Fill::Zero => grown(&mut conv.padding, &mut conv.end_padding),
        Op::MixConv(mix) if fill == Fill::Zero => grown(&mut mix.conv.padding, &mut mix.conv.end_padding),
        Op::MaxPool(pool)
            if fill == Fill::Lowest || (positive && pool.padding == [0; 2] && pool.end_padding.is_none()) =>
        {
            grown(&mut pool.padding, &mut pool.end_padding);
            let small = |p: [usize; 2]| (0..2).all(|i| p[i] < pool.kernel[i]);
            if !(small(pool.padding) && small(pool.end_padding())) {
                return None;
            }
        }
        Op::AvgPool(AvgPool2d { pool, count_padding })
            if fill == Fill::Zero && pool.padding == [0; 2] && pool.end_padding() == [0; 2] =>
        {
            grown(&mut pool.padding, &mut pool.end_padding);
            *count_padding = true;
            let small = |p: [usize; 2]| (0..2).all(|i| p[i] < pool.kernel[i]);
            if !(small(pool.padding) && small(pool.end_padding())) {
                return None;
            }
        }
        _ => return None,
    }
    Some(op)
}

/// A border of zeros, or every n-th pixel, as a depthwise convolution with one tap.
pub(super) fn one_tap(kind: &Kind, channels: usize) -> Option<(Conv2d, Vec<Named>)> {
    let conv = Conv2d { groups: channels, ..Conv2d::new(channels, [1, 1]) };
    let conv = match kind {
        Kind::Pad { begin, end, fill: Fill::Zero } => {
            Conv2d { padding: *begin, end_padding: (end != begin).then_some(*end), ..conv }
        }
        Kind::Subsample(step) => Conv2d { stride: *step, ..conv },
        Kind::Pad { .. } | Kind::Op(_) | Kind::Affine { .. } | Kind::Erf => return None,
    };
    Some((conv, layer(vec![channels, 1, 1, 1], Rc::new(vec![1.0; channels]), None)))
}
