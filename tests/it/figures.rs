//! `dyconv make-figures`.

use std::fs;

use crate::common::Shell;
use serde_json::Value;

fn json(shell: &Shell, path: &str) -> Value {
    serde_json::from_slice(&fs::read(shell.path(path)).unwrap()).unwrap()
}

#[test]
fn a_set_in_coco_s_layout() {
    let shell = Shell::new();
    let made: Value =
        serde_json::from_str(&shell.ok("make-figures --out set --train 5 --val 3 --seed 1 --json")).unwrap();
    assert_eq!((&made["seed"], &made["train"]["images"], &made["val"]["images"]), (&1.into(), &5.into(), &3.into()));
    for (split, count) in [("train", 5), ("val", 3)] {
        let truth = json(&shell, &format!("set/annotations/person_keypoints_{split}2017.json"));
        let images = truth["images"].as_array().unwrap();
        assert_eq!(images.len(), count);
        for image in images {
            let name = image["file_name"].as_str().unwrap();
            let picture = image::open(shell.path(&format!("set/{split}2017/{name}"))).unwrap();
            assert_eq!((image["width"].as_u64(), image["height"].as_u64()), {
                (Some(picture.width().into()), Some(picture.height().into()))
            });
        }
        assert_eq!(images[0]["file_name"], "000000000001.jpg");
        let persons = truth["annotations"].as_array().unwrap();
        assert_eq!(made[split]["persons"], persons.len());
    }
    let table = shell.ok("make-figures --out other --train 2 --val 0");
    assert!(table.contains("person_keypoints_train2017.json") && table.contains("pictures/s"), "{table}");
    assert!(!shell.path("other/val2017").exists());
}

#[test]
fn nothing_is_overwritten_unasked_and_what_fails_is_named() {
    let shell = Shell::new();
    shell.write("full/notes.txt", b"mine");
    shell.says(
        "make-figures --out full --train 1 --val 1",
        "full: is not empty; choose another folder, or write over what is there (--force)",
    );
    assert_eq!(fs::read_dir(shell.path("full")).unwrap().count(), 1);
    shell.ok("make-figures --out full --train 1 --val 1 --force");
    assert_eq!(fs::read(shell.path("full/notes.txt")).unwrap(), b"mine");
    assert!(shell.path("full/val2017/000000000001.jpg").exists());

    shell.says("make-figures --out none --train 0 --val 0", "expected at least one");
    assert!(!shell.path("none").exists());
    shell.write("file", b"");
    shell.says("make-figures --out file/set --train 1 --val 1", "file/set/train2017: cannot be made");
    // A picture that cannot be written: a folder has its name.
    fs::create_dir_all(shell.path("blocked/train2017/000000000003.jpg")).unwrap();
    let error = "train2017/000000000003.jpg: cannot be written";
    shell.says("make-figures --out blocked --train 9 --val 1 --force", error);
    assert!(!shell.path("blocked/annotations/person_keypoints_train2017.json").exists());
    assert_eq!(shell.run("make-figures --train 1").status.code(), Some(2));
}
