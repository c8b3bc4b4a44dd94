//! RandAugment: a few operations drawn from a list, all of one magnitude (arXiv 1909.13719); list and magnitudes are
//! torchvision's.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::affine::{rotate, shear_x, shear_y, transform, translate};
use super::color;
use crate::image::Image;

/// RandAugment, with nearest-neighbour sampling and black fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Number of operations, one after another, 0..=14; an operation may be drawn twice.
    pub ops: usize,
    /// Magnitude of the operations, 0..=30.
    pub magnitude: usize,
}

impl Default for RandAugment {
    /// Two operations of magnitude 9.
    fn default() -> Self {
        Self { ops: 2, magnitude: 9 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

impl Op {
    pub(super) const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// Applies the operation; `sign` is 1 or -1 and matters only for operations with two directions.
    pub(super) fn apply(self, image: &mut Image, magnitude: usize, sign: f64) {
        let part = magnitude as f64 / RandAugment::MOST as f64;
        let signed = sign * part;
        let factor = (1.0 + 0.9 * signed) as f32;
        let pixels = |side: usize| (150.0 / 331.0 * side as f64 * signed) as i64;
        let matrix = match self {
            Self::ShearX => shear_x(0.3 * signed),
            Self::ShearY => shear_y(0.3 * signed),
            Self::TranslateX => translate(pixels(image.width), 0),
            Self::TranslateY => translate(0, pixels(image.height)),
            Self::Rotate => rotate(30.0 * signed, image),
            Self::Identity => return,
            Self::Brightness => return color::brightness(image, factor),
            Self::Color => return color::saturation(image, factor),
            Self::Contrast => return color::contrast(image, factor),
            Self::Sharpness => return color::sharpness(image, factor),
            Self::Posterize => return color::posterize(image, 8 - (4.0 * part).round_ties_even() as u32),
            Self::Solarize => return color::solarize(image, 255.0 * (1.0 - part)),
            Self::AutoContrast => return color::autocontrast(image),
            Self::Equalize => return color::equalize(image),
        };
        *image = transform(image, matrix);
    }
}

impl RandAugment {
    /// The largest magnitude.
    pub(super) const MOST: usize = 30;

    pub(super) fn apply(self, image: &mut Image, rng: &mut impl Rng) {
        for _ in 0..self.ops {
            let op = Op::ALL[rng.random_range(0..Op::ALL.len())];
            let sign = if rng.random() { 1.0 } else { -1.0 };
            op.apply(image, self.magnitude, sign);
        }
    }
}
