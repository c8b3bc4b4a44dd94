//! Batch norm in training with the activation that follows, one channel at a time: y = act(γ·(x − μ)/σ + β).
//!
//! A channel of a batch fits the second-level cache, so the passes over it (mean, variance, output; two sums, gradient)
//! read main memory once. The normalised values are computed again in the backward pass rather than kept.

use super::geometry::split;
use super::job::{ENOUGH, Shared, run, written};
use crate::Isa;
use crate::lanes::{LANES, dispatch};

/// The activation after a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// z
    None,
    /// max(z, 0)
    Relu,
    /// min(max(z, 0), 6)
    Relu6,
    /// z · min(max(z + 3, 0), 6) / 6
    HardSwish,
}

/// What a batch norm works with.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// Samples N, channels C, pixels of a map.
    pub size: [usize; 3],
    /// γ `[C]`.
    pub scale: &'a [f32],
    /// β `[C]`.
    pub shift: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// What follows.
    pub activation: NormActivation,
}

impl BatchNorm<'_> {
    fn check(&self, maps: &[usize], channels: &[usize]) {
        let [n, c, pixels] = self.size;
        assert!(maps.iter().all(|len| *len == n * c * pixels), "maps must be [N, C, H, W]");
        assert!(channels.iter().all(|len| *len == c), "one value a channel");
        assert!(n * c * pixels > 0, "a batch norm needs values");
    }
}

/// The numbers of one channel.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    /// γ/σ
    scale: f32,
    shift: f32,
}

impl Channel {
    #[inline(always)]
    fn z(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.shift
    }
}

/// An activation known when a loop is compiled.
trait Act: Copy {
    /// act(z)
    fn apply(self, z: f32) -> f32;
    /// act'(z)·g
    fn derive(self, z: f32, g: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Plain;
#[derive(Clone, Copy)]
struct Relu;
#[derive(Clone, Copy)]
struct Relu6;
#[derive(Clone, Copy)]
struct HardSwish;

impl Act for Plain {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        z
    }
    #[inline(always)]
    fn derive(self, _: f32, g: f32) -> f32 {
        g
    }
}

impl Act for Relu {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        if z < 0.0 { 0.0 } else { z }
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        if z > 0.0 { g } else { 0.0 }
    }
}

impl Act for Relu6 {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        clamp6(z)
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        if (z > 0.0) & (z < 6.0) { g } else { 0.0 }
    }
}

impl Act for HardSwish {
    #[inline(always)]
    fn apply(self, z: f32) -> f32 {
        z * clamp6(z + 3.0) * (1.0 / 6.0)
    }
    #[inline(always)]
    fn derive(self, z: f32, g: f32) -> f32 {
        let slope = if z < 3.0 { z * (1.0 / 3.0) + 0.5 } else { 1.0 };
        if z > -3.0 { slope * g } else { 0.0 }
    }
}

/// min(max(z, 0), 6) in comparisons that lanes have; not a number stays so.
#[inline(always)]
fn clamp6(z: f32) -> f32 {
    let z = if z < 0.0 { 0.0 } else { z };
    if z > 6.0 { 6.0 } else { z }
}

/// Calls `$run` with the activation as a type.
macro_rules! with_act {
    ($activation:expr, $act:ident => $run:expr) => {
        match $activation {
            NormActivation::None => {
                let $act = Plain;
                $run
            }
            NormActivation::Relu => {
                let $act = Relu;
                $run
            }
            NormActivation::Relu6 => {
                let $act = Relu6;
                $run
            }
            NormActivation::HardSwish => {
                let $act = HardSwish;
                $run
            }
        }
    };
}

/// Adds Σ v, or Σ (v − about)², of a plane to `to`.
#[inline(always)]
fn sums_body<L>(_: L, plane: &[f32], about: f32, square: bool, to: &mut f64) {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = plane.as_chunks::<LANES>();
    if square {
        for v in whole {
            for (s, v) in lanes.iter_mut().zip(v) {
                *s += (v - about) * (v - about);
            }
        }
    } else {
        for v in whole {
            for (s, v) in lanes.iter_mut().zip(v) {
                *s += v;
            }
        }
    }
    let tail = rest.iter().map(|v| if square { f64::from((v - about) * (v - about)) } else { f64::from(*v) });
    *to += lanes.iter().map(|s| f64::from(*s)).sum::<f64>() + tail.sum::<f64>();
}

#[inline(always)]
fn apply_body<L>(_: L, channel: Channel, activation: NormActivation, x: &[f32], y: &mut [f32]) {
    with_act!(activation, act => for (y, x) in y.iter_mut().zip(x) {
        *y = act.apply(channel.z(*x));
    });
}

