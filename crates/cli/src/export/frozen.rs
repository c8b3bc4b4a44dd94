//! Attention that is fixed at its mean over a data set, and what that costs in accuracy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{bail, ensure};
use dyconv_convert::MeanAttention;
use dyconv_data::{Dataset, HeatMaps, Loader, LoaderOptions, Split, Transform};
use dyconv_engine::{Plan, Session};
use dyconv_file::Model;
use dyconv_graph::{Mixture, Shape};
use dyconv_predict::{
    EvaluationOptions, ModelOptions, PoseEvaluationOptions, Predictor, evaluate, evaluate_poses, match_classes,
};
use serde::Serialize;

use super::args::Args;
use crate::held_out::{self, HeldOut};
use crate::output::{note, skipped, thousands, threads, with_bar};

/// Images per batch.
const BATCH: usize = 8;
/// Width of the heat maps that the loader draws, in cells; only its images are used.
const SIGMA: f64 = 2.0;

/// The images over which attention is averaged and networks are scored.
pub struct Images {
    dataset: Arc<Dataset>,
    split: Split,
    max_broken: usize,
    max_pixels: usize,
    /// Number of images (or persons).
    pub count: usize,
    /// Description for the report.
    pub what: String,
}

/// Accuracy of both networks.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case", tag = "metric")]
pub enum Scores {
    /// Of classifiers: the fraction of images.
    Top1 { dynamic: f64, frozen: f64 },
    /// Of keypoint networks: the average precision, `None` if nobody is annotated.
    AveragePrecision { dynamic: Option<f64>, frozen: Option<f64> },
}

impl Images {
    /// Opens the data set that `--data` names.
    pub fn open(args: &Args, data: &str, model: &Model) -> anyhow::Result<Self> {
        let (max_broken, max_pixels) = (args.max_broken, args.max_pixels);
        let images = |dataset: Arc<Dataset>, split, what: String| {
            let count = dataset.len(split);
            note(format_args!("{data}: {}; attention and scores over {what}", dataset.describe()));
            Self { dataset, split, max_broken, max_pixels, count, what }
        };
        let Some(skeleton) = model.skeleton() else {
            let HeldOut { dataset, split, what, warnings } = held_out::open(&args.model, model, data, None)?;
            match_classes(model.classes(), &dataset)?;
            dataset.left_out_note().into_iter().for_each(note);
            warnings.iter().for_each(|text| note(format_args!("warning: {text}")));
            return Ok(images(dataset, split, what));
        };
        if !Dataset::is_people(data) {
            bail!(
                "{data}: the attention of a keypoint network is averaged over COCO keypoints: expected a folder with \
                 annotations/person_keypoints_val2017.json"
            );
        }
        let dataset = Dataset::open_people(Path::new(data), Some(skeleton))?;
        Ok(images(Arc::new(dataset), Split::Val, "the held-out part".into()))
    }

    /// The mean attention of every dynamic layer over the images.
    pub fn mean_attention(&self, model: &Model) -> anyhow::Result<MeanAttention> {
        // Layers may share the node that computes their attention.
        let source = |mix: Mixture| model.graph.node(mix.attention).name.as_str();
        let mut sums: BTreeMap<&str, Vec<f64>> = model.graph.mixtures().map(|(_, mix)| (source(mix), vec![])).collect();
        let plan = Plan::new(&model.graph, &model.weights, model.tau)?;
        let mut session = Session::try_with_threads(plan, threads(None))?;
        let transform = Transform::new(model.preprocessing.clone())?.with_max_pixels(self.max_pixels);
        let options = LoaderOptions {
            batch: BATCH,
            threads: threads(None),
            max_broken: self.max_broken,
            shuffle: false,
            drop_last: false,
            ..LoaderOptions::default()
        };
        let mut batches = match model.graph.output_shape() {
            Shape::Vector(_) => Loader::epoch(&self.dataset, self.split, &transform, None, &options, 0),
            Shape::Map([_, height, width]) => {
                let maps = HeatMaps { input: model.preprocessing.image_size, map: [height, width] };
                Loader::joints(&self.dataset, self.split, &transform, maps, SIGMA, None, &options, 0)
            }
        };
        let mut seen = 0usize;
        with_bar(self.count, "{bar:40} {pos}/{len} images, {per_sec}, {eta} left", |progress| {
            for batch in &mut batches {
                let batch = batch?;
                session.run_all(&batch.images, batch.len(), &mut |name, _, values| {
                    if let Some(sum) = sums.get_mut(name) {
                        let kernels = values.len() / batch.len().max(1);
                        sum.resize(kernels, 0.0);
                        for row in values.chunks_exact(kernels.max(1)) {
                            sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
                        }
                    }
                })?;
                seen += batch.len();
                progress(seen);
            }
            anyhow::Ok(())
        })?;
        skipped(batches.broken());
        ensure!(seen > 0, "no image could be read, so there is no attention to average");
        let mean = |sum: &Vec<f64>| sum.iter().map(|v| (v / seen as f64) as f32).collect::<Vec<_>>();
        Ok(model.graph.mixtures().map(|(layer, mix)| (layer.name.clone(), mean(&sums[source(mix)]))).collect())
    }

    /// Scores both networks on the images.
    pub fn scores(&self, dynamic: &Model, frozen: Model) -> anyhow::Result<Scores> {
        let open = |model: Model| ModelOptions::new().threads(threads(None)).max_pixels(self.max_pixels).compile(model);
        match (open(dynamic.clone())?, open(frozen)?) {
            (Predictor::Classifier(a), Predictor::Classifier(b)) => {
                let options = EvaluationOptions { split: self.split, batch: BATCH, max_broken: self.max_broken };
                let top1 = |classifier| {
                    with_bar(self.count, "{bar:40} {pos}/{len} images, {per_sec}, {eta} left", |progress| {
                        evaluate(classifier, &self.dataset, &options, progress).map(|evaluation| evaluation.top1)
                    })
                };
                Ok(Scores::Top1 { dynamic: top1(&a)?, frozen: top1(&b)? })
            }
            (Predictor::Pose(a), Predictor::Pose(b)) => {
                let options = PoseEvaluationOptions { boxes: None, max_broken: self.max_broken };
                let precision = |estimator| {
                    with_bar(self.count, "{bar:40} {pos}/{len} boxes, {per_sec}, {eta} left", |progress| {
                        evaluate_poses(estimator, &self.dataset, &options, progress)
                            .map(|evaluation| evaluation.scores.stats()[0].1)
                    })
                };
                Ok(Scores::AveragePrecision { dynamic: precision(&a)?, frozen: precision(&b)? })
            }
            _ => bail!("the frozen network has another task than the dynamic one"),
        }
    }
}

impl std::fmt::Display for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} images)", self.what, thousands(self.count as u64))
    }
}
