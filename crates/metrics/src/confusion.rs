//! The confusion matrix of a classifier.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

/// Confusion matrix: counts of (true class, predicted class). It is sparse: zero cells take neither memory nor time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// Nonzero counts by (true class, predicted class).
    cells: BTreeMap<(usize, usize), u64>,
    /// Samples of each true class without a prediction.
    unanswered: Vec<u64>,
}

/// Precision and recall of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// Fraction of the predictions of this class that are right; `None` if there are none.
    pub precision: Option<f64>,
    /// Fraction of this class's samples that are predicted as this class; `None` if it has no samples.
    pub recall: Option<f64>,
    /// Samples of this class.
    pub support: u64,
}

impl Confusion {
    /// An empty matrix of `classes` × `classes`.
    pub fn new(classes: usize) -> Self {
        Self { cells: BTreeMap::new(), unanswered: vec![0; classes] }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.unanswered.len()
    }

    /// Counts one sample of class `label` that was predicted as `predicted`; see [`answer`](crate::answer).
    ///
    /// `None`, or an index that is not a class, counts as wrong and appears in no column.
    ///
    /// # Panics
    /// If `label` is not below the number of classes.
    pub fn add(&mut self, label: usize, predicted: Option<usize>) {
        assert!(label < self.classes(), "label {label} of {} classes", self.classes());
        match predicted.filter(|&predicted| predicted < self.classes()) {
            Some(predicted) => *self.cells.entry((label, predicted)).or_default() += 1,
            None => self.unanswered[label] += 1,
        }
    }

    /// Adds the counts of another matrix with the same classes.
    ///
    /// # Panics
    /// If the matrices differ in size.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes(), other.classes(), "matrices of different sizes cannot be added");
        for (cell, n) in &other.cells {
            *self.cells.entry(*cell).or_default() += n;
        }
        self.unanswered.iter_mut().zip(&other.unanswered).for_each(|(a, b)| *a += b);
    }

    /// Number of samples of class `label` that were predicted as `predicted`; 0 if either is not a class.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        self.cells.get(&(label, predicted)).copied().unwrap_or(0)
    }

    /// The nonzero cells as (true class, predicted class, count), ordered by class.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (usize, usize, u64)> {
        self.cells.iter().map(|(&(label, predicted), &n)| (label, predicted, n))
    }

    /// Samples of each true class without a prediction.
    pub fn unanswered(&self) -> &[u64] {
        &self.unanswered
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        self.cells.values().chain(&self.unanswered).sum()
    }

    /// Fraction of correct samples in 0..=1; `None` if nothing was counted.
    pub fn accuracy(&self) -> Option<f64> {
        let right: u64 = self.cells().filter(|(label, predicted, _)| label == predicted).map(|(.., n)| n).sum();
        share(right, self.total())
    }

    /// Precision, recall and support of every class.
    pub fn per_class(&self) -> Vec<ClassScore> {
        let mut support = self.unanswered.clone();
        let mut answered = vec![0; self.classes()];
        for (label, predicted, n) in self.cells() {
            support[label] += n;
            answered[predicted] += n;
        }
        let score = |(class, (support, answered)): (usize, (u64, u64))| {
            let right = self.count(class, class);
            ClassScore { precision: share(right, answered), recall: share(right, support), support }
        };
        support.into_iter().zip(answered).enumerate().map(score).collect()
    }

    /// Mean recall of the classes that have samples; `None` if nothing was counted.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> = self.per_class().iter().filter_map(|score| score.recall).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }

    /// The most frequent mistakes as (true class, predicted class, count), most frequent first; at most `limit`.
    pub fn worst(&self, limit: usize) -> Vec<(usize, usize, u64)> {
        let mut mistakes: Vec<_> = self.cells().filter(|(label, predicted, _)| label != predicted).collect();
        mistakes.sort_by_key(|&(label, predicted, n)| (Reverse(n), label, predicted));
        mistakes.truncate(limit);
        mistakes
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Confusion {
        let mut confusion = Confusion::new(3);
        for (label, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), (1, 0)] {
            confusion.add(label, Some(predicted));
        }
        confusion
    }

    #[test]
    fn scores_by_hand() {
        let confusion = example();
        assert_eq!(confusion.cells().collect::<Vec<_>>(), [(0, 0, 2), (0, 1, 1), (1, 0, 2), (1, 1, 1)]);
        assert_eq!([(1, 0), (2, 2), (3, 0)].map(|(label, predicted)| confusion.count(label, predicted)), [2, 0, 0]);
        assert_eq!(confusion.accuracy(), Some(0.5));
        let scores = confusion.per_class();
        assert_eq!(scores[0], ClassScore { precision: Some(0.5), recall: Some(2.0 / 3.0), support: 3 });
        assert_eq!(scores[1], ClassScore { precision: Some(0.5), recall: Some(1.0 / 3.0), support: 3 });
        assert_eq!(scores[2], ClassScore { precision: None, recall: None, support: 0 });
        assert_eq!(confusion.balanced_accuracy(), Some(0.5));
        assert_eq!(confusion.worst(5), vec![(1, 0, 2), (0, 1, 1)]);
        assert_eq!(confusion.worst(1), vec![(1, 0, 2)]);
    }

    #[test]
    fn no_answer_is_wrong() {
        for none in [None, Some(3), Some(usize::MAX)] {
            let mut confusion = example();
            confusion.add(2, none);
            assert_eq!((confusion.total(), confusion.accuracy()), (7, Some(3.0 / 7.0)));
            assert_eq!(confusion.unanswered(), [0, 0, 1]);
            assert_eq!(confusion.per_class()[2], ClassScore { precision: None, recall: Some(0.0), support: 1 });
            assert_eq!(confusion.worst(5).len(), 2, "it was taken for nothing");
        }
    }

    #[test]
    fn of_nothing_there_is_no_accuracy() {
        for classes in [0, 3] {
            let empty = Confusion::new(classes);
            assert_eq!((empty.accuracy(), empty.balanced_accuracy(), empty.total()), (None, None, 0));
            assert_eq!((empty.cells().len(), empty.per_class().len()), (0, classes));
        }
    }

    /// As a dense matrix it would take 80 GB.
    #[test]
    fn a_hundred_thousand_classes_take_no_more_than_their_samples() {
        let classes = 100_000;
        let mut confusion = Confusion::new(classes);
        (0..classes).for_each(|label| confusion.add(label, Some(label / 2)));
        assert_eq!((confusion.cells().len(), confusion.accuracy()), (classes, Some(1.0 / classes as f64)));
        assert_eq!(confusion.per_class()[1].precision, Some(0.0));
        assert_eq!(confusion.worst(2), [(1, 0, 1), (2, 1, 1)]);
    }

    proptest! {
        #[test]
        fn merging_is_counting_both(samples in prop::collection::vec((0usize..5, 0usize..6), 0..60), cut in 0usize..60) {
            let count = |samples: &[(usize, usize)]| {
                let mut confusion = Confusion::new(5);
                samples.iter().for_each(|&(label, predicted)| confusion.add(label, Some(predicted)));
                confusion
            };
            let cut = cut.min(samples.len());
            let mut parts = count(&samples[..cut]);
            parts.merge(&count(&samples[cut..]));
            prop_assert_eq!(&parts, &count(&samples));
            prop_assert_eq!(parts.total() as usize, samples.len());
            prop_assert_eq!(parts.per_class().iter().map(|s| s.support).sum::<u64>() as usize, samples.len());
        }
    }
}
