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
    assert_eq!(data.load(Split::Train, 0, &crate::DecodeOptions::default()).unwrap().width, 17);
    assert!(names(&data, Split::Train).contains(&(2, "c/only.png".to_owned())), "one image of a class is for training");
    assert!(names(&data, Split::Val).iter().any(|(label, _)| *label == 1), "two or more give one");
    assert_eq!(names(&data, Split::Val), names(&open(&dir).unwrap(), Split::Val));
}

#[test]
fn train_and_validation_folders_are_the_split() {
    for val in ["val", "validation", "valid", "dev", "test"] {
        let files =
            ["train/a/1.png", "train/b/2.png", "train/c/3.png", &format!("{val}/b/4.png"), &format!("{val}/z/")];
        let data = open(&folder(&files)).unwrap();
        assert!(data.has_own_split());
        assert_eq!(names(&data, Split::Val), vec![(1, format!("{val}/b/4.png"))]);
        assert_eq!(names(&data, Split::Train)[2], (2, "train/c/3.png".to_owned()));
        let held_out = if val == "test" { "1 test, also used as val" } else { "1 val" };
        assert_eq!(data.describe(), format!("4 images, 3 classes: a, b, c (3 train, {held_out}, own split)"));
        assert_eq!(data.is_empty(Split::Test), val != "test");
    }
    let both = open(&folder(&["train/a/1.png", "train/b/2.png", "test/a/3.png", "val/a/4.png"])).unwrap();
    assert_eq!(names(&both, Split::Val), vec![(0, "val/a/4.png".to_owned())]);
    assert_eq!(names(&both, Split::Test), vec![(0, "test/a/3.png".to_owned())]);
    assert_eq!(both.describe(), "4 images, 2 classes: a, b (2 train, 1 val, 1 test, own split)");
    assert_eq!(names(&both, Split::All).len(), 4);
}

#[test]
fn parts_are_known_by_any_name_in_any_case() {
    for (train, val) in [("Train", "Val"), ("training", "Validation"), ("TRAIN", "DEV"), ("Training", "valid")] {
        let data = open(&folder(&[
            &format!("{train}/cat/1.png"),
            &format!("{train}/dog/2.png"),
            &format!("{val}/cat/3.png"),
            "Testing/dog/4.png",
        ]))
        .unwrap();
        assert_eq!(
            data.describe(),
            "4 images, 2 classes: cat, dog (2 train, 1 val, 1 test, own split)",
            "{train}, {val}"
        );
        assert_eq!(names(&data, Split::Test), [(1, "Testing/dog/4.png".to_owned())]);
    }
    let alone = open(&folder(&["Train/cat/1.png", "Train/cat/2.png", "Train/dog/3.png", "Train/dog/4.png"])).unwrap();
    assert_eq!((alone.classes(), alone.has_own_split()), (&["cat".to_owned(), "dog".to_owned()][..], false));
    assert_eq!([Split::Train, Split::Val].map(|split| alone.len(split)), [2, 2]);
    let only = open(&folder(&["val/cat/1.png", "val/dog/2.png"])).unwrap();
    assert_eq!(only.describe(), "2 images, 2 classes: cat, dog (0 train, 2 val, own split)");
    assert!(only.check_training("x").unwrap_err().message.starts_with("no part for training: 2 images"));
}

#[test]
fn a_class_may_be_called_as_a_part_is() {
    for (files, classes) in [
        (&["train/1.png", "tram/1.png"][..], ["train", "tram"]),
        (&["test/2020/1.png", "test/2021/2.png", "tube/2020/1.png"], ["test", "tube"]),
        (&["dev/1.png", "dev/more/2.png", "prod/1.png"], ["dev", "prod"]),
    ] {
        assert_eq!(open(&folder(files)).unwrap().classes(), classes);
    }
}

