//! Test helpers of the kernel crates.

/// `n` pseudo-random values in [-1, 1), determined by the seed.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Values in [-1, 1) give summands of the order of one, which may cancel. If all expected values are smaller than this,
/// errors are measured relative to this.
const SMALL: f64 = 0.1;

/// Asserts that the largest difference is at most `tolerance` times the largest expected magnitude, which counts as at
/// least 0.1.
#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(SMALL, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs() / scale;
        assert!(error <= tolerance, "{what}: value {i} is {f}, expected {e} (relative error {error:e})");
    }
}
