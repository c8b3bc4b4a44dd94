//! Scores of runs that differ in their seeds, for `ablate` and `compare`.

use dyconv_metrics::{Sample, Welch};
use dyconv_train::Epoch;
use serde::Serialize;

/// The metric of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Metric {
    /// Top-1 accuracy of classifiers.
    #[serde(rename = "accuracy")]
    Accuracy,
    /// OKS average precision of keypoint networks.
    #[serde(rename = "AP")]
    Ap,
}

/// Explains `Difference`, t and p in a note under a table.
pub const COMPARED: &str = "in points, with Welch's t and its two-sided p";

/// Difference between the scores of two cells.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Difference {
    /// Difference of the means, in percentage points.
    mean: f64,
    #[serde(flatten)]
    welch: Option<Welch>,
}

impl Metric {
    /// The metric of keypoint networks, or of classifiers.
    pub fn of(joints: bool) -> Self {
        if joints { Self::Ap } else { Self::Accuracy }
    }

    /// The heading of its column.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy, %",
            Self::Ap => "AP, %",
        }
    }

    /// What is scored.
    pub fn item(self) -> &'static str {
        match self {
            Self::Accuracy => "image",
            Self::Ap => "person",
        }
    }

    /// A sentence that explains the column.
    pub fn meaning(self) -> String {
        let score = match self {
            Self::Accuracy => "Accuracy: top-1 on the held-out images",
            Self::Ap => "AP: OKS average precision on the held-out persons",
        };
        format!("{score} after the last epoch, mean ± sample standard deviation over runs.")
    }
}

impl Difference {
    /// The difference between `score` and `reference`.
    pub fn of(score: &Sample, reference: &Sample) -> Self {
        Self { mean: score.mean - reference.mean, welch: score.welch(reference) }
    }

    /// Headings of [`Difference::words`].
    pub const HEADINGS: [&str; 3] = ["difference", "t", "p"];

    /// The difference, t and p; a dash for missing values.
    pub fn words(this: Option<Self>) -> [String; 3] {
        let none = || "–".to_owned();
        let welch = this.and_then(|d| d.welch);
        [
            this.map_or_else(none, |d| format!("{:+.2}", d.mean)),
            welch.map_or_else(none, |w| format!("{:.2}", w.t)),
            welch.map_or_else(none, |w| probability(w.p)),
        ]
    }
}

/// Score of the network after an epoch, in percent; `None` if nothing was held out.
pub fn in_percent(epoch: &Epoch) -> Option<f64> {
    epoch.validation.score().map(|score| 100.0 * score)
}

/// `71.85 ± 1.32`.
pub fn spread(sample: Sample) -> String {
    let deviation = sample.deviation.map_or(String::new(), |d| format!(" ± {d:.2}"));
    format!("{:.2}{deviation}", sample.mean)
}

/// Four decimals, or the order of magnitude if it is smaller.
fn probability(p: f64) -> String {
    if p < 0.0001 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(spread(Sample::of(&[70.0, 72.0])), "71.00 ± 1.41");
        assert_eq!(spread(Sample::of(&[70.125])), "70.12");
        assert_eq!([0.5, 0.00123, 0.00001234].map(probability), ["0.5000", "0.0012", "1e-5"]);
    }

    #[test]
    fn what_cannot_be_tested_has_a_difference_only() {
        let [one, other] = [70.0, 72.5].map(|score| Sample::of(&[score]));
        assert_eq!(Difference::words(Some(Difference::of(&other, &one))), ["+2.50", "–", "–"]);
        assert_eq!(Difference::words(None), ["–", "–", "–"]);
    }
}
