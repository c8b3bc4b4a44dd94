//! Comparing two sets of runs: mean, standard deviation, and Welch's t-test (unequal variances).

use serde::Serialize;

/// Mean and sample standard deviation of a set of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Number of values.
    pub count: usize,
    /// Their mean; NaN if there are none.
    pub mean: f64,
    /// Their sample standard deviation (divisor n − 1); `None` if there are fewer than two.
    pub deviation: Option<f64>,
}

/// Welch's t-test of two samples (B. L. Welch, Biometrika 34, 1947).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Welch {
    /// Difference of the means over its standard error.
    pub t: f64,
    /// Degrees of freedom by Welch and Satterthwaite; usually not an integer.
    pub degrees: f64,
    /// Two-sided p-value: the probability of a |t| at least this large if both means are equal.
    pub p: f64,
}

impl Sample {
    /// Mean and deviation of `values`.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Self { count: values.len(), mean, deviation }
    }

    /// Tests whether the mean of this sample differs from that of `other`; t has the sign of this mean minus the other.
    /// `None` if a sample has fewer than two numbers, or if both have a deviation of zero.
    pub fn welch(&self, other: &Self) -> Option<Welch> {
        let error = |s: &Self| Some(s.deviation?.powi(2) / s.count as f64);
        let (a, b) = (error(self)?, error(other)?);
        if a + b == 0.0 || !(a + b).is_finite() {
            return None;
        }
        let t = (self.mean - other.mean) / (a + b).sqrt();
        let free = |s: &Self| (s.count - 1) as f64;
        let degrees = (a + b).powi(2) / (a * a / free(self) + b * b / free(other));
        Some(Welch { t, degrees, p: two_sided(t, degrees) })
    }
}

/// Probability that Student's t with `degrees` degrees of freedom is at least as far from 0 as `t`.
fn two_sided(t: f64, degrees: f64) -> f64 {
    incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The regularised incomplete beta function I_x(a, b) for 0 ≤ x ≤ 1 and positive a, b: DLMF 8.17.22, a continued fraction
/// that converges fast for x below the mean of the distribution; above it, the mirrored function is used.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() / a / fraction(x, a, b)
}

/// The denominator 1 + d₁/(1 + d₂/(1 + …)) of DLMF 8.17.22, from the inside out.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    /// Enough terms to reach rounding error, for any realistic number of degrees of freedom.
    const TERMS: u32 = 400;
    (1..=TERMS).rev().fold(1.0, |inner, n| {
        let m = f64::from(n / 2);
        let d = match n % 2 {
            0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        1.0 + d / inner
    })
}

/// ln Γ(x) for positive x: Stirling's series (DLMF 5.11.1); small x are shifted up by Γ(x + 1) = x Γ(x).
fn ln_gamma(x: f64) -> f64 {
    const FAR: f64 = 12.0;
    let (mut x, mut product) = (x, 1.0);
    while x < FAR {
        product *= x;
        x += 1.0;
    }
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0];
    let tail = series.iter().rev().fold(0.0, |sum, c| sum / (x * x) + c) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + tail - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding error of f64 after a few hundred operations.
    const CLOSE: f64 = 1e-11;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= CLOSE * expected.abs(), "{found} instead of {expected}");
    }

    #[test]
    fn means_and_deviations_are_as_by_hand() {
        let s = Sample::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((s.count, s.mean), (8, 5.0));
        close(s.deviation.unwrap(), (32.0f64 / 7.0).sqrt());
        assert_eq!(Sample::of(&[3.0]), Sample { count: 1, mean: 3.0, deviation: None });
        assert!(Sample::of(&[]).mean.is_nan());
    }

    #[test]
    fn gamma_is_that_of_factorials_and_halves() {
        let factorial = |n: u32| f64::from((1..=n).product::<u32>());
        for n in 2..12u32 {
            close(ln_gamma(f64::from(n) + 1.0), factorial(n).ln());
        }
        close(ln_gamma(0.5), 0.5 * std::f64::consts::PI.ln());
        // Γ(1/2 + 5) = 945 √π / 32
        close(ln_gamma(5.5), (945.0 / 32.0 * std::f64::consts::PI.sqrt()).ln());
    }

    #[test]
    fn student_s_t_is_that_of_closed_forms() {
        for t in [0.0, 0.01, 0.5, 1.0, 2.0, 7.5, 60.0] {
            // One degree of freedom is Cauchy's distribution; two and four have algebraic forms.
            close(two_sided(t, 1.0), 1.0 - 2.0 / std::f64::consts::PI * f64::atan(t));
            close(1.0 - two_sided(t, 2.0), t / (2.0 + t * t).sqrt());
            let s = t / (4.0 + t * t).sqrt();
            close(1.0 - two_sided(t, 4.0), s * (3.0 - s * s) / 2.0);
            close(two_sided(-t, 3.7), two_sided(t, 3.7));
        }
        // SciPy: 2 * stats.t.sf(t, degrees), and a printed table.
        close(two_sided(2.5, 7.3), 0.039_650_234_665_600_43);
        close(two_sided(1.96, 1000.0), 0.050_273_184_955_748_736);
        assert!((two_sided(2.776_445_105_197_793, 4.0) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn welch_is_that_of_scipy() {
        // stats.ttest_ind(a, b, equal_var=False)
        let a = Sample::of(&[70.8, 71.1, 73.5, 73.1, 70.8]);
        let b = Sample::of(&[67.1, 69.8, 65.9, 64.9, 67.4]);
        let test = a.welch(&b).unwrap();
        close(test.t, 4.759_760_408_774_386);
        close(test.degrees, 7.265_352_153_716_507);
        close(test.p, 0.001_860_564_985_013_497_7);
        let test = Sample::of(&[69.3, 71.2]).welch(&a).unwrap();
        close(test.t, -1.437_099_079_618_471);
        close(test.degrees, 1.862_935_758_047_822_3);
        close(test.p, 0.295_713_647_552_597_3);
        let swapped = b.welch(&a).unwrap();
        assert_eq!((swapped.t, swapped.p), (-a.welch(&b).unwrap().t, a.welch(&b).unwrap().p));
    }

    #[test]
    fn what_cannot_be_tested_is_not() {
        let two = Sample::of(&[1.0, 2.0]);
        assert!(two.welch(&Sample::of(&[1.0])).is_none() && Sample::of(&[]).welch(&two).is_none());
        assert!(Sample::of(&[1.0, 1.0]).welch(&Sample::of(&[2.0, 2.0])).is_none());
        assert!(two.welch(&Sample::of(&[f64::NAN, 1.0])).is_none());
        assert!(two.welch(&Sample::of(&[1.0, 1.0])).is_some());
    }
}
