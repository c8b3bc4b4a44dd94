//! Grids through the binary: the table, what is done stays done, what was interrupted goes on.
#![cfg(all(feature = "train", unix))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Shell, text};
use serde_json::Value;

/// A second a run.
const SHORT: &str = "--data digits --set train.epochs=2 --set train.batch=128 --set model.image_size=8 \
     --set train.log_steps=1 --set train.checkpoint_steps=3";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn model(run: PathBuf) -> Vec<u8> {
    fs::read(run.join("model.safetensors")).unwrap()
}

#[test]
fn a_grid_is_trained_once_and_becomes_a_table() {
    let shell = Shell::new();
    let grid = format!("ablate {SHORT} --grid kernels=1,2 --grid tau=1,anneal --out grid");
    let first = json(&shell.ok(&format!("{grid} --seeds 1 --jobs 2 --json --quiet")));
    let names = |v: &Value| {
        v["cells"].as_array().unwrap().iter().map(|c| c["cell"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["kernels=1", "kernels=2,tau=1", "kernels=2,tau=anneal"]);
    assert_eq!(first["cells"][0]["settings"]["tau"], Value::Null);
    assert_eq!(first["cells"][0]["score"]["deviation"], Value::Null);
    assert!(first["cells"][1]["difference"]["mean"].is_number() && first["cells"][1]["difference"]["p"].is_null());

    // The same as `dyconv train` does, byte for byte, whatever the number of threads.
    let train = SHORT.replace("--set train.epochs", "--seed 0 --set train.epochs");
    shell.ok(&format!("train {train} --model resnet10_x0_125 --out single"));
    assert!(model(shell.path("single")) == model(shell.path("grid/kernels=1/seed-0")));
    let constant = "--model dy_resnet10_x0_125 --set model.kernels=2 --set temperature.schedule=constant";
    shell.ok(&format!("train {train} {constant} --out dynamic"));
    assert!(model(shell.path("dynamic")) == model(shell.path("grid/kernels=2,tau=1/seed-0")));

    // More seeds: what is done is kept.
    let journal = shell.path("grid/kernels=1/seed-0/metrics.jsonl");
    let before = (fs::metadata(&journal).unwrap().modified().unwrap(), model(shell.path("grid/kernels=1/seed-0")));
    let output = shell.run(&format!("{grid} --seeds 2"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(err.contains("3 cells × 2 seeds: 6 runs, 3 done before"), "{err}");
    assert_eq!(err.lines().filter(|l| l.starts_with('[')).count(), 3, "{err}");
    assert!(err.contains("[6/6] kernels=2,tau=anneal seed 1: ") && err.contains(" left\n"), "{err}");
    let after = (fs::metadata(&journal).unwrap().modified().unwrap(), model(shell.path("grid/kernels=1/seed-0")));
    assert!(before == after, "a finished run was trained again");

    // The table says what the runs' own files say.
    let table = json(&fs::read_to_string(shell.path("grid/table.json")).unwrap());
    assert_eq!(table["cells"].as_array().unwrap().len(), 3);
    for cell in table["cells"].as_array().unwrap() {
        let last = |run: &Value| -> f64 {
            let csv = fs::read_to_string(shell.path(run["folder"].as_str().unwrap()).join("metrics.csv")).unwrap();
            100.0 * csv.lines().last().unwrap().split(',').nth(3).unwrap().parse::<f64>().unwrap()
        };
        let runs = cell["runs"].as_array().unwrap();
        let found: Vec<f64> = runs.iter().map(last).collect();
        let number = |value: &Value| value.as_f64().unwrap();
        assert_eq!(found.len(), 2);
        assert!((number(&cell["score"]["mean"]) - (found[0] + found[1]) / 2.0).abs() < 1e-9);
        let deviation = (found[0] - found[1]).abs() / 2f64.sqrt();
        assert!((number(&cell["score"]["deviation"]) - deviation).abs() < 1e-9);
        assert!(number(&cell["best_score"]["mean"]) >= number(&cell["score"]["mean"]));
        assert!(number(&cell["latency_ms"]) > 0.0);
        let cost = json(&shell.ok(&format!("cost {}/model.safetensors --json", runs[1]["folder"].as_str().unwrap())));
        assert_eq!((&cell["params"], &cell["madds"]), (&cost["params"], &cost["madds"]["total"]), "{cell}");
    }
    let markdown = fs::read_to_string(shell.path("grid/table.md")).unwrap();
    let heading = "| kernels | tau | runs | accuracy, % | best, % | difference | t | p | params | MAdds | latency |";
    assert!(markdown.starts_with(heading) && markdown.contains("| 2 | anneal | 2 |"), "{markdown}");
    assert!(out.starts_with("kernels  tau ") && out.contains("Welch's t") && out.contains(" ± "), "{out}");
}

/// The process that this one started, if any.
fn child_of(parent: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().unwrap();
    text(&output.stdout).lines().find_map(|line| {
        let mut words = line.split_whitespace().map(|w| w.parse::<u32>().unwrap());
        let (pid, ppid) = (words.next()?, words.next()?);
        (ppid == parent).then_some(pid)
    })
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn start(shell: &Shell, words: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(words.split_whitespace()).current_dir(shell.path("."));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a run has done some iterations and more are left.
fn wait_for_steps(run: &Path) {
    let begun = Instant::now();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |m| m.len()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no iteration was done");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_and_interrupted_grids_go_on() {
    let shell = Shell::new();
    let grid = |out: &str| format!("ablate {SHORT} --grid train.lr=0.1,0.2 --seeds 1 --out {out}");
    shell.ok(&grid("whole"));

    let mut child = start(&shell, &grid("killed"));
    wait_for_steps(&shell.path("killed/train.lr=0.1/seed-0"));
    let run = child_of(child.id()).expect("a run is a process of its own");
    child.kill().unwrap();
    child.wait().unwrap();
    signal("-KILL", run);
    sleep(Duration::from_millis(100));
    shell.ok(&grid("killed"));

    let child = start(&shell, &grid("stopped"));
    wait_for_steps(&shell.path("stopped/train.lr=0.1/seed-0"));
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    let again = grid("stopped").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        err.lines().last().unwrap(),
        format!("stopped; 0 of 2 runs are done; go on with: dyconv {again}"),
        "{err}"
    );
    shell.ok(&again);

    for out in ["killed", "stopped"] {
        for cell in ["train.lr=0.1", "train.lr=0.2"] {
            let run = |out: &str| model(shell.path(&format!("{out}/{cell}/seed-0")));
            assert!(run(out) == run("whole"), "{out} {cell}");
        }
    }
}

#[test]
fn a_run_that_fails_is_named_and_the_others_stand_in_the_table() {
    let shell = Shell::new();
    let output = shell.run(&format!("ablate {SHORT} --grid train.lr=0.1,1000 --seeds 1 --out grid"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("error: 1 of 2 runs failed") && last.contains("train.lr=1000 seed 0: "), "{err}");
    assert!(last.contains("training diverged"), "{err}");
    let cell = |lr: &str| out.lines().any(|line| line.trim_start().starts_with(lr));
    assert!(cell("0.1 ") && !cell("1000 "), "{out}");
}

#[test]
fn what_is_wrong_is_found_before_the_first_step() {
    let shell = Shell::new();
    let says = |grid: &str, expected: &str| {
        shell.says(&format!("ablate {SHORT} {grid} --out wrong"), expected);
        assert!(!shell.path("wrong").exists(), "{grid} left something");
    };
    says("--grid kernals=1,2", "no axis of a grid is called `kernals`; did you mean `kernels`?");
    says("--grid lr=0.1", "did you mean `train.lr`?");
    says("--grid tau=hot", "`tau` of a grid takes temperatures and `anneal`, got `hot`");
    says("--grid dynamic=expand", "dynamic=expand: model option `dynamic_parts`: means nothing for ResNet");
    says("--grid train.batch=0", "--set train.batch=128 and --grid train.batch=… contradict each other");
    says("--grid train.accumulate=0", "`train.accumulate` must lie in 1..=");
    says("--recipe digts", "did you mean `digits`?");
    says("--set data.val_fraction=0", "no image is held out");
    let usage = shell.run(&format!("ablate {SHORT} --grid kernels --out wrong"));
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("expected KEY=VALUE,VALUE"), "{}", text(&usage.stderr));

    // A folder with other runs is left alone.
    let one = "--grid kernels=1 --seeds 1 --out grid";
    shell.ok(&format!("ablate {SHORT} {one}"));
    shell.says(&format!("ablate {SHORT} {one} --set train.lr=0.3"), "begun with train.lr = 0.1, not 0.3");
    let help = shell.ok("ablate --help");
    assert!(help.contains("Examples:") && help.contains("router_init"), "{help}");
}
