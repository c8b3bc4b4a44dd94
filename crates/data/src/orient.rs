//! EXIF orientation of photographs that are stored rotated or mirrored.

use image::imageops::{
    flip_horizontal_in_place, flip_vertical_in_place, rotate90_in, rotate180_in_place, rotate270_in,
};
use image::{GenericImage, ImageBuffer, Luma, Pixel, Rgb};

use crate::image::Image;
use crate::limits::zeroed;

/// The transform that makes a stored picture upright.
pub(crate) use image::metadata::Orientation as Turn;

/// The orientation in an EXIF block, given from its TIFF header on. As in other programs, an invalid one is ignored.
pub(crate) fn of_exif(tiff: &[u8]) -> Turn {
    // In PNG and WebP some writers keep the prefix that JPEG puts before the block.
    let tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
    Turn::from_exif_chunk(tiff).unwrap_or(Turn::NoTransforms)
}

/// Applies the orientation. If rows become columns, it temporarily needs the memory of a second picture.
pub(crate) fn turned(image: Image, turn: Turn) -> Result<Image, String> {
    if turn == Turn::NoTransforms { Ok(image) } else { by_pixel(image, turn) }
}

fn by_pixel(image: Image, turn: Turn) -> Result<Image, String> {
    match image.channels {
        1 => of_pixels::<Luma<u8>>(image, turn),
        _ => of_pixels::<Rgb<u8>>(image, turn),
    }
}

fn of_pixels<P: Pixel<Subpixel = u8> + 'static>(image: Image, turn: Turn) -> Result<Image, String> {
    const SIZES: &str = "an image holds as many bytes as its sizes say";
    let Image { width, height, channels, data } = image;
    let mut picture = ImageBuffer::<P, Vec<u8>>::from_raw(width as u32, height as u32, data).expect(SIZES);
    if matches!(turn, Turn::Rotate90 | Turn::Rotate270 | Turn::Rotate90FlipH | Turn::Rotate270FlipH) {
        let room = zeroed(width * height * channels)?;
        let mut across = ImageBuffer::<P, Vec<u8>>::from_raw(height as u32, width as u32, room).expect(SIZES);
        match turn {
            Turn::Rotate90 | Turn::Rotate90FlipH => rotate90_in(&picture, &mut across),
            _ => rotate270_in(&picture, &mut across),
        }
        .map_err(|e| e.to_string())?;
        picture = across;
    }
    mirror(&mut picture, turn);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Image { width, height, channels, data: picture.into_raw() })
}

