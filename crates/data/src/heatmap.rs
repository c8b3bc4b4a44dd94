//! Encodes joints as heat maps, one per joint, and decodes them.
//!
//! A heat map has a value for every few pixels of the network's input: cell (i, j) is at pixel (i · stride, j ·
//! stride), as in SimpleBaseline (arXiv 1804.06208). Its target is a Gaussian around the joint with a maximum of 1,
//! truncated at three σ. Unlike in SimpleBaseline, the joint is not rounded to a cell first, so the maps encode
//! fractions of cells.

use crate::crop::Affine;
use crate::people::Keypoint;

/// Gaussians are truncated at this many σ.
const REACH: f64 = 3.0;

/// Sizes of a network's heat maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeatMaps {
    /// Height and width of the network's input in pixels.
    pub input: [usize; 2],
    /// Height and width of a heat map in cells.
    pub map: [usize; 2],
}

/// A joint predicted by a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundKeypoint {
    /// Pixels from the left, in the input as decoded, in the image after [`FoundKeypoint::through`].
    pub x: f64,
    /// Pixels from the top.
    pub y: f64,
    /// The maximum of its heat map: about 1 if the network is confident, about 0 if it sees nothing.
    pub score: f32,
}

impl FoundKeypoint {
    /// The joint with its position mapped by `map`.
    #[must_use]
    pub fn through(self, map: &Affine) -> Self {
        let [x, y] = map.apply([self.x, self.y]);
        Self { x, y, ..self }
    }

    /// Whether the network predicted the joint: position and score are not NaN.
    pub fn is_known(&self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.score.is_finite()
    }
}

impl HeatMaps {
    /// Number of cells of one heat map.
    pub fn cells(&self) -> usize {
        self.map[0] * self.map[1]
    }

    /// Pixels between neighbouring cells, down and across.
    fn stride(&self) -> [f64; 2] {
        [0, 1].map(|i| self.input[i] as f64 / self.map[i] as f64)
    }

    /// Writes the targets of joints given in pixels of the input: into `maps` `[joints, height, width]` a Gaussian of
    /// `sigma` cells for each, into `weights` `[joints]` 1, or 0 if the joint is not labelled or no cell is within
    /// reach.
    ///
    /// # Panics
    /// If `maps` or `weights` has another size.
    pub fn encode(&self, joints: &[Keypoint], sigma: f64, maps: &mut [f32], weights: &mut [f32]) {
        assert_eq!((maps.len(), weights.len()), (joints.len() * self.cells(), joints.len()), "a map for every joint");
        let ([height, width], [down, across]) = (self.map, self.stride());
        maps.fill(0.0);
        for ((joint, map), weight) in joints.iter().zip(maps.chunks_exact_mut(self.cells())).zip(weights) {
            let (x, y, reach) = (joint.x / across, joint.y / down, REACH * sigma);
            let (columns, rows) = (near(x, reach, width), near(y, reach, height));
            let seen = joint.labelled() && !columns.is_empty() && !rows.is_empty();
            *weight = f32::from(u8::from(seen));
            if !seen {
                continue;
            }
            for j in rows {
                for i in columns.clone() {
                    let square = (i as f64 - x).powi(2) + (j as f64 - y).powi(2);
                    map[j * width + i] = (-square / (2.0 * sigma * sigma)).exp() as f32;
                }
            }
        }
    }

