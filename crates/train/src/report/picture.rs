//! A small picture embedded in a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dyconv_data::{Dataset, DecodeOptions, Image, Split};
use dyconv_task::Orientation;

/// Longer side in pixels of the pictures shown.
const SIDE: usize = 128;

/// An image that was read before, as a data URI, or `None` if it can no longer be read.
pub(crate) fn data_uri(dataset: &Dataset, split: Split, index: usize, orientation: Orientation) -> Option<String> {
    if index >= dataset.len(split) {
        return None;
    }
    // Its size was within the limit when it was read.
    let options = DecodeOptions { orientation, max_pixels: usize::MAX };
    let bytes = png(&shrunk(&dataset.load(split, index, &options).ok()?))?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

/// Downscales an image by averaging blocks of pixels, so that neither side exceeds [`SIDE`].
fn shrunk(image: &Image) -> Image {
    let by = image.width.max(image.height).div_ceil(SIDE).max(1);
    let (width, height, c) = ((image.width / by).max(1), (image.height / by).max(1), image.channels);
    let mut data = Vec::with_capacity(width * height * c);
    for (y, x, channel) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..c).map(move |ch| (y, x, ch)))) {
        let rows = y * by..((y + 1) * by).min(image.height);
        let columns = x * by..((x + 1) * by).min(image.width);
        let count = (rows.len() * columns.len()) as u32;
        let pixels = rows.flat_map(|r| columns.clone().map(move |k| (r, k)));
        let sum: u32 = pixels.map(|(r, k)| u32::from(image.data[(r * image.width + k) * c + channel])).sum();
        data.push((sum / count) as u8);
    }
    Image::new(width, height, c, data)
}

fn png(image: &Image) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width as u32, image.height as u32);
    encoder.set_color(if image.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&image.data).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_shrink_and_are_png() {
        let image = Image::new(256, 2, 1, (0..512).map(|i| i as u8).collect());
        let small = shrunk(&image);
        assert_eq!((small.width, small.height), (128, 1));
        // 0, 1 and the pixels below, larger by 256: the same bytes.
        assert_eq!(small.data[..3], [0, 2, 4]);
        assert!(png(&small).unwrap().starts_with(b"\x89PNG"));
        let wide = shrunk(&Image::new(1000, 1, 3, vec![7; 3000]));
        assert_eq!((wide.width, wide.height, wide.data[5]), (125, 1, 7));
    }
}
