//! Runs a network in naive loops, directly from the definitions: NCHW, f64, no fusion, no optimization.
//!
//! The compiled plan is tested against this, so they share no code. The mixed kernel of a dynamic layer is computed
//! explicitly for every sample.

use dyconv_graph::{
    Activation, AvgPool2d, Conv2d, ConvTranspose2d, Graph, Node, Op, Pool2d, Shape, UpsampleMode, Weights,
};

use crate::error::{EngineError, check_len, check_tau};
use crate::memory::check_memory;

/// Runs the network on `input` (NCHW, `batch` × C×H×W) and returns its outputs (`batch` × output shape, channels
/// first).
///
/// # Errors
/// If the weights do not belong to the graph, τ is not positive and finite, or the input has the wrong length.
pub fn run(graph: &Graph, weights: &Weights, tau: f32, input: &[f32], batch: usize) -> Result<Vec<f32>, EngineError> {
    run_all(graph, weights, tau, input, batch, &mut |_, _, _| {})
}

/// Like [`run`], but also passes the value of every node, in execution order, to `visit`: its name, the shape of one
/// sample, and `batch` samples, channels first.
///
/// # Errors
/// As for [`run`].
pub fn run_all(
    graph: &Graph,
    weights: &Weights,
    tau: f32,
    input: &[f32],
    batch: usize,
    visit: &mut dyn FnMut(&str, Shape, &[f32]),
) -> Result<Vec<f32>, EngineError> {
    let mut answers = Vec::new();
    for (i, value) in evaluate(graph, weights, tau, input, batch)?.iter().enumerate() {
        let (node, value) = (&graph.nodes()[i], value.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        visit(&node.name, node.shape, &value);
        if i == graph.output().index() {
            answers = value;
        }
    }
    Ok(answers)
}

/// Values of all nodes: `batch` samples each, channels first.
fn evaluate(
    graph: &Graph,
    weights: &Weights,
    tau: f32,
    input: &[f32],
    batch: usize,
) -> Result<Vec<Vec<f64>>, EngineError> {
    weights.check(graph)?;
    check_tau(tau)?;
    let [c, h, w] = graph.input_dims();
    check_len("input", input.len(), batch, Shape::Map([c, h, w]))?;
    let elements: usize = graph.nodes().iter().map(|n| n.shape.elements()).fold(0, usize::saturating_add);
    check_memory(elements.saturating_mul(batch).saturating_mul(size_of::<f64>()))?;
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); graph.nodes().len()];
    values[0] = input.iter().map(|v| f64::from(*v)).collect();
    for (i, node) in graph.nodes().iter().enumerate().skip(1) {
        let mut value = Vec::with_capacity(batch * node.shape.elements());
        for n in 0..batch {
            let sample = |position: usize| {
                let input = node.inputs[position];
                let len = graph.node(input).shape.elements();
                (&values[input.index()][n * len..][..len], graph.node(input).shape)
            };
            let inputs: Vec<(&[f64], Shape)> = (0..node.inputs.len()).map(sample).collect();
            value.extend(apply(node, weights, f64::from(tau), &inputs));
        }
        values[i] = value;
    }
    Ok(values)
}

