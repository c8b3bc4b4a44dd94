//! Recipes through the binary: listing, every kind of setting, and going on from a model.
#![cfg(feature = "train")]

use std::fs;

use crate::common::{Shell, text};
use serde_json::Value;

/// A second's worth of training.
const SHORT: &str = "--data digits --image-size 8 --batch 256 --set train.epochs=1";

fn last_epoch(shell: &Shell, run: &str) -> Value {
    let lines = fs::read_to_string(shell.path(run).join("metrics.jsonl")).unwrap();
    let epoch = lines.lines().rfind(|l| l.contains("\"kind\":\"epoch\"")).unwrap();
    serde_json::from_str(epoch).unwrap()
}

#[test]
fn recipes_are_listed_and_printed() {
    let shell = Shell::new();
    let list = shell.ok("recipes");
    for name in ["default", "digits", "cifar", "finetune", "imagenet-mobilenet-v2", "imagenet-resnet", "glyphs-rn4"] {
        assert!(list.lines().any(|l| l.starts_with(name)), "{name} is missing in {list}");
        let printed = shell.ok(&format!("recipes {name}"));
        assert!(printed.starts_with("# ") && printed.contains("[train]"), "{printed}");
    }
    shell.says("recipes imagenet-resnt", "did you mean `imagenet-resnet`?");
    shell.says("train --recipe fine-tune", "did you mean `finetune`?");
    // What is printed is a recipe.
    shell.write("mine.toml", shell.ok("recipes imagenet-resnet").as_bytes());
    shell.ok(&format!("train {SHORT} --recipe mine.toml --model dy_resnet10_x0_125 --out run"));
    let kept = fs::read_to_string(shell.path("run/recipe.toml")).unwrap();
    assert!(kept.contains("schedule = \"step\"") && kept.contains("milestones = [30.0, 60.0, 90.0]"), "{kept}");
}

#[test]
fn every_setting_trains() {
    let shell = Shell::new();
    let settings = "--set train.optimizer=adamw --set train.lr=0.003 --set train.schedule=linear --set train.ema=0.9 \
         --set train.accumulate=4 --set train.clip_norm=1 --set train.freeze=[\"stem*\"] --set train.class_weights={0=2} \
         --set train.decay_norm_and_bias=false --set augment.mixup=0.2 --set augment.cutmix=1 \
         --set augment.rand_augment={ops=1,magnitude=5} --set augment.color_jitter=[0.1,0.1,0,0] \
         --set augment.random_erasing=0.2 --set train.label_smoothing=0.1";
    shell.ok(&format!("train {SHORT} {settings} --model dy_mobilenet_v3_small_x0_25 --out run"));
    let epoch = last_epoch(&shell, "run");
    assert!(epoch["accuracy"].as_f64().unwrap() > 0.05);
    let layers = epoch["attention"]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 32);
    assert!(layers.iter().all(|l| (0.9..=1.000_001).contains(&l["entropy"].as_f64().unwrap())), "τ is near 30");
    assert!(fs::read_to_string(shell.path("run/report.html")).unwrap().contains("Attention entropy"));

    let short = format!("train {SHORT} --model dy_resnet10_x0_125 --out other");
    shell.says(&format!("{short} --set train.freeze=[\"stm*\"]"), "no layer is called `stm*`; did you mean `stem`?");
    shell.says(&format!("{short} --set train.freeze=[\"*\"]"), "leaves nothing to train");
    shell.says(&format!("{short} --set train.class_weights={{ten=2}}"), "no class of the data is called `ten`");
    shell.says(&format!("{short} --set train.ema=2"), "`train.ema` must lie in");
}

#[test]
fn attention_that_stays_uniform_is_told() {
    let shell = Shell::new();
    let settings = "--set temperature.schedule=constant --set temperature.end=1000";
    let output = shell.run(&format!("train {SHORT} {settings} --model dy_resnet10_x0_125 --out run"));
    let err = text(&output.stderr);
    assert!(
        err.contains("warning: attention has not left uniform in 8 of 8 dynamic layers (layer1.0.conv1, "),
        "{err}"
    );
}

