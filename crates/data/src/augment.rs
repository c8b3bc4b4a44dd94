//! Random changes of training images.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::image::{Image, Rect};
use crate::preprocessing::Transform;
use crate::resize::resize;

/// How often a random box that does not fit is drawn anew.
const TRIES: usize = 10;

/// Training augmentation, applied in the order of the fields. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// A random part of the image, resized to the network's input. Without it the image is resized and its centre cut
    /// out as in evaluation.
    pub random_resized_crop: Option<Crop>,
    /// Probability of mirroring left to right, 0..=1.
    pub flip: f32,
    /// Random translation by up to so many pixels of the input each way, black coming in; for tiny images such as
    /// CIFAR's, where it is known as random crop with padding.
    pub shift: usize,
}

/// The boxes of a random resized crop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crop {
    /// Smallest and largest share of the image's area, each in 0..=1.
    pub scale: [f32; 2],
    /// Smallest and largest width / height.
    pub ratio: [f32; 2],
}

impl Default for Crop {
    /// A share of 0.08 to 1 and a ratio of 3:4 to 4:3: the habit for ImageNet.
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl Augment {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the field, its value and what was expected.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong = |field: &str, message: String| Err(DataError::new(format!("augment.{field}"), message));
        if !(0.0..=1.0).contains(&self.flip) {
            return wrong("flip", format!("{}, expected a probability of 0 to 1", self.flip));
        }
        if self.shift > 65_535 {
            return wrong("shift", format!("{}, expected at most 65535 pixels", self.shift));
        }
        let Some(crop) = self.random_resized_crop else { return Ok(()) };
        let ([least, most], [narrow, wide]) = (crop.scale, crop.ratio);
        if !(least > 0.0 && least <= most && most <= 1.0) {
            return wrong(
                "random_resized_crop.scale",
                format!("{:?}, expected [least, most] share of the area with 0 < least <= most <= 1", crop.scale),
            );
        }
        if !(narrow >= 0.01 && narrow <= wide && wide <= 100.0) {
            return wrong(
                "random_resized_crop.ratio",
                format!("{:?}, expected [narrowest, widest] width / height between 0.01 and 100", crop.ratio),
            );
        }
        Ok(())
    }

    /// The input for a network in training, `[channels, height, width]`. Draws from `rng` alone, so the same state
    /// gives the same pixels.
    ///
    /// # Errors
    /// Those of [`Augment::validate`].
    pub fn apply(&self, image: &Image, pre: &Transform, rng: &mut impl Rng) -> Result<Vec<f32>, DataError> {
        self.validate()?;
        let [_, height, width] = pre.shape();
        let image = pre.recoloured(image);
        let mut image = match self.random_resized_crop {
            Some(crop) => resize(&image.cropped(crop.draw(image.width, image.height, rng)), width, height),
            None => pre.centre(&image),
        };
        if rng.random_bool(f64::from(self.flip)) {
            image = image.flipped();
        }
        if self.shift > 0 {
            image = image.shifted(self.shift, rng);
        }
        Ok(pre.normalise(&image))
    }
}

