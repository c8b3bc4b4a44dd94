//! Comparisons with Pillow's output (`testdata/make_pillow.py`). Tests only.

use std::io::Read;
use std::path::PathBuf;

use crate::image::{Image, Rect};
use crate::preprocessing::Transform;
use crate::resize::tests::levels;
use crate::{DataError, DecodeOptions, load};
use dyconv_task::Preprocessing;

/// A file of the folder `testdata`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// The files of a packed archive, in order: name and content.
pub(crate) fn members(name: &str) -> Vec<(String, Vec<u8>)> {
    let file = std::fs::File::open(path(name)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let member = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    };
    archive.entries().unwrap().map(member).collect()
}

fn image(name: &str) -> Image {
    load(&path(name), &DecodeOptions::default()).unwrap()
}

/// Largest difference of two images of the same shape, in grey levels, and the fraction of differing bytes.
pub(crate) fn difference(a: &Image, b: &Image) -> (u8, f64) {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels));
    let pairs = || a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b));
    (pairs().max().unwrap(), pairs().filter(|d| *d > 0).count() as f64 / a.data.len() as f64)
}

/// Resizing: the resizer does columns before rows with 15-bit weights, Pillow rows first with 22-bit weights, so a sum
/// may round the other way.
const RESIZE_LEVELS: u8 = 1;

/// JPEG: the standard does not fix the rounding of the inverse cosine transform, and chroma is interpolated in a
/// different order.
pub(crate) const JPEG_LEVELS: u8 = 4;

