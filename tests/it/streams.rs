//! Standard output and standard error may be closed or full: what is done does not depend on who listens.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

use crate::common::{Shell, text};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;

/// Runs `dyconv` with these words and redirections.
fn run(shell: &Shell, words: &str, redirect: &str) -> Output {
    let line = format!("exec \"$0\" {words} {redirect}");
    Command::new("sh").args(["-c", &line, env!("CARGO_BIN_EXE_dyconv")]).current_dir(shell.path("")).output().unwrap()
}

#[track_caller]
fn ends(shell: &Shell, words: &str, redirect: &str, status: i32) -> Output {
    let output = run(shell, words, redirect);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "`dyconv {words} {redirect}`: {error}");
    assert!(!error.contains("mistake") && !error.contains("panicked"), "`dyconv {words} {redirect}`: {error}");
    output
}

/// Every way in which the standard streams may be of no use, for words that end with `status` and write results.
fn every_way(shell: &Shell, words: &str, status: i32, results: bool) {
    ends(shell, words, "2>&-", status);
    ends(shell, words, "2>/dev/full", status);
    // A closed stream is one that nobody reads.
    ends(shell, words, ">&-", status);
    ends(shell, words, ">&- 2>&- <&-", status);
    let full = if results { FAILED } else { status };
    let output = ends(shell, words, ">/dev/full", full);
    if results {
        let error = text(&output.stderr);
        let last = error.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: standard output cannot be written: No space left"), "{error}");
    }
    ends(shell, words, ">/dev/full 2>/dev/full", full);
}

#[test]
fn verbs_end_the_same_whoever_listens() {
    let shell = Shell::new();
    for words in ["models", "models --json", "--help", "--version", "help predict", "cost resnet10"] {
        every_way(&shell, words, DONE, true);
    }
    for words in ["", "no-such-verb", "predict", "eval --split never model.safetensors"] {
        every_way(&shell, words, USAGE, false);
    }
    every_way(&shell, "predict absent.safetensors a.png", FAILED, false);
    every_way(&shell, "eval absent.safetensors --data digits", FAILED, false);
}

#[test]
fn a_reader_that_stops_listening_is_a_normal_end() {
    let shell = Shell::new();
    for words in ["models", "models --json", "--help", "train --help"] {
        // The status of the first command of the pipe, whose reader is gone before it writes.
        let line = format!("{{ sleep 0.2; \"$0\" {words}; echo $? >&2; }} | true");
        let output = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_dyconv")])
            .current_dir(shell.path(""))
            .output()
            .unwrap();
        assert_eq!(text(&output.stderr), "0\n", "{words}");
    }
}

#[test]
fn what_was_typed_does_not_reach_the_terminal_raw() {
    let shell = Shell::new();
    for (words, status) in
        [("\"$(printf 'a\\033[2Jb\\033]0;x\\007')\"", USAGE), ("cost \"$(printf '\\033[2J')\"", FAILED)]
    {
        let output = ends(&shell, words, "", status);
        let error = text(&output.stderr);
        assert!(error.chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
        assert!(!error.is_empty());
    }
}

#[cfg(feature = "train")]
#[test]
fn training_goes_on_whoever_listens() {
    let shell = Shell::new();
    shell.pictures("photos");
    let train = |out: &str| {
        format!("train --data photos --model resnet10_x0_125 --image-size 8 --epochs 1 --batch 16 --out {out}")
    };
    // The table at the end cannot be written; the run is whole all the same.
    let ways = [("2>&-", DONE), ("2>/dev/full", DONE), (">&- 2>&- <&-", DONE), (">/dev/full 2>/dev/full", FAILED)];
    for (i, (redirect, status)) in ways.into_iter().enumerate() {
        ends(&shell, &train(&format!("run{i}")), redirect, status);
        assert!(shell.path(&format!("run{i}/model.safetensors")).is_file(), "{redirect}");
    }
    let model = "run0/model.safetensors";
    every_way(&shell, &format!("predict {model} photos/dark/00.png"), DONE, true);
    every_way(&shell, &format!("predict {model} photos/dark/00.png --json"), DONE, true);
    every_way(&shell, &format!("eval {model} --data photos"), DONE, true);
}
