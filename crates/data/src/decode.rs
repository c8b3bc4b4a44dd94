//! Decodes image files. The format is detected from the first bytes, never from the file name.

use std::cell::Cell;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::ImageFormat;

use crate::error::DataError;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::orient::turned;
use crate::{image_crate, jpeg, png, regular};

/// Largest image file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside an image decoder. Panics there are caught and turned into errors, so a panic hook that
/// prints can skip them.
pub fn in_decoder() -> bool {
    DECODING.get()
}

/// Runs a decoder. Decoders are third-party code on untrusted bytes: a panic in one becomes an error.
fn guarded<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let outer = DECODING.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decoder));
    DECODING.set(outer);
    decoded.unwrap_or_else(|_| Err("damaged: the decoder gave up".to_owned()))
}

/// Decodes an image file held in memory: JPEG, PNG, WebP, BMP, GIF or TIFF. `name` is used in errors.
///
/// Grey files give one channel, all others RGB. Everything else is handled as in torchvision (Pillow's
/// `convert("RGB")`):
/// - transparency is dropped, not blended;
/// - 16-bit samples are reduced to the high byte; floating-point samples are an error;
/// - CMYK and YCCK are converted to RGB by Pillow's formula, in JPEG with Adobe's inverted inks; colour profiles are
///   not applied;
/// - animations give the first frame, TIFF files the first page;
/// - the EXIF orientation of JPEG, PNG and WebP and that of TIFF is applied, unless the options say otherwise; an
///   invalid one is ignored.
///
/// # Errors
/// If the format is none of these, the file is damaged or truncated, the image has more pixels than the options allow,
/// or memory runs out.
pub fn decode(bytes: &[u8], name: &str, options: &DecodeOptions) -> Result<Image, DataError> {
    let decoded = guarded(|| {
        let (image, turn) = match format(bytes)? {
            Format::Jpeg => jpeg::decode(bytes, options)?,
            Format::Png => png::decode(bytes, options)?,
            Format::WebP => image_crate::decode(bytes, ImageFormat::WebP, "WebP", options)?,
            Format::Bmp => image_crate::decode(bytes, ImageFormat::Bmp, "BMP", options)?,
            Format::Gif => image_crate::decode(bytes, ImageFormat::Gif, "GIF", options)?,
            Format::Tiff => image_crate::decode(bytes, ImageFormat::Tiff, "TIFF", options)?,
        };
        turned(image, turn)
    });
    decoded.map_err(|e| DataError::new(name, e))
}

/// Reads and decodes a file; see [`decode`].
///
/// # Errors
/// As [`decode`], and if the file cannot be read or has more than [`MAX_FILE_BYTES`].
pub fn load(path: &Path, options: &DecodeOptions) -> Result<Image, DataError> {
    let unreadable = |e: std::io::Error| DataError::at(path, format!("cannot be read: {e}"));
    let file = regular::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(DataError::at(
            path,
            format!("larger than {} MiB, the limit of an image file", MAX_FILE_BYTES >> 20),
        ));
    }
    decode(&bytes, &path.display().to_string(), options)
}

enum Format {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Gif,
    Tiff,
}

