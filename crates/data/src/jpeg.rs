//! JPEG: grey, RGB, YCbCr, CMYK and YCCK, baseline and progressive.
//!
//! Two decoders share the work; the segments of a file determine which one decodes it. `zune-jpeg` is the faster one,
//! and correct for nearly all files. It silently decodes some others wrongly: components in separate scans, chroma
//! sampled as finely as luma or finer in one direction only, and colours on which JFIF and Adobe's segment disagree.
//! Those go to `jpeg-decoder`, with the colour transform set explicitly.
//!
//! Both accept a file that ends inside its last row of blocks, so a JPEG counts as complete only if its segments lead
//! to the end marker.

mod markers;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use dyconv_task::Orientation;
use jpeg_decoder::ColorTransform;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::image::Image;
use crate::limits::{DecodeOptions, check_bytes, check_size, zeroed};
use crate::orient::{Turn, of_exif};
use markers::{Colours, Frame, Markers};

/// Every block of 8 × 8 samples takes at least one bit, and a component may be halved twice (or quartered) in each
/// direction.
const MAX_PIXELS_PER_BYTE: usize = 64 * 8 * 16;

/// Decodes a complete JPEG file.
pub(crate) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(Image, Turn), String> {
    let markers = Markers::read(bytes);
    if !markers.whole {
        return Err("cut off: the JPEG ends before its end marker".to_owned());
    }
    let frame = markers.frame.as_ref().ok_or("damaged JPEG: no frame header that makes sense")?;
    let (width, height) = (frame.width, frame.height);
    check_size(width, height, options.max_pixels)?;
    if width * height / MAX_PIXELS_PER_BYTE > bytes.len() {
        return Err(format!("damaged JPEG: {width}x{height} pixels cannot be in {} bytes", bytes.len()));
    }
    if !(0xc0..=0xc2).contains(&frame.marker) {
        let kind = frame.marker - 0xc0;
        return Err(format!(
            "a JPEG of kind {kind} (lossless, hierarchical, arithmetic), expected 0 to 2 (baseline, progressive)"
        ));
    }
    if frame.precision != 8 {
        return Err(format!("a JPEG with {} bits for a sample, expected 8", frame.precision));
    }
    let colours = markers.colours()?;
    check_bytes(width, height, frame.bytes(frame.components.len()), options)?;
    let thorough = |colours| thorough(bytes, frame, colours, markers.odd_transform);
    let (channels, data) = match (markers.usual(), colours) {
        (true, Colours::Grey) => (1, fast(bytes, frame, ColorSpace::Luma)?),
        (true, _) => (3, fast(bytes, frame, ColorSpace::RGB)?),
        (false, Colours::Grey) => (1, thorough(ColorTransform::Grayscale)?),
        (false, Colours::YCbCr) => (3, thorough(ColorTransform::YCbCr)?),
        (false, Colours::Rgb) => (3, thorough(ColorTransform::RGB)?),
        (false, Colours::Cmyk) => (3, from_cmyk(thorough(ColorTransform::CMYK)?)),
        (false, Colours::Ycck) => (3, from_cmyk(thorough(ColorTransform::YCCK)?)),
    };
    let turn = match (options.orientation, markers.exif) {
        (Orientation::Exif, Some(exif)) => of_exif(exif),
        _ => Turn::NoTransforms,
    };
    Ok((Image { width, height, channels, data }, turn))
}

/// Decodes with `zune-jpeg`.
fn fast(bytes: &[u8], frame: &Frame, colours: ColorSpace) -> Result<Vec<u8>, String> {
    let damaged = |e| format!("damaged JPEG: {e}");
    let strict = DecoderOptions::default().set_strict_mode(true).set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), strict.jpeg_set_out_colorspace(colours));
    decoder.decode_headers().map_err(damaged)?;
    if decoder.dimensions() != Some((frame.width, frame.height)) {
        return Err("damaged JPEG: two sizes".to_owned());
    }
    let mut data = zeroed(frame.width * frame.height * frame.components.len())?;
    decoder.decode_into(&mut data).map_err(damaged)?;
    Ok(data)
}

/// Decodes with `jpeg-decoder`.
fn thorough(
    bytes: &[u8],
    frame: &Frame,
    colours: ColorTransform,
    odd_transform: Option<usize>,
) -> Result<Vec<u8>, String> {
    let mut known = Cow::Borrowed(bytes);
    if let Some(at) = odd_transform {
        // The decoder would reject the file for this value, although the value is overridden.
        known.to_mut()[at] = 0;
    }
    let mut decoder = jpeg_decoder::Decoder::new(&*known);
    decoder.set_color_transform(colours);
    let data = decoder.decode().map_err(|e| format!("damaged JPEG: {e}"))?;
    if data.len() != frame.width * frame.height * frame.components.len() {
        return Err("damaged JPEG: two sizes".to_owned());
    }
    Ok(data)
}

/// Converts CMYK to RGB. Like Pillow, it assumes that all CMYK is stored inverted, as Adobe does.
fn from_cmyk(mut data: Vec<u8>) -> Vec<u8> {
    let pixels = data.len() / 4;
    for i in 0..pixels {
        let [c, m, y, k] = [data[4 * i], data[4 * i + 1], data[4 * i + 2], data[4 * i + 3]];
        let paper = 255 - u32::from(k);
        // Rounded as Pillow rounds a product of two bytes.
        let share = |ink: u8| {
            let product = u32::from(ink) * paper + 128;
            (paper - (((product >> 8) + product) >> 8)) as u8
        };
        data[3 * i..3 * i + 3].copy_from_slice(&[c, m, y].map(share));
    }
    data.truncate(3 * pixels);
    data
}
