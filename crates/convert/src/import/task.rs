//! What the outputs of an imported network mean: class names or keypoints.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use dyconv_graph::{Graph, Shape};
use dyconv_task::{Skeleton, Task};

use super::args::Args;

/// The task of a network. Class names come from `--classes` or from the source; without both they are numbers. `known` is
/// what the source says about a network that was ours.
pub fn task(
    args: &Args,
    graph: &Graph,
    classes: Option<Vec<String>>,
    known: Option<Task>,
) -> anyhow::Result<(Task, Option<String>)> {
    match graph.output_shape() {
        Shape::Vector(outputs) => {
            ensure!(args.skeleton.is_none(), "--skeleton: is for keypoint networks, and this one is a classifier");
            let from_source = known.map(|task| task.classes().to_vec()).filter(|c| !c.is_empty()).or(classes);
            let (classes, note) = classes_of(args, outputs, from_source)?;
            Ok((Task::Classification { classes }, note))
        }
        Shape::Map([maps, _, _]) => {
            ensure!(
                args.classes.is_none(),
                "--classes: is for classifiers, and the answer of this network is heat maps"
            );
            let found = known.and_then(|task| task.skeleton().cloned());
            let (skeleton, note) = skeleton(args, maps, found)?;
            Ok((Task::Keypoints(skeleton), note))
        }
    }
}

fn classes_of(
    args: &Args,
    outputs: usize,
    found: Option<Vec<String>>,
) -> anyhow::Result<(Vec<String>, Option<String>)> {
    if let Some(path) = &args.classes {
        let names = read(path)?;
        ensure!(
            names.len() == outputs,
            "{}: has {} names, but the network has {outputs} outputs; write one name per line, in their order",
            path.display(),
            names.len()
        );
        return Ok((names, None));
    }
    match found {
        Some(names) if names.len() == outputs => Ok((names, None)),
        Some(names) => bail!(
            "{}: names {} classes, but the network has {outputs} outputs; name them with --classes FILE",
            args.source,
            names.len()
        ),
        None => {
            let note = format!("the source does not name the {outputs} classes: they are numbered; see --classes");
            Ok(((0..outputs).map(|class| class.to_string()).collect(), Some(note)))
        }
    }
}

/// Reads class names, one per line.
fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let name = path.display();
    let about = fs::metadata(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(about.is_file(), "{name}: is a folder, a pipe or a device, expected a text file with one name per line");
    crate::memory::check(2 * about.len(), || format!("{name}: reading it"))?;
    let bytes = fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    names(bytes).map_err(|message| anyhow!("{name}: {message}"))
}

/// The lines of a text; empty lines at the end are dropped.
fn names(bytes: Vec<u8>) -> Result<Vec<String>, String> {
    let text = String::from_utf8(bytes).map_err(|_| "is no text in UTF-8, expected one name per line")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end_matches(['\n', '\r', ' ', '\t']);
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        Some(line) => Err(format!("line {} is empty, expected one name per line", line + 1)),
        None => Ok(names),
    }
}

fn skeleton(args: &Args, maps: usize, found: Option<Skeleton>) -> anyhow::Result<(Skeleton, Option<String>)> {
    let (skeleton, note) = match (&args.skeleton, found) {
        (Some(path), _) => (crate::skeleton::read(path)?, None),
        (None, Some(skeleton)) => (skeleton, None),
        (None, None) => {
            let coco = Skeleton::coco();
            ensure!(
                coco.joints.len() == maps,
                "{}: the network answers with {maps} heat maps and does not say of what; name the keypoints with --skeleton \
                 FILE",
                args.source
            );
            (coco, Some("17 heat maps: assumed the keypoints of COCO; --skeleton says otherwise".to_owned()))
        }
    };
    ensure!(
        skeleton.joints.len() == maps,
        "the skeleton has {} joints, but the network answers with {maps} heat maps",
        skeleton.joints.len()
    );
    Ok((skeleton, note))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_lines() {
        let read = |text: &str| names(text.as_bytes().to_vec());
        let expected = Ok(vec!["cat".to_owned(), "hot dog".to_owned()]);
        assert_eq!(read("cat\nhot dog"), expected);
        assert_eq!(read("\u{feff}cat\r\nhot dog \r\n\r\n"), expected);
        assert_eq!(read("cat\n\ndog").unwrap_err(), "line 2 is empty, expected one name per line");
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        assert!(names(vec![b'a', 0xff]).unwrap_err().contains("UTF-8"));
    }
}
