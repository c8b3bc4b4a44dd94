//! Global average pooling, and its gradient.

use std::mem::MaybeUninit;

use dyconv_simd::{Isa, LANES, dispatch};
use rayon::prelude::*;

use crate::geometry::split;
use crate::job::{ENOUGH, Shared, run, written};

#[inline(always)]
fn sum_body<L>(_: L, plane: &[f32], to: &mut f32) {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = plane.as_chunks::<LANES>();
    for v in whole {
        for (s, v) in lanes.iter_mut().zip(v) {
            *s += v;
        }
    }
    *to = lanes.iter().chain(rest).map(|v| f64::from(*v)).sum::<f64>() as f32;
}

/// Means of the `planes` consecutive maps in `x`.
///
/// # Panics
/// If `x` is not `planes` equal maps.
pub fn pool_forward(isa: Isa, planes: usize, x: &[f32]) -> Vec<f32> {
    assert!(planes > 0 && x.len().is_multiple_of(planes), "x must be equal maps");
    let pixels = x.len() / planes;
    let mut means = vec![0.0; planes];
    let runs = split(planes, ENOUGH.min(planes));
    let shared = Shared::new(&mut means);
    run(runs.len(), |job, _| {
        for plane in runs[job].clone() {
            let (mut sum, x) = (0.0, &x[plane * pixels..][..pixels]);
            let to = &mut sum;
            dispatch!(isa, sum_body(x: &[f32], to: &mut f32));
            #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
            // SAFETY: every plane belongs to one job.
            unsafe {
                shared.slice(plane, 1)[0] = sum / pixels as f32;
            }
        }
    });
    means
}

/// Gradient of [`pool_forward`]: spreads each of `dmeans` evenly over a map of `pixels`.
pub fn pool_backward(dmeans: &[f32], pixels: usize) -> Vec<f32> {
    let runs = split(dmeans.len(), ENOUGH.min(dmeans.len()));
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: every plane is written, by one job.
    let (dx, ()) = unsafe {
        written(dmeans.len() * pixels, |dx| {
            run(runs.len(), |job, _| {
                for plane in runs[job].clone() {
                    dx.uninit(plane * pixels, pixels).fill(MaybeUninit::new(dmeans[plane] / pixels as f32));
                }
            });
        })
    };
    dx
}

/// Like [`pool_backward`], but adds to existing gradients: `dx` has a map of `pixels` for each of `dmeans`.
///
/// # Panics
/// If the lengths do not match.
pub fn pool_backward_add(isa: Isa, dmeans: &[f32], pixels: usize, dx: &mut [f32]) {
    assert!(pixels > 0 && dx.len() == dmeans.len() * pixels, "one mean for each map");
    let together = dmeans.len().div_ceil(ENOUGH).max(1);
    dx.par_chunks_mut(together * pixels).zip(dmeans.par_chunks(together)).with_max_len(1).for_each(|(dx, dmeans)| {
        for (plane, dmean) in dx.chunks_exact_mut(pixels).zip(dmeans) {
            let shift = dmean / pixels as f32;
            dispatch!(isa, add_body(plane: &mut [f32], shift: f32));
        }
    });
}

#[inline(always)]
fn add_body<L>(_: L, plane: &mut [f32], shift: f32) {
    plane.iter_mut().for_each(|v| *v += shift);
}
