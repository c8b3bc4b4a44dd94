//! Photographs that are stored turned, and what EXIF says of it.

use image::imageops::{
    flip_horizontal_in_place, flip_vertical_in_place, rotate90_in, rotate180_in_place, rotate270_in,
};
use image::{GenericImage, ImageBuffer, Luma, Pixel, Rgb};

use crate::decode::zeroed;
use crate::image::Image;

/// How a stored picture is turned to be upright.
pub(crate) use image::metadata::Orientation as Turn;

/// What an EXIF block, from its TIFF header on, says. As other programs do, one that makes no sense is taken for none.
pub(crate) fn of_exif(tiff: &[u8]) -> Turn {
    // In PNG and WebP some writers leave the name that JPEG wants before the block.
    let tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
    Turn::from_exif_chunk(tiff).unwrap_or(Turn::NoTransforms)
}

/// The picture upright. Where rows become columns, it needs the memory of a second picture for a moment.
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

/// What is left to do when rows and columns are where they belong.
fn mirror(picture: &mut impl GenericImage, turn: Turn) {
    match turn {
        Turn::FlipHorizontal | Turn::Rotate90FlipH | Turn::Rotate270FlipH => flip_horizontal_in_place(picture),
        Turn::FlipVertical => flip_vertical_in_place(picture),
        Turn::Rotate180 => rotate180_in_place(picture),
        Turn::NoTransforms | Turn::Rotate90 | Turn::Rotate270 => {}
    }
}
