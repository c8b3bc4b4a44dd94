//! Recipes: short TOML over commented defaults. Every key can be set alone; unknown keys are errors.

mod built_in;
mod check;
mod errors;
mod model;
mod resolve;

use std::collections::BTreeMap;

use dyconv_data::RandAugment;
use dyconv_task::{CropMode, Interpolation, Orientation};
use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN, BuiltIn};
pub(crate) use errors::fail;
pub use errors::{RecipeError, RecipeErrorKind};
pub(crate) use model::SMALL_SIDE;
pub use model::{ImageSize, ModelRecipe};
pub use resolve::{FineTuning, toml_value};

/// Everything that determines a training run, except the data and the output folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the split, the first weights, the order of images and their augmentation.
    pub seed: u64,
    /// The network.
    pub model: ModelRecipe,
    /// How the data are read.
    pub data: DataRecipe,
    /// Augmentation of training images.
    pub augment: AugmentRecipe,
    /// The optimiser and its schedule.
    pub train: TrainRecipe,
    /// The temperature τ of the routers.
    pub temperature: TemperatureRecipe,
}

/// How the data are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Fraction held out for validation if the data have no split of their own.
    pub val_fraction: f32,
    /// Number of broken images that are skipped before the run stops.
    pub max_broken: usize,
    /// Whether the EXIF orientation of photographs is applied.
    pub orientation: Orientation,
    /// Largest image that is read, in millions of pixels.
    pub max_megapixels: f64,
    /// Number of decoding threads; 0 means one per processor.
    pub threads: usize,
    /// Channels of the network's input, 1 or 3; unset: those of the data, or 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Images with classes: the filter by which they are resized, in training and evaluation.
    pub interpolation: Interpolation,
    /// Images with classes: how evaluation brings their aspect ratio to that of the input.
    pub crop: CropMode,
    /// Fraction of the resized side that the crop of evaluation keeps; unset: 0.875, or 1 if all images have one known
    /// size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// Keypoints: TOML file that describes a skeleton other than COCO's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skeleton: Option<String>,
    /// Keypoints: σ of the Gaussians in the heat maps, in cells.
    pub heatmap_sigma: f64,
    /// Mean per channel on the scale 0 to 1; empty for the usual mean.
    pub mean: Vec<f32>,
    /// Standard deviation per channel on the scale 0 to 1; empty for the usual one.
    pub std: Vec<f32>,
}

impl DataRecipe {
    /// Largest image that is read, in pixels.
    pub fn max_pixels(&self) -> usize {
        (self.max_megapixels * 1e6) as usize
    }
}

/// Augmentation of training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentRecipe {
    /// Bounds of the random resized crop's area, as fractions of the image; `[1, 1]` disables it.
    pub crop_scale: [f32; 2],
    /// Bounds of its aspect ratio.
    pub crop_ratio: [f32; 2],
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Largest random shift in pixels.
    pub shift: usize,
    /// RandAugment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Keypoints: largest rotation in either direction, in degrees.
    pub rotate: f32,
    /// Keypoints: bounds of the factor by which more of the image around a person is shown.
    pub scale: [f32; 2],
    /// Keypoints: probability that only half of the body is shown.
    pub half_body: f32,
    /// Strength of random brightness, contrast, saturation and hue.
    pub color_jitter: [f32; 4],
    /// Probability of random erasing.
    pub random_erasing: f32,
    /// α of mixup; 0 disables it.
    pub mixup: f32,
    /// α of CutMix; 0 disables it.
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
    /// Number of pieces in which a batch goes through the network, one after another; their gradients are summed.
    pub accumulate: usize,
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Epochs at which a stepwise schedule multiplies the learning rate by `gamma`.
    pub milestones: Vec<f64>,
    /// Factor of a stepwise schedule.
    pub gamma: f64,
    /// Momentum of SGD and RMSprop, with PyTorch's semantics.
    pub momentum: f64,
    /// Whether momentum is Nesterov's (SGD).
    pub nesterov: bool,
    /// β₁ and β₂ of Adam and AdamW.
    pub betas: [f64; 2],
    /// Decay of RMSprop's running mean square.
    pub alpha: f64,
    /// Term that Adam, AdamW and RMSprop add to the root.
    pub eps: f64,
    /// Weight decay: added to the gradient, or with AdamW subtracted from the weights.
    pub weight_decay: f64,
    /// Whether weight decay includes biases and batch norms.
    pub decay_norm_and_bias: bool,
    /// Largest norm of all gradients together; 0 disables clipping.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights that is evaluated and saved; 0 disables it.
    pub ema: f64,
    /// Nodes whose weights are frozen; `*` matches any characters.
    pub freeze: Vec<String>,
    /// Label smoothing: probability mass spread over all classes.
    pub label_smoothing: f64,
    /// Loss weight by class; 1 for classes that are not listed.
    pub class_weights: BTreeMap<String, f64>,
    /// Minutes between two checkpoints within an epoch.
    pub checkpoint_minutes: f64,
    /// Iterations between two checkpoints within an epoch; 0: only `checkpoint_minutes` applies.
    pub checkpoint_steps: usize,
    /// Iterations between two lines of metrics.
    pub log_steps: usize,
}

/// An update rule, with PyTorch's semantics.
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

/// How the learning rate decays after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// Half a cosine down to 0 at the end, per iteration.
    Cosine,
    /// Multiplied by `gamma` at every milestone.
    Step,
    /// Linearly to 0 at the end, per iteration.
    Linear,
}

/// The temperature τ of the routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemperatureRecipe {
    /// The schedule of τ.
    pub schedule: TemperatureSchedule,
    /// Initial τ of a linear schedule.
    pub start: f32,
    /// Final τ, also used for evaluation.
    pub end: f32,
    /// Number of epochs after which the end is reached.
    pub epochs: f64,
}

/// The schedule of τ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemperatureSchedule {
    /// From start to end over the first epochs, per iteration (the paper: 30 → 1 over 10).
    Linear,
    /// Always `end`.
    Constant,
}
