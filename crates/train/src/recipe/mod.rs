//! Recipes: short TOML over commented defaults. Every key can be set on the command line; unknown keys are errors.

mod built_in;
mod check;
mod errors;
mod model;
mod resolve;

use std::collections::BTreeMap;

use dyconv_data::RandAugment;
use dyconv_task::Orientation;
use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN, BuiltIn};
pub(crate) use errors::fail;
pub use errors::{RecipeError, RecipeErrorKind};
pub(crate) use model::SMALL_SIDE;
pub use model::{ImageSize, ModelRecipe};
pub use resolve::{FineTuning, toml_value};

/// Everything that decides a training run, but the data and the output folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the split, the first weights, the order of images and their augmentation.
    pub seed: u64,
    /// The network.
    pub model: ModelRecipe,
    /// Reading the data.
    pub data: DataRecipe,
    /// What varies in training images.
    pub augment: AugmentRecipe,
    /// The optimiser and its schedule.
    pub train: TrainRecipe,
    /// The temperature τ of the routers.
    pub temperature: TemperatureRecipe,
}

/// Reading the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Share held out where the data have no split of their own.
    pub val_fraction: f32,
    /// Broken images that are skipped before the run stops.
    pub max_broken: usize,
    /// Whether photographs are turned as their EXIF orientation says.
    pub orientation: Orientation,
    /// Millions of pixels of the largest image that is read.
    pub max_megapixels: f64,
    /// Decoding threads; 0 is one per processor.
    pub threads: usize,
    /// Channels of the network's input, 1 or 3; unset: the data's own, or 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Share of the resized shorter side that evaluation's centre crop keeps; unset: 0.875, or all of images of one known size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// Joints: TOML file that describes a skeleton that is not COCO's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skeleton: Option<String>,
    /// Joints: σ of the Gaussians in the heat maps, in cells.
    pub heatmap_sigma: f64,
    /// Mean per channel on the scale 0 to 1; empty for the usual one.
    pub mean: Vec<f32>,
    /// Deviation per channel on the scale 0 to 1; empty for the usual one.
    pub std: Vec<f32>,
}

impl DataRecipe {
    /// Pixels of the largest image that is read.
    pub fn max_pixels(&self) -> usize {
        (self.max_megapixels * 1e6) as usize
    }
}

/// What varies in training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentRecipe {
    /// Bounds of the random resized crop's area; `[1, 1]` is none.
    pub crop_scale: [f32; 2],
    /// Bounds of its aspect.
    pub crop_ratio: [f32; 2],
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Random shift in pixels.
    pub shift: usize,
    /// RandAugment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Joints: largest turn either way in degrees.
    pub rotate: f32,
    /// Joints: bounds of the factor by which more of the image around a person is shown.
    pub scale: [f32; 2],
    /// Joints: probability that half of the body is shown.
    pub half_body: f32,
    /// Strength of random brightness, contrast, saturation and hue.
    pub color_jitter: [f32; 4],
    /// Probability of random erasing.
    pub random_erasing: f32,
    /// α of mixup; 0 is none.
    pub mixup: f32,
    /// α of CutMix; 0 is none.
    pub cutmix: f32,
}

/// The optimiser, its schedule, the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Parts in which a batch goes through the network, one after another; their gradients are summed.
    pub accumulate: usize,
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Peak of the learning rate.
    pub lr: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Epochs after which a stepwise schedule multiplies the learning rate.
    pub milestones: Vec<f64>,
    /// By what.
    pub gamma: f64,
    /// Momentum of SGD and RMSprop with PyTorch's meaning.
    pub momentum: f64,
    /// Nesterov's form of it (SGD).
    pub nesterov: bool,
    /// β₁ and β₂ of Adam and AdamW.
    pub betas: [f64; 2],
    /// Decay of RMSprop's mean square.
    pub alpha: f64,
    /// What Adam, AdamW and RMSprop add to the root.
    pub eps: f64,
    /// Weight decay: added to the gradient, or by AdamW taken off the weights.
    pub weight_decay: f64,
    /// Whether it includes biases and batch norms.
    pub decay_norm_and_bias: bool,
    /// Largest norm of all gradients together; 0 is no bound.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights that is evaluated and kept; 0 is none.
    pub ema: f64,
    /// Nodes that stay as they are; `*` stands for any characters.
    pub freeze: Vec<String>,
    /// Probability mass spread over all classes.
    pub label_smoothing: f64,
    /// Weight in the loss by class; 1 where none is given.
    pub class_weights: BTreeMap<String, f64>,
    /// Minutes between two checkpoints within an epoch.
    pub checkpoint_minutes: f64,
    /// Iterations between two checkpoints within an epoch; 0: only time counts.
    pub checkpoint_steps: usize,
    /// Iterations between two lines of metrics.
    pub log_steps: usize,
}

/// An update rule, as PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the methods")]
#[non_exhaustive]
pub enum OptimizerKind {
    Sgd,
    Adam,
    Adamw,
    Rmsprop,
}

/// How the learning rate falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// Half a cosine to 0 at the end, per iteration.
    Cosine,
    /// Multiplied by `gamma` at every milestone.
    Step,
    /// In a straight line to 0 at the end, per iteration.
    Linear,
}

/// The temperature τ of the routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemperatureRecipe {
    /// How τ moves.
    pub schedule: TemperatureSchedule,
    /// First τ of a linear schedule.
    pub start: f32,
    /// Last τ; also that of evaluation.
    pub end: f32,
    /// Epochs after which the end is reached.
    pub epochs: f64,
}

/// How τ moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemperatureSchedule {
    /// From start to end over the first epochs, per iteration (the paper: 30 → 1 over 10).
    Linear,
    /// Always `end`.
    Constant,
}
