//! Top-k classes, softmax, and top-k accuracy.

use std::cmp::Ordering;

use serde::Serialize;

use crate::answer;

/// The `k` largest logits as (class, logit), best first.
///
/// Equal logits are ordered by class. NaN sorts last. Returns fewer than `k` if there are fewer logits.
pub fn top_k(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    let k = k.min(ranked.len());
    if k == 0 {
        return Vec::new();
    }
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k - 1, better_first);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(better_first);
    ranked
}

/// Descending by logit, NaN last, ascending by class.
fn better_first(a: &(usize, f32), b: &(usize, f32)) -> Ordering {
    let value = match (a.1.is_nan(), b.1.is_nan()) {
        (false, false) => b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    };
    value.then(a.0.cmp(&b.0))
}

/// Probabilities e^x / Σ e^x, computed from x − max so that large logits do not overflow.
///
/// Infinite logits are taken as limits: those at +∞ share the whole probability, and if all are −∞, all are equal. One NaN makes
/// every probability NaN. Empty input gives empty output.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    if logits.iter().any(|x| x.is_nan()) {
        return vec![f32::NAN; logits.len()];
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|&x| if x == max { 1.0 } else { (x - max).exp() }).collect();
    let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    weights.iter().map(|&w| (f64::from(w) / sum) as f32).collect()
}

/// Counts how often the true class is among the `k` largest logits.
///
/// The rank of a class is the number of classes with a larger logit, or with an equal logit and a lower index.
/// Logits for which [`answer`](fn@answer) is `None` count as wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TopK {
    /// Number of classes that count as predicted.
    pub k: usize,
    /// Samples whose class is among them.
    pub correct: usize,
    /// All samples.
    pub total: usize,
}

impl TopK {
    /// An empty counter.
    pub fn new(k: usize) -> Self {
        Self { k, correct: 0, total: 0 }
    }

    /// Counts one sample and returns whether it is correct. A label beyond the logits is wrong.
    pub fn add(&mut self, logits: &[f32], label: usize) -> bool {
        let right = logits.get(label).is_some_and(|&own| {
            let before =
                logits.iter().enumerate().filter(|&(class, &x)| x > own || (x == own && class < label)).count();
            before < self.k && answer(logits).is_some()
        });
        self.total += 1;
        self.correct += usize::from(right);
        right
    }

    /// Adds the counts of another counter of the same `k`, e.g. from another thread.
    ///
    /// # Panics
    /// If the counters have different `k`.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.k, other.k, "top-{} and top-{} cannot be added", self.k, other.k);
        self.correct += other.correct;
        self.total += other.total;
    }

    /// Fraction of correct samples in 0..=1; `None` if nothing was counted.
    pub fn accuracy(&self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_logits_go_to_the_lower_class() {
        assert_eq!(top_k(&[1.0, 3.0, 3.0, 2.0], 3), vec![(1, 3.0), (2, 3.0), (3, 2.0)]);
        let mut top1 = TopK::new(1);
        assert!(top1.add(&[3.0, 3.0], 0));
        assert!(!top1.add(&[3.0, 3.0], 1));
        assert_eq!((top1.correct, top1.total, top1.accuracy()), (1, 2, Some(0.5)));
    }

    #[test]
    fn positive_and_negative_zero_are_equal() {
        assert_eq!(top_k(&[-0.0, 0.0], 1)[0].0, 0);
        assert!(TopK::new(1).add(&[-0.0, 0.0], 0));
    }

    #[test]
    fn nan_is_last_and_wrong() {
        let ranked = top_k(&[f32::NAN, 1.0, f32::NEG_INFINITY], 3);
        assert_eq!(ranked.iter().map(|r| r.0).collect::<Vec<_>>(), vec![1, 2, 0]);
        let mut top3 = TopK::new(3);
        assert!(!top3.add(&[f32::NAN, 1.0, 0.0], 0));
        assert!(!top3.add(&[f32::NAN, 1.0, 0.0], 1));
        assert_eq!(top3.total, 2);
    }

    #[test]
    fn few_or_no_logits_are_no_panic() {
        assert_eq!(top_k(&[], 5), vec![]);
        assert_eq!(top_k(&[1.0], 0), vec![]);
        assert_eq!(top_k(&[1.0], 5), vec![(0, 1.0)]);
        assert!(!TopK::new(5).add(&[1.0, 2.0], 2), "a label beyond the logits");
        assert_eq!(TopK::new(1).accuracy(), None);
    }

    #[test]
    fn counters_add_up() {
        let mut a = TopK { k: 5, correct: 3, total: 4 };
        a.merge(&TopK { k: 5, correct: 1, total: 6 });
        assert_eq!(a, TopK { k: 5, correct: 4, total: 10 });
    }

    #[test]
    fn softmax_survives_the_extremes() {
        assert_eq!(softmax(&[]), Vec::<f32>::new());
        assert_eq!(softmax(&[1e30, 1e30]), vec![0.5, 0.5]);
        assert_eq!(softmax(&[f32::INFINITY, 0.0]), vec![1.0, 0.0]);
        assert_eq!(softmax(&[f32::NEG_INFINITY; 4]), vec![0.25; 4]);
        assert!(softmax(&[f32::NAN, 0.0]).iter().all(|p| p.is_nan()));
        let p = softmax(&[0.0, 2f32.ln()]);
        assert!((p[0] - 1.0 / 3.0).abs() < 1e-6 && (p[1] - 2.0 / 3.0).abs() < 1e-6, "{p:?}");
    }

    proptest! {
        #[test]
        fn softmax_sums_to_one(logits in prop::collection::vec(-1e4f32..1e4, 1..50)) {
            let sum: f64 = softmax(&logits).iter().map(|&p| f64::from(p)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }

        #[test]
        fn top_k_is_a_sorted_prefix_and_the_counter_agrees(
            logits in prop::collection::vec((-4i8..4).prop_map(f32::from), 1..20),
            k in 1usize..25,
        ) {
            let all = top_k(&logits, logits.len());
            let some = top_k(&logits, k);
            prop_assert_eq!(&all[..some.len()], &some[..]);
            prop_assert!(all.windows(2).all(|w| better_first(&w[0], &w[1]) == Ordering::Less));
            for label in 0..logits.len() {
                prop_assert_eq!(TopK::new(k).add(&logits, label), some.iter().any(|s| s.0 == label));
            }
        }
    }
}