/// Computes one node for one sample of its inputs.
fn apply(node: &Node, weights: &Weights, tau: f64, inputs: &[(&[f64], Shape)]) -> Vec<f64> {
    let (x, shape) = inputs[0];
    let z = inputs.get(1).map_or(&[][..], |(z, _)| z);
    let tensor = |name: &str| -> Vec<f64> {
        weights.get(&format!("{}.{name}", node.name)).data.iter().map(|v| f64::from(*v)).collect()
    };
    let optional = |present: bool| if present { tensor("bias") } else { Vec::new() };
    match &node.op {
        Op::Input => x.to_vec(),
        Op::Conv(spec) => conv(spec, &tensor("weight"), &optional(spec.bias), x, shape, node.shape),
        Op::MixConv(mixture) => {
            let spec = &mixture.conv;
            conv(spec, &mix(&tensor("weight"), z), &mix(&optional(spec.bias), z), x, shape, node.shape)
        }
        Op::ConvTranspose(spec) => conv_transpose(spec, &tensor("weight"), &optional(spec.bias), x, shape, node.shape),
        Op::Linear(spec) => linear(&tensor("weight"), &optional(spec.bias), x, spec.out_features),
        Op::MixLinear(mixture) => {
            let spec = &mixture.linear;
            linear(&mix(&tensor("weight"), z), &mix(&optional(spec.bias), z), x, spec.out_features)
        }
        Op::BatchNorm { eps } => {
            let (gamma, beta) = (tensor("weight"), tensor("bias"));
            let (mean, var) = (tensor("running_mean"), tensor("running_var"));
            let at = |i: usize| i / shape.pixels();
            let norm = |i: usize| (x[i] - mean[at(i)]) / (var[at(i)] + f64::from(*eps)).sqrt();
            (0..x.len()).map(|i| norm(i) * gamma[at(i)] + beta[at(i)]).collect()
        }
        Op::Activation(function) => x.iter().map(|v| activation(*function, *v)).collect(),
        Op::Softmax => {
            let largest = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            let e: Vec<f64> = x.iter().map(|v| ((v - largest) / tau).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        }
        Op::Add => x.iter().zip(z).map(|(a, b)| a + b).collect(),
        Op::Scale => (0..x.len()).map(|i| x[i] * z[i / shape.pixels()]).collect(),
        Op::GlobalAvgPool => {
            x.chunks(shape.pixels()).map(|map| map.iter().sum::<f64>() / shape.pixels() as f64).collect()
        }
        Op::MaxPool(pool) => max_pool(pool, x, shape, node.shape),
        Op::AvgPool(pool) => avg_pool(pool, x, shape, node.shape),
        Op::Upsample { scale, mode: UpsampleMode::Bilinear } => upsample(*scale, x, shape),
        Op::Upsample { scale, mode: UpsampleMode::Nearest } => {
            let [c, h, w] = sides(shape);
            let pixel = |channel, oy: usize, ox: usize| x[(channel * h + oy / scale) * w + ox / scale];
            let row = |channel, oy| (0..w * scale).map(move |ox| pixel(channel, oy, ox));
            (0..c).flat_map(|channel| (0..h * scale).flat_map(move |oy| row(channel, oy))).collect()
        }
        Op::LeakyRelu { slope } => x.iter().map(|v| if *v < 0.0 { v * f64::from(*slope) } else { *v }).collect(),
        Op::Mul => x.iter().zip(z).map(|(a, b)| a * b).collect(),
        Op::Concat => inputs.iter().flat_map(|(x, _)| x.iter().copied()).collect(),
        Op::Slice { start, channels } => x[start * shape.pixels()..(start + channels) * shape.pixels()].to_vec(),
        Op::Flatten => x.to_vec(),
        Op::ChannelShuffle { groups } => {
            let (pixels, members) = (shape.pixels(), shape.channels() / groups);
            let from = |o: usize| (o % groups) * members + o / groups;
            (0..shape.channels()).flat_map(|o| x[from(o) * pixels..][..pixels].iter().copied()).collect()
        }
        Op::Dropout { .. } => x.to_vec(),
    }
}

/// Σ_k π_k · bank_k for a bank `[K, …]`.
fn mix(bank: &[f64], pi: &[f64]) -> Vec<f64> {
    let len = bank.len() / pi.len();
    (0..len).map(|i| (0..pi.len()).map(|k| pi[k] * bank[k * len + i]).sum()).collect()
}

fn sides(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Map(dims) => dims,
        Shape::Vector(n) => [n, 1, 1],
    }
}