    /// Decodes the positions of the joints, in pixels of the input, from `maps` `[joints, height, width]`: the cell
    /// with the largest value, shifted by a quarter of a cell toward the larger neighbour across and down (not at the
    /// border). If a map holds NaN or infinity, there is no prediction: position and score of the joint are NaN, see
    /// [`FoundKeypoint::is_known`].
    ///
    /// # Panics
    /// If the length of `maps` is not a whole number of maps.
    pub fn decode(&self, maps: &[f32]) -> Vec<FoundKeypoint> {
        assert!(maps.len().is_multiple_of(self.cells()), "maps of {:?} cells", self.map);
        let ([height, width], [down, across]) = (self.map, self.stride());
        let found = maps.chunks_exact(self.cells()).map(|map| {
            if map.iter().any(|value| !value.is_finite()) {
                return FoundKeypoint { x: f64::NAN, y: f64::NAN, score: f32::NAN };
            }
            // The first of equal values.
            let largest =
                |best: (usize, f32), (at, &value): (usize, &f32)| if value > best.1 { (at, value) } else { best };
            let (at, score) = map.iter().enumerate().fold((0, f32::NEG_INFINITY), largest);
            let (i, j) = (at % width, at / width);
            let x = i as f64 + if i > 0 && i + 1 < width { quarter(map[at - 1], map[at + 1]) } else { 0.0 };
            let y = j as f64 + if j > 0 && j + 1 < height { quarter(map[at - width], map[at + width]) } else { 0.0 };
            FoundKeypoint { x: x * across, y: y * down, score }
        });
        found.collect()
    }

    /// The flip test: replaces `maps` by the mean of `maps` and `flipped`, the output for the mirrored crop
    /// ([`PersonCrop::mirror`](crate::PersonCrop::mirror)); both are `[joints, height, width]`. `mirrored` gives for
    /// each joint the one that takes its place ([`Skeleton::mirrored`](dyconv_task::Skeleton::mirrored)).
    ///
    /// Column c of a mirrored crop is column width − c of the original, so the maps of a mirrored crop are one column
    /// off after they are mirrored back; column 0, which has no counterpart, is kept. This is what SimpleBaseline's
    /// option `SHIFT_HEATMAP` does.
    ///
    /// # Panics
    /// If the number of maps is not the number of joints.
    pub fn average_mirrored(&self, maps: &mut [f32], flipped: &[f32], mirrored: &[usize]) {
        let (cells, width) = (self.cells(), self.map[1]);
        assert_eq!(
            (maps.len(), flipped.len()),
            (mirrored.len() * cells, mirrored.len() * cells),
            "a map for every joint"
        );
        for (map, other) in maps.chunks_exact_mut(cells).zip(mirrored) {
            let rows = flipped[other * cells..][..cells].chunks_exact(width);
            for (row, back) in map.chunks_exact_mut(width).zip(rows) {
                for i in 1..width {
                    row[i] = 0.5 * (row[i] + back[width - i]);
                }
            }
        }
    }
}

/// The cells of a line of `len` cells within `reach` of a point.
fn near(at: f64, reach: f64, len: usize) -> std::ops::Range<usize> {
    let first = (at - reach).ceil().clamp(0.0, len as f64) as usize;
    let end = ((at + reach).floor() + 1.0).clamp(0.0, len as f64) as usize;
    first..end.max(first)
}

