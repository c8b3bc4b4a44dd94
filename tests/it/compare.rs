//! Finished runs compared over seeds: the table, what is left out, what cannot be compared.
#![cfg(feature = "train")]

use std::fs;

use crate::common::Shell;
use serde_json::{Value, json};

/// Accuracies in percent, of which SciPy's Welch test says t = 4.7598, p = 0.00186.
const HIGH: [f64; 5] = [70.8, 71.1, 73.5, 73.1, 70.8];
const LOW: [f64; 5] = [67.1, 69.8, 65.9, 64.9, 67.4];

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A run as it lies on disk, with a score for each epoch done; `settings` are lines of its recipe, the seed first.
fn run(shell: &Shell, path: &str, settings: &str, metric: &str, scores: &[f64]) {
    let joints = json!({"joints": ["a", "b"], "sigmas": [0.1, 0.1]});
    let mut data = json!({"spec": "photos", "classes": ["a", "b"], "train": 8, "val": 2, "items": 7});
    if metric == "ap" {
        data["skeleton"] = joints;
    }
    shell.write(&format!("{path}/run.json"), json!({"version": 1, "data": data}).to_string().as_bytes());
    shell.write(&format!("{path}/recipe.toml"), settings.as_bytes());
    let time = json!({"unix": 0.0, "images_per_second": 100.0, "waited": 0.0});
    let epoch = |(i, score): (usize, &f64)| {
        let step = json!({"kind": "step", "step": 3, "epoch": i + 1, "loss": 1.0, "lr": 0.1, "tau": 1.0, "time": time});
        let mut line = step.clone();
        line["kind"] = "epoch".into();
        line[metric] = (score / 100.0).into();
        format!("{step}\n{line}\n")
    };
    let lines: String = scores.iter().enumerate().map(epoch).collect();
    shell.write(&format!("{path}/metrics.jsonl"), lines.as_bytes());
}

/// A cell of runs of one epoch, with the seeds from 0.
fn cell(shell: &Shell, path: &str, metric: &str, scores: &[f64]) {
    for (seed, score) in scores.iter().enumerate() {
        run(shell, &format!("{path}/seed-{seed}"), &recipe(seed, 1), metric, &[*score]);
    }
}

fn recipe(seed: usize, epochs: usize) -> String {
    format!("seed = {seed}\n[train]\nepochs = {epochs}\n")
}

#[test]
fn a_grid_has_the_numbers_that_ablate_gave() {
    let shell = Shell::new();
    let short = "--data digits --set train.epochs=1 --set train.batch=128 --set model.image_size=8";
    shell.ok(&format!("ablate {short} --grid kernels=1,2 --seeds 2 --out grid"));
    let ablated = read(&fs::read_to_string(shell.path("grid/table.json")).unwrap());
    let compared = read(&shell.ok("compare grid --json"));
    assert_eq!((&compared["metric"], &compared["to"]), (&ablated["metric"], &json!("kernels=1")));
    assert_eq!(compared["notes"], json!([]));
    assert_eq!(compared["cells"].as_array().unwrap().len(), 2);
    for (ours, theirs) in compared["cells"].as_array().unwrap().iter().zip(ablated["cells"].as_array().unwrap()) {
        for key in ["cell", "score", "difference"] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        for (ours, theirs) in ours["runs"].as_array().unwrap().iter().zip(theirs["runs"].as_array().unwrap()) {
            for key in ["seed", "score", "folder"] {
                assert_eq!(ours[key], theirs[key], "{key}");
            }
        }
    }

    // A cell made by hand, of one run that is stopped and one that was never begun.
    shell.ok(&format!(
        "train {} --model resnet10_x0_125 --seed 1 --out hand/seed-1",
        short.replace("epochs=1", "epochs=2")
    ));
    let journal = fs::read_to_string(shell.path("hand/seed-1/metrics.jsonl")).unwrap();
    let first = journal.find("\"kind\":\"epoch\"").and_then(|at| Some(at + journal[at..].find('\n')? + 1)).unwrap();
    shell.write("hand/seed-1/metrics.jsonl", &journal.as_bytes()[..first + 20]);
    shell.ok(&format!("train {short} --model resnet10_x0_125 --seed 0 --out hand/seed-0"));
    fs::create_dir(shell.path("hand/seed-2")).unwrap();
    let table = shell.ok("compare grid hand");
    let row = |cell: &str| table.lines().find(|line| line.starts_with(cell)).unwrap_or_else(|| panic!("{table}"));
    let words = |cell: &str| row(cell).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // The same run as the grid's, byte for byte, so the same score.
    assert_eq!(words("hand ")[1], "1", "{table}");
    let seed_0 = compared["cells"][0]["runs"][0]["score"].as_f64().unwrap();
    assert_eq!(words("hand ")[2], format!("{seed_0:.2}"), "{table}");
    assert!(table.contains("note: hand/seed-1: not finished, 1 of 2 epochs, left out\n"), "{table}");
    assert!(table.contains("note: hand/seed-2: holds no run, left out\n"), "{table}");
}

