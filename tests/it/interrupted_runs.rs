//! A run that is killed, interrupted, or has no room left ends as one that was left alone.
#![cfg(all(feature = "train", unix))]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Shell, skip, text};
use serde_json::Value;

/// Small enough for a second, with something random in every step, and checkpoints in the middle of epochs.
const RECIPE: &str = "--data digits --model dy_resnet10_x0_125 --epochs 3 --batch 64 --image-size 8 \
     --set train.checkpoint_steps=5 --set train.log_steps=4 --set model.dropout=0.2 --set train.ema=0.9 \
     --set train.accumulate=2 --set augment.mixup=0.3 --set augment.cutmix=0.3";

/// A run left alone, and how long it took.
static WHOLE: LazyLock<(Shell, Duration)> = LazyLock::new(|| {
    let shell = Shell::new();
    let started = Instant::now();
    shell.ok(&format!("train {RECIPE} --twin --out whole"));
    (shell, started.elapsed())
});

fn whole() -> PathBuf {
    WHOLE.0.path("whole")
}

fn start(shell: &Shell, words: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(words.split_whitespace()).current_dir(shell.path("."));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn newest(run: &Path) -> PathBuf {
    let names = fs::read_dir(run.join("last")).unwrap().map(|e| e.unwrap().path());
    names.filter(|p| p.extension().is_some_and(|e| e == "safetensors")).max().unwrap()
}

/// The lines of the metrics without times.
fn metrics(run: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time").expect("every line has its time");
        line
    });
    lines.collect()
}

/// The tensors of the newest checkpoint, bit by bit.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(newest(run)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// The epochs of the table without rates.
fn table(run: &Path) -> Vec<String> {
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap();
    rows.lines().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// Asserts that two run folders are the same, times aside.
fn same(a: &Path, b: &Path) {
    for file in ["model.safetensors", "evaluation.json", "recipe.toml", "run.json"] {
        assert!(fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(), "{file} differs");
    }
    assert_eq!(metrics(a), metrics(b));
    assert_eq!(table(a), table(b));
    assert_eq!(newest(a).file_name(), newest(b).file_name());
    assert!(tensors(a) == tensors(b), "the last checkpoints differ");
    assert_eq!(fs::read_dir(b.join("last")).unwrap().count(), 2, "the newest and the one before it");
    assert!(fs::read_to_string(b.join("report.html")).unwrap().contains("3 of 3 epochs"));
}

/// Bytes of metrics of a run and its twin.
fn written(run: &Path) -> u64 {
    let bytes = |run: &Path| fs::metadata(run.join("metrics.jsonl")).map_or(0, |m| m.len());
    bytes(run) + bytes(&run.join("twin"))
}

#[test]
fn kills_at_random_moments_change_nothing() {
    let shell = Shell::new();
    let time = WHOLE.1.as_secs_f64();
    // Xorshift: other moments in every round, the same in every test.
    let mut state = 0x9e37_79b9_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX)
    };
    for round in 0..3 {
        let out = format!("round-{round}");
        let resume = format!("train --resume {out}");
        let begin = format!("train {RECIPE} --twin --out {out}");
        let mut hit = 0;
        for _ in 0..6 {
            let run = shell.path(&out);
            let part = 0.05 + 0.4 * random();
            let enough = written(&run) + (part * written(&whole()) as f64) as u64;
            let mut child = start(&shell, if run.join("run.json").exists() { &resume } else { &begin });
            // By the clock; or by what was done, where the machine is less busy than it was with the run left alone.
            let started = Instant::now();
            while started.elapsed().as_secs_f64() < part * time && written(&run) < enough {
                sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            match output.status.signal() {
                Some(9) => hit += 1,
                _ => assert!(output.status.success(), "{}", text(&output.stderr)),
            }
        }
        assert!(hit >= 2, "only {hit} of six kills met a living process");
        if !shell.path(&out).join("run.json").exists() {
            shell.ok(&begin);
        }
        shell.ok(&resume);
        same(&whole(), &shell.path(&out));
        same(&whole().join("twin"), &shell.path(&out).join("twin"));
    }
}

/// As after a kill between the last checkpoint and the report.
#[test]
fn a_finished_run_without_its_report_gets_it_on_resume() {
    let shell = Shell::new();
    shell.ok(&format!("train {RECIPE} --out run"));
    fs::remove_file(shell.path("run/report.html")).unwrap();
    shell.ok("train --resume run");
    same(&whole(), &shell.path("run"));
}

