//! Random augmentation of training images.

mod affine;
mod color;
mod crop;
mod erase;
mod mix;
mod pose;
mod rand_augment;
#[cfg(test)]
mod tests;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

pub use crop::Crop;
pub use pose::PoseAugment;
pub(crate) use pose::{evaluated, seen};
pub use rand_augment::RandAugment;

use crate::error::DataError;
use crate::image::Image;
use crate::preprocessing::Transform;
use crate::resize::resize_part;

/// How often a random box that does not fit is redrawn.
const TRIES: usize = 10;

/// Training augmentation, applied in the order of the fields. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// A random region of the image, resized to the network's input. Without it the image is resized and centre-cropped
    /// as in evaluation.
    pub random_resized_crop: Option<Crop>,
    /// Probability of mirroring left to right, 0..=1.
    pub flip: f32,
    /// Random translation by up to this many input pixels in each direction, filled with black; for tiny images such as
    /// CIFAR's, where it is known as random crop with padding.
    pub shift: usize,
    /// A few operations drawn from torchvision's list for RandAugment.
    pub rand_augment: Option<RandAugment>,
    /// Random brightness, contrast, saturation and hue, in random order, as torchvision's `ColorJitter`: factors of the
    /// first three are drawn from 1 − x to 1 + x (at least 0), the rotation of the hue from −x to x of the circle,
    /// where x is at most 0.5.
    pub color_jitter: [f32; 4],
    /// Probability of random erasing, 0..=1: after normalisation a random box of 2 % to 33 % of the area is set to 0,
    /// which is the mean of every channel. Scale and ratio are torchvision's.
    pub random_erasing: f32,
    /// The α of mixup: λ is drawn from Beta(α, α) for every batch; 0 disables it.
    ///
    /// An image is replaced by λ · image + (1 − λ) · the previous image in the batch, and its target likewise; see
    /// [`Classes::second`](crate::Classes::second). Both images are in the same batch and, if several processes share a
    /// batch, in the same part of it; λ is the same in all parts.
    pub mixup: f32,
    /// The α of CutMix: as mixup, but a random box with a fraction 1 − λ of the area comes from the other image. If
    /// both are enabled, one of them is drawn for every batch with probability 0.5.
    pub cutmix: f32,
}

impl Augment {
    /// Checks every field.
    ///
    /// # Errors
    /// If a value is out of range; names the field, its value and the expected range.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong = |field: &str, message: String| Err(DataError::new(format!("augment.{field}"), message));
        for (field, value) in [("flip", self.flip), ("random_erasing", self.random_erasing)] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(field, format!("{value}, expected a probability of 0 to 1"));
            }
        }
        if self.shift > 65_535 {
            return wrong("shift", format!("{}, expected at most 65535 pixels", self.shift));
        }
        if let Some(RandAugment { ops, magnitude }) = self.rand_augment {
            if ops > 14 {
                return wrong("rand_augment.ops", format!("{ops}, expected at most 14"));
            }
            if magnitude > RandAugment::MOST {
                return wrong("rand_augment.magnitude", format!("{magnitude}, expected 0 to {}", RandAugment::MOST));
            }
        }
        let [factors @ .., hue] = self.color_jitter;
        if !factors.iter().all(|x| (0.0..=100.0).contains(x)) || !(0.0..=0.5).contains(&hue) {
            let expected = "expected [brightness, contrast, saturation, hue], the first three 0 to 100, hue 0 to 0.5";
            return wrong("color_jitter", format!("{:?}, {expected}", self.color_jitter));
        }
        for (field, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(alpha == 0.0 || (0.001..=1000.0).contains(&alpha)) {
                return wrong(field, format!("{alpha}, expected 0 (off) or an alpha of 0.001 to 1000"));
            }
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

    /// The input for a network in training, `[channels, height, width]`; mixing images of a batch is left to the
    /// loader. All randomness comes from `rng`, so the same state gives the same pixels.
    ///
    /// # Errors
    /// As [`Augment::validate`].
    pub fn apply(&self, image: &Image, pre: &Transform, rng: &mut impl Rng) -> Result<Vec<f32>, DataError> {
        self.validate()?;
        let [_, height, width] = pre.shape();
        let image = pre.recoloured(image);
        let mut image = match self.random_resized_crop {
            Some(crop) => {
                let rect = crop.draw(image.width, image.height, rng);
                resize_part(&image, rect, width, height, pre.description().interpolation)
            }
            None => pre.centre(&image),
        };
        if rng.random_bool(f64::from(self.flip)) {
            image = image.flipped();
        }
        if self.shift > 0 {
            image = image.shifted(self.shift, rng);
        }
        if let Some(rand_augment) = self.rand_augment {
            rand_augment.apply(&mut image, rng);
        }
        jitter(self.color_jitter, &mut image, rng);
        let mut input = pre.normalise(&image);
        if rng.random_bool(f64::from(self.random_erasing)) {
            erase::erase(&mut input, height, width, rng);
        }
        Ok(input)
    }
}

/// Changes the colours of an image in random order; see [`Augment::color_jitter`].
fn jitter(strengths: [f32; 4], image: &mut Image, rng: &mut impl Rng) {
    let mut order = [0, 1, 2, 3];
    if strengths != [0.0; 4] {
        order.shuffle(rng);
    }
    for i in order {
        let strength = strengths[i];
        if strength == 0.0 {
            continue;
        }
        if i == 3 {
            color::hue(image, rng.random_range(-strength..=strength));
            continue;
        }
        let factor = rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength);
        [color::brightness, color::contrast, color::saturation][i](image, factor);
    }
}