fn conv(spec: &Conv2d, weight: &[f64], bias: &[f64], x: &[f64], input: Shape, output: Shape) -> Vec<f64> {
    let ([c, h, w], [o, oh, ow]) = (sides(input), sides(output));
    let (inputs, outputs) = (c / spec.groups, o / spec.groups);
    let [kh, kw] = spec.kernel;
    let mut y = Vec::with_capacity(o * oh * ow);
    for oc in 0..o {
        for oy in 0..oh {
            for ox in 0..ow {
                let mut sum = bias.get(oc).copied().unwrap_or(0.0);
                for ci in 0..inputs {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let iy = oy * spec.stride[0] + ky * spec.dilation[0];
                            let ix = ox * spec.stride[1] + kx * spec.dilation[1];
                            let inside = iy >= spec.padding[0]
                                && ix >= spec.padding[1]
                                && iy < h + spec.padding[0]
                                && ix < w + spec.padding[1];
                            if inside {
                                let channel = oc / outputs * inputs + ci;
                                sum += weight[((oc * inputs + ci) * kh + ky) * kw + kx]
                                    * x[(channel * h + iy - spec.padding[0]) * w + ix - spec.padding[1]];
                            }
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// Adds the product of every input with every tap to the output it belongs to.
fn conv_transpose(
    spec: &ConvTranspose2d,
    weight: &[f64],
    bias: &[f64],
    x: &[f64],
    input: Shape,
    output: Shape,
) -> Vec<f64> {
    let ([c, h, w], [o, oh, ow]) = (sides(input), sides(output));
    let (inputs, outputs) = (c / spec.groups, o / spec.groups);
    let [kh, kw] = spec.kernel;
    let mut y: Vec<f64> = (0..o * oh * ow).map(|i| bias.get(i / (oh * ow)).copied().unwrap_or(0.0)).collect();
    for ci in 0..c {
        for of_group in 0..outputs {
            let oc = ci / inputs * outputs + of_group;
            for iy in 0..h {
                for ix in 0..w {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let oy = iy * spec.stride[0] + ky;
                            let ox = ix * spec.stride[1] + kx;
                            let inside = oy >= spec.padding[0]
                                && ox >= spec.padding[1]
                                && oy < oh + spec.padding[0]
                                && ox < ow + spec.padding[1];
                            if inside {
                                let weight = weight[((ci * outputs + of_group) * kh + ky) * kw + kx];
                                y[(oc * oh + oy - spec.padding[0]) * ow + ox - spec.padding[1]] +=
                                    weight * x[(ci * h + iy) * w + ix];
                            }
                        }
                    }
                }
            }
        }
    }
    y
}

/// Each output is the mean of the four pixels around it, weighted by distance; outside the map the border pixels are
/// repeated.
fn upsample(scale: usize, x: &[f64], input: Shape) -> Vec<f64> {
    let [c, h, w] = sides(input);
    let around = |o: usize, size: usize| {
        let at = ((o as f64 + 0.5) / scale as f64 - 0.5).clamp(0.0, (size - 1) as f64);
        let low = at.floor() as usize;
        (low, (low + 1).min(size - 1), at - low as f64)
    };
    let mut y = Vec::with_capacity(x.len() * scale * scale);
    for channel in 0..c {
        for oy in 0..h * scale {
            for ox in 0..w * scale {
                let ((top, bottom, down), (left, right, across)) = (around(oy, h), around(ox, w));
                let at = |y: usize, px: usize| x[(channel * h + y) * w + px];
                let row = |y: usize| at(y, left) * (1.0 - across) + at(y, right) * across;
                y.push(row(top) * (1.0 - down) + row(bottom) * down);
            }
        }
    }
    y
}

fn linear(weight: &[f64], bias: &[f64], x: &[f64], outputs: usize) -> Vec<f64> {
    let product = |o: usize| x.iter().zip(&weight[o * x.len()..]).map(|(x, w)| x * w).sum::<f64>();
    (0..outputs).map(|o| product(o) + bias.get(o).copied().unwrap_or(0.0)).collect()
}

fn max_pool(pool: &Pool2d, x: &[f64], input: Shape, output: Shape) -> Vec<f64> {
    let larger = |best: f64, v: f64| if v > best || v.is_nan() { v } else { best };
    windows(pool, x, input, output, &|values| values.iter().copied().fold(f64::NEG_INFINITY, larger))
}

fn avg_pool(spec: &AvgPool2d, x: &[f64], input: Shape, output: Shape) -> Vec<f64> {
    let [kh, kw] = spec.pool.kernel;
    let mean = |values: &[f64]| {
        let count = if spec.count_padding { kh * kw } else { values.len() };
        values.iter().sum::<f64>() / count as f64
    };
    windows(&spec.pool, x, input, output, &mean)
}

/// Calls `of` with the values of each window that lie inside the map.
fn windows(pool: &Pool2d, x: &[f64], input: Shape, output: Shape, of: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let ([_, h, w], [c, oh, ow]) = (sides(input), sides(output));
    let mut y = Vec::with_capacity(c * oh * ow);
    let mut values = Vec::new();
    for channel in 0..c {
        for oy in 0..oh {
            for ox in 0..ow {
                values.clear();
                for iy in oy * pool.stride[0]..oy * pool.stride[0] + pool.kernel[0] {
                    for ix in ox * pool.stride[1]..ox * pool.stride[1] + pool.kernel[1] {
                        let inside = iy >= pool.padding[0]
                            && ix >= pool.padding[1]
                            && iy < h + pool.padding[0]
                            && ix < w + pool.padding[1];
                        if inside {
                            values.push(x[(channel * h + iy - pool.padding[0]) * w + ix - pool.padding[1]]);
                        }
                    }
                }
                y.push(of(&values));
            }
        }
    }
    y
}

fn activation(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Relu if x < 0.0 => 0.0,
        Activation::Relu => x,
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_graph::{Builder, Tensor};

    /// A case small enough to check by eye: a 2×2 kernel over a 2×3 map.
    #[test]
    fn a_convolution_by_hand() {
        let mut b = Builder::new([1, 2, 3]).unwrap();
        let x = b.input();
        let y = b.push("c", Op::Conv(Conv2d { bias: true, ..Conv2d::new(1, [2, 2]) }), &[x]).unwrap();
        let graph = b.finish(y).unwrap();
        let mut weights = Weights::default();
        weights.0.insert("c.weight".into(), Tensor::new(&[1, 1, 2, 2], vec![1.0, 10.0, 100.0, 1000.0]));
        weights.0.insert("c.bias".into(), Tensor::new(&[1], vec![0.5]));
        let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(run(&graph, &weights, 1.0, &input, 1).unwrap(), [5421.5, 6532.5]);
        assert!(matches!(run(&graph, &weights, 0.0, &input, 1), Err(EngineError::Temperature(_))));
        let error = run(&graph, &weights, 1.0, &input, 2).unwrap_err().to_string();
        assert_eq!(error, "input must hold 12 values (2 × [1, 2, 3]), got 6");
        let missing = run(&graph, &Weights::default(), 1.0, &input, 1);
        assert!(matches!(missing, Err(EngineError::Weights(_))));
    }

    /// Two pixels and a kernel of three taps at stride two: the contributions overlap in the middle.
    #[test]
    fn a_transposed_convolution_and_an_upsampling_by_hand() {
        let mut b = Builder::new([1, 1, 2]).unwrap();
        let x = b.input();
        let conv = ConvTranspose2d { stride: [1, 2], bias: true, ..ConvTranspose2d::new(1, [1, 3]) };
        let y = b.push("c", Op::ConvTranspose(conv), &[x]).unwrap();
        let graph = b.finish(y).unwrap();
        let mut weights = Weights::default();
        weights.0.insert("c.weight".into(), Tensor::new(&[1, 1, 1, 3], vec![1.0, 10.0, 100.0]));
        weights.0.insert("c.bias".into(), Tensor::new(&[1], vec![0.5]));
        assert_eq!(run(&graph, &weights, 1.0, &[2.0, 3.0], 1).unwrap(), [2.5, 20.5, 203.5, 30.5, 300.5]);

        let mut b = Builder::new([1, 1, 2]).unwrap();
        let x = b.input();
        let y = b.push("up", Op::Upsample { scale: 2, mode: UpsampleMode::Bilinear }, &[x]).unwrap();
        let graph = b.finish(y).unwrap();
        let answer = run(&graph, &Weights::default(), 1.0, &[0.0, 4.0], 1).unwrap();
        assert_eq!(answer, [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
    }
}
