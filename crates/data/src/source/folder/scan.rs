//! Scans a folder: its sub-folders, the folders in them, and the pictures below.

use std::collections::BTreeMap;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::junk;
use crate::error::DataError;
use crate::extensions::is_image;
use crate::regular;
use crate::source::left_out::LeftOut;

/// Everything below a root. Names are sorted, so that every machine has the same order.
#[derive(Default)]
pub(super) struct Scan {
    /// The folders in the root.
    pub tops: BTreeMap<String, Top>,
    /// Number of pictures in the root itself.
    pub pictures: usize,
    /// Ignored entries in the root itself.
    pub left: LeftOut,
}

/// A folder in the root. Paths of pictures are relative to the root, with `/` as separator.
#[derive(Default)]
pub(super) struct Top {
    /// Pictures directly in it.
    pub direct: Vec<String>,
    /// The folders in it, and all pictures below each.
    pub subs: BTreeMap<String, Vec<String>>,
    /// Ignored entries below it.
    pub left: LeftOut,
}

impl Top {
    /// Names of the folders in it that hold pictures.
    pub fn full(&self) -> impl Iterator<Item = &str> {
        self.subs.iter().filter(|(_, pictures)| !pictures.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Whether it holds several folders of pictures, or one and no pictures of its own.
    pub fn holds_folders(&self) -> bool {
        let folders = self.full().count();
        folders > 1 || (folders == 1 && self.direct.is_empty())
    }

    /// Whether it holds no picture at any depth.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.full().next().is_none()
    }

    /// All its pictures, sorted.
    pub fn into_pictures(self) -> Vec<String> {
        let mut all = self.direct;
        all.extend(self.subs.into_values().flatten());
        all.sort_unstable();
        all
    }
}

/// Scans a folder. Unreadable entries are ignored and counted, but an unreadable root or folder in the root is an
/// error.
pub(super) fn scan(root: &Path) -> Result<Scan, DataError> {
    let mut scan = Scan::default();
    let mut entries = WalkDir::new(root).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {
                if !scan.folder(root, &entry)? {
                    entries.skip_current_dir();
                }
            }
            Ok(entry) if entry.file_type().is_file() => scan.file(root, entry.path()),
            Ok(entry) => scan.left(root, entry.path()).file(match regular::describe(entry.file_type()) {
                "a named pipe" => "named pipes",
                "a socket" => "sockets",
                "a device" => "devices",
                _ => "no plain files",
            }),
            Err(error) => scan.unreadable(root, &error)?,
        }
    }
    for top in scan.tops.values_mut() {
        top.direct.sort_unstable();
        top.subs.values_mut().for_each(|pictures| pictures.sort_unstable());
    }
    Ok(scan)
}

impl Scan {
    /// Adds a folder; returns whether to descend into it.
    fn folder(&mut self, root: &Path, entry: &DirEntry) -> Result<bool, DataError> {
        let path = entry.path();
        let Some(parts) = parts(root, path) else {
            // The name of a class must be text.
            if entry.depth() <= 2 {
                return Err(DataError::at(path, "the name is not UTF-8: rename it"));
            }
            self.left(root, path).folder(lossy(root, path), Some("a name that is not UTF-8"));
            return Ok(false);
        };
        let system = junk::is_system(parts[parts.len() - 1]);
        let run = if system { None } else { junk::run(path) };
        if system || run.is_some() {
            self.left(root, path).folder(parts.join("/"), run);
            return Ok(false);
        }
        match parts[..] {
            [top] => drop(self.tops.entry(top.to_owned()).or_default()),
            [top, sub] => drop(self.top(top).subs.entry(sub.to_owned()).or_default()),
            _ => {}
        }
        Ok(true)
    }

    /// Adds a file or a dangling link; one with the extension of a picture counts as broken.
    fn file(&mut self, root: &Path, path: &Path) {
        let Some(parts) = parts(root, path) else {
            return self.left(root, path).file("with a name that is not UTF-8");
        };
        if parts[parts.len() - 1].starts_with('.') {
            return self.left(root, path).file("hidden");
        }
        if !is_image(path) {
            return self.left(root, path).ending(path);
        }
        let name = parts.join("/");
        match parts[..] {
            [_] => self.pictures += 1,
            [top, _] => self.top(top).direct.push(name),
            [top, sub, ..] => self.top(top).subs.entry(sub.to_owned()).or_default().push(name),
            [] => {}
        }
    }

    fn unreadable(&mut self, root: &Path, error: &walkdir::Error) -> Result<(), DataError> {
        let Some(path) = error.path().filter(|path| *path != root) else {
            return Err(DataError::at(root, format!("cannot be read: {}", reason(error))));
        };
        if error.loop_ancestor().is_some() {
            self.left(root, path).folder(lossy(root, path), Some("a link to a folder above it"));
        } else if !std::fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir()) {
            // A dangling link, or a file in a folder that may be listed but not entered.
            self.file(root, path);
        } else if error.depth() <= 1 {
            return Err(DataError::at(path, format!("cannot be read: {}", reason(error))));
        } else {
            self.left(root, path).folder(lossy(root, path), Some(&format!("cannot be read: {}", reason(error))));
        }
        Ok(())
    }

    fn top(&mut self, name: &str) -> &mut Top {
        self.tops.entry(name.to_owned()).or_default()
    }

    /// The counter for an ignored entry: that of the folder in the root that contains it.
    fn left(&mut self, root: &Path, path: &Path) -> &mut LeftOut {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let top = relative.iter().next().and_then(|top| top.to_str()).filter(|_| relative.iter().nth(1).is_some());
        match top {
            Some(top) if self.tops.contains_key(top) => &mut self.top(top).left,
            _ => &mut self.left,
        }
    }
}

/// The components of a path relative to the root, if they are UTF-8.
fn parts<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    path.strip_prefix(root).unwrap_or(path).iter().map(|part| part.to_str()).collect()
}

fn lossy(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// The message of the system, without the path, which the error names anyway.
fn reason(error: &walkdir::Error) -> String {
    error.io_error().map_or_else(|| error.to_string(), ToString::to_string)
}