#[test]
fn the_table_says_what_scipy_says() {
    let shell = Shell::new();
    cell(&shell, "runs/grid/kernels=16", "accuracy", &HIGH[..1]);
    cell(&shell, "runs/grid/kernels=2", "accuracy", &LOW);
    cell(&shell, "runs/warm", "accuracy", &HIGH);
    let expected = "\
cell             seeds   accuracy, %  difference     t       p  seed 0  seed 1  seed 2  seed 3  seed 4
───────────────  ─────  ────────────  ──────────  ────  ──────  ──────  ──────  ──────  ──────  ──────
grid/kernels=2       5  67.02 ± 1.85           –     –       –   67.10   69.80   65.90   64.90   67.40
grid/kernels=16      1         70.80       +3.78     –       –   70.80       –       –       –       –
warm                 5  71.86 ± 1.33       +4.84  4.76  0.0019   70.80   71.10   73.50   73.10   70.80

Accuracy: top-1 on the held-out images after the last epoch, mean ± sample standard deviation over runs. \
Difference: to grid/kernels=2, in points, with Welch's t and its two-sided p.
";
    assert_eq!(shell.ok("compare runs/grid runs/warm"), expected);

    // Named first, or by --to, another is what the others are compared to.
    let first = read(&shell.ok("compare runs/warm runs/grid runs/grid/kernels=2 --json"));
    let named = read(&shell.ok("compare runs/grid runs/warm --to warm --json"));
    assert_eq!((&first["to"], &named["to"]), (&json!("warm"), &json!("warm")));
    assert_eq!(first["cells"].as_array().unwrap().len(), 3, "a cell counts once");
    assert_eq!((&first["cells"][0], &first["cells"][1]), (&named["cells"][2], &named["cells"][0]));
    let difference = &named["cells"][0]["difference"];
    let near = |key: &str, expected: f64| {
        assert!((difference[key].as_f64().unwrap() - expected).abs() < 1e-8, "{key}: {difference}");
    };
    near("mean", -4.84);
    near("t", -4.759_760_408_774);
    near("degrees", 7.265_352_153_717);
    near("p", 0.001_860_564_985);
    assert_eq!(named["cells"][2].get("difference"), None);
    assert_eq!(
        read(&shell.ok("compare runs/grid runs/warm --to runs/grid/kernels=16/ --json"))["to"],
        "grid/kernels=16"
    );

    // One cell alone has nothing to be compared to.
    let alone = shell.ok("compare runs/warm");
    assert!(alone.starts_with("cell  seeds   accuracy, %  seed 0") && !alone.contains("Welch"), "{alone}");
}

#[test]
fn keypoint_runs_are_compared_by_ap() {
    let shell = Shell::new();
    cell(&shell, "pose/a", "ap", &[40.0, 42.0]);
    cell(&shell, "pose/b", "ap", &[50.0, 52.5]);
    let table = shell.ok("compare pose");
    assert!(table.starts_with("cell  seeds         AP, %") && table.contains("41.00 ± 1.41"), "{table}");
    assert!(table.contains("AP: OKS average precision on the held-out persons"), "{table}");
    cell(&shell, "photos", "accuracy", &HIGH);
    shell.says(
        "compare photos pose",
        "photos/seed-0 is the run of a classifier and pose/a/seed-0 that of a keypoint network: they have no score",
    );
}

