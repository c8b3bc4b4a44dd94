//! Random crops of persons: rotated, scaled, mirrored, or half of the body.

use dyconv_task::Skeleton;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{erase, jitter};
use crate::crop::{PersonBox, PersonCrop};
use crate::error::DataError;
use crate::image::Image;
use crate::people::{Keypoint, Person, Visibility};
use crate::preprocessing::Transform;

/// Size of the region around a half body, relative to it, per side.
const HALF_MARGIN: f64 = 1.5;

/// Training augmentation of persons. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoseAugment {
    /// Probability that only the upper or only the lower half of the body is shown, 0..=1. Applies to persons with more
    /// than half of all joints labelled, in skeletons that define an upper body (HRNet's recipe).
    pub half_body: f32,
    /// Bounds of the factor by which more (above 1) or less of the image is shown; uniform.
    pub scale: [f32; 2],
    /// Largest rotation in either direction, in degrees; uniform.
    pub rotate: f32,
    /// Probability of mirroring left to right, 0..=1; left and right joints are swapped.
    pub flip: f32,
    /// See [`Augment::color_jitter`](crate::Augment::color_jitter).
    pub color_jitter: [f32; 4],
    /// See [`Augment::random_erasing`](crate::Augment::random_erasing).
    pub random_erasing: f32,
}

impl Default for PoseAugment {
    fn default() -> Self {
        Self { half_body: 0.0, scale: [1.0, 1.0], rotate: 0.0, flip: 0.0, color_jitter: [0.0; 4], random_erasing: 0.0 }
    }
}

impl PoseAugment {
    /// Checks every field.
    ///
    /// # Errors
    /// If a value is out of range; names the field, its value and the expected range.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong = |field: &str, message: String| Err(DataError::new(format!("augment.{field}"), message));
        let shares = [("half_body", self.half_body), ("flip", self.flip), ("random_erasing", self.random_erasing)];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return wrong(field, format!("{value}, expected a probability of 0 to 1"));
            }
        }
        let [least, most] = self.scale;
        if !(0.05 <= least && least <= most && most <= 20.0) {
            let message = format!("{:?}, expected [least, most] factor between 0.05 and 20", self.scale);
            return wrong("scale", message);
        }
        if !(0.0..=180.0).contains(&self.rotate) {
            return wrong("rotate", format!("{}, expected 0 to 180 degrees", self.rotate));
        }
        // Colour jitter is validated by `Augment`.
        super::Augment { color_jitter: self.color_jitter, ..super::Augment::default() }.validate()
    }

    /// The random crop of a person for an input of `[height, width]` pixels.
    fn crop(&self, person: &Person, skeleton: &Skeleton, input: [usize; 2], rng: &mut impl Rng) -> PersonCrop {
        let mut crop = PersonCrop::around(person.bbox, input);
        if rng.random_bool(f64::from(self.half_body))
            && let Some((centre, size)) = half_body(&person.joints, skeleton, rng.random_bool(0.5))
        {
            crop = PersonCrop::showing(centre, size, HALF_MARGIN, input);
        }
        let [least, most] = self.scale;
        crop.width *= f64::from(rng.random_range(least..=most));
        crop.rotation = f64::from(rng.random_range(-self.rotate..=self.rotate));
        crop.mirrored = rng.random_bool(f64::from(self.flip));
        crop
    }

    /// The input for a network in training, `[channels, height, width]`, and the joints in input pixels. All randomness
    /// comes from `rng`, so the same state gives the same pixels.
    pub(crate) fn apply(
        &self,
        image: &Image,
        person: &Person,
        skeleton: &Skeleton,
        pre: &Transform,
        rng: &mut impl Rng,
    ) -> (Vec<f32>, Vec<Keypoint>) {
        let [_, height, width] = pre.shape();
        let crop = self.crop(person, skeleton, [height, width], rng);
        let mut cut = crop.cut(&pre.recoloured(image), [height, width]);
        jitter(self.color_jitter, &mut cut, rng);
        let mut input = pre.normalise(&cut);
        if rng.random_bool(f64::from(self.random_erasing)) {
            erase::erase(&mut input, height, width, rng);
        }
        (input, seen(&person.joints, skeleton, crop, [height, width]))
    }
}

