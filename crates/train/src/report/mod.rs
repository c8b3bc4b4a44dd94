//! `report.html`: a self-contained page about a run.

use std::fmt::Write;
use std::sync::Arc;

use dyconv_data::{Dataset, Split};
use dyconv_file::write_atomically;
use dyconv_graph::Graph;
use dyconv_task::Orientation;

use crate::attention::AttentionStats;
use crate::error::TrainError;
use crate::evaluate::{ClassScores, Evaluation, KeypointSummary, Scores};
use crate::files::{EVALUATION, REPORT};
use crate::folder::RunFolder;
use crate::journal::Epoch;

pub(crate) mod bars;
pub(crate) mod chart;
pub(crate) mod heat;
pub(crate) mod html;
pub(crate) mod picture;

use chart::{Curve, chart};
use html::{escape, head};

/// The whole matrix is shown up to this many classes.
const WHOLE_MATRIX: usize = 40;
/// Number of confusions that are listed if the matrix is too large.
const LISTED: usize = 40;

/// Writes the report from the files in the folder.
pub(crate) fn write(
    folder: &RunFolder,
    dataset: &Arc<Dataset>,
    epochs: &[Epoch],
    graph: &Graph,
) -> Result<(), TrainError> {
    let path = folder.file(REPORT);
    let page = page(folder, dataset, epochs, graph);
    write_atomically(&path, page.as_bytes()).map_err(|e| TrainError::write(&path, e))
}

fn page(folder: &RunFolder, dataset: &Arc<Dataset>, epochs: &[Epoch], graph: &Graph) -> String {
    let recipe = folder.recipe();
    let mut page = head(&recipe.model.name);
    let done = epochs.last().map_or(0, |e| e.epoch);
    let _ = write!(
        page,
        "<p>{}: {}<br>{done} of {} epochs",
        escape(folder.data()),
        escape(&dataset.describe()),
        recipe.train.epochs
    );
    let evaluation = Evaluation::read(&folder.file(EVALUATION));
    if let Some(e) = &evaluation {
        let best = match &e.scores {
            Scores::Classes(scores) => match scores.accuracy {
                Some(share) => format!("{:.2} % of the held-out images", 100.0 * share),
                None => "not defined: no held-out image could be read".to_owned(),
            },
            Scores::Keypoints(scores) => format!("an AP of {} on the held-out persons", points(scores.ap)),
        };
        let _ = write!(page, "; best: {best} after epoch {}", e.epoch);
    }
    page.push_str("</p>\n<div class=\"row\">\n");
    let curve = |name: &str, values: Vec<Option<f64>>| Curve { name: name.to_owned(), values };
    let of = |value: fn(&Epoch) -> f64| epochs.iter().map(|e| Some(value(e))).collect::<Vec<_>>();
    page.push_str(&chart("Loss (training)", &[curve("loss", of(|e| f64::from(e.loss)))]));
    let measured = |value: fn(&Epoch) -> Option<f64>| {
        let values: Vec<_> = epochs.iter().map(value).collect();
        values.iter().any(Option::is_some).then_some(values)
    };
    if let Some(values) = measured(|e| e.validation.accuracy.map(|a| 100.0 * a)) {
        page.push_str(&chart("Accuracy (held-out), %", &[curve("accuracy", values)]));
    }
    if let Some(values) = measured(|e| e.validation.ap.map(|a| 100.0 * a)) {
        page.push_str(&chart("AP (held-out), points", &[curve("AP", values)]));
    }
    if let Some(values) = measured(|e| e.validation.val_loss) {
        page.push_str(&chart("Loss (held-out)", &[curve("loss", values)]));
    }
    page.push_str(&chart("Learning rate at the end of the epoch", &[curve("lr", of(|e| e.lr))]));
    if graph.dynamic_layers() > 0 {
        page.push_str(&chart("Temperature τ", &[curve("τ", of(|e| f64::from(e.tau)))]));
        page.push_str(&chart("Attention entropy of the layers (held-out), share of ln K", &entropies(epochs)));
    }
    page.push_str("</div>\n");
    if let Some(Evaluation { epoch, scores, .. }) = &evaluation {
        match scores {
            Scores::Classes(scores) => {
                confusions(&mut page, *epoch, scores);
                mistakes(&mut page, scores, dataset, recipe.data.orientation);
            }
            Scores::Keypoints(scores) => precision(&mut page, *epoch, scores),
        }
    }
    let _ = write!(page, "<h2>Recipe</h2>\n<pre>{}</pre>\n</html>\n", escape(&recipe.to_toml()));
    page
}

