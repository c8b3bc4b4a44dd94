//! A step of stochastic gradient descent with momentum, in one pass over weights, gradients and velocities.

use std::mem::MaybeUninit;

use dyconv_simd::{Isa, dispatch};

use crate::job::{Shared, run, written};

/// Number of values of a job.
const PIECE: usize = 1 << 16;

/// Hyperparameters of a step, as in `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdRule {
    /// Learning rate.
    pub lr: f32,
    /// Fraction of the velocity that is kept.
    pub momentum: f32,
    /// Weight decay: fraction of the weight that is added to its gradient.
    pub decay: f32,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

/// Returns the weights after a step: g′ = g + decay·w, v ← momentum·v + g′, w − lr·v, or with Nesterov
/// w − lr·(g′ + momentum·v). `velocity` is updated in place.
///
/// # Panics
/// If the lengths differ.
pub fn sgd(isa: Isa, rule: SgdRule, weight: &[f32], gradient: &[f32], velocity: &mut [f32]) -> Vec<f32> {
    let len = weight.len();
    assert!(gradient.len() == len && velocity.len() == len, "a gradient and a velocity for each weight");
    let velocity = Shared::new(velocity);
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: the pieces cover all values.
    let (moved, ()) = unsafe { written(len, |to| pieces(isa, rule, [weight, gradient], velocity, to)) };
    moved
}

/// Runs the pieces of a step.
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
fn pieces(isa: Isa, rule: SgdRule, [weight, gradient]: [&[f32]; 2], velocity: Shared<'_>, to: Shared<'_>) {
    let len = weight.len();
    run(len.div_ceil(PIECE), |job, _| {
        let (at, n) = (job * PIECE, PIECE.min(len - job * PIECE));
        let (w, g) = (&weight[at..][..n], &gradient[at..][..n]);
        // SAFETY: each piece belongs to one job, which writes all of it.
        let (v, to) = unsafe { (velocity.slice(at, n), to.uninit(at, n)) };
        dispatch!(isa, sgd_body(
            rule: SgdRule, w: &[f32], g: &[f32], v: &mut [f32], to: &mut [MaybeUninit<f32>],
        ));
    });
}

#[inline(always)]
fn sgd_body<L>(_: L, rule: SgdRule, w: &[f32], g: &[f32], v: &mut [f32], to: &mut [MaybeUninit<f32>]) {
    for (((w, g), v), to) in w.iter().zip(g).zip(v).zip(to) {
        let g = g + rule.decay * w;
        *v = rule.momentum * *v + g;
        let step = if rule.nesterov { g + rule.momentum * *v } else { *v };
        to.write(w - rule.lr * step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::values;

    #[test]
    fn steps_are_those_of_the_definition() {
        for (len, nesterov) in [(1, false), (17, true), (PIECE + 5, false), (3 * PIECE, true)] {
            let rule = SgdRule { lr: 0.1, momentum: 0.9, decay: 0.01, nesterov };
            let (w, g) = (values(len, 1), values(len, 2));
            for isa in Isa::available() {
                let mut v = values(len, 3);
                let old = v.clone();
                let moved = sgd(isa, rule, &w, &g, &mut v);
                for i in 0..len {
                    let [w, g, old] = [w[i], g[i], old[i]].map(f64::from);
                    let g = g + 0.01 * w;
                    let velocity = 0.9 * old + g;
                    let step = if nesterov { g + 0.9 * velocity } else { velocity };
                    assert!((f64::from(v[i]) - velocity).abs() < 1e-6, "{} velocity {i} of {len}", isa.name());
                    assert!(
                        (f64::from(moved[i]) - (w - 0.1 * step)).abs() < 1e-6,
                        "{} weight {i} of {len}",
                        isa.name()
                    );
                }
            }
        }
    }
}
