//! Rounding from f32 to bf16.

/// The nearest bf16, ties to even, in the low half of a word; NaN stays NaN.
#[inline(always)]
pub fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

/// Largest finite bf16.
const BF16_MAX: f32 = f32::from_bits(0x7f7f_0000);

/// The value, clamped to the range of finite bf16.
#[inline(always)]
pub fn bf16_range(weight: f32) -> f32 {
    weight.clamp(-BF16_MAX, BF16_MAX)
}

/// The nearest finite bf16, as [`bf16`]; large values that it would round to infinity become the largest finite one.
#[inline(always)]
pub fn bf16_weight(weight: f32) -> u32 {
    bf16(bf16_range(weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for (x, expected) in
            [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), (-3.1, -3.09375)]
        {
            assert_eq!(f32::from_bits(bf16(x) << 16), expected);
        }
        assert!(f32::from_bits(bf16(f32::from_bits(0x7f80_0001)) << 16).is_nan());
    }

    #[test]
    fn weights_stay_finite_as_bf16() {
        let largest = f32::from_bits(0x7f7f_0000);
        for (w, expected) in [
            (f32::MAX, largest),
            (f32::MIN, -largest),
            (f32::INFINITY, largest),
            (largest, largest),
            (largest * 0.99, f32::from_bits(bf16(largest * 0.99) << 16)),
            (-1.0, -1.0),
        ] {
            assert_eq!(f32::from_bits(bf16_weight(w) << 16), expected, "{w:e}");
        }
    }
}
