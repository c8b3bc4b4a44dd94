//! Training-mode batch norm with the activation that follows, one channel at a time: y = act(γ·(x − μ)/σ + β).
//!
//! One channel of a batch fits into the L2 cache, so the passes over it (mean, variance, output; two sums, gradient)
//! read main memory once. The backward pass recomputes the normalized values instead of storing them.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use dyconv_simd::{Isa, LANES, dispatch};

use crate::activation::{Act, NormActivation, with_act};
use crate::geometry::split;
use crate::job::{ENOUGH, Shared, run, written};

/// Parameters of a batch norm.
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
    /// The activation that follows.
    pub activation: NormActivation,
    /// Set if other processes hold other samples of the batch: replaces each sum by the sum over all processes.
    pub all_reduce: Option<AllReduce>,
}

/// Sums each number over all processes that share a batch (all-reduce, in place). Every process must pass the same
/// number of values.
pub type AllReduce = fn(&mut [f64]);

impl BatchNorm<'_> {
    fn check(&self, maps: &[usize], channels: &[usize]) {
        let [n, c, pixels] = self.size;
        assert!(maps.iter().all(|len| *len == n * c * pixels), "maps must be [N, C, H, W]");
        assert!(channels.iter().all(|len| *len == c), "one value a channel");
        assert!(n * c * pixels > 0, "a batch norm needs values");
    }
}

