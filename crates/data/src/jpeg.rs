//! JPEG: grey, RGB, YCbCr, CMYK and YCCK, baseline and progressive.
//!
//! The decoder is asked to be strict, and still accepts a file that ends inside its last row of blocks. So the file's
//! segments are walked first: a JPEG is whole when its end marker is reached.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::decode::{DecodeOptions, check_size};
use crate::image::Image;

/// Every block of 8 × 8 samples costs at least one bit, and a component may be halved twice (or quartered) each way.
const MAX_PIXELS_PER_BYTE: usize = 64 * 8 * 16;

/// Decodes a whole JPEG file.
pub(crate) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, String> {
    if !has_end(bytes) {
        return Err("cut off: the JPEG ends before its end marker".to_owned());
    }
    let damaged = |e| format!("damaged JPEG: {e}");
    let strict = DecoderOptions::default().set_strict_mode(true).set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), strict);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("damaged JPEG: no size")?;
    check_size(width, height, options.max_pixels)?;
    if width * height / MAX_PIXELS_PER_BYTE > bytes.len() {
        return Err(format!("damaged JPEG: {width}x{height} pixels cannot be in {} bytes", bytes.len()));
    }
    let (channels, colours) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
        _ => (3, ColorSpace::RGB),
    };
    decoder.set_options(strict.jpeg_set_out_colorspace(colours));
    let mut data = vec![0; width * height * channels];
    decoder.decode_into(&mut data).map_err(damaged)?;
    Ok(Image { width, height, channels, data })
}

/// Whether the end marker stands where the segments lead, so not in a thumbnail and not in a comment.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // To the next marker: over entropy-coded data (FF 00 is data), restart markers and fill bytes.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) else { return false };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xd9) => return true,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(0xff) => {}
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
}
