//! Several processes train as one: needs `mpirun`, and is built with the feature `mpi` alone.

use std::process::{Command, Output};

const ARGUMENTS: [&str; 11] = [
    "train",
    "--data",
    "digits",
    "--model",
    "dy_resnet10_x0_125",
    "--epochs",
    "2",
    "--batch",
    "48",
    "--set",
    "train.warmup_epochs=0.5",
];

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_dyconv")
}

/// `mpirun` with so many processes, also as root and on fewer cores.
fn mpirun(processes: &str) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", processes, program()]);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command
}

/// The loss of every epoch, as the run says it.
fn losses(output: &Output) -> Vec<f64> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let loss = |line: &str| line.split_once("loss ")?.1.split_whitespace().next()?.parse().ok();
    said.lines().filter(|line| line.starts_with("epoch")).filter_map(loss).collect()
}

#[test]
fn processes_that_share_batches_have_the_losses_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = |mut command: Command, out: &str| {
        command.args(ARGUMENTS).arg("--out").arg(dir.path().join(out)).output().expect("mpirun is installed")
    };
    let one = losses(&run(Command::new(program()), "one"));
    assert_eq!(one.len(), 2);
    for processes in ["2", "3"] {
        let several = losses(&run(mpirun(processes), processes));
        assert_eq!(several.len(), one.len(), "the leading process alone talks");
        for (several, one) in several.iter().zip(&one) {
            assert!((several - one).abs() <= 2e-3 * one, "{processes} processes: loss {several}, one: {one}");
        }
        let written: Vec<_> =
            std::fs::read_dir(dir.path().join(processes)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(written.len(), 2, "{written:?}");
    }
}

#[test]
fn a_process_that_fails_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        mpirun("2").args(ARGUMENTS).args(["--batch", "47", "--out"]).arg(dir.path().join("x")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("47"), "{said}");
    // A folder that cannot be written stops the leading process, while the other waits for its first batch.
    let output = mpirun("2").args(ARGUMENTS).args(["--out", "/dev/null/x"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot be written"), "{said}");
}