/// The joints mapped into an input of `[height, width]` pixels.
pub(crate) fn seen(joints: &[Keypoint], skeleton: &Skeleton, crop: PersonCrop, input: [usize; 2]) -> Vec<Keypoint> {
    let to_input = crop.to_image(input).inverse();
    let moved = |joint: &Keypoint| {
        let [x, y] = to_input.apply([joint.x, joint.y]);
        Keypoint { x, y, ..*joint }
    };
    match crop.mirrored {
        false => joints.iter().map(moved).collect(),
        true => skeleton.mirrored().iter().map(|other| moved(&joints[*other])).collect(),
    }
}

/// Centre and size of the labelled joints of one half of the body, `None` if too few are labelled. `upper` is the
/// preferred half; if it has no more than two joints, the other is taken.
fn half_body(joints: &[Keypoint], skeleton: &Skeleton, upper: bool) -> Option<([f64; 2], [f64; 2])> {
    let labelled = joints.iter().filter(|j| j.visibility != Visibility::Missing).count();
    if skeleton.upper_body.is_empty() || labelled <= joints.len() / 2 {
        return None;
    }
    let half = |upper: bool| -> Vec<[f64; 2]> {
        let chosen = |(i, joint): &(usize, &Keypoint)| joint.labelled() && skeleton.upper_body.contains(i) == upper;
        joints.iter().enumerate().filter(chosen).map(|(_, joint)| [joint.x, joint.y]).collect()
    };
    let points = Some(half(upper)).filter(|points| points.len() > 2).unwrap_or_else(|| half(!upper));
    let bounds = |axis: usize| {
        let values = points.iter().map(|p| p[axis]);
        values.clone().fold(f64::MAX, f64::min)..values.fold(f64::MIN, f64::max)
    };
    let size = [0, 1].map(|axis| bounds(axis).end - bounds(axis).start);
    if points.len() < 2 || (size[0] <= 0.0 && size[1] <= 0.0) {
        return None;
    }
    // The mean, as in HRNet's recipe.
    let centre = [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / points.len() as f64);
    Some((centre, size))
}

