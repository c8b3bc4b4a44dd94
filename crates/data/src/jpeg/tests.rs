//! Every kind of JPEG against Pillow (`testdata/make_jpeg.py`), and invalid or unsupported files.

use crate::testdata::{JPEG_LEVELS, bytes, difference, members};
use crate::{DecodeOptions, Image, decode};

/// libjpeg does not interpolate chroma that is at most two samples wide, but both decoders here do. This affects
/// pictures up to 4 pixels wide, where chroma is sampled half as finely as luma or the other way round.
const NARROW: usize = 4;
const NARROW_LEVELS: u8 = 24;

fn read(bytes: &[u8]) -> Result<Image, String> {
    decode(bytes, "x", &DecodeOptions::default()).map_err(|e| e.message)
}

/// Reads a PNM picture: `P5` or `P6`, width, height, 255, bytes.
fn netpbm(bytes: &[u8]) -> Image {
    let lines: Vec<&[u8]> = bytes.splitn(4, |b| *b == b'\n').collect();
    let size: Vec<usize> = str::from_utf8(lines[1]).unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    Image::new(size[0], size[1], if lines[0] == b"P5" { 1 } else { 3 }, lines[3].to_vec())
}

#[test]
fn every_sampling_script_and_colour_model_is_decoded_as_pillow_does() {
    let files = members("jpeg.tar.gz");
    let (mut failed, mut worst) = (Vec::new(), 0);
    for pair in files.chunks_exact(2) {
        let ((name, jpeg), expected) = (&pair[0], netpbm(&pair[1].1));
        match read(jpeg) {
            Ok(found)
                if (found.width, found.height, found.channels)
                    == (expected.width, expected.height, expected.channels) =>
            {
                let (most, share) = difference(&found, &expected);
                if found.width > NARROW {
                    worst = worst.max(most);
                }
                if most > if found.width > NARROW { JPEG_LEVELS } else { NARROW_LEVELS } {
                    failed.push(format!("{name}: {most} levels, {:.0} % differ", 100.0 * share));
                }
            }
            Ok(found) => {
                failed.push(format!("{name}: {}x{} in {} channels", found.width, found.height, found.channels))
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    println!("{} JPEGs, at most {worst} levels", files.len() / 2);
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), files.len() / 2);
}

/// A file of the archive.
fn member(name: &str) -> Vec<u8> {
    members("jpeg.tar.gz").into_iter().find(|(n, _)| n == name).unwrap().1
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let frame = |change: fn(&mut [u8])| {
        let mut jpeg = bytes("jpeg_444.in.jpg");
        let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        change(&mut jpeg[at..]);
        read(&jpeg).unwrap_err()
    };
    assert!(
        frame(|f| f[1] = 0xc9).starts_with("a JPEG of kind 9 (lossless, hierarchical, arithmetic), expected 0 to 2")
    );
    assert!(frame(|f| f[1] = 0xc3).starts_with("a JPEG of kind 3 "));
    assert_eq!(frame(|f| f[4] = 12), "a JPEG with 12 bits for a sample, expected 8");
    assert_eq!(frame(|f| f[11] = 0x51), "damaged JPEG: no frame header that makes sense");
    assert_eq!(frame(|f| f[11] = 0), "damaged JPEG: no frame header that makes sense");
    assert_eq!(frame(|f| f[9] = 4), "damaged JPEG: no frame header that makes sense");
}

#[test]
fn two_components_are_no_colours() {
    let mut jpeg = member("ycc-444-each-39x17.jpg");
    let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg.drain(at + 16..at + 19);
    (jpeg[at + 3], jpeg[at + 9]) = (14, 2);
    assert_eq!(read(&jpeg).unwrap_err(), "a JPEG of 2 components, expected 1 (grey), 3 or 4 (colours)");
}

#[test]
fn a_scan_that_is_missing_is_an_error() {
    let mut jpeg = member("ycc-444-each-39x17.jpg");
    let last = jpeg.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
    jpeg.truncate(last);
    jpeg.extend([0xff, 0xd9]);
    assert!(read(&jpeg).unwrap_err().starts_with("damaged JPEG: "));
}

#[test]
fn files_of_the_thorough_decoder_that_are_cut_off_are_errors() {
    for name in ["ycc-420-each-", "cmyk0-22-progressive-", "ycc-chroma-finer-one-"] {
        let files = members("jpeg.tar.gz");
        let jpeg = &files.iter().find(|(n, _)| n.starts_with(name)).unwrap().1;
        for len in 0..jpeg.len() {
            assert!(read(&jpeg[..len]).is_err(), "{name} cut to {len} of {} bytes", jpeg.len());
        }
    }
}
