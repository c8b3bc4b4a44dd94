//! Mixes pairs of images of a batch: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899).

use rand::Rng;
use rand_distr::{Beta, Distribution};

use super::Augment;

/// Probability of CutMix if both are enabled.
const SWITCH: f64 = 0.5;

impl Augment {
    /// Mixes every image of a batch `[n, channels, height, width]` with the previous one, the first with the last, and
    /// returns λ, the weight of the image itself: 1 if nothing was mixed.
    ///
    /// All images of a batch have the same λ and, in CutMix, the same box.
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

/// Calls `mix` with every image and the unmodified previous one.
fn with_the_one_before(images: &mut [f32], elements: usize, mut mix: impl FnMut(&mut [f32], &[f32])) {
    let last = images[images.len() - elements..].to_vec();
    for start in (elements..images.len()).step_by(elements).rev() {
        let (before, own) = images.split_at_mut(start);
        mix(&mut own[..elements], &before[start - elements..]);
    }
    mix(&mut images[..elements], &last);
}

/// Rows and columns of a box around a random point. Its area is 1 − `share` of the image, less where it crosses the
/// border.
fn cut_box(h: usize, w: usize, share: f64, rng: &mut impl Rng) -> ([usize; 2], [usize; 2]) {
    let half = 0.5 * (1.0 - share).sqrt();
    let mut line = |len: usize| {
        let (at, half) = (rng.random_range(0..len), (half * len as f64) as usize);
        [at.saturating_sub(half), (at + half).min(len)]
    };
    (line(h), line(w))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn cutmix_pastes_one_box_of_the_image_before() {
        let [n, c, h, w] = [5, 2, 12, 10];
        let cutmix = Augment { cutmix: 1.0, ..Augment::default() };
        let mut shares = 0.0;
        for seed in 0..300 {
            let mut images: Vec<f32> = (0..n * c * h * w).map(|i| (i / (c * h * w)) as f32).collect();
            let share = cutmix.mix(&mut images, [n, c, h, w], &mut ChaCha8Rng::seed_from_u64(seed));
            let pasted = |image: usize, channel: usize| -> Vec<usize> {
                let plane = &images[(image * c + channel) * h * w..][..h * w];
                assert!(plane.iter().all(|v| *v == image as f32 || *v == ((image + n - 1) % n) as f32));
                (0..h * w).filter(|i| plane[*i] != image as f32).collect()
            };
            let first = pasted(0, 0);
            assert!((0..n).all(|image| (0..c).all(|channel| pasted(image, channel) == first)));
            assert_eq!(share, 1.0 - first.len() as f32 / (h * w) as f32);
            if let Some((a, b)) = first.first().zip(first.last()) {
                assert_eq!(first.len(), (b / w - a / w + 1) * (b % w - a % w + 1), "a full rectangle");
            }
            shares += share;
        }
        // The mean of λ is 0.5, and more remains if boxes cross the border.
        assert!((0.5..0.75).contains(&(shares / 300.0)), "{}", shares / 300.0);
    }

    #[test]
    fn weights_of_mixing_have_a_beta_distribution() {
        // Mean 1/2 and variance 1 / (4 (2 α + 1)).
        for alpha in [0.001f32, 0.2, 1.0, 3.0, 1000.0] {
            let mixup = Augment { mixup: alpha, ..Augment::default() };
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let mut shares = || f64::from(mixup.mix(&mut [0.0, 1.0], [2, 1, 1, 1], &mut rng));
            let drawn: Vec<f64> = (0..4000).map(|_| shares()).collect();
            assert!(drawn.iter().all(|share| (0.0..=1.0).contains(share)));
            let mean = drawn.iter().sum::<f64>() / 4000.0;
            let variance = drawn.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 4000.0;
            let expected = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
            assert!((mean - 0.5).abs() < 0.03, "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.1, "{alpha}: {variance}, expected {expected}");
        }
    }

    #[test]
    fn either_mixture_is_drawn_half_the_time() {
        let both = Augment { mixup: 1.0, cutmix: 1.0, ..Augment::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut blended = || {
            let mut images = [vec![0.0f32; 64], vec![1.0; 64]].concat();
            both.mix(&mut images, [2, 1, 8, 8], &mut rng);
            images.iter().any(|v| *v != 0.0 && *v != 1.0)
        };
        let times = (0..1000).filter(|_| blended()).count();
        assert!((440..560).contains(&times), "{times}");
    }
}
