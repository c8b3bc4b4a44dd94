//! Limits of decoding: the options of the caller, and checks before memory is allocated.

use dyconv_task::Orientation;

use crate::words::thousands;

/// How files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Whether the EXIF orientation of photographs is applied.
    pub orientation: Orientation,
    /// Largest image that is decoded, in pixels. The size in a header is checked against this before memory is
    /// allocated for it.
    pub max_pixels: usize,
}

impl Default for DecodeOptions {
    /// The EXIF orientation is applied, and images have at most 100 million pixels.
    fn default() -> Self {
        Self { orientation: Orientation::Exif, max_pixels: 100_000_000 }
    }
}

/// Largest number of bytes that decoding may take per pixel of the largest allowed picture.
pub(crate) const MAX_BYTES_PER_PIXEL: usize = 12;

/// Rejects sizes above the limit.
pub(crate) fn check_size(width: usize, height: usize, limit: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(0) => Err(format!("the image is empty: {width}x{height} pixels")),
        Some(pixels) if pixels <= limit => Ok(()),
        _ => {
            let limit = thousands(limit);
            Err(format!("{width}x{height} pixels, but the limit is {limit} in all (`max_megapixels` sets it)"))
        }
    }
}

/// Refuses to allocate more memory than the largest picture may need.
pub(crate) fn check_bytes(width: usize, height: usize, bytes: usize, options: &DecodeOptions) -> Result<(), String> {
    let limit = options.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL);
    if bytes <= limit.max(1 << 20) {
        return Ok(());
    }
    let [bytes, limit] = [bytes, limit].map(|n| thousands(n.div_ceil(1 << 20)));
    Err(format!(
        "{width}x{height} pixels of this kind take {bytes} MiB to decode, but the limit is {limit} MiB \
         (`max_megapixels` sets it)"
    ))
}

/// A zeroed buffer, or an error if memory runs out.
pub(crate) fn zeroed(len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let refused = |_| format!("{} MiB for its pixels cannot be had", thousands(len.div_ceil(1 << 20)));
    bytes.try_reserve_exact(len).map_err(refused)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_may_be_is_an_error_that_names_sizes() {
        let options = DecodeOptions { max_pixels: 1_000_000, ..DecodeOptions::default() };
        assert_eq!(check_bytes(1000, 1000, 12_000_000, &options), Ok(()));
        let error = check_bytes(1000, 1000, 16_000_000, &options).unwrap_err();
        assert!(
            error.starts_with("1000x1000 pixels of this kind take 16 MiB to decode, but the limit is 12 MiB"),
            "{error}"
        );
        assert!(zeroed(usize::MAX >> 1).unwrap_err().ends_with(" MiB for its pixels cannot be had"));
    }
}
