//! Chooses the smallest bank storage whose outputs stay close to the exact ones.

use std::sync::Arc;

use dyconv_graph::{Graph, TensorSource};
use dyconv_kernels::Storage;

use crate::error::EngineError;
use crate::memory::zeros;
use crate::options::Options;
use crate::plan::Plan;
use crate::session::Session;

/// Probe inputs: number of patches along a side, and the range of their values around the mean image. Inputs far from
/// any image, such as a uniformly bright one, would measure the instability of the network rather than the precision of
/// its banks.
const PROBES: [(usize, f32); 4] = [(usize::MAX, 1.0), (32, 1.7), (8, 1.7), (4, 1.0)];

impl Plan {
    /// Compiles with the smallest of int8, bf16 and f32 banks for which the output for each probe input deviates from
    /// that of f32 by at most `bound` times its largest value; also returns that deviation. [`Plan::bank`] returns the
    /// choice; `options.bank` is ignored. Only one plan at a time is in memory.
    ///
    /// # Errors
    /// As for [`Plan::new`].
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

    /// Largest difference between the outputs of two plans of one network for the same probe input, relative to the
    /// largest value of the output.
    ///
    /// # Errors
    /// If the input sizes differ.
    pub fn deviation_from(self: &Arc<Self>, exact: &Arc<Self>) -> Result<f64, EngineError> {
        Ok(deviation(&self.answer_probes()?, &exact.answer_probes()?))
    }

    fn answer_probes(self: &Arc<Self>) -> Result<Vec<f32>, EngineError> {
        let mut session = Session::try_with_threads(Arc::clone(self), 1)?;
        session.predict(&probes(self.input_dims())?, PROBES.len())
    }
}

/// The largest deviation over all probes.
fn deviation(found: &[f32], expected: &[f32]) -> f64 {
    let each = expected.len() / PROBES.len();
    let of_probe = |(found, expected): (&[f32], &[f32])| {
        let largest = expected.iter().fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
        let difference = |(f, e): (&f32, &f32)| {
            let d = (f64::from(*f) - f64::from(*e)).abs();
            if d.is_nan() { f64::INFINITY } else { d }
        };
        let most = found.iter().zip(expected).map(difference).fold(0.0, f64::max);
        if most > 0.0 { most / largest } else { 0.0 }
    };
    found.chunks_exact(each).zip(expected.chunks_exact(each)).map(of_probe).fold(0.0, f64::max)
}

/// Patches of random values around the mean image, always the same: `[PROBES, C, H, W]`.
fn probes([channels, height, width]: [usize; 3]) -> Result<Vec<f32>, EngineError> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut values = zeros(PROBES.len() * channels * height * width)?;
    values.clear();
    for (patches, spread) in PROBES {
        let side = height.max(width).div_ceil(patches);
        for _ in 0..channels {
            let columns = width.div_ceil(side);
            let patches: Vec<f32> = (0..height.div_ceil(side) * columns).map(|_| spread * next()).collect();
            let pixel = |i: usize| patches[i / width / side * columns + i % width / side];
            values.extend((0..height * width).map(pixel));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_probe_counts_by_its_own_largest_value() {
        let exact = [1.0, -4.0, 100.0, 0.0, 0.5, 0.25, 0.0, 0.0];
        assert_eq!(deviation(&exact, &exact), 0.0);
        let off = |at: usize, by: f32| {
            let mut found = exact;
            found[at] += by;
            deviation(&found, &exact)
        };
        assert_eq!(off(0, 1.0), 0.25);
        assert_eq!(off(3, 1.0), 0.01);
        assert_eq!(off(5, -0.125), 0.25);
        assert_eq!(off(7, 1e-3), f64::INFINITY);
        assert_eq!(off(2, f32::NAN), f64::INFINITY);
        let mut two = exact;
        (two[3], two[5]) = (50.0, 0.0);
        assert_eq!(deviation(&two, &exact), 0.5, "the larger of 0.5 and 0.5 of different probes");
        two[3] = 75.0;
        assert_eq!(deviation(&two, &exact), 0.75);
    }

    /// Per-pixel noise, then patches of 1/32, 1/8 and 1/4 of the longer side, each within its range.
    #[test]
    fn probes_are_patches_of_several_sizes() {
        let dims @ [channels, height, width] = [3, 64, 48];
        let values = probes(dims).unwrap();
        assert_eq!(values.len(), PROBES.len() * channels * height * width);
        assert_eq!(values, probes(dims).unwrap(), "the same every time");
        let maps: Vec<&[f32]> = values.chunks_exact(height * width).collect();
        for (i, map) in maps.iter().enumerate() {
            let (side, spread) = ([1, 2, 8, 16][i / channels], PROBES[i / channels].1);
            let mut patches = std::collections::BTreeSet::new();
            for (at, value) in map.iter().enumerate() {
                let corner = at / width / side * side * width + at % width / side * side;
                assert_eq!(*value, map[corner], "map {i}: one value a patch of {side} pixels");
                patches.insert(value.to_bits());
            }
            let all = height / side * (width / side);
            assert!(
                patches.len() > all * 9 / 10,
                "map {i}: {} of {all} patches have a value of their own",
                patches.len()
            );
            let largest = map.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest <= spread && largest > 0.7 * spread, "map {i}: up to {largest}, spread {spread}");
        }
    }
}
