//! Decodes WebP, BMP, GIF and TIFF with the `image` crate.

use std::io::Cursor;

use dyconv_task::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::image::Image;
use crate::limits::{DecodeOptions, MAX_BYTES_PER_PIXEL, check_bytes, check_size, zeroed};
use crate::orient::{Turn, of_exif};

/// Decodes a file of this format; `format_name` is used in errors.
pub(crate) fn decode(
    bytes: &[u8],
    format: ImageFormat,
    format_name: &str,
    options: &DecodeOptions,
) -> Result<(Image, Turn), String> {
    if format == ImageFormat::WebP {
        check_riff(bytes)?;
    }
    let damaged = |e: ImageError| match e {
        ImageError::Unsupported(e) => format!("a {format_name} of a kind that is not read: {e}"),
        e => format!("damaged {format_name}: {e}"),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(options.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL).max(1 << 20) as u64);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, options.max_pixels)?;
    let colours = decoder.color_type();
    let turn = match options.orientation {
        // An unreadable orientation is ignored.
        Orientation::Exif if format == ImageFormat::Tiff => decoder.orientation().unwrap_or(Turn::NoTransforms),
        Orientation::Exif => of_exif(&decoder.exif_metadata().ok().flatten().unwrap_or_default()),
        Orientation::Ignore => Turn::NoTransforms,
    };
    let len = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    check_bytes(width, height, len, options)?;
    let mut data = zeroed(len)?;
    decoder.read_image(&mut data).map_err(damaged)?;
    let channels = if colours.has_color() { 3 } else { 1 };
    match colours {
        ColorType::L8 | ColorType::Rgb8 => {}
        ColorType::La8 | ColorType::Rgba8 => keep(&mut data, usize::from(colours.channel_count()), channels, 1),
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            keep(&mut data, usize::from(colours.channel_count()), channels, 2);
        }
        _ => return Err(format!("a {format_name} whose samples are fractions, expected 8 or 16 bits")),
    }
    Ok((Image { width, height, channels, data }, turn))
}

/// Keeps the first `channels` samples of every pixel, and the high byte of each, in place.
fn keep(data: &mut Vec<u8>, samples: usize, channels: usize, bytes: usize) {
    let high = if cfg!(target_endian = "little") { bytes - 1 } else { 0 };
    let pixels = data.len() / (samples * bytes);
    for i in 0..pixels {
        for channel in 0..channels {
            data[i * channels + channel] = data[(i * samples + channel) * bytes + high];
        }
    }
    data.truncate(pixels * channels);
}

/// Checks that a WebP file is as long as its header says: the decoder would make up the missing end.
fn check_riff(bytes: &[u8]) -> Result<(), String> {
    let size = bytes.get(4..8).map_or(u64::MAX, |s| 8 + u64::from(u32::from_le_bytes([s[0], s[1], s[2], s[3]])));
    if bytes.len() as u64 >= size {
        return Ok(());
    }
    Err(format!("cut off: the WebP has {} of {size} bytes", bytes.len()))
}
