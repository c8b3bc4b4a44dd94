//! Random erasing (arXiv 1708.04896).

use rand::Rng;

use super::TRIES;

/// Smallest and largest fraction of the area that is erased.
const SCALE: [f64; 2] = [0.02, 0.33];
/// Smallest and largest height / width of the box.
const RATIO: [f64; 2] = [0.3, 3.3];

/// Sets a random box of an input `[channels, height, width]` to 0, in all channels. As in torchvision, a box that does
/// not fit is redrawn, at most ten times; then nothing is erased.
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn erasing_cuts_one_box_in_all_channels() {
        let (h, w) = (24, 30);
        let (mut areas, mut times) = (Vec::new(), 0);
        for seed in 0..400 {
            let mut input = vec![1.0; 3 * h * w];
            erase(&mut input, h, w, &mut ChaCha8Rng::seed_from_u64(seed));
            let [first, rest @ ..] = &input.chunks_exact(h * w).collect::<Vec<_>>()[..] else { unreachable!() };
            assert!(rest.iter().all(|plane| plane == first));
            let erased: Vec<(usize, usize)> = (0..h * w).filter(|i| first[*i] == 0.0).map(|i| (i / w, i % w)).collect();
            let Some((&(top, left), &(bottom, right))) = erased.first().zip(erased.last()) else { continue };
            let (box_h, box_w) = (bottom - top + 1, right - left + 1);
            assert_eq!(erased.len(), box_h * box_w, "a full rectangle");
            times += 1;
            areas.push(erased.len() as f64 / (h * w) as f64);
        }
        assert!(times > 395, "{times}");
        let (least, most) = areas.iter().fold((1.0f64, 0.0f64), |(l, m), a| (l.min(*a), m.max(*a)));
        assert!((0.01..0.04).contains(&least) && (0.28..0.36).contains(&most), "{least} {most}");
    }
}
