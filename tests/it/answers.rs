//! Answers that are none: NaN, images that cannot be read, nothing to score; and names that a terminal would act on.
#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::common::{Shell, text};
use dyconv::file::{Model, Provenance};
use dyconv::graph::{Activation, Builder, Linear, Op, Tensor, Weights};
use dyconv::task::{Preprocessing, Task};
use image::{GrayImage, Luma};
use serde_json::{Value, json};

const MODEL: &str = "m.safetensors";

/// Answers `classes[0]` for dark images. For light ones +∞ and −∞ meet in it, so that every output is NaN.
fn model(classes: &[&str]) -> Model {
    let mut b = Builder::new([1, 4, 4]).unwrap();
    let linear = |out_features, bias| Op::Linear(Linear { out_features, bias });
    let mut x = b.input();
    for (name, op) in [
        ("mean", Op::GlobalAvgPool),
        ("relu", Op::Activation(Activation::Relu)),
        ("huge", linear(1, false)),
        ("infinite", linear(2, false)),
        ("classifier", linear(classes.len(), true)),
    ] {
        x = b.push(name, op, &[x]).unwrap();
    }
    let graph = b.finish(x).unwrap();
    let mut first = vec![0.0; classes.len()];
    first[0] = 1.0;
    let weights = graph.parameters().into_iter().map(|p| {
        let values = match p.name.as_str() {
            "huge.weight" => vec![3e38],
            "infinite.weight" => vec![2.0, -2.0],
            "classifier.weight" => vec![1.0; 2 * classes.len()],
            _ => first.clone(),
        };
        (p.name, Tensor::new(&p.shape, values))
    });
    Model {
        weights: Weights(weights.collect()),
        graph,
        tau: 1.0,
        preprocessing: Preprocessing::usual(1, [4, 4], 4),
        task: Task::Classification { classes: classes.iter().map(|c| (*c).to_owned()).collect() },
        provenance: Provenance::default(),
    }
}