/// A quarter of a cell toward the larger value.
fn quarter(before: f32, after: f32) -> f64 {
    match after.partial_cmp(&before) {
        Some(std::cmp::Ordering::Greater) => 0.25,
        Some(std::cmp::Ordering::Less) => -0.25,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Visibility;
    use crate::{PersonBox, PersonCrop};
    use proptest::prelude::*;

    const COCO: HeatMaps = HeatMaps { input: [256, 192], map: [64, 48] };

    fn joint(x: f64, y: f64) -> Keypoint {
        Keypoint { x, y, visibility: Visibility::Visible }
    }

    fn encoded(sizes: HeatMaps, joints: &[Keypoint], sigma: f64) -> (Vec<f32>, Vec<f32>) {
        // The previous content of the buffers must not matter.
        let (mut maps, mut weights) = (vec![7.0; joints.len() * sizes.cells()], vec![7.0; joints.len()]);
        sizes.encode(joints, sigma, &mut maps, &mut weights);
        (maps, weights)
    }

    #[test]
    fn a_gaussian_is_as_by_hand() {
        let (map, weights) = encoded(COCO, &[joint(40.0, 80.0)], 2.0);
        assert_eq!(weights, [1.0]);
        let at = |i: usize, j: usize| map[j * 48 + i];
        assert_eq!(at(10, 20), 1.0);
        assert!((at(12, 20) - 0.606_530_7).abs() < 1e-6, "one σ to the right: e^(-1/2)");
        assert!((at(11, 21) - 0.778_800_8).abs() < 1e-6, "e^(-1/4)");
        assert!((at(16, 20) - 0.011_109).abs() < 1e-6 && at(17, 20) == 0.0, "cut off at three σ");
        assert_eq!(map.iter().filter(|v| **v > 0.0).count(), 13 * 13);
    }

    #[test]
    fn what_is_not_labelled_or_out_of_reach_has_no_weight() {
        let hidden = Keypoint { visibility: Visibility::Missing, ..joint(40.0, 80.0) };
        let occluded = Keypoint { visibility: Visibility::Occluded, ..joint(40.0, 80.0) };
        // σ = 2 reaches 6 cells, 24 pixels; the last cell is at pixel 188.
        let joints = [hidden, occluded, joint(-24.0, 80.0), joint(-25.0, 80.0), joint(212.0, 80.0), joint(213.0, 80.0)];
        let joints = [&joints[..], &[joint(80.0, 1e9), joint(f64::NAN, 3.0), joint(3.0, f64::INFINITY)]].concat();
        let (maps, weights) = encoded(COCO, &joints, 2.0);
        assert_eq!(weights, [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        for (map, weight) in maps.chunks_exact(COCO.cells()).zip(&weights) {
            assert_eq!(map.iter().any(|v| *v > 0.0), *weight > 0.0);
        }
    }

    #[test]
    fn a_quarter_goes_toward_the_larger_neighbour_but_not_at_the_border() {
        let sizes = HeatMaps { input: [6, 8], map: [3, 4] };
        let decode = |map: [f32; 12]| sizes.decode(&map)[0];
        let found = decode([0., 0., 0., 0., 0., 3., 2., 0., 0., 1., 0., 0.]);
        // Cell (1, 1): right is larger, below is larger; two pixels a cell.
        assert_eq!(found, FoundKeypoint { x: 2.5, y: 2.5, score: 3.0 });
        let found = decode([0., 1., 0., 0., 2., 3., 2., 0., 0., 0., 0., 0.]);
        assert_eq!(found, FoundKeypoint { x: 2.0, y: 1.5, score: 3.0 });
        // On the left border only the shift down applies.
        let found = decode([0., 0., 0., 0., 3., 2., 0., 0., 1., 0., 0., 0.]);
        assert_eq!(found, FoundKeypoint { x: 0.0, y: 2.5, score: 3.0 });
        let found = decode([0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 2., 3.]);
        assert_eq!(found, FoundKeypoint { x: 6.0, y: 4.0, score: 3.0 });
        // The first of equal values.
        assert_eq!(decode([0., 1., 0., 1., 0., 0., 0., 0., 0., 0., 0., 0.]).x, 2.0);
        let low = decode([-3., -2., -3., -3., -4., -4., -4., -4., -4., -4., -4., -4.]);
        assert_eq!((low.x, low.score), (2.0, -2.0));
    }

    #[test]
    fn a_map_with_nan_or_infinity_has_no_joint() {
        let sizes = HeatMaps { input: [4, 4], map: [2, 2] };
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = sizes.decode(&[[0.0, 1.0, 2.0, odd], [odd; 4], [0.0, 1.0, 2.0, 0.0]].concat());
            assert_eq!([0, 1, 2].map(|i| found[i].is_known()), [false, false, true], "{odd}");
            let moved = found[0].through(&Affine([1.0, 0.0, 3.0, 0.0, 1.0, 3.0]));
            assert!(!moved.is_known() && moved.x.is_nan() && moved.score.is_nan());
        }
    }

    #[test]
    fn the_flip_test_of_a_symmetric_network_changes_nothing() {
        // A perfect network: encodes the joints at their positions in the mirrored crop, with left and right swapped.
        let input = COCO.input;
        let crop = PersonCrop::around(PersonBox { x: 10.0, y: 5.0, width: 80.0, height: 90.0 }, input);
        let image = [[30.5, 40.0], [60.0, 70.25], [44.0, 44.0]];
        let mirrored = [1, 0, 2];
        let seen = |crop: PersonCrop, order: [usize; 3]| {
            let map = crop.to_image(input).inverse();
            let joints = order.map(|i| {
                let [x, y] = map.apply(image[i]);
                joint(x, y)
            });
            encoded(COCO, &joints, 2.0).0
        };
        let upright = seen(crop, [0, 1, 2]);
        let mut averaged = upright.clone();
        COCO.average_mirrored(&mut averaged, &seen(crop.mirror(), mirrored), &mirrored);
        let most = averaged.iter().zip(&upright).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The truncation at three σ may fall on either side of a cell.
        assert!(most < 0.012, "{most}");
        for (found, expected) in COCO.decode(&averaged).iter().zip(image) {
            let found = found.through(&crop.to_image(input));
            // A quarter of a cell, which is 4 input pixels or 2.3 image pixels here.
            assert!((found.x - expected[0]).abs() < 0.6 && (found.y - expected[1]).abs() < 0.6, "{found:?}");
        }
    }

    #[test]
    fn mirroring_twice_is_the_identity() {
        let sizes = HeatMaps { input: [8, 12], map: [4, 6] };
        let maps: Vec<f32> = (0..48).map(|i| (i * 7 % 11) as f32).collect();
        let back = |maps: &[f32]| {
            // Averaging m with its mirror image gives (m + mirrored) / 2.
            let mut mean = maps.to_vec();
            sizes.average_mirrored(&mut mean, maps, &[1, 0]);
            mean.iter().zip(maps).map(|(mean, own)| 2.0 * mean - own).collect::<Vec<f32>>()
        };
        assert_eq!(back(&back(&maps)), maps);
        assert_ne!(back(&maps), maps);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_within_half_a_cell(
            x in 0.0f64..188.0, y in 0.0f64..252.0, sigma in 1.0f64..3.0,
        ) {
            let found = COCO.decode(&encoded(COCO, &[joint(x, y)], sigma).0)[0];
            prop_assert!((found.x - x).abs() <= 2.0 && (found.y - y).abs() <= 2.0, "{found:?}");
            // Away from the border, within a quarter of a cell.
            if (4.0..184.0).contains(&x) && (4.0..248.0).contains(&y) {
                prop_assert!((found.x - x).abs() <= 1.0 + 1e-6 && (found.y - y).abs() <= 1.0 + 1e-6, "{found:?}");
            }
        }

        #[test]
        fn targets_are_those_of_a_naive_loop(
            x in -60.0f64..120.0, y in -60.0f64..120.0, sigma in 0.5f64..4.0,
            height in 1usize..20, width in 1usize..20,
        ) {
            let sizes = HeatMaps { input: [height * 4, width * 2], map: [height, width] };
            let (map, weights) = encoded(sizes, &[joint(x, y)], sigma);
            let mut any = false;
            for j in 0..height {
                for i in 0..width {
                    let (dx, dy) = (i as f64 - x / 2.0, j as f64 - y / 4.0);
                    let inside = dx.abs() <= 3.0 * sigma && dy.abs() <= 3.0 * sigma;
                    let expected = if inside { (-(dx * dx + dy * dy) / (2.0 * sigma * sigma)).exp() } else { 0.0 };
                    any |= inside;
                    prop_assert!((f64::from(map[j * width + i]) - expected).abs() < 1e-6);
                }
            }
            prop_assert_eq!(weights[0] > 0.0, any);
        }
    }
}
