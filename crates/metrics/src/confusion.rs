//! Which class was taken for which.

use serde::Serialize;

/// Confusion matrix: counts of (true class, predicted class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    classes: usize,
    /// `[true class][predicted class]`, row by row.
    counts: Vec<u64>,
    /// Samples of each true class whose answer was none of the classes.
    unanswered: Vec<u64>,
}

/// How well one class is told from the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// Share of the answers "this class" that were right; `None` where there was no such answer.
    pub precision: Option<f64>,
    /// Share of this class's samples that were found; `None` where it has no samples.
    pub recall: Option<f64>,
    /// Samples of this class.
    pub support: u64,
}

impl Confusion {
    /// An empty matrix of `classes` × `classes`.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], unanswered: vec![0; classes] }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts one sample of class `label` that was taken for `predicted`.
    ///
    /// A `predicted` that is no class counts as a wrong answer that stands in no column.
    ///
    /// # Panics
    /// If `label` is not below the number of classes.
    pub fn add(&mut self, label: usize, predicted: usize) {
        assert!(label < self.classes, "label {label} of {} classes", self.classes);
        if predicted < self.classes {
            self.counts[label * self.classes + predicted] += 1;
        } else {
            self.unanswered[label] += 1;
        }
    }

    /// Adds the counts of another matrix of the same classes.
    ///
    /// # Panics
    /// If the matrices differ in size.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "matrices of different sizes cannot be added");
        let pairs = self.counts.iter_mut().chain(&mut self.unanswered);
        pairs.zip(other.counts.iter().chain(&other.unanswered)).for_each(|(a, b)| *a += b);
    }

    /// How many samples of class `label` were taken for `predicted`; 0 for what is no class.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        if label < self.classes && predicted < self.classes { self.counts[label * self.classes + predicted] } else { 0 }
    }

    /// The matrix row by row: row = true class, column = predicted class.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes.max(1))
    }

    /// All samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().chain(&self.unanswered).sum()
    }

    /// Share of right samples in 0..=1; 0 where nothing was counted.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        share(right, self.total()).unwrap_or(0.0)
    }

    /// Precision, recall and support of every class.
    pub fn per_class(&self) -> Vec<ClassScore> {
        let score = |class: usize| {
            let right = self.count(class, class);
            let answered: u64 = (0..self.classes).map(|label| self.count(label, class)).sum();
            let support = self.support(class);
            ClassScore { precision: share(right, answered), recall: share(right, support), support }
        };
        (0..self.classes).map(score).collect()
    }

    /// Mean recall of the classes that have samples; 0 where nothing was counted.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls: Vec<f64> = self.per_class().iter().filter_map(|score| score.recall).collect();
        if recalls.is_empty() { 0.0 } else { recalls.iter().sum::<f64>() / recalls.len() as f64 }
    }

    /// The most frequent mistakes as (true class, predicted class, count), most frequent first; at most `limit`.
    pub fn worst(&self, limit: usize) -> Vec<(usize, usize, u64)> {
        let cells = self.counts.iter().enumerate().map(|(i, &n)| (i / self.classes, i % self.classes, n));
        let mut mistakes: Vec<_> = cells.filter(|&(label, predicted, n)| label != predicted && n > 0).collect();
        mistakes.sort_by_key(|&(label, predicted, n)| (std::cmp::Reverse(n), label, predicted));
        mistakes.truncate(limit);
        mistakes
    }

    fn support(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum::<u64>() + self.unanswered[class]
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
            confusion.add(label, predicted);
        }
        confusion
    }

    #[test]
    fn scores_by_hand() {
        let confusion = example();
        assert_eq!(confusion.rows().collect::<Vec<_>>(), vec![[2, 1, 0], [2, 1, 0], [0, 0, 0]]);
        assert_eq!(confusion.accuracy(), 0.5);
        let scores = confusion.per_class();
        assert_eq!(scores[0], ClassScore { precision: Some(0.5), recall: Some(2.0 / 3.0), support: 3 });
        assert_eq!(scores[1], ClassScore { precision: Some(0.5), recall: Some(1.0 / 3.0), support: 3 });
        assert_eq!(scores[2], ClassScore { precision: None, recall: None, support: 0 });
        assert_eq!(confusion.balanced_accuracy(), 0.5);
        assert_eq!(confusion.worst(5), vec![(1, 0, 2), (0, 1, 1)]);
        assert_eq!(confusion.worst(1), vec![(1, 0, 2)]);
    }

    #[test]
    fn an_answer_that_is_no_class_is_wrong() {
        let mut confusion = example();
        confusion.add(2, usize::MAX);
        assert_eq!((confusion.total(), confusion.accuracy()), (7, 3.0 / 7.0));
        assert_eq!(confusion.per_class()[2], ClassScore { precision: None, recall: Some(0.0), support: 1 });
    }

    #[test]
    fn empty_matrices_have_no_accuracy() {
        assert_eq!(Confusion::new(3).accuracy(), 0.0);
        assert_eq!(Confusion::new(3).balanced_accuracy(), 0.0);
        assert_eq!(Confusion::new(0).rows().len(), 0);
    }

    proptest! {
        #[test]
        fn merging_is_counting_both(samples in prop::collection::vec((0usize..5, 0usize..6), 0..60), cut in 0usize..60) {
            let count = |samples: &[(usize, usize)]| {
                let mut confusion = Confusion::new(5);
                samples.iter().for_each(|&(label, predicted)| confusion.add(label, predicted));
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
