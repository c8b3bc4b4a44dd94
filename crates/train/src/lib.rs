//! Training: a recipe, a data set, a network, and a loop that ends in a run folder with a model file.
#![forbid(unsafe_code)]

mod attention;
mod checkpoint;
mod devices;
mod ema;
mod error;
mod evaluate;
mod events;
mod folder;
mod grid;
mod inspect;
mod journal;
mod learner;
mod loss;
mod non_finite;
mod objective;
mod optimizer;
mod recipe;
mod record;
mod report;
mod run;
mod schedule;
mod setup;
mod warm_start;
mod world;

pub use attention::{AttentionStats, LayerAttention};
pub use checkpoint::Best;
pub use devices::{DeviceKind, devices};
pub use error::{Kept, TrainError};
pub use folder::{Claim, FolderLock, RunFolder};
pub use grid::{Axis, Cell, cells};
pub use inspect::{
    Example, InspectError, InspectOptions, Inspection, Layer, REPLACEMENTS, Replacement, Score, SizeScores, inspect,
};
pub use journal::{Epoch, Step, Timing, Validation, epochs_done};
pub use recipe::{
    AugmentRecipe, BUILT_IN, BuiltIn, DataRecipe, FineTuning, ImageSize, ModelRecipe, OptimizerKind, Recipe,
    RecipeError, RecipeErrorKind, Schedule, TemperatureRecipe, TemperatureSchedule, TrainRecipe, toml_value,
};
pub use record::RunRecord;
pub use run::{Event, Trained, train};
pub use setup::{Setup, SetupError, open, setup, static_twin, task};
pub use warm_start::{WarmStart, WarmStartError, warm_start};
pub use world::World;