/// The constants of one channel.
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
fn apply_body<L>(_: L, channel: Channel, activation: NormActivation, x: &[f32], y: &mut [MaybeUninit<f32>]) {
    with_act!(activation, act => for (y, x) in y.iter_mut().zip(x) {
        y.write(act.apply(channel.z(*x)));
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
    dx: &mut [MaybeUninit<f32>],
) {
    with_act!(activation, act => for ((dx, x), g) in dx.iter_mut().zip(x).zip(dy) {
        let g = act.derive(channel.z(*x), *g);
        dx.write(channel.scale * (g - means[0] - means[1] * (x - channel.mean)));
    });
}

/// Applies batch norm and activation to `x` `[N, C, H, W]`; also returns the mean and the (biased) variance of the
/// batch, `[C]`.
///
/// # Panics
/// If a length does not match.
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
    let total = |c: usize, about: f32, square: bool| {
        let mut sum = 0.0;
        for i in 0..n {
            let (plane, to) = (&x[(i * channels + c) * pixels..][..pixels], &mut sum);
            dispatch!(isa, sums_body(plane: &[f32], about: f32, square: bool, to: &mut f64));
        }
        sum
    };
    let count = (n * pixels) as f64;
    let of_all = bn.all_reduce.map(|all_reduce| {
        let (means, count) = shares(bn, all_reduce, |c| [total(c, 0.0, false)]);
        let means: Vec<f32> = means.iter().map(|[sum]| (sum / count) as f32).collect();
        let (squares, count) = shares(bn, all_reduce, |c| [total(c, means[c], true)]);
        let variances: Vec<f32> = squares.iter().map(|[sum]| (sum / count) as f32).collect();
        (means, variances)
    });
    let runs = split(channels, channels.min(ENOUGH));
    run(runs.len(), |job, _| {
        for c in runs[job].clone() {
            let plane = |i: usize| &x[(i * channels + c) * pixels..][..pixels];
            let (mean, variance) = match &of_all {
                Some((means, variances)) => (means[c], variances[c]),
                None => {
                    let mean = (total(c, 0.0, false) / count) as f32;
                    (mean, (total(c, mean, true) / count) as f32)
                }
            };
            let scale = bn.scale[c] / (variance + bn.eps).sqrt();
            let channel = Channel { mean, scale, shift: bn.shift[c] };
            for i in 0..n {
                // SAFETY: every channel belongs to one job.
                let (x, y) = (plane(i), unsafe { y.uninit((i * channels + c) * pixels, pixels) });
                dispatch!(isa, apply_body(
                    channel: Channel, activation: NormActivation, x: &[f32], y: &mut [MaybeUninit<f32>],
                ));
            }
            // SAFETY: as above.
            unsafe {
                means.slice(c, 1)[0] = mean;
                variances.slice(c, 1)[0] = variance;
            }
        }
    });
}

/// Gradients of [`batch_norm_forward`] for `dy` `[N, C, H, W]`: with respect to `x`, scale and shift. `mean` and
/// `variance` are those that the forward pass returned.
///
/// # Panics
/// If a length does not match.
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
    let channel = |c: usize| {
        let scale = bn.scale[c] / (variance[c] + bn.eps).sqrt();
        Channel { mean: mean[c], scale, shift: bn.shift[c] }
    };
    let sums_of = |c: usize| {
        let (mut sums, channel) = ([0.0f64; 2], channel(c));
        for i in 0..n {
            let at = (i * channels + c) * pixels;
            let (x, dy, to) = (&x[at..][..pixels], &dy[at..][..pixels], &mut sums);
            dispatch!(isa, reduce_body(
                channel: Channel, activation: NormActivation, x: &[f32], dy: &[f32], to: &mut [f64; 2],
            ));
        }
        sums
    };
    let of_all = bn.all_reduce.map(|all_reduce| shares(bn, all_reduce, sums_of));
    let runs = split(channels, channels.min(ENOUGH));
    run(runs.len(), |job, _| {
        for c in runs[job].clone() {
            let at = |i: usize| (i * channels + c) * pixels;
            let inverse = 1.0 / (variance[c] + bn.eps).sqrt();
            let channel = channel(c);
            // The gradients of scale and shift are this process's part of the sums over the batch, like those of all
            // other weights.
            let sums = sums_of(c);
            let (total, count) = match &of_all {
                Some((totals, count)) => (totals[c], *count),
                None => (sums, (n * pixels) as f64),
            };
            let means = [(total[0] / count) as f32, (total[1] / count * f64::from(inverse * inverse)) as f32];
            for i in 0..n {
                // SAFETY: every channel belongs to one job.
                let dx = unsafe { dx.uninit(at(i), pixels) };
                let (x, dy) = (&x[at(i)..][..pixels], &dy[at(i)..][..pixels]);
                dispatch!(isa, gradient_body(
                    channel: Channel, activation: NormActivation, means: [f32; 2], x: &[f32], dy: &[f32],
                    dx: &mut [MaybeUninit<f32>],
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

/// Sums over the batch of all processes, channel by channel, and the number of values of a channel in that batch.
fn shares<const N: usize>(
    bn: &BatchNorm<'_>,
    all_reduce: AllReduce,
    of_channel: impl Fn(usize) -> [f64; N] + Sync,
) -> (Vec<[f64; N]>, f64) {
    let [n, channels, pixels] = bn.size;
    let runs = split(channels, channels.min(ENOUGH));
    let sums = Mutex::new(vec![0.0; channels * N + 1]);
    run(runs.len(), |job, _| {
        let found: Vec<f64> = runs[job].clone().flat_map(&of_channel).collect();
        let mut sums = sums.lock().expect("no job panics while it holds the sums");
        sums[runs[job].start * N..runs[job].end * N].copy_from_slice(&found);
    });
    let mut sums = sums.into_inner().expect("as above");
    sums[channels * N] = (n * pixels) as f64;
    all_reduce(&mut sums);
    (sums.as_chunks::<N>().0[..channels].to_vec(), sums[channels * N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::{assert_close, values};

    /// As if a second process had the same samples: the means stay the same, and each process has half of the gradient
    /// of a doubled batch.
    fn twice(sums: &mut [f64]) {
        sums.iter_mut().for_each(|sum| *sum *= 2.0);
    }

    #[test]
    fn two_processes_with_the_same_samples_do_as_one() {
        let [n, c, pixels] = [3, 5, 7];
        let (x, dy) = (values(n * c * pixels, 1), values(n * c * pixels, 2));
        let (scale, shift) = (values(c, 3), values(c, 4));
        let alone = BatchNorm {
            size: [n, c, pixels],
            scale: &scale,
            shift: &shift,
            eps: 1e-5,
            activation: NormActivation::HardSwish,
            all_reduce: None,
        };
        let both = BatchNorm { all_reduce: Some(twice), ..alone };
        let isa = Isa::detect();
        let (y, mean, variance) = batch_norm_forward(isa, &alone, &x);
        assert_eq!(batch_norm_forward(isa, &both, &x), (y, mean.clone(), variance.clone()));
        let expected = batch_norm_backward(isa, &alone, &x, &mean, &variance, &dy);
        assert_eq!(batch_norm_backward(isa, &both, &x, &mean, &variance, &dy), expected);
    }

    #[test]
    fn halves_of_a_batch_know_of_each_other() {
        // The other process has only zeros: the sums stay the same, the count doubles.
        fn with_zeros(sums: &mut [f64]) {
            *sums.last_mut().unwrap() *= 2.0;
        }
        let [n, c, pixels] = [2, 3, 6];
        let half = values(n * c * pixels, 1);
        let whole: Vec<f32> = half.iter().copied().chain(vec![0.0; half.len()]).collect();
        let (scale, shift) = (values(c, 3), values(c, 4));
        let bn = |n: usize, all_reduce: Option<AllReduce>| BatchNorm {
            size: [n, c, pixels],
            scale: &scale,
            shift: &shift,
            eps: 1e-5,
            activation: NormActivation::None,
            all_reduce,
        };
        let isa = Isa::detect();
        let (_, mean, _) = batch_norm_forward(isa, &bn(2 * n, None), &whole);
        let (_, found, _) = batch_norm_forward(isa, &bn(n, Some(with_zeros)), &half);
        let expected: Vec<f64> = mean.iter().map(|m| f64::from(*m)).collect();
        assert_close(&found, &expected, 1e-6, "means over both halves");
    }
}