/// Waits until a run has written more than its first checkpoint.
fn wait_for_steps(run: &Path) {
    let begun = Instant::now();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |m| m.len()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no iteration was done");
        sleep(Duration::from_millis(2));
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn control_c_saves_and_says_how_to_go_on() {
    let shell = Shell::new();
    let child = start(&shell, &format!("train {RECIPE} --twin --out run"));
    wait_for_steps(&shell.path("run"));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.lines().last().unwrap().ends_with("go on with: dyconv train --resume run"), "{err}");
    shell.ok("train --resume run");
    same(&whole(), &shell.path("run"));
    same(&whole().join("twin"), &shell.path("run/twin"));
}

#[test]
fn a_second_control_c_stops_at_once() {
    let shell = Shell::new();
    // One iteration takes seconds.
    let words = "train --data digits --model dy_resnet10 --image-size 32 --batch 1400 --epochs 9 --out run";
    let mut child = start(&shell, words);
    let begun = Instant::now();
    while !shell.path("run/last/epoch-0000000-batch-00000000.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the run did not begin");
        sleep(Duration::from_millis(2));
    }
    // Two signals that are not yet taken become one, however long they are apart, so the second is sent until it is.
    while child.try_wait().unwrap().is_none() {
        interrupt(&child);
        sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(!err.contains("stopped after"), "it took the time to finish its iteration: {err}");
}

/// What a run says when it has no room left; it can be resumed to the same end.
fn runs_out_of_room(shell: &Shell, run: &str, output: &std::process::Output, make_room: impl FnOnce()) {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("cannot be written"), "{err}");
    assert!(last.contains("is whole") && last.contains(&format!("dyconv train --resume {run}")), "{err}");
    tensors(&shell.path(run));
    make_room();
    shell.ok(&format!("train --resume {run}"));
    same(&whole(), &shell.path(run));
}

#[test]
fn a_file_that_may_not_grow_leaves_the_last_checkpoint_whole() {
    let shell = Shell::new();
    let first = fs::metadata(newest(&whole())).unwrap().len();
    // Room for the weights, but not for the momentum beside them; in blocks of 512 bytes.
    let limit = first / 512 * 3 / 4;
    let bounded = |limit: u64, out: &str| {
        // The signal that would end the program has its usual action.
        let script = format!("ulimit -f {limit}; exec \"$0\" train {RECIPE} --out {out}");
        let mut command = Command::new("sh");
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_dyconv")]).current_dir(shell.path("."));
        command.output().unwrap()
    };
    let output = bounded(limit, "run");
    runs_out_of_room(&shell, "run", &output, || ());
    // Room for a recipe, but for no checkpoint.
    let output = bounded(16, "none");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.contains("No checkpoint was written yet") && last.contains("dyconv train --resume none"), "{err}");
    assert_eq!(last.matches("os error").count(), 1, "{err}");
    shell.ok("train --resume none");
    same(&whole(), &shell.path("none"));
}

