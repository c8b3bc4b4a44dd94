//! The box of a random resized crop.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::TRIES;
use crate::image::Rect;

/// Parameters of a random resized crop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crop {
    /// Smallest and largest fraction of the image's area, each in 0..=1.
    pub scale: [f32; 2],
    /// Smallest and largest width / height.
    pub ratio: [f32; 2],
}

impl Default for Crop {
    /// An area of 0.08 to 1 and a ratio of 3:4 to 4:3, as is usual for ImageNet.
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl Crop {
    /// Draws a box inside a `width` × `height` image as torchvision's `RandomResizedCrop` does: area uniform, ratio
    /// log-uniform; if ten boxes in a row do not fit, the largest central one with an allowed ratio.
    pub(super) fn draw(&self, width: usize, height: usize, rng: &mut impl Rng) -> Rect {
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
