//! PNG, row by row: discarded data (alpha, the low byte of 16 bits) are never in memory for the whole picture.

use std::io::Cursor;

use dyconv_task::Orientation;
use png::{Decoder, DecodingError, InterlaceInfo, Limits, Transformations, expand_interlaced_row};

use crate::image::Image;
use crate::limits::{DecodeOptions, check_size, zeroed};
use crate::orient::{Turn, of_exif};

/// Upper bound of the compression ratio of a deflate stream.
const MAX_DEFLATE_RATIO: usize = 1032;

/// Largest number of bytes that one row and the chunks before the picture may take.
const MAX_SIDE_BYTES: usize = 64 << 20;

/// Decodes a PNG file; of an animation the default image.
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

/// An invalid palette makes the decoder panic.
fn check_palette(bytes: &[u8]) -> Result<(), String> {
    let mut at = 8;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..at + 8) {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        match kind {
            b"PLTE" if !len.is_multiple_of(3) || !(3..=768).contains(&len) => {
                return Err(format!("damaged PNG: a palette of {len} bytes, expected 3 for each of 1 to 256 colours"));
            }
            b"IDAT" => break,
            _ => at = at.saturating_add(len).saturating_add(12),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use png::{BitDepth, ColorType, Encoder};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Image, String> {
        crate::decode(bytes, "x", &DecodeOptions::default()).map_err(|e| e.message)
    }

    /// A PNG of this type whose samples are all zero.
    fn blank(side: u32, colours: ColorType, depth: BitDepth) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, side, side);
        encoder.set_color(colours);
        encoder.set_depth(depth);
        encoder.set_compression(png::Compression::High);
        if colours == ColorType::Indexed {
            encoder.set_palette(vec![9, 8, 7]);
        }
        let mut writer = encoder.write_header().unwrap();
        let line = (side as usize * colours.samples() * depth as usize).div_ceil(8);
        writer.write_image_data(&vec![0; line * side as usize]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn blank_pictures_of_every_depth_are_whole() {
        use BitDepth::{Eight, Four, One, Sixteen, Two};
        let grey = [One, Two, Four, Eight, Sixteen].map(|depth| (ColorType::Grayscale, depth));
        let palette = [One, Two, Four, Eight].map(|depth| (ColorType::Indexed, depth));
        let more = [(ColorType::Rgb, Eight), (ColorType::Rgba, Sixteen), (ColorType::GrayscaleAlpha, Eight)];
        for (colours, depth) in grey.into_iter().chain(palette).chain(more) {
            let image = read(&blank(900, colours, depth)).unwrap_or_else(|e| panic!("{colours:?} {depth:?}: {e}"));
            let expected = if colours == ColorType::Indexed { &[9, 8, 7][..] } else { &[0, 0, 0][..image.channels] };
            assert!(image.data.chunks_exact(image.channels).all(|pixel| pixel == expected), "{colours:?} {depth:?}");
        }
    }

    #[test]
    fn a_palette_that_is_no_list_of_colours_is_named() {
        let bytes = blank(2, ColorType::Indexed, BitDepth::One);
        let at = bytes.windows(4).position(|w| w == b"PLTE").unwrap() - 4;
        for colours in [&[][..], &[1, 2, 3, 4], &[1, 2], &[5; 771]] {
            let changed = [&bytes[..at], &chunk(b"PLTE", colours), &bytes[at + 15..]].concat();
            let len = colours.len();
            let expected = format!("damaged PNG: a palette of {len} bytes, expected 3 for each of 1 to 256 colours");
            assert_eq!(read(&changed).unwrap_err(), expected);
        }
    }

    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(content);
        [&(content.len() as u32).to_be_bytes()[..], kind, content, &crc.sum().to_be_bytes()].concat()
    }

    /// An interlaced PNG of 8 or 16 bits; `bytes` per pixel of `data`, and bit depth and colour type of the IHDR chunk.
    fn interlaced(width: usize, height: usize, bytes: usize, kind: [u8; 2], data: &[u8]) -> Vec<u8> {
        let passes = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)];
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        for (left, across, top, down) in passes {
            for y in (top..height).step_by(down).filter(|_| left < width) {
                packed.write_all(&[0]).unwrap();
                for x in (left..width).step_by(across) {
                    packed.write_all(&data[(y * width + x) * bytes..][..bytes]).unwrap();
                }
            }
        }
        let size = [(width as u32).to_be_bytes(), (height as u32).to_be_bytes()].concat();
        let header = [&size[..], &kind, &[0, 0, 1]].concat();
        let content = packed.finish().unwrap();
        [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], &chunk(b"IDAT", &content), &chunk(b"IEND", &[])].concat()
    }

    #[test]
    fn rows_that_come_in_seven_passes_make_the_picture() {
        for (width, height) in [(1, 1), (3, 5), (8, 8), (17, 9)] {
            // 16-bit colours and alpha: all low bytes and all alpha samples are 255.
            let colour = |i: usize| [i as u8, 255, (7 * i) as u8, 255, (50 + i) as u8, 255, 255, 255];
            let data: Vec<u8> = (0..width * height).flat_map(colour).collect();
            let rgb: Vec<u8> = data.chunks_exact(8).flat_map(|p| [p[0], p[2], p[4]]).collect();
            let found = read(&interlaced(width, height, 8, [16, 6], &data)).unwrap();
            assert_eq!(found, Image::new(width, height, 3, rgb.clone()), "{width}x{height}");
            assert_eq!(read(&interlaced(width, height, 3, [8, 2], &rgb)).unwrap(), found);
            let grey: Vec<u8> = (0..width * height).map(|i| (3 * i) as u8).collect();
            let found = read(&interlaced(width, height, 1, [8, 0], &grey)).unwrap();
            assert_eq!(found, Image::new(width, height, 1, grey));
        }
    }
}