/// The input for evaluation and its crop.
pub(crate) fn evaluated(image: &Image, bbox: PersonBox, pre: &Transform) -> (Vec<f32>, PersonCrop) {
    let crop = PersonCrop::around(bbox, pre.description().image_size);
    (pre.crop(image, crop), crop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preprocessing;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn transform() -> Transform {
        let plain = Preprocessing { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::usual(3, [32, 24], 32) };
        Transform::new(plain).unwrap()
    }

    fn noise(width: usize, height: usize) -> Image {
        Image::new(width, height, 3, (0..width * height * 3).map(|i| (i * 131 % 251) as u8).collect())
    }

    /// A person whose joint i is at (30 + 2i, 10 + 3i).
    fn person() -> Person {
        let joints = (0..17).map(|i| Keypoint {
            x: 30.0 + 2.0 * f64::from(i),
            y: 10.0 + 3.0 * f64::from(i),
            visibility: Visibility::Visible,
        });
        let bbox = PersonBox { x: 25.0, y: 5.0, width: 40.0, height: 60.0 };
        Person { id: 1, image: 0, bbox, area: 2000.0, crowd: false, labelled: 17, joints: joints.collect() }
    }

    #[test]
    fn the_default_is_evaluation() {
        let (image, pre, skeleton, person) = (noise(80, 70), transform(), Skeleton::coco(), person());
        let (input, joints) =
            PoseAugment::default().apply(&image, &person, &skeleton, &pre, &mut ChaCha8Rng::seed_from_u64(3));
        let (expected, crop) = evaluated(&image, person.bbox, &pre);
        assert_eq!(input, expected);
        assert_eq!(joints, seen(&person.joints, &skeleton, crop, [32, 24]));
    }

    #[test]
    fn the_state_of_the_generator_decides() {
        let (image, pre, skeleton, person) = (noise(80, 70), transform(), Skeleton::coco(), person());
        let augment = PoseAugment {
            half_body: 0.5,
            scale: [0.65, 1.35],
            rotate: 45.0,
            flip: 0.5,
            color_jitter: [0.2, 0.2, 0.2, 0.1],
            random_erasing: 0.5,
        };
        let run = |seed| augment.apply(&image, &person, &skeleton, &pre, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_mirrored_person_has_left_and_right_swapped_in_place() {
        let (skeleton, person) = (Skeleton::coco(), person());
        let crop = PersonCrop::around(person.bbox, [32, 24]);
        let (upright, mirrored) =
            (seen(&person.joints, &skeleton, crop, [32, 24]), seen(&person.joints, &skeleton, crop.mirror(), [32, 24]));
        for (i, other) in skeleton.mirrored().into_iter().enumerate() {
            assert!((mirrored[i].x - (24.0 - upright[other].x)).abs() < 1e-9);
            assert!((mirrored[i].y - upright[other].y).abs() < 1e-9);
        }
    }

    #[test]
    fn half_a_body_is_the_box_of_its_joints() {
        let (skeleton, mut person) = (Skeleton::coco(), person());
        // Keypoints 0 to 10 are the upper body: x 30 to 50, y 10 to 40.
        assert_eq!(half_body(&person.joints, &skeleton, true), Some(([40.0, 25.0], [20.0, 30.0])));
        assert_eq!(half_body(&person.joints, &skeleton, false), Some(([57.0, 50.5], [10.0, 15.0])));
        for joint in &mut person.joints[13..] {
            joint.visibility = Visibility::Missing;
        }
        // Only two joints of the lower half are left: the upper half is taken.
        assert_eq!(half_body(&person.joints, &skeleton, false), Some(([40.0, 25.0], [20.0, 30.0])));
        for joint in &mut person.joints[8..] {
            joint.visibility = Visibility::Missing;
        }
        assert_eq!(half_body(&person.joints, &skeleton, true), None, "8 of 17 are labelled");
        let unknown = Skeleton { upper_body: Vec::new(), ..Skeleton::coco() };
        assert_eq!(half_body(&self::person().joints, &unknown, true), None);
    }

    #[test]
    fn wrong_fields_are_named() {
        let says = |augment: PoseAugment, expected: &str| {
            let error = augment.validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let fine = PoseAugment::default();
        assert_eq!(fine.validate(), Ok(()));
        says(PoseAugment { half_body: 1.5, ..fine }, "augment.half_body: 1.5, expected a probability");
        says(PoseAugment { flip: f32::NAN, ..fine }, "augment.flip: NAN".replace("NAN", "NaN").as_str());
        says(PoseAugment { scale: [1.2, 0.8], ..fine }, "augment.scale: [1.2, 0.8], expected [least, most]");
        says(PoseAugment { rotate: -1.0, ..fine }, "augment.rotate: -1, expected 0 to 180 degrees");
        says(PoseAugment { color_jitter: [0.0, 0.0, 0.0, 0.6], ..fine }, "augment.color_jitter");
    }

    proptest! {
        #[test]
        fn draws_stay_within_their_bounds(seed: u64) {
            let augment = PoseAugment { scale: [0.65, 1.35], rotate: 45.0, flip: 0.5, ..PoseAugment::default() };
            let person = person();
            let crop = augment.crop(&person, &Skeleton::coco(), [32, 24], &mut ChaCha8Rng::seed_from_u64(seed));
            let plain = PersonCrop::around(person.bbox, [32, 24]);
            prop_assert!((0.649..1.351).contains(&(crop.width / plain.width)));
            prop_assert!(crop.rotation.abs() <= 45.0);
            prop_assert_eq!(crop.centre, plain.centre);
        }
    }
}
