//! A folder of images, one folder per class; directly, or below folders named after parts of the data.

mod junk;
mod layout;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::left_out::LeftOut;
use super::part::Part;
use super::{Contents, Images, Labels, OwnSplit, advice};
use crate::error::DataError;
use crate::extensions::EXTENSIONS;
use crate::words::{listed, shown};
use layout::Layout;
use scan::Top;

/// Paths of the images of every class, relative to the root. Sorted, so that every machine has the same order.
type Tree = BTreeMap<String, Vec<String>>;

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let scan = scan::scan(root)?;
    if scan.tops.values().all(Top::is_empty) {
        return Err(nothing(root, &scan));
    }
    let mut left = scan.left;
    left.files("without a label", scan.pictures);
    match layout::understand(root, &scan.tops)? {
        Layout::Classes => {
            let tree = classes_of(root, scan.tops, &mut left)?;
            let classes = tree.keys().cloned().collect();
            Ok(contents(root, classes, vec![tree], None, left))
        }
        Layout::Parts(names) => parts(root, scan.tops, &names, left),
    }
}

/// Reads folders of parts, given the folder name of each part that has one.
fn parts(
    root: &Path,
    mut tops: BTreeMap<String, Top>,
    names: &[Option<String>; 3],
    mut left: LeftOut,
) -> Result<Contents, DataError> {
    let mut trees = Vec::new();
    for name in names {
        let Some((name, top)) = name.as_ref().and_then(|name| tops.remove_entry(name)) else {
            trees.push(Tree::new());
            continue;
        };
        left.merge(top.left);
        left.files("without a label", top.direct.len());
        trees.push(top.subs);
        if let (Some(train), false) = (&names[0], trees.len() == 1) {
            let known = &trees[0];
            let unknown =
                trees[trees.len() - 1].iter().find(|(class, images)| !images.is_empty() && !known.contains_key(*class));
            if let Some((class, _)) = unknown {
                let message = format!("class `{}` is not in {}", shown(class, 60), root.join(train).display());
                return Err(DataError::at(&root.join(name), message));
            }
        }
    }
    for (name, top) in tops {
        if !top.direct.is_empty() && Part::of_folder(&name).is_some() {
            left.files("without a label", top.direct.len());
        } else {
            left.folder(name, Some("beside folders of parts"));
        }
    }
    let classes: Vec<String> = match &names[0] {
        Some(train) => {
            let empty = trees[0].iter().find(|(_, images)| images.is_empty());
            if let Some((class, _)) = empty {
                return Err(empty_class(&root.join(train).join(class), &left));
            }
            trees[0].keys().cloned().collect()
        }
        None => {
            let full = trees.iter().flatten().filter(|(_, images)| !images.is_empty());
            full.map(|(class, _)| class.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    if classes.len() == 1 {
        let tree = trees.iter().find(|tree| tree.values().any(|images| !images.is_empty()));
        layout::refuse_wrapper(root, tree.into_iter().flat_map(|tree| tree.values().flatten()))?;
    }
    let count = |tree: &Tree| tree.values().map(Vec::len).sum();
    let split = OwnSplit { train: count(&trees[0]), val: count(&trees[1]), test: count(&trees[2]) };
    let split = (split.val + split.test > 0).then_some(split);
    Ok(contents(root, classes, trees, split, left))
}

fn contents(
    root: &Path,
    classes: Vec<String>,
    trees: Vec<Tree>,
    split: Option<OwnSplit>,
    left_out: LeftOut,
) -> Contents {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (class, images) in trees.into_iter().flatten() {
        // Only empty folders of validation or testing are missing in the classes.
        let Ok(label) = classes.binary_search(&class) else { continue };
        labels.extend(std::iter::repeat_n(label, images.len()));
        paths.extend(images);
    }
    let images = Images::Files { root: root.to_owned(), paths };
    Contents { images, labels: Labels::Classes { names: classes, of: labels }, split, left_out }
}

/// Every folder is a class; rejects folders that cannot be used for training.
fn classes_of(root: &Path, tops: BTreeMap<String, Top>, left: &mut LeftOut) -> Result<Tree, DataError> {
    let mut tree = Tree::new();
    for (class, mut top) in tops {
        if top.is_empty() {
            return Err(empty_class(&root.join(class), &top.left));
        }
        left.merge(std::mem::take(&mut top.left));
        tree.insert(class, top.into_pictures());
    }
    if tree.len() == 1 {
        layout::refuse_wrapper(root, tree.values().flatten())?;
    }
    Ok(tree)
}

fn empty_class(folder: &Path, left: &LeftOut) -> DataError {
    let found = left.list().map_or(String::new(), |list| format!("; other files: {list}"));
    let kinds = listed(&EXTENSIONS);
    DataError::at(folder, format!("no images ({kinds}) in this class folder: add some or remove the folder{found}"))
}

/// The error for a root without any folder of pictures.
fn nothing(root: &Path, scan: &scan::Scan) -> DataError {
    let kinds = listed(&EXTENSIONS);
    let pictures = match scan.pictures {
        0 => String::new(),
        n => format!("; the {n} that lie in it have no class: put them into folders that are called after it"),
    };
    let message = format!("no images: expected one folder per class with images ({kinds}) in it{pictures}");
    DataError::at(root, advice::below(root).map_or(message.clone(), |advice| format!("{message}; {advice}")))
}