/// Σ g′ and Σ g′·(x − μ) for g′ = act′(z)·dy.
#[inline(always)]
fn reduce_body<L>(_: L, channel: Channel, activation: NormActivation, x: &[f32], dy: &[f32], to: &mut [f64; 2]) {
    let (mut first, mut second) = ([0.0f32; LANES], [0.0f32; LANES]);
    let ((xs, x_rest), (gs, g_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
    with_act!(activation, act => {
        for (x, g) in xs.iter().zip(gs) {
            for i in 0..LANES {
                let g = act.derive(channel.z(x[i]), g[i]);
                first[i] += g;
                second[i] += g * (x[i] - channel.mean);
            }
        }
        for (i, (x, g)) in x_rest.iter().zip(g_rest).enumerate() {
            let g = act.derive(channel.z(*x), *g);
            first[i] += g;
            second[i] += g * (x - channel.mean);
        }
    });
    to[0] += first.iter().map(|s| f64::from(*s)).sum::<f64>();
    to[1] += second.iter().map(|s| f64::from(*s)).sum::<f64>();
}

/// dx = γ/σ·(g′ − a − b·(x − μ)), with [a, b] in `means`.
#[inline(always)]
fn gradient_body<L>(
    _: L,
    channel: Channel,
    activation: NormActivation,
    means: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    with_act!(activation, act => for ((dx, x), g) in dx.iter_mut().zip(x).zip(dy) {
        let g = act.derive(channel.z(*x), *g);
        *dx = channel.scale * (g - means[0] - means[1] * (x - channel.mean));
    });
}

/// Batch norm and activation of `x` `[N, C, H, W]`, with the batch's mean and (biased) variance `[C]`.
///
/// # Panics
/// When a length does not fit.
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub fn batch_norm_forward(isa: Isa, bn: &BatchNorm<'_>, x: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    bn.check(&[x.len()], &[bn.scale.len(), bn.shift.len()]);
    let (mut mean, mut variance) = (vec![0.0; bn.size[1]], vec![0.0; bn.size[1]]);
    // SAFETY: all channels of all samples are written.
    let (y, ()) = unsafe { written(x.len(), |y| forward(isa, bn, x, y, &mut mean, &mut variance)) };
    (y, mean, variance)
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
fn forward(isa: Isa, bn: &BatchNorm<'_>, x: &[f32], y: Shared<'_>, mean: &mut [f32], variance: &mut [f32]) {
    let [n, channels, pixels] = bn.size;
    let (means, variances) = (Shared::new(mean), Shared::new(variance));
    let activation = bn.activation;
    let runs = split(channels, channels.min(ENOUGH));
    run(runs.len(), |job, _| {
        for c in runs[job].clone() {
            let plane = |i: usize| &x[(i * channels + c) * pixels..][..pixels];
            let total = |about: f32, square: bool| {
                let mut sum = 0.0;
                for i in 0..n {
                    let (plane, to) = (plane(i), &mut sum);
                    dispatch!(isa, sums_body(plane: &[f32], about: f32, square: bool, to: &mut f64));
                }
                sum / (n * pixels) as f64
            };
            let mean = total(0.0, false) as f32;
            let variance = total(mean, true) as f32;
            let scale = bn.scale[c] / (variance + bn.eps).sqrt();
            let channel = Channel { mean, scale, shift: bn.shift[c] };
            for i in 0..n {
                // SAFETY: every channel belongs to one job.
                let (x, y) = (plane(i), unsafe { y.zeroed((i * channels + c) * pixels, pixels) });
                dispatch!(isa, apply_body(channel: Channel, activation: NormActivation, x: &[f32], y: &mut [f32]));
            }
            // SAFETY: as above.
            unsafe {
                means.slice(c, 1)[0] = mean;
                variances.slice(c, 1)[0] = variance;
            }
        }
    });
}

/// Gradients of [`batch_norm_forward`] for `dy` `[N, C, H, W]`: in `x`, in the scale and in the shift. `mean` and
/// `variance` are those that the forward pass gave.
///
/// # Panics
/// When a length does not fit.
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub fn batch_norm_backward(
    isa: Isa,
    bn: &BatchNorm<'_>,
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    bn.check(&[x.len(), dy.len()], &[bn.scale.len(), bn.shift.len(), mean.len(), variance.len()]);
    let (mut dscale, mut dshift) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
    let sums = [&mut dscale[..], &mut dshift[..]];
    // SAFETY: all channels of all samples are written.
    let (dx, ()) = unsafe { written(x.len(), |dx| backward(isa, bn, x, [mean, variance], dy, dx, sums)) };
    (dx, dscale, dshift)
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
fn backward(
    isa: Isa,
    bn: &BatchNorm<'_>,
    x: &[f32],
    [mean, variance]: [&[f32]; 2],
    dy: &[f32],
    dx: Shared<'_>,
    sums: [&mut [f32]; 2],
) {
    let [n, channels, pixels] = bn.size;
    let [dscale, dshift] = sums.map(Shared::new);
    let activation = bn.activation;
    let runs = split(channels, channels.min(ENOUGH));
    run(runs.len(), |job, _| {
        for c in runs[job].clone() {
            let at = |i: usize| (i * channels + c) * pixels;
            let inverse = 1.0 / (variance[c] + bn.eps).sqrt();
            let channel =
                Channel { mean: mean[c], scale: bn.scale[c] / (variance[c] + bn.eps).sqrt(), shift: bn.shift[c] };
            let mut sums = [0.0f64; 2];
            for i in 0..n {
                let (x, dy, to) = (&x[at(i)..][..pixels], &dy[at(i)..][..pixels], &mut sums);
                dispatch!(isa, reduce_body(
                    channel: Channel, activation: NormActivation, x: &[f32], dy: &[f32], to: &mut [f64; 2],
                ));
            }
            let count = (n * pixels) as f64;
            let means = [(sums[0] / count) as f32, (sums[1] / count * f64::from(inverse * inverse)) as f32];
            for i in 0..n {
                // SAFETY: every channel belongs to one job.
                let dx = unsafe { dx.zeroed(at(i), pixels) };
                let (x, dy) = (&x[at(i)..][..pixels], &dy[at(i)..][..pixels]);
                dispatch!(isa, gradient_body(
                    channel: Channel, activation: NormActivation, means: [f32; 2], x: &[f32], dy: &[f32],
                    dx: &mut [f32],
                ));
            }
            // SAFETY: as above.
            unsafe {
                dscale.slice(c, 1)[0] = (sums[1] * f64::from(inverse)) as f32;
                dshift.slice(c, 1)[0] = sums[0] as f32;
            }
        }
    });
}