impl Crop {
    /// A box inside a `width` × `height` image, drawn as torchvision's `RandomResizedCrop` does: area uniform, ratio
    /// log-uniform; where ten boxes in a row do not fit, the largest central one whose ratio is allowed.
    fn draw(&self, width: usize, height: usize, rng: &mut impl Rng) -> Rect {
        let [scale, ratio] = [self.scale, self.ratio].map(|r| r.map(f64::from));
        let (w, h) = (width as f64, height as f64);
        for _ in 0..TRIES {
            let area = w * h * rng.random_range(scale[0]..=scale[1]);
            let aspect = rng.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
            let box_w = (area * aspect).sqrt().round_ties_even() as usize;
            let box_h = (area / aspect).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&box_w) && (1..=height).contains(&box_h) {
                let top = rng.random_range(0..=height - box_h);
                let left = rng.random_range(0..=width - box_w);
                return Rect { left, top, width: box_w, height: box_h };
            }
        }
        let aspect = w / h;
        let fit = |side: f64, most: usize| (side.round_ties_even() as usize).clamp(1, most);
        let (box_w, box_h) = if aspect < ratio[0] {
            (width, fit(w / ratio[0], height))
        } else if aspect > ratio[1] {
            (fit(h * ratio[1], width), height)
        } else {
            (width, height)
        };
        Rect { left: (width - box_w) / 2, top: (height - box_h) / 2, width: box_w, height: box_h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_file::Preprocessing;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn rgb(image_size: [usize; 2], resize: usize) -> Transform {
        let pre = Preprocessing { channels: 3, image_size, resize, mean: vec![0.0; 3], std: vec![1.0; 3] };
        Transform::new(pre).unwrap()
    }

    fn noise(width: usize, height: usize) -> Image {
        Image::new(width, height, 3, (0..width * height * 3).map(|i| (i * 131 % 251) as u8).collect())
    }

    #[test]
    fn the_default_is_evaluation() {
        let (image, pre) = (noise(20, 15), rgb([12, 12], 12));
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(Augment::default().apply(&image, &pre, &mut rng).unwrap(), pre.evaluate(&image));
    }

    #[test]
    fn the_state_of_the_generator_decides() {
        let (image, pre) = (noise(40, 30), rgb([16, 16], 16));
        let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift: 2 };
        let run = |seed| augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_certain_flip_mirrors() {
        let (image, pre) = (noise(8, 8), rgb([8, 8], 8));
        let augment = Augment { flip: 1.0, ..Augment::default() };
        let flipped = augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        assert_eq!(flipped, pre.evaluate(&image.flipped()));
    }

    #[test]
    fn a_full_box_is_the_resized_image() {
        let (image, pre) = (noise(30, 30), rgb([16, 16], 16));
        let crop = Crop { scale: [1.0, 1.0], ratio: [1.0, 1.0] };
        let augment = Augment { random_resized_crop: Some(crop), ..Augment::default() };
        let whole = augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        assert_eq!(whole, pre.evaluate(&image));
    }

    #[test]
    fn boxes_that_cannot_fit_fall_back_to_the_centre() {
        let crop = Crop { scale: [1.0, 1.0], ..Crop::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(crop.draw(100, 10, &mut rng), Rect { left: 43, top: 0, width: 13, height: 10 });
        assert_eq!(crop.draw(10, 100, &mut rng), Rect { left: 0, top: 43, width: 10, height: 13 });
        assert_eq!(crop.draw(1, 1, &mut rng), Rect { left: 0, top: 0, width: 1, height: 1 });
    }

    #[test]
    fn every_wrong_field_is_named() {
        let crop = |scale, ratio| Augment { random_resized_crop: Some(Crop { scale, ratio }), ..Augment::default() };
        let cases = [
            (Augment { flip: 1.5, ..Augment::default() }, "augment.flip: 1.5"),
            (Augment { flip: f32::NAN, ..Augment::default() }, "augment.flip: NaN"),
            (Augment { shift: 1 << 40, ..Augment::default() }, "augment.shift: 1099511627776"),
            (crop([0.0, 1.0], [1.0, 1.0]), "augment.random_resized_crop.scale: [0.0, 1.0]"),
            (crop([0.5, 0.1], [1.0, 1.0]), "augment.random_resized_crop.scale: [0.5, 0.1]"),
            (crop([0.5, 1.0], [-1.0, 1.0]), "augment.random_resized_crop.ratio: [-1.0, 1.0]"),
        ];
        for (augment, expected) in cases {
            let error = augment.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{expected}, expected ")), "{error}");
        }
    }

    #[test]
    fn json_has_defaults_and_refuses_unknown_fields() {
        let augment: Augment = serde_json::from_str(r#"{"flip": 0.5, "random_resized_crop": {}}"#).unwrap();
        assert_eq!(augment, Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift: 0 });
        assert!(serde_json::from_str::<Augment>(r#"{"flop": 0.5}"#).is_err());
    }

    proptest! {
        #[test]
        fn boxes_lie_inside_the_image(
            w in 1usize..200, h in 1usize..200, seed: u64, a in 0.01f32..1.0, b in 0.01f32..1.0,
            r in 0.1f32..10.0, s in 0.1f32..10.0,
        ) {
            let crop = Crop { scale: [a.min(b), a.max(b)], ratio: [r.min(s), r.max(s)] };
            let rect = crop.draw(w, h, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(rect.width >= 1 && rect.height >= 1, "{rect:?}");
            prop_assert!(rect.left + rect.width <= w && rect.top + rect.height <= h, "{rect:?}");
        }

        #[test]
        fn any_image_gives_the_size_that_was_asked_for(
            w in 1usize..90, h in 1usize..90, th in 1usize..40, tw in 1usize..40,
            resize in 1usize..60, seed: u64, shift in 0usize..9,
        ) {
            let pre = rgb([th, tw], resize);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift };
            prop_assert_eq!(augment.apply(&noise(w, h), &pre, &mut rng).unwrap().len(), pre.elements());
            prop_assert_eq!(pre.evaluate(&noise(w, h)).len(), pre.elements());
        }
    }
}
