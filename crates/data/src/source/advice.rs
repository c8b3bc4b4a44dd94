//! Advice for data in an unsupported form.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::magic::packed;
use super::{cifar, mnist, shards};
use crate::people;

/// Largest number of entries of a folder that are examined.
const MOST: usize = 1000;

/// Extensions of files that contain data sets, and their descriptions.
const FORMS: [(&str, &str); 12] = [
    (".parquet", "Parquet files"),
    (".arrow", "Arrow files"),
    (".zip", "zip archives"),
    (".tar.gz", "packed tar files"),
    (".tgz", "packed tar files"),
    (".tar.xz", "packed tar files"),
    (".tar.bz2", "packed tar files"),
    (".tar.zst", "packed tar files"),
    (".tfrecord", "TFRecord files"),
    (".npz", "NumPy arrays"),
    (".h5", "HDF5 files"),
    (".mdb", "an LMDB database"),
];

/// Advice for a file where a folder was expected.
pub(super) fn for_file(path: &Path) -> String {
    let mut start = Vec::new();
    // Reading from a pipe could block forever.
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(512).read_to_end(&mut start);
    }
    let tar = start.get(257..262) == Some(b"ustar");
    match packed(&start) {
        Some("zip") => "is a zip archive: unpack it and name the folder".to_owned(),
        Some(kind) => format!("is packed with {kind}: unpack it and name the folder"),
        None if tar => "is a tar file: name the folder that it lies in, with no other tar files beside it".to_owned(),
        None if start.starts_with(b"PAR1") => format!("is a Parquet file, which is not read: {EXPORT}"),
        None => "is a file, expected a directory that holds one folder of images per class".to_owned(),
    }
}

const EXPORT: &str = "write its images into one folder per class, or into tar files in WebDataset's layout";

/// Suggests another folder that might have been meant, if this one holds no pictures.
pub(super) fn below(root: &Path) -> Option<String> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root).ok()?.take(MOST).filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    for path in paths.iter().filter(|path| path.is_dir()) {
        for folder in [path.clone(), path.join("raw")] {
            if let Some(form) = known(&folder) {
                return Some(format!("{} holds {form}: open that", folder.display()));
            }
        }
    }
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_lowercase);
    let folders = paths.iter().filter(|path| path.is_dir());
    let inner = folders.flat_map(|path| std::fs::read_dir(path).into_iter().flatten().take(MOST / 10));
    let inner: Vec<PathBuf> = inner.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let names: Vec<String> = paths.iter().chain(&inner).filter_map(name).collect();
    let (end, form) = FORMS.iter().find(|(end, _)| names.iter().any(|name| name.ends_with(end)))?;
    let remedy = if end.contains("tar") || *end == ".tgz" || *end == ".zip" { "unpack them" } else { EXPORT };
    Some(format!("there are {form} ({end}), which are not read: {remedy}"))
}

/// The form of the data in a folder, if it is a known one.
fn known(folder: &Path) -> Option<&'static str> {
    if people::is_here(folder) {
        Some("COCO keypoints")
    } else if cifar::is_here(folder) {
        Some("CIFAR")
    } else if mnist::is_here(folder) {
        Some("MNIST files")
    } else if shards::is_here(folder) {
        Some("tar files")
    } else {
        None
    }
}