/// Applies what is left after rows and columns were swapped if necessary.
fn mirror(picture: &mut impl GenericImage, turn: Turn) {
    match turn {
        Turn::FlipHorizontal | Turn::Rotate90FlipH | Turn::Rotate270FlipH => flip_horizontal_in_place(picture),
        Turn::FlipVertical => flip_vertical_in_place(picture),
        Turn::Rotate180 => rotate180_in_place(picture),
        Turn::NoTransforms | Turn::Rotate90 | Turn::Rotate270 => {}
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::codecs::webp::WebPEncoder;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::{DecodeOptions, Orientation, decode};

    /// JPEG preserves uniform blocks except for rounding.
    const LEVELS: u8 = 3;

    /// Tiles of 8 × 8 pixels, each of a different colour.
    fn upright(channels: usize) -> Image {
        let tile = |x: usize, y: usize| 20 + 35 * (x / 8 + 3 * (y / 8)) as u8;
        let pixel = |i: usize| (0..channels).map(move |c| tile(i % 24, i / 24).wrapping_add(60 * c as u8));
        Image::new(24, 16, channels, (0..24 * 16).flat_map(pixel).collect())
    }

    /// How a picture is stored, by the definition of the tag: the sides to which the first row and the first column of
    /// the stored picture belong.
    fn stored(image: &Image, orientation: u8) -> Image {
        let (w, h, c) = (image.width, image.height, image.channels);
        let (width, height) = if orientation < 5 { (w, h) } else { (h, w) };
        let mut data = Vec::new();
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let (y, x) = match orientation {
                1 => (row, column),                 // top, left
                2 => (row, w - 1 - column),         // top, right
                3 => (h - 1 - row, w - 1 - column), // bottom, right
                4 => (h - 1 - row, column),         // bottom, left
                5 => (column, row),                 // left, top
                6 => (column, w - 1 - row),         // right, top
                7 => (h - 1 - column, w - 1 - row), // right, bottom
                _ => (h - 1 - column, row),         // left, bottom
            };
            data.extend_from_slice(&image.data[(y * w + x) * c..][..c]);
        }
        Image::new(width, height, c, data)
    }

    /// A TIFF structure with one entry, the orientation, in either byte order.
    fn exif(orientation: u16, big: bool) -> Vec<u8> {
        let words: [u16; 8] = [8, 1, 0x112, 3, 1, orientation, 0, 0];
        let wide = [true, false, false, false, true, false, false, true];
        let mut out = if big { b"MM\0\x2a".to_vec() } else { b"II\x2a\0".to_vec() };
        for (word, wide) in words.into_iter().zip(wide) {
            match (big, wide) {
                (true, true) => out.extend(u32::from(word).to_be_bytes()),
                (true, false) => out.extend(word.to_be_bytes()),
                (false, true) => out.extend(u32::from(word).to_le_bytes()),
                (false, false) => out.extend(word.to_le_bytes()),
            }
        }
        out
    }

    fn jpeg(image: &Image, exif: &[u8]) -> Vec<u8> {
        let mut bytes = image.jpeg().unwrap();
        let content = [b"Exif\0\0", exif].concat();
        let head = [0xff, 0xe1, ((content.len() + 2) >> 8) as u8, (content.len() + 2) as u8];
        bytes.splice(2..2, head.into_iter().chain(content));
        bytes
    }

    fn encoded(mut encoder: impl ImageEncoder, image: &Image, exif: &[u8]) {
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        let colours = if image.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        encoder.write_image(&image.data, image.width as u32, image.height as u32, colours).unwrap();
    }

    fn png(image: &Image, exif: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoded(PngEncoder::new(&mut bytes), image, exif);
        bytes
    }

    fn webp(image: &Image, exif: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoded(WebPEncoder::new_lossless(&mut bytes), image, exif);
        bytes
    }

    /// One uncompressed strip.
    fn tiff(image: &Image, orientation: u16) -> Vec<u8> {
        let (w, h, c) = (image.width as u32, image.height as u32, image.channels as u32);
        let entries: [(u16, u16, u32, u32); 10] = [
            (256, 4, 1, w),
            (257, 4, 1, h),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, if c == 1 { 1 } else { 2 }),
            (273, 4, 1, 8),
            (274, 3, 1, u32::from(orientation)),
            (277, 3, 1, c),
            (278, 4, 1, h),
            (279, 4, 1, image.data.len() as u32),
        ];
        let mut out = [b"II\x2a\0".as_slice(), &(8 + image.data.len() as u32).to_le_bytes(), &image.data].concat();
        out.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            let count = if tag == 258 && c == 3 { 1 } else { count };
            out.extend(
                [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat(),
            );
        }
        out.extend([0; 4]);
        out
    }

    fn check(bytes: &[u8], expected: &Image, options: &DecodeOptions, what: &str) {
        let found = decode(bytes, what, options).unwrap();
        assert_eq!((found.width, found.height), (expected.width, expected.height), "{what}");
        let most = found.data.iter().zip(&expected.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(most <= if what.starts_with("jpeg") { LEVELS } else { 0 }, "{what}: {most} levels");
    }

    #[test]
    fn all_eight_orientations_are_upright_in_every_format_that_has_them() {
        let ignore = DecodeOptions { orientation: Orientation::Ignore, ..DecodeOptions::default() };
        for channels in [1, 3] {
            let upright = upright(channels);
            for orientation in 1..=8u8 {
                let stored = stored(&upright, orientation);
                let exif = exif(orientation.into(), orientation % 2 == 0);
                let mut files = vec![
                    ("jpeg", jpeg(&stored, &exif)),
                    ("png", png(&stored, &exif)),
                    ("tiff", tiff(&stored, orientation.into())),
                ];
                if channels == 3 {
                    files.push(("webp", webp(&stored, &exif)));
                    files.push(("webp with a name", webp(&stored, &[b"Exif\0\0", &exif[..]].concat())));
                }
                for (format, bytes) in files {
                    let what = format!("{format}, orientation {orientation}, {channels} channels");
                    check(&bytes, &upright, &DecodeOptions::default(), &what);
                    check(&bytes, &stored, &ignore, &what);
                }
            }
        }
    }

    #[test]
    fn an_orientation_that_makes_no_sense_is_ignored() {
        let good = exif(6, false);
        let changed = |at: usize, value: u8| {
            let mut exif = good.clone();
            exif[at] = value;
            exif
        };
        let wrong = [
            vec![],
            b"Exif".to_vec(),
            exif(0, true),
            exif(9, false),
            exif(65_535, true),
            changed(0, b'X'),
            changed(4, 255),
            changed(7, 255),
            changed(12, 2),
            changed(14, 9),
            good[..19].to_vec(),
        ];
        let image = upright(3);
        for exif in &wrong {
            assert_eq!(of_exif(exif), Turn::NoTransforms, "{exif:?}");
            check(&jpeg(&image, exif), &image, &DecodeOptions::default(), &format!("jpeg {exif:?}"));
            check(&png(&image, exif), &image, &DecodeOptions::default(), &format!("png {exif:?}"));
            check(&webp(&image, exif), &image, &DecodeOptions::default(), &format!("webp {exif:?}"));
        }
        for orientation in [0, 9, 700] {
            check(&tiff(&image, orientation), &image, &DecodeOptions::default(), "tiff");
        }
    }

    proptest! {
        #[test]
        fn exif_of_anybody_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..26, byte: u8) {
            of_exif(&bytes);
            let mut exif = exif(3, byte % 2 == 0);
            exif[at] = byte;
            of_exif(&exif);
        }
    }
}