fn picture(shell: &Shell, name: impl AsRef<OsStr>, shade: u8) {
    let path = shell.path("").join(name.as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    GrayImage::from_pixel(6, 6, Luma([shade])).write_to(&mut png, image::ImageFormat::Png).unwrap();
    std::fs::write(path, png.into_inner()).unwrap();
}

/// A folder with the model, a dark picture and a light one, for which the model has no answer.
fn shell(classes: &[&str]) -> Shell {
    let shell = Shell::new();
    model(classes).write(&shell.path(MODEL)).unwrap();
    picture(&shell, "dark.png", 0);
    picture(&shell, "light.png", 255);
    shell
}

fn predict(shell: &Shell, words: &[&OsStr]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(["predict", MODEL]).args(words).current_dir(shell.path("")).output().unwrap()
}

fn answers(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn nan_is_no_answer() {
    let shell = shell(&["night", "day"]);
    let table = shell.ok("predict m.safetensors dark.png --top 1");
    assert_eq!(table, "image     class  probability\n────────  ─────  ───────────\ndark.png  night      73.11 %\n");
    let error = shell.error("predict m.safetensors light.png");
    assert!(error.starts_with("error: light.png: no answer: 2 of the network's 2 outputs are NaN"), "{error}");
    let output = shell.run("predict m.safetensors dark.png light.png dark.png --top 1");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out.matches("night").count(), 2, "{out}");
    assert!(!out.contains("NaN") && err.contains("skipped: light.png: no answer"), "{out}{err}");
    assert!(err.ends_with("\nerror: 1 of 3 images have no answer\n"), "{err}");
}

#[test]
fn eval_counts_nan_as_wrong_and_says_so() {
    let shell = shell(&["night", "day"]);
    for (class, shade) in [("night", 0), ("day", 255)] {
        for i in 0..3 {
            picture(&shell, format!("data/{class}/{i}.png"), shade);
        }
    }
    // One that could not be told from the others by its answer.
    picture(&shell, "data/day/dark.png", 0);
    let output = shell.run("eval m.safetensors --data data --split all --json");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = answers(&output);
    assert_eq!(result["images"], 7);
    assert_eq!(result["unanswered"], 3);
    assert_eq!(result["top1"], 3.0 / 7.0);
    assert_eq!(
        result["confusion"],
        json!([
            { "label": "night", "prediction": "night", "images": 3 },
            { "label": "day", "prediction": "night", "images": 1 }
        ])
    );
    assert_eq!(result["classes"][1], json!({ "class": "day", "images": 4, "precision": null, "recall": 0.0 }));
    let output = shell.run("eval m.safetensors --data data --split all");
    let err = text(&output.stderr);
    assert!(
        err.contains("warning: 3 of 7 images have no answer, the network's output is NaN; they count as wrong"),
        "{err}"
    );
    let table = text(&output.stdout);
    assert!(table.contains("\n     7  42.86 %") && table.contains(" – "), "{table}");
}

#[test]
fn nothing_scored_is_an_error() {
    let shell = shell(&["night", "day"]);
    for class in ["night", "day"] {
        (0..3).for_each(|i| drop(shell.write(&format!("data/{class}/{i}.png"), b"no picture")));
    }
    let error = shell.error("eval m.safetensors --data data --split all --json");
    assert!(error.contains("none of the 6 images to score can be read") || error.contains("broken"), "{error}");
    assert!(!error.contains('0') || error.contains(".png"), "{error}");
}

#[test]
fn one_bad_image_is_no_reason_to_keep_the_others_answers() {
    let shell = shell(&["night", "day"]);
    shell.write("text.png", b"no picture");
    std::fs::create_dir(shell.path("folder.png")).unwrap();
    std::os::unix::fs::symlink("nowhere", shell.path("dangling.png")).unwrap();
    std::os::unix::fs::symlink("loop.png", shell.path("loop.png")).unwrap();
    assert!(Command::new("mkfifo").arg(shell.path("pipe.png")).status().unwrap().success());
    let no_utf8 = OsString::from(OsStr::from_bytes(b"caf\xe9.png"));
    picture(&shell, &no_utf8, 0);
    let bad = ["text.png", "folder.png", "dangling.png", "loop.png", "pipe.png", "absent.png"].map(OsStr::new);
    let good = [OsStr::new("dark.png"), &no_utf8];
    let images: Vec<&OsStr> = bad.iter().flat_map(|bad| [*bad, good[0]]).chain([good[1]]).collect();

    let output = predict(&shell, &images);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out.matches("night").count(), 7, "{out}");
    assert!(out.contains("caf\u{fffd}.png "), "{out}");
    assert_eq!(err.matches("skipped: ").count(), 6, "{err}");
    assert!(err.ends_with("\nerror: 6 of 13 images have no answer\n"), "{err}");

    let json = OsStr::new("--json");
    let output = predict(&shell, &[&images[..], &[json]].concat());
    assert_eq!(output.status.code(), Some(1));
    let all = answers(&output);
    assert_eq!(all.as_array().unwrap().len(), 13);
    for (i, element) in all.as_array().unwrap().iter().enumerate() {
        let is_bad = i % 2 == 0 && i < 12;
        assert_eq!(element["error"].is_string(), is_bad, "{element}");
        assert_eq!(element["answers"].as_array().unwrap().is_empty(), is_bad, "{element}");
    }
    let whole = text(&output.stdout);
    assert!(whole.starts_with("[\n  {\n    \"image\": \"text.png\",") && whole.ends_with("\n  }\n]\n"), "{whole}");

    // A single image, too.
    let output = predict(&shell, &[OsStr::new("text.png"), json]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(answers(&output)[0]["image"], "text.png");
    assert!(text(&output.stderr).starts_with("error: text.png: "));
    let good = predict(&shell, &[OsStr::new("dark.png"), json]);
    assert!(good.status.success() && answers(&good)[0].get("error").is_none());
}

#[test]
fn names_do_not_act_on_the_terminal() {
    let evil = "\u{1b}[2J\u{9b}31m\r\n\u{202e}x";
    let long = "long ".repeat(500_000);
    let shell = shell(&[evil, &long, "day"]);
    picture(&shell, "\u{1b}]0;title\u{7}.png", 0);
    shell.write("\u{1b}[1Abad.png", b"no picture");
    let evil_words = |words: &[&str]| {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let output = predict(&shell, &words);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{words:?}: {said:?}");
        output
    };
    let output = evil_words(&["\u{1b}]0;title\u{7}.png", "\u{1b}[1Abad.png", "light.png"]);
    let table = text(&output.stdout);
    assert!(table.contains("\\u{1b}]0;title\\u{7}.png") && table.contains("\\u{1b}[2J"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() < 200), "{table}");
    evil_words(&["\u{1b}[1Abad.png"]);
    let output = evil_words(&["dark.png", "--json"]);
    assert_eq!(answers(&output)[0]["answers"][0]["class"], evil, "JSON says what it is");
    // As wrong usage, and as a data set.
    evil_words(&["--\u{1b}[2J"]);
    let name = "\u{1b}[2J";
    picture(&shell, format!("data/{name}/a.png"), 0);
    picture(&shell, "data/day/a.png", 0);
    let output = shell.run("eval m.safetensors --data data --split all");
    let err = text(&output.stderr);
    assert!(err.contains("does not know the class `\\u{1b}[2J`") && err.len() < 10_000, "{err}");
    assert!(err.chars().all(|c| c == '\n' || !c.is_control()), "{err:?}");
}

#[test]
fn wrong_numbers_of_threads_and_answers_are_wrong_usage() {
    let shell = shell(&["night", "day"]);
    for words in ["--threads 0", "--threads 100000", "--threads -1", "--top 0", "--top -1"] {
        let output = shell.run(&format!("predict m.safetensors dark.png {words}"));
        assert_eq!(output.status.code(), Some(2), "{words}: {}", text(&output.stderr));
    }
    assert!(shell.ok("predict m.safetensors dark.png --threads 3 --top 1000").contains("night"));
}
