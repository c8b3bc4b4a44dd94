//! Mixing the images of a batch in pairs: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899).

use rand::Rng;
use rand_distr::{Beta, Distribution};

use super::Augment;

/// Where both are on, how often CutMix is drawn.
const SWITCH: f64 = 0.5;

impl Augment {
    /// Mixes every image of a batch `[n, channels, height, width]` with the one before it, the first with the last, and
    /// gives the share that it keeps of itself: 1 where nothing was mixed.
    ///
    /// All images of a batch have the same share and, in CutMix, the same box.
    pub(crate) fn mix(&self, images: &mut [f32], [n, c, h, w]: [usize; 4], rng: &mut impl Rng) -> f32 {
        let cut = self.cutmix > 0.0 && (self.mixup == 0.0 || rng.random_bool(SWITCH));
        let alpha = f64::from(if cut { self.cutmix } else { self.mixup });
        if n < 2 || alpha == 0.0 {
            return 1.0;
        }
        let share: f64 = Beta::new(alpha, alpha).expect("a checked alpha").sample(rng);
        if !cut {
            let (own, other) = (share as f32, 1.0 - share as f32);
            with_the_one_before(images, c * h * w, |image, before| {
                image.iter_mut().zip(before).for_each(|(a, b)| *a = own * *a + other * b);
            });
            return own;
        }
        let ([top, bottom], [left, right]) = cut_box(h, w, share, rng);
        with_the_one_before(images, c * h * w, |image, before| {
            for (image, before) in image.chunks_exact_mut(h * w).zip(before.chunks_exact(h * w)) {
                for row in top..bottom {
                    image[row * w + left..row * w + right].copy_from_slice(&before[row * w + left..row * w + right]);
                }
            }
        });
        1.0 - ((bottom - top) * (right - left)) as f32 / (h * w) as f32
    }
}

/// Calls `mix` with every image and the one before it, as it was.
fn with_the_one_before(images: &mut [f32], elements: usize, mut mix: impl FnMut(&mut [f32], &[f32])) {
    let last = images[images.len() - elements..].to_vec();
    for start in (elements..images.len()).step_by(elements).rev() {
        let (before, own) = images.split_at_mut(start);
        mix(&mut own[..elements], &before[start - elements..]);
    }
    mix(&mut images[..elements], &last);
}

/// Rows and columns of a box around a random point, of 1 − `share` of the area where it does not reach past the border.
fn cut_box(h: usize, w: usize, share: f64, rng: &mut impl Rng) -> ([usize; 2], [usize; 2]) {
    let half = 0.5 * (1.0 - share).sqrt();
    let mut line = |len: usize| {
        let (at, half) = (rng.random_range(0..len), (half * len as f64) as usize);
        [at.saturating_sub(half), (at + half).min(len)]
    };
    (line(h), line(w))
}
