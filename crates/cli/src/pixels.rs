//! Parses the limit on the size of images.

/// Converts millions of pixels to a number of pixels.
pub fn max_pixels(text: &str) -> Result<usize, String> {
    match text.parse::<f64>() {
        Ok(millions) if (0.001..=10_000.0).contains(&millions) => Ok((millions * 1e6) as usize),
        _ => Err("expected millions of pixels, 0.001 to 10000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn megapixels_are_pixels_within_bounds() {
        assert_eq!(["100", "0.5", "0.001"].map(|text| max_pixels(text).unwrap()), [100_000_000, 500_000, 1000]);
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "many"] {
            assert_eq!(max_pixels(wrong).unwrap_err(), "expected millions of pixels, 0.001 to 10000", "{wrong}");
        }
    }
}
