//! Encodes pixels into image files.

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, Encoder};

use crate::error::DataError;
use crate::image::Image;

/// Quality of JPEG files, 1 to 100.
const QUALITY: u8 = 90;

impl Image {
    /// Writes the image in the format of the extension: `.png`, or `.jpg` or `.jpeg` (quality 90).
    ///
    /// # Errors
    /// If the extension is none of these, the image is empty or too large for the format, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let bytes = match extension.as_deref() {
            Some("png") => self.png(),
            Some("jpg" | "jpeg") => self.jpeg(),
            _ => Err("expected a name that ends in .png, .jpg or .jpeg".to_owned()),
        };
        let bytes = bytes.map_err(|e| DataError::at(path, e))?;
        std::fs::write(path, bytes).map_err(|e| DataError::at(path, format!("cannot be written: {e}")))
    }

    fn png(&self) -> Result<Vec<u8>, String> {
        let colours = if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let [width, height] = [self.width, self.height].map(u32::try_from);
        let size = width.ok().zip(height.ok()).filter(|(width, height)| width * height > 0);
        let (width, height) = size.ok_or_else(|| format!("{}x{} pixels fit no PNG", self.width, self.height))?;
        let mut bytes = Vec::new();
        let written = PngEncoder::new(&mut bytes).write_image(&self.data, width, height, colours);
        written.map_err(|e| e.to_string()).map(|()| bytes)
    }

    /// The bytes of a JPEG file.
    pub(crate) fn jpeg(&self) -> Result<Vec<u8>, String> {
        let colours = if self.channels == 1 { ColorType::Luma } else { ColorType::Rgb };
        let [width, height] = [self.width, self.height].map(u16::try_from);
        let size = width.ok().zip(height.ok()).filter(|(width, height)| *width > 0 && *height > 0);
        let (width, height) = size.ok_or_else(|| format!("{}x{} pixels fit no JPEG", self.width, self.height))?;
        let mut bytes = Vec::new();
        let written = Encoder::new(&mut bytes, QUALITY).encode(&self.data, width, height, colours);
        written.map_err(|e| e.to_string()).map(|()| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::load;
    use crate::limits::DecodeOptions;

    fn slope(channels: usize) -> Image {
        Image::new(40, 30, channels, (0..40 * 30 * channels).map(|i| (i / channels / 8) as u8).collect())
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let image = slope(channels);
            for name in ["a.png", "b.jpg", "c.JPEG"] {
                let path = dir.path().join(name);
                image.save(&path).unwrap();
                let back = load(&path, &DecodeOptions::default()).unwrap();
                assert_eq!((back.width, back.height, back.channels), (40, 30, channels), "{name}");
                let most = back.data.iter().zip(&image.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                assert!(most <= if name == "a.png" { 0 } else { 6 }, "{name}: {most}");
            }
        }
    }

    #[test]
    fn what_cannot_be_saved_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = |image: Image, name: &str| image.save(&dir.path().join(name)).unwrap_err().to_string();
        assert!(error(slope(3), "a.gif").ends_with("a.gif: expected a name that ends in .png, .jpg or .jpeg"));
        assert!(error(slope(3), "png").ends_with("png: expected a name that ends in .png, .jpg or .jpeg"));
        assert!(error(slope(3), "absent/a.png").contains("absent/a.png: cannot be written: "));
        assert!(error(Image::new(70_000, 1, 1, vec![0; 70_000]), "a.jpg").ends_with("70000x1 pixels fit no JPEG"));
        assert!(error(Image::new(0, 3, 1, vec![]), "a.jpg").ends_with("0x3 pixels fit no JPEG"));
        assert!(error(Image::new(0, 3, 1, vec![]), "a.png").ends_with("0x3 pixels fit no PNG"));
    }
}