#[test]
fn resize_and_centre_crop_are_pillows() {
    // Name, shorter side, height and width of the crop.
    let cases = [
        ("down", 32, [32, 32]),
        ("down_noise", 32, [32, 32]),
        ("down_tall", 16, [16, 16]),
        ("odd", 17, [15, 13]),
        ("far_down", 9, [8, 9]),
        ("up", 32, [32, 32]),
        ("up_noise", 31, [30, 31]),
        ("grey", 28, [28, 28]),
        ("grey_up", 20, [16, 16]),
        ("padded", 10, [17, 16]),
        ("same", 32, [32, 32]),
        ("crop_only", 33, [24, 24]),
    ];
    let mut failed = Vec::new();
    for (name, resize, image_size) in cases {
        let (input, expected) = (image(&format!("resize_{name}.in.png")), image(&format!("resize_{name}.out.png")));
        let channels = input.channels;
        let pre = Preprocessing {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            ..Preprocessing::usual(channels, image_size, resize)
        };
        let pre = Transform::new(pre).unwrap();
        let (most, share) = difference(&pre.centre(&input), &expected);
        println!("{name}: at most {most} levels, {:.1} % of the bytes differ", share * 100.0);
        let allowed = if ["same", "crop_only"].contains(&name) { 0 } else { RESIZE_LEVELS };
        if most > allowed {
            failed.push(format!("{name}: {most} levels"));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_interpolation_in_every_crop_mode_is_pillows() {
    use dyconv_task::{CropMode as C, Interpolation as I};
    let usual: &[f32] = &[0.485, 0.456, 0.406];
    // Name, size, height and width of the input, mean.
    let cases: [(&str, usize, [usize; 2], &[f32]); 12] = [
        ("down", 32, [28, 28], usual),
        ("down_tall", 20, [17, 15], usual),
        ("up", 31, [29, 30], &[0.5, 0.3, 0.1]),
        ("up_noise", 31, [30, 31], usual),
        ("sharp", 23, [20, 20], &[0.0, 1.0, 0.7]),
        ("sharp_up", 25, [24, 24], usual),
        ("wide_input", 36, [24, 33], usual),
        ("padded", 10, [17, 16], usual),
        ("ties", 8, [6, 8], usual),
        ("far_down", 9, [8, 9], usual),
        ("grey", 28, [26, 27], &[0.3]),
        ("one_side", 32, [30, 30], usual),
    ];
    let modes = [C::Center, C::Squash, C::Border];
    let filters = [I::Nearest, I::Bilinear, I::Bicubic, I::Lanczos];
    let mut differing = [0.0; 4];
    let mut failed = Vec::new();
    for (name, resize, image_size, mean) in cases {
        let (input, expected) = (image(&format!("modes_{name}.in.png")), image(&format!("modes_{name}.out.png")));
        let [height, width] = image_size;
        for (i, (crop, (f, interpolation))) in
            modes.iter().flat_map(|c| filters.iter().enumerate().map(move |f| (c, f))).enumerate()
        {
            let pre = Preprocessing {
                mean: mean.to_vec(),
                crop: *crop,
                interpolation: *interpolation,
                ..Preprocessing::usual(input.channels, image_size, resize)
            };
            let got = Transform::new(pre).unwrap().centre(&input);
            let (most, share) = difference(&got, &expected.cropped(Rect { left: 0, top: i * height, width, height }));
            differing[f] += share / (cases.len() * modes.len()) as f64;
            if most > levels(*interpolation) {
                failed.push(format!("{name}, {crop:?}, {interpolation:?}: {most} levels"));
            }
        }
    }
    println!("share of differing bytes: {differing:?}");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_naive_resize_is_pillows() {
    use crate::resize::tests::naive;
    use dyconv_task::Interpolation as I;
    // Squash without a crop: the whole picture, resized.
    let (input, expected) = (image("modes_far_down.in.png"), image("modes_far_down.out.png"));
    for (row, interpolation) in [(5, I::Bilinear), (6, I::Bicubic), (7, I::Lanczos)] {
        let got = naive(&input, 9, 8, interpolation);
        assert_eq!(got, expected.cropped(Rect { left: 0, top: row * 8, width: 9, height: 8 }), "{interpolation:?}");
    }
}

#[test]
fn every_kind_of_jpeg_is_decoded_as_pillow_does() {
    let mut failed = Vec::new();
    for name in ["444", "420", "422", "progressive", "restart", "grey", "cmyk"] {
        let (got, expected) = (image(&format!("jpeg_{name}.in.jpg")), image(&format!("jpeg_{name}.out.png")));
        let (most, share) = difference(&got, &expected);
        println!("{name}: at most {most} levels, {:.1} % of the bytes differ", share * 100.0);
        if most > JPEG_LEVELS {
            failed.push(format!("{name}: {most} levels"));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_kind_of_other_formats_is_converted_as_pillow_does() {
    let exact = [
        "rgba.png",
        "la.png",
        "palette.png",
        "palette_transparent.png",
        "one_bit.png",
        "grey16.png",
        "lossless.webp",
        "lossless_alpha.webp",
        "rgb.bmp",
        "palette.bmp",
        "rgba.bmp",
        "palette.gif",
        "interlaced.gif",
        "transparent.gif",
        "animation.gif",
        "rgb.tif",
        "lzw.tif",
        "deflate.tif",
        "packbits.tif",
        "grey.tif",
        "rgba.tif",
        "one_bit.tif",
        "fax.tif",
        "grey.bmp",
        "one_bit.bmp",
        "cmyk.tif",
    ];
    let mut failed = Vec::new();
    for name in exact {
        let read = load(&path(&format!("convert_{name}")), &DecodeOptions::default());
        match read {
            Ok(read) if read == image(&format!("convert_{name}.out.png")) => {}
            Ok(read) => failed.push(format!("{name}: other pixels in {} channels", read.channels)),
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let (most, share) = difference(&image("convert_lossy.webp"), &image("convert_lossy.webp.out.png"));
    println!("lossy.webp: at most {most} levels, {:.1} % of the bytes differ", share * 100.0);
    assert!(most <= JPEG_LEVELS, "lossy.webp: {most} levels");
}

#[test]
fn a_tiff_with_a_palette_is_said_to_be_of_a_kind_that_is_not_read() {
    let error = load(&path("convert_palette.tif"), &DecodeOptions::default()).unwrap_err();
    assert!(error.message.starts_with("a TIFF of a kind that is not read: "), "{error}");
}

#[test]
fn a_photograph_goes_all_the_way() -> Result<(), DataError> {
    let pre = Transform::new(Preprocessing::usual(3, [32, 32], 40))?;
    let ours = pre.evaluate(&image("jpeg_420.in.jpg"));
    let pillow = pre.evaluate(&image("jpeg_420.out.png"));
    // Resizing averages, so the differences of single pixels shrink.
    let most = ours.iter().zip(&pillow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= 3.0 / 255.0 / 0.224, "{most}");
    Ok(())
}
