//! The training objective: how items become inputs with targets, and the loss of predictions against them.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use dyconv_data::{Augment, Batch, Batches, Dataset, HeatMaps, Loader, LoaderOptions, PoseAugment, Split, Transform};
use dyconv_nn::Value;

use crate::loss::{Loss, keypoints};

/// One of the two tasks, with all task-specific settings of the recipe.
#[derive(Debug, Clone)]
pub(crate) enum Objective {
    /// Images with classes; the network predicts logits.
    Classes { augment: Augment, loss: Loss },
    /// Persons with joints; the network predicts heat maps. `sigma` is the σ of their Gaussians, in cells.
    Keypoints { maps: HeatMaps, sigma: f64, augment: PoseAugment },
}

impl Objective {
    /// A pass over the training part, prepared for training.
    pub fn training(
        &self,
        dataset: &Arc<Dataset>,
        transform: &Transform,
        options: &LoaderOptions,
        epoch: usize,
    ) -> Batches {
        match self {
            Self::Classes { augment, .. } => {
                Loader::epoch(dataset, Split::Train, transform, Some(*augment), options, epoch)
            }
            Self::Keypoints { maps, sigma, augment } => {
                Loader::joints(dataset, Split::Train, transform, *maps, *sigma, Some(*augment), options, epoch)
            }
        }
    }

    /// A pass over the validation part, prepared for evaluation.
    pub fn held_out(&self, dataset: &Arc<Dataset>, transform: &Transform, options: &LoaderOptions) -> Batches {
        match self {
            Self::Classes { .. } => Loader::epoch(dataset, Split::Val, transform, None, options, 0),
            Self::Keypoints { maps, sigma, .. } => {
                Loader::joints(dataset, Split::Val, transform, *maps, *sigma, None, options, 0)
            }
        }
    }

    /// The weight of a batch. The loss is divided by its sum over all processes.
    pub fn weight_sum(&self, batch: &Batch) -> f32 {
        match self {
            Self::Classes { loss, .. } => loss.weight_sum(batch),
            Self::Keypoints { .. } => batch.len() as f32,
        }
    }

    /// The contribution of some items to the loss of a batch with this total `weight_sum`, one number.
    ///
    /// # Panics
    /// If the network's output does not fit the task: `setup` checks the network.
    pub fn loss(
        &self,
        answer: Value,
        batch: &Batch,
        items: Range<usize>,
        weight_sum: f64,
        device: &Device,
    ) -> Tensor<1> {
        match (self, answer) {
            (Self::Classes { loss, .. }, Value::Vector(logits)) => {
                loss.forward(logits, batch, items, weight_sum, device)
            }
            (Self::Keypoints { .. }, Value::Map(maps)) => keypoints::forward(maps, batch, items, weight_sum, device),
            _ => unreachable!("the network answers its task"),
        }
    }
}