#[test]
fn a_model_is_gone_on_from() {
    let shell = Shell::new();
    shell.ok(&format!("train {SHORT} --model resnet10_x0_125 --set train.epochs=4 --set train.lr=0.1 --out static"));
    let before = last_epoch(&shell, "static")["accuracy"].as_f64().unwrap();
    assert!(before > 0.5, "{before}");

    // Its dynamic form does what it did: at a rate of 0 only running statistics move.
    let from = "--from static/model.safetensors";
    let still = "--set train.lr=0 --set train.freeze=[\"*.bn\"]";
    let output = shell.run(&format!("train {SHORT} {from} --model dy_resnet10_x0_125 {still} --out dynamic"));
    let err = text(&output.stderr);
    assert!(output.status.success() && err.contains("8 made into banks"), "{err}");
    assert_eq!(last_epoch(&shell, "dynamic")["accuracy"].as_f64().unwrap(), before);

    // The network itself, at the model's own architecture.
    let output = shell.run(&format!("train --data digits {from} --recipe finetune --epochs 1 {still} --out same"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(last_epoch(&shell, "same")["accuracy"].as_f64().unwrap(), before);

    // Other classes: pictures of two kinds, read as the model reads them.
    shell.pictures("photos");
    let output = shell.run(&format!("train --data photos {from} --recipe finetune --epochs 1 --batch 8 --out tuned"));
    assert!(output.status.success() && text(&output.stderr).contains("a new classifier"), "{}", text(&output.stderr));
    assert!(shell.ok("predict tuned/model.safetensors photos/dark/00.png").contains("dark"));

    let error = shell.error(&format!("train {SHORT} {from} --model resnet18_x0_125 --out no"));
    assert!(
        error.contains("static/model.safetensors") && error.contains("no tensor `layer1.1.conv1.weight`"),
        "{error}"
    );
    assert!(!shell.path("no").exists(), "everything that can be wrong is found before the folder is made");
    // Annealing anew from a dynamic model is worth a word, unless the recipe keeps τ.
    let again = "--from dynamic/model.safetensors --epochs 1 --batch 256 --data digits --set train.lr=0";
    let anew = "--set temperature.schedule=linear --set temperature.start=30 --out anew";
    for (more, told) in [(anew, true), ("--out gone-on", false), ("--recipe finetune --out kept", false)] {
        let output = shell.run(&format!("train {again} {more}"));
        let err = text(&output.stderr);
        assert!(output.status.success() && err.contains("note: τ begins at 30 again") == told, "{err}");
    }
}

#[test]
fn without_a_recipe_a_trained_model_is_fine_tuned() {
    let shell = Shell::new();
    let settings =
        "--set train.epochs=4 --set train.lr=0.1 --set temperature.epochs=1 --seed 3 --set data.val_fraction=0.3";
    shell.ok(&format!("train {SHORT} --model dy_resnet10_x0_125 {settings} --out first"));
    let before = last_epoch(&shell, "first");
    let output = shell.run("train --data digits --from first/model.safetensors --epochs 1 --out second");
    let err = text(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("fine-tuning: 1 epoch, train.lr 0.01, τ stays at 1; "), "{err}");
    assert!(!err.contains("note: τ"), "neither begins it again nor does it fail to reach anything: {err}");
    let after = last_epoch(&shell, "second");
    let accuracy = |epoch: &Value| epoch["accuracy"].as_f64().unwrap();
    assert!(accuracy(&after) > accuracy(&before) - 0.03, "{before} and {after}");
    assert_eq!(after["tau"], 1.0);
    // The same images are held out: none that the first run learned from is scored.
    let recipe = fs::read_to_string(shell.path("second/recipe.toml")).unwrap();
    for line in ["seed = 3", "val_fraction = 0.3", "shift = 1", "flip = 0.0", "schedule = \"constant\""] {
        assert!(recipe.lines().any(|l| l.starts_with(line)), "{line} is missing in {recipe}");
    }
    // What is said goes over it.
    let output =
        shell.run("train --data digits --from first/model.safetensors --epochs 1 --set train.lr=0.5 --out third");
    assert!(text(&output.stderr).contains("fine-tuning: 1 epoch, train.lr 0.5, "), "{}", text(&output.stderr));
    // The routers of a network that had none need a high temperature.
    shell.ok(&format!("train {SHORT} --model resnet10_x0_125 --out static"));
    let output = shell
        .run("train --data digits --from static/model.safetensors --model dy_resnet10_x0_125 --epochs 1 --out fourth");
    let err = text(&output.stderr);
    assert!(err.contains("τ falls from 30 to 1, for the routers are new"), "{err}");
    // An untrained model has nothing to lose.
    shell.ok("new dy_resnet10_x0_125 --classes 10 --image-size 8 --channels 1 --small-stem --out new.safetensors");
    let output = shell.run("train --data digits --from new.safetensors --epochs 1 --batch 256 --out fifth");
    assert!(output.status.success() && !text(&output.stderr).contains("fine-tuning"), "{}", text(&output.stderr));
}
