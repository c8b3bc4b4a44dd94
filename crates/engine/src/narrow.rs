//! The smallest bank storage whose answers stay close to the exact ones.

use std::sync::Arc;

use dyconv_graph::{Graph, TensorSource};
use dyconv_kernels::Storage;

use crate::{EngineError, Options, Plan, Session};

/// Probe inputs, each of its own mean and spread.
const PROBES: usize = 4;

impl Plan {
    /// Compiles with the smallest of int8, bf16 and f32 banks whose answers to probe inputs deviate from those of f32 by at
    /// most `bound` times the largest; returns that deviation too. [`Plan::bank`] tells the choice; `options.bank` is not read.
    /// One plan at a time is in memory.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn smallest_within(
        graph: &Graph,
        weights: &dyn TensorSource,
        tau: f32,
        bound: f64,
        options: Options,
    ) -> Result<(Self, f64), EngineError> {
        let compile = |bank| Self::with_options(graph, weights, tau, Options { bank, ..options }).map(Arc::new);
        let exact = compile(Storage::F32)?.answer_probes()?;
        for bank in [Storage::Int8, Storage::Bf16] {
            let plan = compile(bank)?;
            let deviation = deviation(&plan.answer_probes()?, &exact);
            if deviation <= bound {
                return Ok((Arc::unwrap_or_clone(plan), deviation));
            }
        }
        Ok((Arc::unwrap_or_clone(compile(Storage::F32)?), 0.0))
    }

    /// Largest difference of the answers of two plans of one network to the same probe inputs, over the largest answer.
    ///
    /// # Errors
    /// When the inputs differ in size.
    pub fn deviation_from(self: &Arc<Self>, exact: &Arc<Self>) -> Result<f64, EngineError> {
        Ok(deviation(&self.answer_probes()?, &exact.answer_probes()?))
    }

    fn answer_probes(self: &Arc<Self>) -> Result<Vec<f32>, EngineError> {
        Session::new(Arc::clone(self)).predict(&probes(self.input_dims().iter().product()), PROBES)
    }
}

fn deviation(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
    let difference = |(f, e): (&f32, &f32)| {
        let d = (f64::from(*f) - f64::from(*e)).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    let most = found.iter().zip(expected).map(difference).fold(0.0, f64::max);
    if most > 0.0 { most / largest } else { 0.0 }
}

/// Noise of several brightnesses and contrasts, the same every time.
fn probes(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let settings: [(f32, f32); PROBES] = [(0.0, 1.7), (0.5, 0.5), (-1.0, 1.0), (1.5, 0.2)];
    settings.iter().flat_map(|(mean, spread)| (0..len).map(|_| mean + spread * next()).collect::<Vec<_>>()).collect()
}
