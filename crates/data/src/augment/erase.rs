//! Random erasing (arXiv 1708.04896).

use rand::Rng;

use super::TRIES;

/// Smallest and largest share of the area that is erased.
const SCALE: [f64; 2] = [0.02, 0.33];
/// Smallest and largest height / width of the box.
const RATIO: [f64; 2] = [0.3, 3.3];

/// Sets a random box of an input `[channels, height, width]` to 0, in all channels. As in torchvision, a box that does not
/// fit is drawn anew, at most ten times; then nothing is erased.
pub(super) fn erase(input: &mut [f32], h: usize, w: usize, rng: &mut impl Rng) {
    for _ in 0..TRIES {
        let area = (h * w) as f64 * rng.random_range(SCALE[0]..=SCALE[1]);
        let aspect = rng.random_range(RATIO[0].ln()..=RATIO[1].ln()).exp();
        let box_h = (area * aspect).sqrt().round_ties_even() as usize;
        let box_w = (area / aspect).sqrt().round_ties_even() as usize;
        if box_h < h && box_w < w {
            let (top, left) = (rng.random_range(0..=h - box_h), rng.random_range(0..=w - box_w));
            for plane in input.chunks_exact_mut(h * w) {
                plane.chunks_exact_mut(w).skip(top).take(box_h).for_each(|row| row[left..left + box_w].fill(0.0));
            }
            return;
        }
    }
}
