//! Determines the meaning of the folders in a root: classes, or parts of the data with classes in them.
//!
//! Names alone do not decide, since a class may be called `train` or `test`: a part holds folders of pictures, a class
//! holds pictures. If both readings are possible, it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::scan::Top;
use crate::error::DataError;
use crate::source::part::Part;
use crate::words::{listed, shown};

/// The layout of a root.
pub(super) enum Layout {
    /// Every folder is a class.
    Classes,
    /// The folder of each part.
    Parts([Option<String>; 3]),
}

type Tops = BTreeMap<String, Top>;

/// Determines the layout of a root.
pub(super) fn understand(root: &Path, tops: &Tops) -> Result<Layout, DataError> {
    let named: Vec<(&str, &Top, Part)> =
        tops.iter().filter_map(|(name, top)| Some((name.as_str(), top, Part::of_folder(name)?))).collect();
    let kinds =
        |named: &mut dyn Iterator<Item = &(&str, &Top, Part)>| named.map(|(.., part)| *part).collect::<BTreeSet<_>>();
    let of_classes = kinds(&mut named.iter().filter(|(_, top, _)| top.holds_folders()));
    let others: Vec<&str> = tops
        .iter()
        .filter(|(name, top)| !top.is_empty() && Part::of_folder(name).is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if of_classes.is_empty() {
        let with_pictures = named.iter().filter(|(_, top, _)| !top.direct.is_empty());
        let parts: Vec<String> = with_pictures.clone().map(|(name, ..)| quoted(name)).collect();
        if kinds(&mut with_pictures.clone()).len() > 1 || (parts.len() == 1 && others.is_empty()) {
            let message = "named as a part of the data, but no folders of classes in it: put its pictures into one folder per class";
            return Err(DataError::at(root, format!("{}: {message}", parts.join(", "))));
        }
        refuse_same(root, tops)?;
        return Ok(Layout::Classes);
    }
    if of_classes.len() == 1
        && named.iter().all(|(_, top, _)| top.holds_folders() || top.is_empty())
        && !others.is_empty()
    {
        // A single folder may be a part or a class: does it have the same structure as the others?
        refuse_same(root, tops)?;
        if others.iter().any(|name| tops[*name].direct.is_empty()) {
            return Ok(Layout::Classes);
        }
        let name = named.iter().find(|(_, top, _)| top.holds_folders()).map_or("", |(name, ..)| name);
        let message = format!(
            "{} holds folders of pictures, as a part of the data does, but beside it are {}, as classes are: if it is a class, \
             put its pictures directly into it, if it is a part, remove the others",
            quoted(name),
            listed(&others)
        );
        return Err(DataError::at(root, message));
    }
    let mut parts = [None, None, None];
    for (place, part) in parts.iter_mut().zip(Part::ALL) {
        *place = folder_of(root, part, &named)?;
    }
    Ok(Layout::Parts(parts))
}

/// The folder of a part, if there is one.
fn folder_of(root: &Path, part: Part, named: &[(&str, &Top, Part)]) -> Result<Option<String>, DataError> {
    let mine = || named.iter().filter(|(.., other)| *other == part);
    let full: Vec<&str> = mine().filter(|(_, top, _)| top.holds_folders()).map(|(name, ..)| *name).collect();
    match full[..] {
        [name] => Ok(Some(name.to_owned())),
        // Test pictures often have no labels.
        [] if part == Part::Test => Ok(None),
        [] => match mine().next() {
            None => Ok(None),
            Some((name, ..)) => {
                let message = "no images in folders named after their class, as the other parts have";
                Err(DataError::at(&root.join(name), message))
            }
        },
        _ => {
            let message = format!("{} are all for {}: keep or rename one", listed(&full), part.purpose());
            Err(DataError::at(root, message))
        }
    }
}

/// Rejects folders that all hold the same folders and no pictures: they are parts with other names, or classes contain
/// the classes.
fn refuse_same(root: &Path, tops: &Tops) -> Result<(), DataError> {
    let full: Vec<(&String, &Top)> = tops.iter().filter(|(_, top)| !top.is_empty()).collect();
    let inner: Vec<BTreeSet<&str>> = full.iter().map(|(_, top)| top.full().collect()).collect();
    if full.len() < 2 || full.iter().any(|(_, top)| !top.direct.is_empty()) || inner.iter().any(|set| set.len() < 2) {
        return Ok(());
    }
    let all: BTreeSet<&str> = inner.iter().flatten().copied().collect();
    let common = all.iter().filter(|name| inner.iter().all(|set| set.contains(*name))).count();
    if 2 * common < all.len() {
        return Ok(());
    }
    let names: Vec<&str> = full.iter().map(|(name, _)| name.as_str()).collect();
    let all: Vec<&str> = all.into_iter().collect();
    let (outer, inner) = (listed(&names), listed(&all));
    let remedy = if all.iter().any(|name| Part::of_folder(name).is_some()) {
        "parts come first: `train/` and `val/`, and in each one folder per class".to_owned()
    } else {
        format!(
            "if {outer} are parts of the data, call them `train`, `val` and `test`; if they are the classes, put their pictures \
             directly into them"
        )
    };
    Err(DataError::at(
        root,
        format!("{outer} hold no pictures but all the same folders ({inner}), so which are the classes? {remedy}"),
    ))
}

/// Rejects a single class that is only a wrapper around folders: those are the classes, or the parts.
pub(super) fn refuse_wrapper<'a>(root: &Path, pictures: impl Iterator<Item = &'a String>) -> Result<(), DataError> {
    let mut common: Option<Vec<&str>> = None;
    let mut below = BTreeSet::new();
    let folders: Vec<Vec<&str>> = pictures
        .map(|path| path.split('/').collect())
        .map(|mut path: Vec<&str>| {
            path.pop();
            path
        })
        .collect();
    for folder in &folders {
        let common = common.get_or_insert_with(|| folder.clone());
        let same = common.iter().zip(folder).take_while(|(a, b)| a == b).count();
        common.truncate(same);
    }
    let common = common.unwrap_or_default();
    for folder in &folders {
        match folder.get(common.len()) {
            Some(name) => drop(below.insert(*name)),
            None => return Ok(()),
        }
    }
    let below: Vec<&str> = below.into_iter().collect();
    // Parts of one class.
    if common.is_empty() {
        return Ok(());
    }
    let inner = common.iter().fold(root.to_owned(), |path, name| path.join(name));
    let open = match Part::of_folder(common[0]) {
        Some(_) => format!("put {} directly into {}", listed(&below), shown(common[0], 60)),
        None => format!("open {}", inner.display()),
    };
    let message = format!(
        "all pictures are in folders in {}: {}; if those are the classes or the parts, {open}",
        inner.display(),
        listed(&below)
    );
    Err(DataError::at(root, message))
}

fn quoted(name: &str) -> String {
    format!("`{}`", shown(name, 60))
}
