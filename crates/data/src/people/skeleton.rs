//! The skeleton of a data set: from its annotations, COCO's numbers where the joints are COCO's, or a description.

use dyconv_file::Skeleton;

/// What the annotations say of the joints: names, and bones that count joints from 1.
pub(super) struct Described<'a> {
    pub joints: &'a [String],
    pub bones: &'a [[usize; 2]],
}

/// The skeleton of joints with these names: `given`, or COCO's where the names are COCO's.
///
/// # Errors
/// When `given` has other joints, or nothing is given and the joints are not COCO's.
pub(super) fn skeleton(described: &Described<'_>, given: Option<&Skeleton>) -> Result<Skeleton, String> {
    let Described { joints, bones } = *described;
    if let Some(given) = given {
        return match difference(&given.joints, joints) {
            Some(difference) => Err(difference),
            None => Ok(given.clone()),
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
    if !bones.is_empty() {
        // Joint 0 does not exist there; it wraps round to one that does not exist here.
        skeleton.bones = bones.iter().map(|bone| bone.map(|joint| joint.wrapping_sub(1))).collect();
    }
    skeleton.check().map(|()| skeleton)
}

/// How the joints of the annotations differ from those that are expected.
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
    Some(format!("joint {} is called `{b}`, expected `{a}`", i + 1))
}

/// The first names of a list.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    shown.join(", ") + if names.len() > 3 { ", …" } else { "" }
}
