//! softmax(z / τ). Scalar code, because K is small.

/// Replaces z by softmax(z / τ). The largest score is subtracted first, so that no exponential overflows.
///
/// # Panics
/// If τ is not a positive finite number.
pub fn softmax(z: &mut [f32], tau: f32) {
    assert!(tau.is_finite() && tau > 0.0, "the temperature is positive, got {tau}");
    let largest = z.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let mut sum = 0.0f64;
    for v in z.iter_mut() {
        let e = ((f64::from(*v) - f64::from(largest)) / f64::from(tau)).exp();
        sum += e;
        *v = e as f32;
    }
    for v in z.iter_mut() {
        *v = (f64::from(*v) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_to_one_and_survives_extremes() {
        let mut z = [1.0, 2.0, 3.0];
        softmax(&mut z, 1.0);
        assert!((z[2] - 0.665_240_9).abs() < 1e-6);
        let mut z = [1e30, -1e30, 0.0];
        softmax(&mut z, 0.5);
        assert_eq!(z, [1.0, 0.0, 0.0]);
        let mut z = [4.0; 4];
        softmax(&mut z, 1e-30);
        assert_eq!(z, [0.25; 4]);
        let mut z = [1.0, 2.0, 3.0];
        softmax(&mut z, 1e30);
        assert!(z.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-6));
        let mut one = [-7.0];
        softmax(&mut one, 3.0);
        assert_eq!(one, [1.0]);
        softmax(&mut [], 1.0);
    }
}
