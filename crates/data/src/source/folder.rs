//! A folder of images, one folder per class; directly, or below `train/` and `val/`.

use std::collections::BTreeMap;
use std::path::Path;

use walkdir::WalkDir;

use super::{Contents, Images, Labels};
use crate::error::DataError;

/// Names of a folder that holds validation images, by preference.
pub(super) const VALIDATION: [&str; 4] = ["val", "validation", "valid", "test"];

/// Ends of file names that are images, whatever the case.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Paths of the images of every class, relative to the root. Sorted, so that every machine has the same order.
type Tree = BTreeMap<String, Vec<String>>;

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let validation = VALIDATION.into_iter().find(|name| root.join(name).is_dir());
    let Some(validation) = validation.filter(|_| root.join("train").is_dir()) else {
        let tree = scan(root, "")?;
        let classes = classes_of(root, &tree)?;
        return Ok(contents(root, classes, vec![tree], None));
    };
    let train = scan(root, "train")?;
    let classes = classes_of(&root.join("train"), &train)?;
    let val = scan(root, validation)?;
    let val_root = root.join(validation);
    for (class, images) in &val {
        if !images.is_empty() && !train.contains_key(class) {
            let message = format!("class `{class}` is not in {}", root.join("train").display());
            return Err(DataError::at(&val_root, message));
        }
    }
    if val.values().all(Vec::is_empty) {
        return Err(DataError::at(&val_root, "no images (jpg, jpeg, png, webp) in folders named after their class"));
    }
    let train_images = train.values().map(Vec::len).sum();
    Ok(contents(root, classes, vec![train, val], Some(train_images)))
}

fn contents(root: &Path, classes: Vec<String>, trees: Vec<Tree>, train: Option<usize>) -> Contents {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (class, images) in trees.into_iter().flatten() {
        // Only an empty validation folder is not among the classes.
        let Ok(label) = classes.binary_search(&class) else { continue };
        labels.extend(std::iter::repeat_n(label, images.len()));
        paths.extend(images);
    }
    let images = Images::Files { root: root.to_owned(), paths };
    Contents { images, labels: Labels::Classes { names: classes, of: labels }, train }
}

/// Every class folder below `root`/`part` and the images in it, at any depth.
fn scan(root: &Path, part: &str) -> Result<Tree, DataError> {
    let top = root.join(part);
    let mut tree = Tree::new();
    let entries = WalkDir::new(&top).follow_links(true).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|e| e.depth() == 0 || !e.file_name().as_encoded_bytes().starts_with(b".")) {
        let entry = entry.map_err(|e| DataError::at(&top, format!("cannot be read: {e}")))?;
        let path = entry.path().strip_prefix(&top).unwrap_or(entry.path());
        let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
        let Some(parts) = parts else {
            return Err(DataError::at(entry.path(), "the name is not UTF-8: rename it"));
        };
        if entry.depth() == 1 && entry.file_type().is_dir() {
            tree.entry(parts[0].to_owned()).or_default();
        } else if entry.depth() > 1 && entry.file_type().is_file() && is_image(entry.path()) {
            let path = parts.join("/");
            let path = if part.is_empty() { path } else { format!("{part}/{path}") };
            tree.entry(parts[0].to_owned()).or_default().push(path);
        }
    }
    tree.values_mut().for_each(|paths| paths.sort_unstable());
    Ok(tree)
}

pub(super) fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}

