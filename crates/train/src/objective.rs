//! What a network is taught: how items become inputs with targets, and how far its answers are from these.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use dyconv_data::{Augment, Batch, Batches, Dataset, HeatMaps, Loader, LoaderOptions, PoseAugment, Split, Transform};
use dyconv_nn::Value;

use crate::loss::{Loss, keypoints};

/// One of the two tasks, with everything of the recipe that only it knows.
#[derive(Debug, Clone)]
pub(crate) enum Objective {
    /// Images with classes; the network answers with logits.
    Classes { augment: Augment, loss: Loss },
    /// Persons with joints; the network answers with heat maps. `sigma` is that of their Gaussians, in cells.
    Keypoints { maps: HeatMaps, sigma: f64, augment: PoseAugment },
}

impl Objective {
    /// A pass over the training part, as training sees it.
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

    /// A pass over the held-out part, as evaluation sees it.
    pub fn held_out(&self, dataset: &Arc<Dataset>, transform: &Transform, options: &LoaderOptions) -> Batches {
        match self {
            Self::Classes { .. } => Loader::epoch(dataset, Split::Val, transform, None, options, 0),
            Self::Keypoints { maps, sigma, .. } => {
                Loader::joints(dataset, Split::Val, transform, *maps, *sigma, None, options, 0)
            }
        }
    }

    /// What a batch weighs: by the sum over all processes its loss is divided.
    pub fn weight_sum(&self, batch: &Batch) -> f32 {
        match self {
            Self::Classes { loss, .. } => loss.weight_sum(batch),
            Self::Keypoints { .. } => batch.len() as f32,
        }
    }

    /// The share that some items of a batch have in the loss of a batch of so much `weight_sum`, one number.
    ///
    /// # Panics
    /// When the answer is not of the task: `setup` checks the network.
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
