//! What the outputs of an imported network mean: class names or keypoints.

use dyconv_graph::{Graph, Shape};
use dyconv_task::{Skeleton, Task};

use crate::error::ConvertError;
use crate::note::{Note, Remedy};

/// The task of a network from the source `name`. Class names and skeleton are those of the caller, else `found` in the source or
/// `known` of a network that was ours; without them classes are numbers, and 17 heat maps are COCO's keypoints.
pub fn task(
    name: &str,
    classes: Option<Vec<String>>,
    skeleton: Option<Skeleton>,
    graph: &Graph,
    found: Option<Vec<String>>,
    known: Option<Task>,
) -> Result<(Task, Option<Note>), ConvertError> {
    match graph.output_shape() {
        Shape::Vector(_) if skeleton.is_some() => Err(ConvertError::SkeletonOfClassifier),
        Shape::Vector(outputs) => {
            let found = known.map(|task| task.classes().to_vec()).filter(|c| !c.is_empty()).or(found);
            let (classes, note) = classes_of(name, outputs, classes, found)?;
            Ok((Task::Classification { classes }, note))
        }
        Shape::Map(_) if classes.is_some() => Err(ConvertError::ClassesOfKeypoints),
        Shape::Map([maps, _, _]) => {
            let found = known.and_then(|task| task.skeleton().cloned());
            let (skeleton, note) = skeleton_of(name, maps, skeleton, found)?;
            Ok((Task::Keypoints(skeleton), note))
        }
    }
}

fn classes_of(
    name: &str,
    outputs: usize,
    given: Option<Vec<String>>,
    found: Option<Vec<String>>,
) -> Result<(Vec<String>, Option<Note>), ConvertError> {
    match (given, found) {
        (Some(names), _) | (None, Some(names)) if names.len() == outputs => Ok((names, None)),
        (Some(names), _) => Err(ConvertError::Classes { named: names.len(), outputs }),
        (None, Some(names)) => Err(ConvertError::SourceClasses { name: name.to_owned(), named: names.len(), outputs }),
        (None, None) => {
            let note = format!("the source does not name the {outputs} classes: they are numbered");
            let numbers = (0..outputs).map(|class| class.to_string()).collect();
            Ok((numbers, Some(Note::with(note, Remedy::Classes))))
        }
    }
}

fn skeleton_of(
    name: &str,
    maps: usize,
    given: Option<Skeleton>,
    found: Option<Skeleton>,
) -> Result<(Skeleton, Option<Note>), ConvertError> {
    let (skeleton, note) = match given.or(found) {
        Some(skeleton) => (skeleton, None),
        None => {
            let coco = Skeleton::coco();
            if coco.joints.len() != maps {
                return Err(ConvertError::NoSkeleton { name: name.to_owned(), maps });
            }
            (coco, Some(Note::with("17 heat maps: assumed the keypoints of COCO", Remedy::Skeleton)))
        }
    };
    skeleton.check().map_err(ConvertError::Skeleton)?;
    match skeleton.joints.len() {
        joints if joints == maps => Ok((skeleton, note)),
        joints => Err(ConvertError::Joints { joints, maps }),
    }
}
