//! The embedded data set: 1,797 handwritten digits of 8 × 8 pixels (see `assets/README.md` for their origin).

use std::io::Read;

use flate2::read::GzDecoder;

use super::{Contents, Images, Labels, LeftOut, Packed};
use crate::error::DataError;

static CSV_GZ: &[u8] = include_bytes!("../../assets/digits.csv.gz");

/// Side of an image in pixels.
const SIDE: usize = 8;

pub(super) fn read() -> Result<Contents, DataError> {
    let mut text = String::new();
    GzDecoder::new(CSV_GZ)
        .read_to_string(&mut text)
        .map_err(|e| DataError::new("digits", format!("the embedded copy is damaged: {e}")))?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (i, line) in text.lines().enumerate() {
        let values: Option<Vec<usize>> = line.split(',').map(|v| v.parse().ok()).collect();
        match values.as_deref() {
            Some([values @ .., label])
                if values.len() == SIDE * SIDE && values.iter().all(|v| *v <= 16) && *label < 10 =>
            {
                // Converts values 0..=16 to grey levels, rounded.
                pixels.extend(values.iter().map(|v| ((v * 255 + 8) / 16) as u8));
                labels.push(*label);
            }
            _ => return Err(DataError::new(format!("digits[{i}]"), "the embedded copy is damaged")),
        }
    }
    let files = vec![("digits".to_owned(), labels.len())];
    let images = Images::Packed(Packed { channels: 1, height: SIDE, width: SIDE, pixels, files });
    let names = (0..10).map(|d| d.to_string()).collect();
    Ok(Contents { images, labels: Labels::Classes { names, of: labels }, split: None, left_out: LeftOut::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digit_is_the_zero_everybody_knows() {
        let contents = read().unwrap();
        let Labels::Classes { of: labels, .. } = &contents.labels else { unreachable!() };
        assert_eq!(labels.len(), 1797);
        assert_eq!(labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let image = contents.images.load(0, &crate::DecodeOptions::default()).unwrap();
        assert_eq!((image.width, image.height, image.channels), (8, 8, 1));
        let row: Vec<u8> =
            [0u32, 0, 5, 13, 9, 1, 0, 0].iter().map(|v| (*v as f32 * 255.0 / 16.0).round() as u8).collect();
        assert_eq!(image.data[..8], row);
        assert_eq!(contents.images.name(17), "digits[17]");
    }
}