#[test]
fn where_the_layout_is_not_clear_nothing_is_guessed() {
    let cases: [(&[&str], &str); 11] = [
        (
            &["a/x/1.png", "a/y/1.png", "b/x/1.png", "b/y/1.png"],
            "a, b hold no pictures but all the same folders (x, y)",
        ),
        (&["a/x/1.png", "a/y/1.png", "b/x/1.png", "b/y/1.png", "b/z/1.png"], "a, b hold no pictures but all the same"),
        (
            &["cat/train/1.png", "cat/val/1.png", "dog/train/1.png", "dog/val/1.png"],
            "parts come first: `train/` and `val/`",
        ),
        (&["train/1.png", "val/1.png"], "`train`, `val`: named as a part of the data, but no folders of classes in it"),
        (&["Training/1.png"], "`Training`: named as a part of the data, but no folders of classes"),
        (&["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "val, valid are all for validation: keep or rename one"),
        (&["train/a/1.png", "Training/a/1.png", "val/a/1.png"], "Training, train are all for training"),
        (
            &["train/a/1.png", "train/b/1.png", "bus/1.png", "car/1.png"],
            "`train` holds folders of pictures, as a part of",
        ),
        (&["photos/cat/1.png", "photos/dog/1.png"], "all pictures are in folders in "),
        (
            &["photos/train/cat/1.png", "photos/val/cat/1.png"],
            "photos: train, val; if those are the classes or the parts",
        ),
        (&["train/all/cat/1.png", "train/all/dog/1.png", "val/all/cat/1.png"], "put cat, dog directly into train"),
    ];
    for (files, message) in cases {
        let error = open(&folder(files)).unwrap_err().to_string();
        assert!(error.contains(message), "{files:?}: {error}");
    }
    let error = open(&folder(&["train/a/1.png", "train/b/1.png", "val/1.png"])).unwrap_err();
    assert!(error.name.ends_with("val") && error.message.starts_with("no images in folders named after"), "{error}");
}

#[test]
fn classes_may_have_folders_of_their_own() {
    for files in [
        &["cat/images/1.png", "dog/images/1.png"][..],
        &["cat/2019/1.png", "cat/2020/1.png", "dog/2021/1.png", "dog/2022/1.png"],
        &["cat/a/1.png", "cat/b/1.png", "dog/a/1.png", "dog/b/1.png", "dog/1.png"],
        &["train/cat/a/1.png", "train/cat/b/1.png", "train/dog/a/1.png", "train/dog/b/1.png", "val/cat/1.png"],
    ] {
        assert_eq!(open(&folder(files)).unwrap().classes(), ["cat", "dog"], "{files:?}");
    }
}

#[test]
fn what_is_left_out_is_counted_by_reason() {
    let dir = folder(&["a/1.png", "b/1.bmp", "b/2.GIF", "b/3.tif", "b/4.jfif", "b/5.jpe", "b/6.webp", "top.png"]);
    for file in ["a/1.heic", "a/2.HEIC", "b/notes.txt", "README", "a/._1.png", ".DS_Store", "b/Thumbs.db"] {
        std::fs::write(dir.path().join(file), "x").unwrap();
    }
    let data = open(&dir).unwrap();
    assert_eq!(data.len(Split::All), 7);
    let note = "8 files left out: 2 heic, 2 hidden, 1 db, 1 txt, 1 without a label, 1 without an ending";
    assert_eq!(data.left_out_note().unwrap(), note);
    assert_eq!((data.left_out()["heic"], data.left_out().values().sum::<usize>()), (2, 8));
    let parts = folder(&[
        "train/a/1.png",
        "train/b/1.png",
        "train/2.png",
        "val/a/1.png",
        "test/1.png",
        "test/2.png",
        "more/1.png",
    ]);
    let note = "3 files left out: 3 without a label; 1 folder left out: more (beside folders of parts)";
    assert_eq!(open(&parts).unwrap().left_out_note().unwrap(), note);
    assert_eq!(open(&folder(&["a/1.png", "b/1.png"])).unwrap().left_out_note(), None);
}

#[test]
fn what_systems_and_runs_leave_is_no_class() {
    let dir = folder(&["cat/1.png", "dog/1.png"]);
    let system = ["__MACOSX/cat/._1.png", "@eaDir/1.png/thumb.jpg", "cat/@eaDir/1.png", "lost+found/1.png"];
    let runs = ["runs/x/run.json", "runs/x/last/state.bin", "runs/grid/seed-0/run.json", "best/run.json"];
    let model = ["mine/model.safetensors", "mine/recipe.toml", "dog/run/run.json"];
    for file in system.iter().chain(&["$RECYCLE.BIN/1.png", ".git/1.png"]).chain(&runs).chain(&model) {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let data = open(&dir).unwrap();
    assert_eq!((data.classes(), data.len(Split::All)), (&["cat".to_owned(), "dog".to_owned()][..], 2));
    let note = data.left_out_note().unwrap();
    assert!(
        note.starts_with("10 folders left out: $RECYCLE.BIN, .git, @eaDir, __MACOSX, best (holds a run), …"),
        "{note}"
    );
    let dir = folder(&["cat/1.png", "dog/1.png", "runs/1.png"]);
    std::fs::create_dir(dir.path().join("runs/x")).unwrap();
    std::fs::write(dir.path().join("runs/x/run.json"), "{}").unwrap();
    assert_eq!(open(&dir).unwrap().classes(), ["cat", "dog", "runs"], "a folder with pictures is a class");
}

#[cfg(unix)]
#[test]
fn one_bad_entry_does_not_end_the_work_on_the_others() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let dir = folder(&["cat/1.png", "cat/2.png", "dog/1.png"]);
    let root = dir.path();
    symlink("nowhere.png", root.join("cat/3.png")).unwrap();
    symlink("nowhere", root.join("dog/notes")).unwrap();
    symlink("../cat", root.join("dog/round")).unwrap();
    symlink("..", root.join("cat/up")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("dog/2.png")).unwrap();
    std::fs::write(root.join("cat").join(OsStr::from_bytes(b"\xff.png")), "x").unwrap();
    let data = open(&dir).unwrap();
    let all: Vec<String> = (0..data.len(Split::All)).map(|i| data.item(Split::All, i).1).collect();
    assert!(all.contains(&"cat/3.png".to_owned()), "a link to nothing is a broken picture");
    assert!(all.contains(&"dog/round/1.png".to_owned()), "links to folders are followed");
    let i = all.iter().position(|name| name == "cat/3.png").unwrap();
    let error = data.load(Split::All, i, &crate::DecodeOptions::default()).unwrap_err();
    assert!(error.message.starts_with("cannot be read: No such file"), "{error}");
    let note = data.left_out_note().unwrap();
    for part in
        ["1 sockets", "with a name that is not UTF-8", "cat/up (a link to a folder above it)", "without an ending"]
    {
        assert!(note.contains(part), "{note}");
    }
    std::fs::create_dir(root.join(OsStr::from_bytes(b"class \xff"))).unwrap();
    assert!(open(&dir).unwrap_err().message.starts_with("the name is not UTF-8: rename it"));
}

#[test]
fn every_wrong_folder_is_told() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&[], "", "no images: expected one folder per class"),
        (&["1.png", "2.png"], "", "no images: expected one folder per class"),
        (&["a/", "b/"], "", "no images: expected one folder per class"),
        (
            &["a/1.png", "b/", "c/1.png"],
            "b",
            "no images (jpg, jpeg, jfif, jpe, png, webp, bmp, gif, tif, tiff) in this class folder",
        ),
        (&["train/a/1.png", "train/b/1.png", "val/c/1.png"], "val", "class `c` is not in "),
        (&["train/a/1.png", "train/b/1.png", "val/"], "val", "no images in folders named after their class"),
        (
            &["train/a/1.png", "train/b/", "val/a/1.png"],
            "train/b",
            "no images (jpg, jpeg, jfif, jpe, png, webp, bmp, gif, tif, tiff) in this class folder",
        ),
    ];
    for (files, place, message) in cases {
        let dir = folder(files);
        let error = open(&dir).unwrap_err();
        assert_eq!(Path::new(&error.name), dir.path().join(place).components().as_path(), "{error}");
        assert!(error.message.starts_with(message), "{error}");
    }
}

#[test]
fn one_class_is_enough_to_be_scored_on() {
    let data = open(&folder(&["a/1.png", "a/2.png"])).unwrap();
    assert_eq!(data.describe(), "2 images, 1 class: a (1 train, 1 val, split seed 1)");
    let error = data.check_training("photos").unwrap_err().to_string();
    assert_eq!(error, "photos: only one class (a), expected at least two");
    assert!(open(&folder(&["a/1.png", "b/1.png"])).unwrap().check_training("x").is_ok());
}

#[test]
fn a_folder_of_other_kinds_says_which() {
    let dir = folder(&["a/1.png", "b/"]);
    std::fs::write(dir.path().join("b/1.heic"), "x").unwrap();
    let error = open(&dir).unwrap_err().message;
    assert!(error.ends_with("in this class folder: add some or remove the folder; other files: 1 heic"), "{error}");
}