#[test]
fn of_several_trainings_begun_at_once_in_a_folder_one_trains() {
    let shell = Shell::new();
    for round in 0..3 {
        let begin = |seed: usize| {
            start(&shell, &format!("train {RECIPE} --out run-{round} --seed {seed} --set train.log_steps=1 --quiet"))
        };
        let children: Vec<Child> = (0..4).map(begin).collect();
        let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect::<Vec<_>>();
        let won: Vec<usize> = (0..4).filter(|i| outputs[*i].status.success()).collect();
        let said = outputs.iter().map(|output| text(&output.stderr)).collect::<Vec<_>>();
        assert_eq!(won.len(), 1, "{said:?}");
        for output in outputs.iter().filter(|output| !output.status.success()) {
            let err = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{err}");
            assert!(err.contains("another process") || err.contains("holds a run already"), "{err}");
        }
        let run = shell.path(&format!("run-{round}"));
        let recipe = fs::read_to_string(run.join("recipe.toml")).unwrap();
        assert!(recipe.contains(&format!("seed = {}\n", won[0])), "{recipe}");
        let steps: Vec<u64> =
            metrics(&run).iter().filter(|m| m["kind"] == "step").map(|m| m["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>(), "the journal is that of one run");
    }
}

#[test]
fn a_folder_with_other_files_is_left_as_it_is() {
    let shell = Shell::new();
    let short = "--data digits --model dy_resnet10_x0_125 --epochs 1 --batch 256 --image-size 8";
    for name in ["own/last/thesis.txt", "own/report.html", "own/recipe.toml", "home/run/last/thesis.txt"] {
        shell.write(name, b"mine");
    }
    for words in [format!("train {short} --out own"), format!("train {short} --out own --force")] {
        shell.says(&words, "own: holds no run, but last/, recipe.toml, report.html; nothing there was touched");
    }
    // Beside a run they stay, in the twin's folder too.
    shell.ok(&format!("train {short} --twin --out run"));
    let kept = ["run/notes.md", "run/last/thesis.txt", "run/twin/last/thesis.txt", "run/twin/notes.md"];
    kept.iter().for_each(|name| drop(shell.write(name, b"mine")));
    shell.ok(&format!("train {short} --out run --force"));
    kept.iter().for_each(|name| assert_eq!(fs::read(shell.path(name)).unwrap(), b"mine", "{name}"));
    assert!(!shell.path("run/twin/model.safetensors").exists(), "the run of the old twin is gone");
    shell.ok("train --resume run");
    shell.write("other/twin/notes.md", b"mine");
    shell.says(&format!("train {short} --twin --out other"), "other: holds no run, but twin/");
    assert_eq!(fs::read_dir(shell.path("own")).unwrap().count(), 3);
    assert_eq!(fs::read_dir(shell.path("other")).unwrap().count(), 1);
    // A grid neither replaces somebody's table nor works in a run's folder.
    shell.write("grid/table.md", b"mine");
    let ablate = "ablate --data digits --set train.epochs=1 --grid kernels=1,2 --seeds 1 --out";
    shell.says(&format!("{ablate} grid"), "grid/table.md: is not the table of a grid");
    shell.says(&format!("{ablate} run"), "run: holds a single run");
}

#[test]
fn a_run_from_a_model_without_a_checkpoint_is_not_resumed_from_nothing() {
    let shell = Shell::new();
    let short = "--data digits --epochs 1 --batch 256 --image-size 8";
    shell.ok(&format!("train {short} --model resnet10_x0_125 --out run"));
    shell.ok(&format!("train {short} --from run/model.safetensors --out again"));
    // As a kill right after the folder was made leaves it.
    for entry in fs::read_dir(shell.path("again/last")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    shell.says("train --resume again", "begin it again with --from run/model.safetensors --force");
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    struct Mount(PathBuf);
    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let shell = Shell::new();
    let disk = shell.path("disk");
    fs::create_dir(&disk).unwrap();
    let room = 4 * fs::metadata(newest(&whole())).unwrap().len();
    let options = format!("size={}", 2 * room);
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&disk).output();
    let _mount = match mount {
        Ok(output) if output.status.success() => Mount(disk.clone()),
        other => {
            return skip(&format!("no small disk can be mounted here ({other:?})"));
        }
    };
    // Room for two checkpoints, but not for a third.
    fs::write(disk.join("ballast"), vec![0; (room + room * 2 / 5) as usize]).unwrap();
    let output = shell.run(&format!("train {RECIPE} --out disk/run"));
    assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    runs_out_of_room(&shell, "disk/run", &output, || fs::remove_file(disk.join("ballast")).unwrap());
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let shell = Shell::new();
    shell.ok(&format!("train {RECIPE} --out run"));
    let path = newest(&shell.path("run"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let output = shell.run("train --resume run --quiet");
    let err = text(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("warning: ") && err.contains("damaged") && err.contains("resuming from"), "{err}");
    same(&whole(), &shell.path("run"));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let shell = Shell::new();
    shell.pictures("photos");
    let short = "--data digits --model resnet10_x0_125 --epochs 1 --batch 256 --image-size 8";
    shell.ok(&format!("train {short} --out run"));
    // A finished run only shows its table again.
    assert!(shell.ok("train --resume run").contains("run/model.safetensors"));
    shell.ok(&format!("train --resume run {short}"));
    shell.says("train --resume run --set train.lr=0.5", "begun with train.lr = 0.1, not 0.5");
    shell.says("train --resume run --epochs 2", "begun with train.epochs = 1, not 2");
    shell.says("train --resume run --data photos", "begun on other data: 10 classes then, 2 now");
    shell.says("train --resume nowhere", "holds no run that could be resumed");
    shell.says(&format!("train {short} --out run"), "run: holds a run already; go on with it: --resume run");
    let table = shell.run(&format!("train {short} --out run --force --quiet --json"));
    assert!(table.status.success() && table.stderr.is_empty(), "{}", text(&table.stderr));
    let rows: Value = serde_json::from_str(&text(&table.stdout)).unwrap();
    assert_eq!(rows[0]["file"], "run/model.safetensors");

    let recipe = fs::read_to_string(shell.path("run/recipe.toml")).unwrap();
    shell.write("run/recipe.toml", recipe.replace("batch = 256", "batch = 128").as_bytes());
    shell.says("train --resume run", "begun with train.batch = 256, not 128");
    shell.write("run/recipe.toml", recipe.as_bytes());
    // Checkpoints that know more of the journal than is left are passed over for the one that begins it.
    shell.write("run/metrics.jsonl", b"");
    let output = shell.run("train --resume run --quiet");
    let err = text(&output.stderr);
    assert!(output.status.success() && err.contains("of which 0 are left; resuming from"), "{err}");
    shell.write("run/run.json", b"{");
    shell.says("train --resume run", "run.json: does not describe a run");
}
