//! The table at the end of training, which compares the written files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyconv_data::{Dataset, Split};
use dyconv_graph::cost;
use dyconv_predict::{EvaluationOptions, ModelOptions, PoseEvaluationOptions, Predictor, evaluate, evaluate_poses};
use dyconv_train::Recipe;
use serde::Serialize;

use crate::bank::Bank;
use crate::latency::latencies;
use crate::output::{percent, print, shell, thousands};
use crate::table::Table;

/// One line of the table.
#[derive(Serialize)]
pub struct Row {
    model: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_ap: Option<f64>,
    params: u64,
    madds: u64,
    latency_ms: f64,
}

/// Scores the written files with the CPU engine on the held-out images, and measures their latencies alternately.
pub fn compare(files: &[(String, PathBuf)], dataset: &Arc<Dataset>, recipe: &Recipe) -> anyhow::Result<Vec<Row>> {
    let opened = files.iter().map(|(_, path)| Bank::F32.open(path, ModelOptions::new()));
    let networks = opened.collect::<anyhow::Result<Vec<_>>>()?;
    let latencies = latencies(&networks, dataset)?;
    let max_broken = recipe.data.max_broken;
    let mut rows = Vec::new();
    for (((name, path), network), latency) in files.iter().zip(&networks).zip(latencies) {
        let (mut validation_accuracy, mut validation_ap) = (None, None);
        if !dataset.is_empty(Split::Val) {
            match network {
                Predictor::Classifier(classifier) => {
                    let options = EvaluationOptions { split: Split::Val, batch: 32, max_broken };
                    validation_accuracy = Some(evaluate(classifier, dataset, &options, &mut |_| {})?.top1);
                }
                Predictor::Pose(estimator) => {
                    let options = PoseEvaluationOptions { boxes: None, max_broken };
                    validation_ap = evaluate_poses(estimator, dataset, &options, &mut |_| {})?.scores.ap;
                }
            }
        }
        let counted = cost(&network.model().graph);
        rows.push(Row {
            model: name.clone(),
            file: path.display().to_string(),
            validation_accuracy,
            validation_ap,
            params: counted.params,
            madds: counted.total.total(),
            latency_ms: latency.as_secs_f64() * 1e3,
        });
    }
    Ok(rows)
}

/// Prints the table.
pub fn report(rows: &[Row], files: &[(String, PathBuf)], folder: &Path) -> anyhow::Result<()> {
    let joints = rows.iter().any(|row| row.validation_ap.is_some());
    let score = if joints { "validation AP" } else { "validation accuracy" };
    let mut table = Table::new(&["network", score, "params", "MAdds", "CPU latency", "file"]);
    for row in rows {
        let points = row.validation_ap.map(|ap| format!("{:.1}", 100.0 * ap));
        table.row(vec![
            row.model.clone(),
            row.validation_accuracy.map(percent).or(points).unwrap_or("–".into()),
            thousands(row.params),
            thousands(row.madds),
            format!("{:.3} ms", row.latency_ms),
            row.file.clone(),
        ]);
    }
    let (path, page) = (shell(&files[0].1), folder.join("report.html"));
    let (what, mistakes) = if joints { ("person", "") } else { ("image", " and mistakes") };
    print(&format!(
        "{table}\nLatency: one {what}, one thread, median. Curves{mistakes}: {}. Next: dyconv predict {path} IMAGE…\n",
        page.display()
    ))
}
