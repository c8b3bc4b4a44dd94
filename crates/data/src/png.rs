//! PNG, row by row: what is not kept (alpha, the low byte of 16 bits) is never in memory for a whole picture.

use std::io::Cursor;

use dyconv_file::Orientation;
use png::{Decoder, DecodingError, InterlaceInfo, Limits, Transformations, expand_interlaced_row};

use crate::decode::{DecodeOptions, check_size, zeroed};
use crate::image::Image;
use crate::orient::{Turn, of_exif};

/// A deflate stream is never unpacked to more than this many times its size.
const MAX_DEFLATE_RATIO: usize = 1032;

/// Bytes that one row and the chunks before the picture may take.
const MAX_SIDE_BYTES: usize = 64 << 20;

/// Decodes a PNG file; of an animation what is shown where animations are not.
pub(crate) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(Image, Turn), String> {
    let damaged = |e: DecodingError| format!("damaged PNG: {e}");
    check_palette(bytes)?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_SIDE_BYTES });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(damaged)?.size();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, options.max_pixels)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    if reader.info().raw_bytes() / MAX_DEFLATE_RATIO > bytes.len() {
        return Err(format!("damaged PNG: {width}x{height} pixels cannot be in {} bytes", bytes.len()));
    }
    let turn = match (options.orientation, &reader.info().exif_metadata) {
        (Orientation::Exif, Some(exif)) => of_exif(exif),
        _ => Turn::NoTransforms,
    };
    let samples = reader.output_color_type().0.samples();
    let channels = if samples < 3 { 1 } else { 3 };
    let line = width * channels;
    let mut data = zeroed(line * height)?;
    let mut kept = Vec::with_capacity(line);
    let mut lines = 0..height;
    while let Some(row) = reader.next_interlaced_row().map_err(damaged)? {
        kept.clear();
        match samples == channels {
            true => kept.extend_from_slice(row.data()),
            false => kept.extend(row.data().chunks_exact(samples).flat_map(|pixel| &pixel[..channels])),
        }
        match row.interlace() {
            InterlaceInfo::Adam7(pass) => expand_interlaced_row(&mut data, line, &kept, pass, 8 * channels as u8),
            InterlaceInfo::Null(_) => match lines.next() {
                Some(y) if kept.len() == line => data[y * line..][..line].copy_from_slice(&kept),
                _ => return Err("damaged PNG: rows that do not fit its size".to_owned()),
            },
        }
    }
    Ok((Image { width, height, channels, data }, turn))
}

/// A palette that is no list of colours makes the decoder panic.
fn check_palette(bytes: &[u8]) -> Result<(), String> {
    let mut at = 8;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..at + 8) {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        match kind {
            b"PLTE" if len % 3 != 0 || !(3..=768).contains(&len) => {
                return Err(format!("damaged PNG: a palette of {len} bytes, expected 3 for each of 1 to 256 colours"));
            }
            b"IDAT" => break,
            _ => at = at.saturating_add(len).saturating_add(12),
        }
    }
    Ok(())
}
