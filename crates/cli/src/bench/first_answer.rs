//! Measures the time from a model file to its first prediction, in a fresh process.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use dyconv_data::{Image, PersonBox};
use dyconv_predict::{ModelOptions, Predictor};
use serde::{Deserialize, Serialize};

use crate::bank::Bank;
use crate::output::print_json;

/// Number of processes that are measured; the median is reported.
const PROCESSES: usize = 5;

#[derive(Clone, Serialize)]
pub struct FirstAnswer {
    /// Milliseconds from the start of a process to its end, right after its first prediction.
    pub ms: f64,
    /// Peak resident memory of the process.
    pub peak_resident_bytes: Option<u64>,
}

/// Output of the fresh process.
#[derive(Serialize, Deserialize)]
struct Said {
    peak_resident_bytes: Option<u64>,
}

/// Runs and measures fresh processes of this program.
pub fn first_answer(path: &Path, bank: Bank, threads: usize) -> anyhow::Result<FirstAnswer> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let bank = bank.to_possible_value().expect("a bank has a name");
    let mut found = Vec::new();
    for _ in 0..PROCESSES {
        let mut command = Command::new(&program);
        command.arg("bench").arg("--first-answer").args(["--bank", bank.get_name(), "--threads", &threads.to_string()]);
        let start = Instant::now();
        let output = command.arg("--").arg(path).output().context("a fresh process cannot be started")?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.lines().last().unwrap_or("the fresh process failed").trim_start_matches("error: "));
        }
        let said: Said = serde_json::from_slice(&output.stdout).context("the fresh process said something else")?;
        found.push(FirstAnswer { ms, peak_resident_bytes: said.peak_resident_bytes });
    }
    found.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    Ok(found[PROCESSES / 2].clone())
}

/// Runs in the fresh process: predicts once, for a grey image; a classifier as in `predict`.
pub fn answer(path: &Path, bank: Bank, threads: usize) -> anyhow::Result<()> {
    match bank.open(path, ModelOptions::new().threads(threads))? {
        Predictor::Classifier(classifier) => {
            let [height, width] = classifier.model().preprocessing.image_size;
            classifier.predict(&Image::new(width, height, 3, vec![127; 3 * width * height]))?;
        }
        Predictor::Pose(estimator) => {
            let [height, width] = estimator.model().preprocessing.image_size;
            let image = Image::new(width, height, 3, vec![127; 3 * width * height]);
            estimator.predict(&image, &[PersonBox::whole(&image)])?;
        }
    }
    print_json(&Said { peak_resident_bytes: peak_resident_bytes() })
}

/// Peak resident memory of this process.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
