//! Moves work before an upsampling where possible. A 1×1 convolution of an upsampled map equals the upsampled
//! convolution of the map, since an upsampling computes weighted means of pixels; the activation of the convolution
//! stays after the upsampling. A pool of an upsampled map equals the pool of the map, since all pixels have the same
//! weight in it. With twice the height and width, this takes a fourth of the products.

use dyconv_graph::{Conv2d, Shape, UpsampleMode};

use super::remove;
use crate::convert::is_pointwise;
use crate::lowered::{Layer, Lowered, Step, StepOp};

/// Minimum number of input channels for which a convolution costs more than upsampling its output.
const WORTH: usize = 16;

pub(crate) fn work_before_upsample(lowered: Lowered) -> Lowered {
    let Lowered { steps: old, output } = lowered;
    let mut steps: Vec<Step> = Vec::with_capacity(old.len());
    let mut moved = Vec::with_capacity(old.len());
    for mut step in old {
        step.inputs.iter_mut().for_each(|i| *i = moved[*i]);
        let from = step.inputs.first().copied();
        if let Some((from, x, scale, mode)) = from.and_then(|from| upsampled(&steps, from)) {
            let small = steps[x].shape;
            match &mut step.op {
                StepOp::GlobalAvgPool => step.inputs[0] = x,
                StepOp::Conv(layer) if pointwise(layer, small) && !step.inputs[1..].contains(&from) => {
                    let activation = layer.activation.take();
                    let large = step.shape;
                    step.shape = on_pixels_of(large, small);
                    step.inputs[0] = x;
                    let products = small.channels() / layer.spec.groups * layer.spec.out_channels;
                    step.madds -= (products * (large.pixels() - small.pixels())) as u64;
                    let name = step.name;
                    step.name = format!("{name} before {}", steps[from].name);
                    step.partial = true;
                    let (inputs, router) = (vec![steps.len()], step.router);
                    steps.push(step);
                    let op = StepOp::Upsample { scale, mode, activation };
                    step = Step { name, op, inputs, sums: false, shape: large, router, madds: 0, partial: false };
                }
                _ => {}
            }
        }
        moved.push(steps.len());
        steps.push(step);
    }
    let lowered = Lowered { output: moved[output], steps };
    let uses = lowered.uses();
    let unread = |(step, uses): (&Step, usize)| {
        (uses == 0 && matches!(step.op, StepOp::Upsample { .. })).then(|| step.inputs[0])
    };
    let gone: Vec<Option<usize>> = lowered.steps.iter().zip(uses).map(unread).collect();
    remove(lowered, &gone)
}

/// The step itself, its input, its factor and its mode, if it is a plain upsampling.
fn upsampled(steps: &[Step], from: usize) -> Option<(usize, usize, usize, UpsampleMode)> {
    match steps[from].op {
        StepOp::Upsample { scale, mode, activation: None } => Some((from, steps[from].inputs[0], scale, mode)),
        _ => None,
    }
}

fn pointwise(layer: &Layer<Conv2d>, input: Shape) -> bool {
    let plain = is_pointwise(&layer.spec) && layer.spec.stride == [1, 1] && !layer.residual && !layer.scaled;
    plain && input.channels() / layer.spec.groups >= WORTH
}

/// A shape with the channels of `channels` and the pixels of `pixels`.
fn on_pixels_of(channels: Shape, pixels: Shape) -> Shape {
    match pixels {
        Shape::Map([_, h, w]) => Shape::Map([channels.channels(), h, w]),
        Shape::Vector(_) => unreachable!("an upsampling reads a map"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Activation, Builder, Graph, Init, Op, init};

    /// An upsampling that is read by a pool, a convolution and, with `with_sum`, a sum.
    fn network(channels: usize, kernel: usize, with_sum: bool) -> Graph {
        let mut b = Builder::new([channels, 3, 3]).unwrap();
        let x = b.input();
        let up = b.push("up", Op::Upsample { scale: 2, mode: UpsampleMode::Bilinear }, &[x]).unwrap();
        let conv = Conv2d { padding: [kernel / 2; 2], ..Conv2d::new(channels, [kernel; 2]) };
        let y = b.push("conv", Op::Conv(conv), &[up]).unwrap();
        let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
        let mean = b.push("mean", Op::GlobalAvgPool, &[up]).unwrap();
        let mut y = b.push("scaled", Op::Scale, &[y, mean]).unwrap();
        if with_sum {
            y = b.push("sum", Op::Add, &[y, up]).unwrap();
        }
        b.finish(y).unwrap()
    }

    fn passed(graph: &Graph) -> Lowered {
        let lowered = Lowered::new(graph, &init(graph, Init::default())).unwrap();
        work_before_upsample(super::super::fuse_activation(lowered))
    }

    #[test]
    fn the_convolution_and_the_pool_move_and_the_activation_stays() {
        let lowered = passed(&network(16, 1, false));
        assert_eq!(names(&lowered), ["input", "relu before up", "relu", "mean", "scaled"]);
        assert_eq!(lowered.steps[1].shape, Shape::Map([16, 3, 3]));
        assert_eq!(lowered.steps[1].madds, 16 * 16 * 9);
        assert!(matches!(lowered.steps[2].op, StepOp::Upsample { scale: 2, activation: Some(Activation::Relu), .. }));
        assert_eq!((&lowered.steps[3].inputs[..], &lowered.steps[4].inputs[..]), (&[0][..], &[2, 3][..]));
    }

    #[test]
    fn an_upsampling_that_is_read_otherwise_stays_too() {
        let lowered = passed(&network(16, 1, true));
        assert_eq!(names(&lowered), ["input", "up", "relu before up", "relu", "mean", "scaled", "sum"]);
    }

    #[test]
    fn convolutions_of_few_channels_or_many_taps_stay_behind() {
        for graph in [network(8, 1, false), network(16, 3, false)] {
            assert_eq!(names(&passed(&graph)), ["input", "up", "relu", "mean", "scaled"]);
        }
    }
}
