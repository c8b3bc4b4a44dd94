//! What a model is scored on: not what it learned from, whatever became of the folder.
#![cfg(feature = "train")]

use std::fs;

use crate::common::{Shell, picture, text};
use serde_json::Value;

const TRAIN: &str = "train --data photos --model dy_resnet10_x0_125 --image-size 16 --batch 8 --epochs 1 --out run";

/// What `dyconv` says on standard error, and the number of images in its JSON.
fn scored(shell: &Shell, words: &str) -> (String, u64) {
    let output = shell.run(&format!("{words} --json"));
    let err = text(&output.stderr);
    assert!(output.status.success(), "{err}");
    let json: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    (err, json["images"].as_u64().unwrap())
}

#[test]
fn data_are_recognised_by_what_the_model_file_knows_of_them() {
    let shell = Shell::new();
    shell.pictures("photos");
    let rows: Value = serde_json::from_str(&shell.ok(&format!("{TRAIN} --json"))).unwrap();
    assert!(rows[0]["validation_accuracy"].is_number() && rows[0].get("test_accuracy").is_none(), "{rows}");
    for verb in ["eval", "inspect"] {
        let of = |data: &str| format!("{verb} run/model.safetensors --data {data}");
        let (said, held_out) = scored(&shell, &of("photos"));
        assert!(said.contains("the held-out part") && !said.contains("warning") && held_out < 24, "{said}");
        let (said, all) = scored(&shell, &format!("{} --split all", of("photos")));
        assert!(said.contains("all of it") && all == 48, "{said}");
    }
    let held_out = scored(&shell, "eval run/model.safetensors --data photos").1;

    // Moved, they are the same data.
    fs::rename(shell.path("photos"), shell.path("moved")).unwrap();
    let (said, images) = scored(&shell, "eval run/model.safetensors --data moved");
    assert!(said.contains("the held-out part") && !said.contains("warning") && images == held_out, "{said}");

    // Some more: what was held out is scored, and of the new ones those that are drawn.
    for i in 0..6 {
        picture(20, 24, 44).save(shell.path(&format!("moved/dark/new-{i}.png"))).unwrap();
    }
    for verb in ["eval", "inspect"] {
        let (said, images) = scored(&shell, &format!("{verb} run/model.safetensors --data moved"));
        assert!(said.contains("warning: the data have changed since the model was trained on them"), "{said}");
        assert!(said.contains("48 images then, 54 now") && said.contains("drawn by name"), "{said}");
        assert!((held_out..=held_out + 6).contains(&images), "{images} images");
    }

    // Other pictures with the same classes.
    for (class, base) in [("dark", 60), ("light", 170)] {
        for i in 0..5 {
            let path = shell.path(&format!("other/{class}/{i}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            picture(30, 30, base + i).save(path).unwrap();
        }
    }
    for verb in ["eval", "inspect"] {
        let of = |more: &str| scored(&shell, &format!("{verb} run/model.safetensors --data other {more}"));
        let (said, images) = of("");
        assert!(
            said.contains("all 10: these are not the data that the model was trained on") && images == 10,
            "{said}"
        );
        let (said, images) = of("--split val");
        assert!(said.contains("the held-out part") && said.contains("warning") && images < 10, "{said}");
    }
}

#[test]
fn a_report_is_not_written_over_a_file_of_somebody_else() {
    let shell = Shell::new();
    shell.pictures("photos");
    shell.ok(TRAIN);
    let inspect = "inspect run/model.safetensors --data photos";
    shell.ok(inspect);
    shell.ok(inspect);
    shell.write("run/model.inspect.html", b"<html>mine</html>");
    shell.says(inspect, "run/model.inspect.html: stands there and is no report of inspect");
    shell.ok(&format!("{inspect} --out report.html"));
    shell.says(&format!("{inspect} --out run/model.safetensors"), "is the model itself");
    assert_eq!(fs::read(shell.path("run/model.inspect.html")).unwrap(), b"<html>mine</html>");
}