/// Lowest, mean and highest entropy over layers.
fn entropies(epochs: &[Epoch]) -> Vec<Curve> {
    let of = |name: &str, value: fn(&AttentionStats) -> f64| Curve {
        name: name.to_owned(),
        values: epochs.iter().map(|e| e.attention.as_ref().map(value)).collect(),
    };
    vec![
        of("lowest", |a| a.layers.iter().map(|l| l.entropy).fold(1.0, f64::min)),
        of("mean", AttentionStats::entropy),
        of("highest", |a| a.layers.iter().map(|l| l.entropy).fold(0.0, f64::max)),
    ]
}

/// A fraction as a percentage, 0 to 100.
fn points(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share))
}

/// COCO's numbers.
fn precision(page: &mut String, epoch: usize, scores: &KeypointSummary) {
    let _ = write!(
        page,
        "<h2>Scores after epoch {epoch}, on {} held-out persons in their own boxes</h2>\n<table><tr>",
        scores.persons
    );
    for (name, _) in &scores.scores {
        let _ = write!(page, "<th>{}", escape(name));
    }
    page.push_str("</tr>\n<tr>");
    for (_, value) in &scores.scores {
        let _ = write!(page, "<td>{}", points(*value));
    }
    page.push_str("</tr></table>\n");
}

fn confusions(page: &mut String, epoch: usize, evaluation: &ClassScores) {
    let classes = &evaluation.classes;
    let _ = writeln!(page, "<h2>Confusions after epoch {epoch}</h2>");
    if classes.len() > WHOLE_MATRIX {
        let mut worst: Vec<_> = evaluation.confusion.iter().filter(|(l, a, _)| l != a).collect();
        worst.sort_by_key(|(l, a, n)| (std::cmp::Reverse(*n), *l, *a));
        page.push_str("<table><tr><th>label<th>answer<th>images</tr>\n");
        for (label, answer, n) in worst.into_iter().take(LISTED) {
            let _ = writeln!(page, "<tr><td>{}<td>{}<td>{n}</tr>", escape(&classes[*label]), escape(&classes[*answer]));
        }
        page.push_str("</table>\n");
        return;
    }
    let mut counts = vec![0; classes.len() * classes.len()];
    for (label, answer, n) in &evaluation.confusion {
        if let Some(cell) = counts.get_mut(label * classes.len() + answer) {
            *cell = *n;
        }
    }
    page.push_str("<table class=\"matrix\"><tr><th>label \\ answer");
    for class in classes {
        let _ = write!(page, "<th>{}", escape(class));
    }
    page.push_str("</tr>\n");
    for (label, row) in counts.chunks_exact(classes.len()).enumerate() {
        let _ = write!(page, "<tr><th>{}", escape(&classes[label]));
        let all = row.iter().sum::<u64>().max(1) as f64;
        for (answer, n) in row.iter().enumerate() {
            let colour = if answer == label { "40,120,200" } else { "210,60,40" };
            let _ = write!(page, "<td style=\"background:rgba({colour},{:.2})\">{n}", *n as f64 / all);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn mistakes(page: &mut String, evaluation: &ClassScores, dataset: &Dataset, orientation: Orientation) {
    if evaluation.mistakes.is_empty() {
        return;
    }
    page.push_str("<h2>Surest mistakes</h2>\n<div class=\"row\">\n");
    for m in &evaluation.mistakes {
        let [label, answer] = [m.label, m.answer].map(|c| escape(evaluation.classes.get(c).map_or("", String::as_str)));
        let picture = picture::data_uri(dataset, Split::Val, m.index, orientation).unwrap_or_default();
        let _ = writeln!(
            page,
            "<figure><img alt=\"{0}\" title=\"{0}\" src=\"{picture}\"><figcaption>{label}, taken for<br>{answer} ({1:.0} %)</figcaption></figure>",
            escape(&m.image),
            100.0 * m.probability
        );
    }
    page.push_str("</div>\n");
}