fn format(bytes: &[u8]) -> Result<Format, String> {
    match bytes {
        [] => Err("the file is empty".to_owned()),
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(Format::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
        [b'B', b'M', ..] => Ok(Format::Bmp),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Ok(Format::Tiff),
        _ => Err("not a JPEG, PNG, WebP, BMP, GIF or TIFF image".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn error(bytes: &[u8]) -> String {
        decode(bytes, "x", &DecodeOptions::default()).unwrap_err().to_string()
    }

    /// A PNG that consists only of its header: this size, RGB, 8 bits.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
        chunk.extend([8, 2, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        out.extend(chunk);
        out.extend(crc.sum().to_be_bytes());
        out.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
        out
    }

    #[test]
    fn what_is_no_image_is_told() {
        assert_eq!(error(b""), "x: the file is empty");
        assert_eq!(error(b"hello, I am text"), "x: not a JPEG, PNG, WebP, BMP, GIF or TIFF image");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.png");
        assert!(load(&path, &DecodeOptions::default()).unwrap_err().to_string().contains("text.png: cannot be read: "));
        std::fs::write(&path, "not a picture").unwrap();
        assert!(
            load(&path, &DecodeOptions::default())
                .unwrap_err()
                .to_string()
                .ends_with("text.png: not a JPEG, PNG, WebP, BMP, GIF or TIFF image")
        );
    }

    #[test]
    fn a_panic_of_a_decoder_is_an_error_and_can_be_told_from_others() {
        assert!(!in_decoder());
        let seen = guarded(|| Ok(in_decoder())).unwrap();
        assert!(seen && !in_decoder());
        let error = guarded::<()>(|| panic!("inside a decoder")).unwrap_err();
        assert_eq!((error.as_str(), in_decoder()), ("damaged: the decoder gave up", false));
    }

    #[test]
    fn the_limit_of_the_size_is_the_callers() {
        let jpeg = testdata::bytes("jpeg_444.in.jpg");
        let within = |max_pixels| decode(&jpeg, "x", &DecodeOptions { max_pixels, ..DecodeOptions::default() });
        assert!(within(75 * 50).is_ok());
        let limit = "x: 75x50 pixels, but the limit is 3,749 in all (`max_megapixels` sets it)";
        assert_eq!(within(75 * 50 - 1).unwrap_err().to_string(), limit);
    }

    #[test]
    fn samples_that_are_fractions_are_no_picture() {
        let mut bytes = Vec::new();
        let pixels = image::Rgb32FImage::from_pixel(2, 1, image::Rgb([0.5, 1.0, 2.0]));
        let image = image::DynamicImage::ImageRgb32F(pixels);
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Tiff).unwrap();
        assert_eq!(error(&bytes), "x: a TIFF whose samples are fractions, expected 8 or 16 bits");
    }

    #[test]
    fn the_name_of_a_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("really_a_jpeg.png");
        std::fs::copy(testdata::path("jpeg_444.in.jpg"), &path).unwrap();
        assert_eq!(load(&path, &DecodeOptions::default()).unwrap().width, 75);
    }

    #[test]
    fn sizes_are_refused_before_memory_is_taken() {
        let limit = "but the limit is 100,000,000 in all (`max_megapixels` sets it)";
        assert_eq!(error(&png_header(20_000, 20_000)), format!("x: 20000x20000 pixels, {limit}"));
        assert!(error(&png_header(u32::MAX >> 1, u32::MAX >> 1)).starts_with("x: "));
        assert!(error(&png_header(8_000, 8_000)).contains("8000x8000 pixels cannot be in "));

        let mut jpeg = testdata::bytes("jpeg_444.in.jpg");
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        assert_eq!(error(&jpeg), format!("x: 65535x65535 pixels, {limit}"));
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x1f, 0x40, 0x1f, 0x40]);
        assert!(error(&jpeg).contains("8000x8000 pixels cannot be in "), "{}", error(&jpeg));

        let mut webp = testdata::bytes("convert_lossy.webp");
        let start = webp.windows(3).position(|w| w == [0x9d, 0x01, 0x2a]).unwrap();
        webp[start + 3..start + 7].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
        assert_eq!(error(&webp), format!("x: 16383x16383 pixels, {limit}"));
    }

    #[test]
    fn a_file_cut_off_anywhere_is_an_error() {
        for name in ["jpeg_420.in.jpg", "jpeg_progressive.in.jpg", "jpeg_restart.in.jpg", "jpeg_grey.in.jpg"] {
            let bytes = testdata::bytes(name);
            assert_eq!(&bytes[bytes.len() - 2..], [0xff, 0xd9]);
            for len in 0..bytes.len() {
                assert!(
                    decode(&bytes[..len], name, &DecodeOptions::default()).is_err(),
                    "{name} cut to {len} of {} bytes",
                    bytes.len()
                );
            }
        }
        for (name, tail) in [
            ("convert_rgba.png", 16),
            ("convert_lossless.webp", 1),
            ("convert_lossy.webp", 1),
            ("convert_rgb.bmp", 1),
            ("convert_palette.gif", 4),
            ("convert_rgb.tif", 1),
        ] {
            let bytes = testdata::bytes(name);
            for len in 0..bytes.len() - tail {
                assert!(
                    decode(&bytes[..len], name, &DecodeOptions::default()).is_err(),
                    "{name} cut to {len} of {} bytes",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn the_end_marker_of_a_thumbnail_is_not_the_end() {
        let mut bytes = testdata::bytes("jpeg_grey.in.jpg");
        bytes.truncate(bytes.len() - 2);
        bytes.splice(2..2, [0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9]);
        assert_eq!(error(&bytes), "x: cut off: the JPEG ends before its end marker");
        bytes.extend([0xff, 0xd9]);
        assert!(decode(&bytes, "x", &DecodeOptions::default()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn mutated_files_never_panic(
            file in prop::sample::select(vec![
                "jpeg_420.in.jpg", "jpeg_progressive.in.jpg", "jpeg_restart.in.jpg", "jpeg_cmyk.in.jpg",
                "convert_rgba.png", "convert_palette.png", "convert_lossless.webp", "convert_lossy.webp",
                "convert_palette.gif", "convert_palette.bmp", "convert_lzw.tif", "convert_fax.tif", "convert_cmyk.tif",
            ]),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = testdata::bytes(file);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(image) = decode(&bytes, "x", &DecodeOptions::default()) {
                prop_assert_eq!(image.data.len(), image.width * image.height * image.channels);
            }
        }
    }
}
