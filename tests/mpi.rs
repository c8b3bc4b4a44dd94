//! Several processes train as one: needs `mpirun`, and is built with the feature `mpi` alone.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dyconv");

/// `mpirun` with so many processes, also as root and on fewer cores.
fn mpirun(processes: &str) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", processes, PROGRAM]);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command
}

fn train(mut command: Command, batch: &str, out: &Path) -> Output {
    command.args(["train", "--data", "digits", "--model", "dy_resnet10_x0_125", "--epochs", "2", "--batch", batch]);
    command
        .args(["--set", "train.log_steps=1", "--set", "train.lr=0.01", "--out"])
        .arg(out)
        .output()
        .expect("mpirun is installed")
}

/// The loss of every iteration in a run folder.
fn losses(folder: &Path) -> Vec<f64> {
    let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "step").map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[test]
fn processes_that_share_batches_have_the_losses_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = |command: Command, name: &str| {
        let out = dir.path().join(name);
        let output = train(command, "48", &out);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("epoch")).count(), 2, "one process talks: {said}");
        losses(&out)
    };
    let one = run(Command::new(PROGRAM), "one");
    for processes in ["2", "3"] {
        let several = run(mpirun(processes), processes);
        assert_eq!(several.len(), one.len());
        for (step, (several, one)) in several.iter().zip(&one).enumerate() {
            // Roundings grow from step to step; a wrong share or statistic shows at once.
            let tolerance = if step < 4 { 1e-5 } else { 0.2 };
            let off = (several - one).abs() / one.max(0.1);
            assert!(off <= tolerance, "{processes} processes, step {step}: loss {several}, one: {one}");
        }
    }
}

#[test]
fn a_process_that_fails_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |batch: &str, out: &Path, expected: &str| {
        let output = train(mpirun("2"), batch, out);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    };
    fails("47", &dir.path().join("odd"), "47");
    // The leading process stops, while the other waits for what it will tell.
    fails("48", Path::new("/dev/null/x"), "cannot be written");
}