#[test]
fn what_makes_a_comparison_unfair_is_said() {
    let shell = Shell::new();
    cell(&shell, "a", "accuracy", &HIGH);
    cell(&shell, "b", "accuracy", &LOW);
    let quiet = shell.ok("compare a b");
    assert!(!quiet.contains("note: "), "{quiet}");
    shell.write("b/seed-3/recipe.toml", (recipe(3, 1) + "lr = 0.25\n").as_bytes());
    let other = fs::read_to_string(shell.path("b/seed-2/run.json")).unwrap().replace("\"items\":7", "\"items\":8");
    shell.write("b/seed-2/run.json", other.as_bytes());
    let noted = shell.ok("compare a b");
    assert!(noted.contains("note: b: seed 0 was trained with train.lr = "), "{noted}");
    assert!(noted.contains(", seed 3 with 0.25\n"), "{noted}");
    assert!(noted.contains("note: b: seed 2 was trained on other data, or split otherwise, than in a\n"), "{noted}");
    assert_eq!(noted.matches("note: ").count(), 2, "{noted}");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let shell = Shell::new();
    cell(&shell, "runs/grid/kernels=1", "accuracy", &HIGH);
    cell(&shell, "runs/grid/kernels=4", "accuracy", &LOW);
    shell.says("compare absent", "absent: cannot be read as a folder: ");
    shell.says("compare runs/grid/kernels=1/seed-0/run.json", "run.json: cannot be read as a folder: ");
    shell.says("compare runs", "runs: holds no runs, expected folders seed-0, seed-1, …");
    shell.says("compare runs/grid/kernels=1/seed-0", "seed-0: is a single run, expected the folder of runs");
    shell.says("compare runs/grid --to kernels=3", "no cell is called `kernels=3`; did you mean `kernels=1`?");
    assert_eq!(shell.run("compare").status.code(), Some(2));

    run(&shell, "early/seed-0", &recipe(0, 3), "accuracy", &[50.0, 60.0]);
    shell.says("compare early", "no run is finished: early/seed-0: not finished, 2 of 3 epochs, left out");
    shell.says("compare runs/grid early --to early", "--to early: no run of it is finished");
    run(&shell, "twice/seed-0", &recipe(0, 1), "accuracy", &[50.0]);
    run(&shell, "twice/seed-1", &recipe(0, 1), "accuracy", &[50.0]);
    shell.says("compare twice", "twice/seed-0 and twice/seed-1: both were trained with seed 0; see --seed");
    run(&shell, "whole/seed-0", &recipe(0, 1), "val_loss", &[50.0]);
    shell.says("compare whole", "whole/seed-0: has no score: nothing was held out");

    let journal = "runs/grid/kernels=4/seed-2/metrics.jsonl";
    shell.write(journal, b"{\"kind\":\"step\"\n{}\n");
    shell.says("compare runs/grid", "kernels=4/seed-2/metrics.jsonl: line 1 is no metrics (");
    shell.write(journal, b"\xff\xfe\n");
    shell.says("compare runs/grid", "kernels=4/seed-2/metrics.jsonl: line 1 is no metrics (");
    fs::remove_file(shell.path(journal)).unwrap();
    fs::create_dir(shell.path(journal)).unwrap();
    shell.says("compare runs/grid", "kernels=4/seed-2/metrics.jsonl: cannot be read: ");
    shell.write("runs/grid/kernels=4/seed-1/recipe.toml", b"[train]\nepoch = 3\n");
    shell.says("compare runs/grid", "kernels=4/seed-1/recipe.toml: ");
    shell.write("runs/grid/kernels=4/seed-0/run.json", b"{");
    shell.says("compare runs/grid", "kernels=4/seed-0/run.json: does not describe a run");

    let help = shell.ok("compare --help");
    assert!(help.contains("Examples:") && help.contains("--to"), "{help}");
}
