//! The joints that a keypoint network predicts.

use serde::{Deserialize, Serialize};

/// Largest number of joints in a skeleton.
const MAX_JOINTS: usize = 1024;

/// Names of joints, how they are connected, and what scoring and augmentation need to know about them. Keypoints are
/// referred to by index.
///
/// Also the format of a small TOML file that describes other skeletons (hands, faces, animals):
///
/// ```
/// let text = r#"
///     joints = ["nose", "left_ear", "right_ear"]
///     bones = [[0, 1], [0, 2]]
///     flip_pairs = [[1, 2]]
///     sigmas = [0.026, 0.035, 0.035]
/// "#;
/// let skeleton: dyconv_task::Skeleton = toml::from_str(text)?;
/// assert_eq!(skeleton.check(), Ok(()));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skeleton {
    /// Names in the order of the network's heat maps.
    pub joints: Vec<String>,
    /// Pairs of joints that a drawing connects (COCO's `skeleton`, counted from 0).
    #[serde(default)]
    pub bones: Vec<[usize; 2]>,
    /// Pairs (left, right) that are swapped when the image is mirrored.
    #[serde(default)]
    pub flip_pairs: Vec<[usize; 2]>,
    /// By joint: standard deviation of human annotations of its position, as a fraction of the square root of the
    /// person's area (COCO's OKS sigma).
    pub sigmas: Vec<f32>,
    /// Keypoints of the upper body; if empty, half-body augmentation is skipped.
    #[serde(default)]
    pub upper_body: Vec<usize>,
}

impl Skeleton {
    /// The 17 joints of a COCO person, with the sigmas of the COCO evaluation.
    pub fn coco() -> Self {
        let joints = [
            ("nose", 0.026),
            ("left_eye", 0.025),
            ("right_eye", 0.025),
            ("left_ear", 0.035),
            ("right_ear", 0.035),
            ("left_shoulder", 0.079),
            ("right_shoulder", 0.079),
            ("left_elbow", 0.072),
            ("right_elbow", 0.072),
            ("left_wrist", 0.062),
            ("right_wrist", 0.062),
            ("left_hip", 0.107),
            ("right_hip", 0.107),
            ("left_knee", 0.087),
            ("right_knee", 0.087),
            ("left_ankle", 0.089),
            ("right_ankle", 0.089),
        ];
        Self {
            joints: joints.iter().map(|j| j.0.to_owned()).collect(),
            bones: vec![
                [15, 13],
                [13, 11],
                [16, 14],
                [14, 12],
                [11, 12],
                [5, 11],
                [6, 12],
                [5, 6],
                [5, 7],
                [6, 8],
                [7, 9],
                [8, 10],
                [1, 2],
                [0, 1],
                [0, 2],
                [1, 3],
                [2, 4],
                [3, 5],
                [4, 6],
            ],
            flip_pairs: (1..17).step_by(2).map(|left| [left, left + 1]).collect(),
            sigmas: joints.iter().map(|j| j.1).collect(),
            upper_body: (0..11).collect(),
        }
    }

    /// Checks that there are joints, that every index refers to one, and that sigmas are positive.
    ///
    /// # Errors
    /// A sentence that names the field and the expected value.
    pub fn check(&self) -> Result<(), String> {
        let n = self.joints.len();
        if !(1..=MAX_JOINTS).contains(&n) {
            return Err(format!("joints: expected 1 to {MAX_JOINTS} names, got {n}"));
        }
        let mut names: Vec<&String> = self.joints.iter().collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("joints: `{}` stands there twice", twice[0]));
        }
        for (field, pairs) in [("bones", &self.bones), ("flip_pairs", &self.flip_pairs)] {
            if let Some(pair) = pairs.iter().find(|[a, b]| *a >= n || *b >= n || a == b) {
                return Err(format!("{field}: {pair:?} is no pair of two of the {n} joints, which count from 0"));
            }
        }
        let mut flipped: Vec<usize> = self.flip_pairs.iter().flatten().copied().collect();
        flipped.sort_unstable();
        if let Some(twice) = flipped.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("flip_pairs: joint {} stands in two pairs", twice[0]));
        }
        if let Some(joint) = self.upper_body.iter().find(|joint| **joint >= n) {
            return Err(format!("upper_body: {joint} is none of the {n} joints, which count from 0"));
        }
        if self.sigmas.len() != n {
            return Err(format!("sigmas: expected one for each of the {n} joints, got {}", self.sigmas.len()));
        }
        match self.sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma > 0.0)) {
            Some(sigma) => Err(format!("sigmas: expected positive numbers, got {sigma}")),
            None => Ok(()),
        }
    }

    /// By joint: the joint that takes its place when the image is mirrored.
    pub fn mirrored(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.joints.len()).collect();
        self.flip_pairs.iter().for_each(|[a, b]| order.swap(*a, *b));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coco_s_person_is_sound_and_mirrors_left_and_right() {
        let skeleton = Skeleton::coco();
        assert_eq!(skeleton.check(), Ok(()));
        let mirrored = skeleton.mirrored();
        for (joint, name) in skeleton.joints.iter().enumerate() {
            let other = name.replace("left", "tmp").replace("right", "left").replace("tmp", "right");
            assert_eq!(skeleton.joints[mirrored[joint]], other);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |change: &dyn Fn(&mut Skeleton), expected: &str| {
            let mut skeleton = Skeleton::coco();
            change(&mut skeleton);
            let error = skeleton.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        says(&|s| s.joints.clear(), "joints: expected 1 to 1024 names, got 0");
        says(&|s| s.joints[1] = "nose".into(), "`nose` stands there twice");
        says(&|s| s.bones[0] = [3, 17], "bones: [3, 17] is no pair of two of the 17 joints");
        says(&|s| s.flip_pairs[0] = [4, 4], "flip_pairs: [4, 4]");
        says(&|s| s.flip_pairs.push([0, 1]), "flip_pairs: joint 1 stands in two pairs");
        says(&|s| s.upper_body.push(99), "upper_body: 99");
        says(&|s| s.sigmas.truncate(3), "sigmas: expected one for each of the 17 joints, got 3");
        says(&|s| s.sigmas[3] = f32::NAN, "sigmas: expected positive numbers, got NaN");
    }
}