/// The class names of a training folder, sorted; refuses folders that nothing can be learned from.
fn classes_of(top: &Path, tree: &Tree) -> Result<Vec<String>, DataError> {
    if tree.values().all(Vec::is_empty) {
        let message = "no images: expected one folder per class with jpg, jpeg, png or webp files in it";
        return Err(DataError::at(top, message));
    }
    if let Some((class, _)) = tree.iter().find(|(_, images)| images.is_empty()) {
        let message = "no images (jpg, jpeg, png, webp) in this class folder: add some or remove the folder";
        return Err(DataError::at(&top.join(class), message));
    }
    if let [class] = tree.keys().collect::<Vec<_>>()[..] {
        let message = format!("only one class (`{class}`), expected at least two folders of images");
        return Err(DataError::at(top, message));
    }
    Ok(tree.keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions, Split, testdata};
    use tempfile::TempDir;

    /// A folder with these files, each a copy of one small picture.
    fn folder(files: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            if file.ends_with('/') {
                std::fs::create_dir_all(path).unwrap();
            } else {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::copy(testdata::path("convert_rgba.png"), path).unwrap();
            }
        }
        dir
    }

    fn open(dir: &TempDir) -> Result<Dataset, DataError> {
        Dataset::open(dir.path().to_str().unwrap(), &OpenOptions { val_fraction: 0.5, seed: 1 })
    }

    fn names(data: &Dataset, split: Split) -> Vec<(usize, String)> {
        (0..data.len(split)).map(|i| data.item(split, i)).collect()
    }

    #[test]
    fn classes_are_sorted_and_only_images_count() {
        let dir = folder(&[
            "b/2.PNG",
            "b/1.jpeg",
            "b/deep/er/3.webp",
            "b/notes.txt",
            "a/x.JPG",
            "a/.hidden.png",
            ".git/y.png",
            "top.png",
            "a/.cache/z.png",
            "c/only.png",
        ]);
        let data = open(&dir).unwrap();
        assert_eq!(data.classes(), ["a", "b", "c"]);
        let mut all = names(&data, Split::All);
        all.sort();
        let expected = [(0, "a/x.JPG"), (1, "b/1.jpeg"), (1, "b/2.PNG"), (1, "b/deep/er/3.webp"), (2, "c/only.png")];
        assert_eq!(all, expected.map(|(label, name)| (label, name.to_owned())));
        assert_eq!((data.native_size(), data.native_channels(), data.has_own_split()), (None, None, false));
        assert_eq!(data.load(Split::Train, 0).unwrap().width, 17);
        assert!(
            names(&data, Split::Train).contains(&(2, "c/only.png".to_owned())),
            "one image of a class is for training"
        );
        assert!(names(&data, Split::Val).iter().any(|(label, _)| *label == 1), "two or more give one");
        assert_eq!(names(&data, Split::Val), names(&open(&dir).unwrap(), Split::Val));
    }

    #[test]
    fn train_and_validation_folders_are_the_split() {
        for val in ["val", "validation", "valid", "test"] {
            let files =
                ["train/a/1.png", "train/b/2.png", "train/c/3.png", &format!("{val}/b/4.png"), &format!("{val}/z/")];
            let data = open(&folder(&files)).unwrap();
            assert!(data.has_own_split());
            assert_eq!(names(&data, Split::Val), vec![(1, format!("{val}/b/4.png"))]);
            assert_eq!(names(&data, Split::Train)[2], (2, "train/c/3.png".to_owned()));
            assert_eq!(data.describe(), "4 images, 3 classes (3 train, 1 val, own split)");
        }
        let both = open(&folder(&["train/a/1.png", "train/b/2.png", "test/a/3.png", "val/a/4.png"])).unwrap();
        assert_eq!(names(&both, Split::Val), vec![(0, "val/a/4.png".to_owned())]);
    }

    #[test]
    fn a_class_may_be_called_train() {
        assert_eq!(open(&folder(&["train/1.png", "tram/1.png"])).unwrap().classes(), ["train", "tram"]);
    }

    #[test]
    fn every_wrong_folder_is_told() {
        let cases: [(&[&str], &str, &str); 7] = [
            (&[], "", "no images: expected one folder per class"),
            (&["1.png", "2.png"], "", "no images: expected one folder per class"),
            (&["a/1.png", "a/2.png"], "", "only one class (`a`), expected at least two folders of images"),
            (&["a/1.png", "b/", "c/1.png"], "b", "no images (jpg, jpeg, png, webp) in this class folder"),
            (&["train/a/1.png", "train/b/1.png", "val/c/1.png"], "val", "class `c` is not in "),
            (&["train/a/1.png", "train/b/1.png", "val/"], "val", "no images (jpg, jpeg, png, webp) in folders named"),
            (
                &["train/a/1.png", "train/b/", "val/a/1.png"],
                "train/b",
                "no images (jpg, jpeg, png, webp) in this class",
            ),
        ];
        for (files, place, message) in cases {
            let dir = folder(files);
            let error = open(&dir).unwrap_err();
            assert_eq!(Path::new(&error.name), dir.path().join(place).components().as_path(), "{error}");
            assert!(error.message.starts_with(message), "{error}");
        }
    }
}
