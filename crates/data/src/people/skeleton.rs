//! Determines the skeleton of a data set: from its annotations, with COCO's sigmas if the joints are COCO's, or from a
//! description.

use dyconv_task::Skeleton;

use super::number::Whole;
use crate::words::shown;

/// The joints according to the annotations: names and bones.
pub(super) struct Described<'a> {
    pub joints: &'a [String],
    pub bones: &'a [[Whole; 2]],
}

/// The skeleton for joints with these names: `given`, or COCO's if the names are COCO's; and a message if the numbering
/// of its bones is not COCO's.
///
/// # Errors
/// If `given` has other joints, or nothing is given and the joints are not COCO's.
pub(super) fn skeleton(
    described: &Described<'_>,
    given: Option<&Skeleton>,
) -> Result<(Skeleton, Option<String>), String> {
    let Described { joints, bones } = *described;
    if let Some(given) = given {
        return match difference(&given.joints, joints) {
            Some(difference) => Err(difference),
            None => Ok((given.clone(), None)),
        };
    }
    let coco = Skeleton::coco();
    if joints != coco.joints {
        return Err(format!(
            "its {} joints ({}) are not COCO's 17, so nothing is known of their sigmas: describe them in a small TOML \
             file (joints, bones, flip_pairs, sigmas) and name it by data.skeleton",
            joints.len(),
            some(joints)
        ));
    }
    let mut skeleton = coco;
    let mut note = None;
    if !bones.is_empty() {
        (skeleton.bones, note) = counted(bones, joints.len())?;
    }
    skeleton.check().map(|()| (skeleton, note))
}

/// Bones with zero-based joints. In the file they are one-based, as in COCO, or zero-based if a joint 0 occurs.
fn counted(bones: &[[Whole; 2]], joints: usize) -> Result<(Vec<[usize; 2]>, Option<String>), String> {
    let named = || bones.iter().flatten().map(|joint| joint.value);
    if let Some(joint) = named().find(|joint| *joint > joints as u64) {
        return Err(format!("bones: `skeleton` names joint {joint} of {joints}"));
    }
    let from_0 = named().any(|joint| joint == 0);
    if from_0 && named().any(|joint| joint == joints as u64) {
        let message = "so they count neither from 1, as COCO's do, nor from 0";
        return Err(format!("bones: `skeleton` names joint 0 and joint {joints} of {joints}, {message}"));
    }
    let first = if from_0 { 0 } else { 1 };
    let note = from_0.then(|| "its bones name a joint 0: read as counted from 0, where COCO counts from 1".to_owned());
    Ok((bones.iter().map(|bone| bone.map(|joint| (joint.value - first) as usize)).collect(), note))
}

/// Describes how the joints of the annotations differ from the expected ones.
fn difference(expected: &[String], found: &[String]) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!(
            "has {} joints ({}), expected {} ({})",
            found.len(),
            some(found),
            expected.len(),
            some(expected)
        ));
    }
    let (i, (a, b)) = expected.iter().zip(found).enumerate().find(|(_, (a, b))| a != b)?;
    Some(format!("joint {} is called `{}`, expected `{a}`", i + 1, shown(b, 60)))
}

/// The first names of a list.
fn some(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(3).map(|name| shown(name, 60)).collect();
    first.join(", ") + if names.len() > 3 { ", …" } else { "" }
}
