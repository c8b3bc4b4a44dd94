//! Raw answers of a network, and how far two sets of them are apart.

use std::fmt;

use dyconv_engine::{EngineError, Plan, Session};
use dyconv_graph::{Graph, Shape, TensorSource};
use serde::Serialize;

/// Number of samples that run together: the weights are read once for them, and memory stays bounded.
const TOGETHER: usize = 8;

/// The outputs of the engine for `rows` inputs `[rows, C, H, W]`.
pub(crate) fn answers(
    graph: &Graph,
    weights: &dyn TensorSource,
    tau: f32,
    input: &[f32],
    rows: usize,
) -> Result<Vec<f32>, EngineError> {
    let mut session = Session::try_with_threads(Plan::new(graph, weights, tau)?, 1)?;
    let each = input.len() / rows.max(1);
    let mut all = Vec::new();
    for part in input.chunks(TOGETHER * each.max(1)) {
        all.extend(session.predict(part, part.len() / each.max(1))?);
    }
    Ok(all)
}

/// Random inputs `[rows, C, H, W]` with values in [−2, 2), about those of a normalized image. The same seed gives the
/// same inputs.
pub(crate) fn random_inputs([channels, height, width]: [usize; 3], rows: usize, seed: u64) -> Vec<f32> {
    // SplitMix64.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    };
    (0..rows * channels * height * width).map(|_| next()).collect()
}

/// How far answers are from those that were expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Number of samples.
    pub rows: usize,
    /// The largest difference of two values, divided by the largest expected value. Infinite (`null` in JSON) if a value
    /// is not finite on one side only, or is NaN.
    pub largest_relative_difference: f64,
    /// Number of samples whose largest value has the same place; `None` if the answers are not vectors.
    pub top1_agrees: Option<usize>,
}

impl Difference {
    /// Compares `rows` answers of this shape.
    pub(crate) fn of(found: &[f32], expected: &[f32], rows: usize, shape: Shape) -> Self {
        let largest = expected.iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
        let apart = |(f, e): (&f32, &f32)| match (f64::from(*f) - f64::from(*e)).abs() {
            _ if f == e => 0.0,
            d if d.is_nan() => f64::INFINITY,
            d => d,
        };
        let most = found.iter().zip(expected).map(apart).fold(0.0, f64::max);
        let relative = if found.len() != expected.len() { f64::INFINITY } else { most };
        let each = expected.len() / rows.max(1);
        let top1_agrees = (matches!(shape, Shape::Vector(_)) && each > 0).then(|| {
            let pairs = found.chunks_exact(each).zip(expected.chunks_exact(each));
            pairs.filter(|(f, e)| dyconv_metrics::answer(f) == dyconv_metrics::answer(e)).count()
        });
        let largest_relative_difference = if relative > 0.0 { relative / largest } else { 0.0 };
        Self { rows, largest_relative_difference, top1_agrees }
    }

    /// Whether the difference is at most `bound`.
    pub fn is_within(&self, bound: f64) -> bool {
        self.largest_relative_difference <= bound
    }

    /// Both together: the larger difference over all rows.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            largest_relative_difference: self.largest_relative_difference.max(other.largest_relative_difference),
            top1_agrees: self.top1_agrees.zip(other.top1_agrees).map(|(a, b)| a + b),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = if self.rows == 1 { "input" } else { "inputs" };
        let largest = match self.largest_relative_difference {
            0.0 => "0".to_owned(),
            largest => format!("{largest:.1e}"),
        };
        write!(f, "largest relative difference {largest} over {} {inputs}", self.rows)?;
        match self.top1_agrees {
            Some(agree) => write!(f, ", top-1 agrees in {agree} of {}", self.rows),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_largest_value() {
        let of = |found: &[f32], expected: &[f32]| Difference::of(found, expected, 2, Shape::Vector(2));
        let difference = of(&[1.0, -4.0, 3.0, 2.5], &[1.0, -4.0, 2.0, 2.5]);
        assert_eq!(difference, Difference { rows: 2, largest_relative_difference: 0.25, top1_agrees: Some(1) });
        assert_eq!(difference.to_string(), "largest relative difference 2.5e-1 over 2 inputs, top-1 agrees in 1 of 2");
        assert_eq!(of(&[0.0; 4], &[0.0; 4]).largest_relative_difference, 0.0);
        let map = Difference::of(&[1.0], &[1.0], 1, Shape::Map([1, 1, 1]));
        assert_eq!(map.to_string(), "largest relative difference 0 over 1 input");
        assert_eq!(difference.and(of(&[1.0; 4], &[1.0; 4])).top1_agrees, Some(3));
    }

    #[test]
    fn what_is_not_finite_never_passes() {
        let of = |found: &[f32], expected: &[f32]| Difference::of(found, expected, 1, Shape::Vector(2));
        for (found, expected) in
            [([f32::NAN, 1.0], [0.0, 1.0]), ([0.0, 1.0], [f32::NAN, 1.0]), ([f32::NAN; 2], [f32::NAN; 2])]
        {
            assert!(!of(&found, &expected).is_within(1e9), "{found:?} {expected:?}");
        }
        assert!(!of(&[f32::INFINITY, 1.0], &[0.0, 1.0]).is_within(1e9));
        assert!(!of(&[1.0, 2.0], &[0.0, 0.0]).is_within(1e9));
        assert!(!of(&[1.0], &[1.0, 2.0]).is_within(1e9));
    }

    #[test]
    fn inputs_depend_on_the_seed_alone() {
        let inputs = random_inputs([3, 4, 5], 2, 7);
        assert_eq!(inputs, random_inputs([3, 4, 5], 2, 7));
        assert_ne!(inputs, random_inputs([3, 4, 5], 2, 8));
        assert!(inputs.len() == 120 && inputs.iter().all(|v| (-2.0..2.0).contains(v)));
        assert!(inputs.iter().any(|v| *v > 1.0) && inputs.iter().any(|v| *v < -1.0));
    }
}
