//! Training: a recipe, a data set, a network, and a loop that ends in a run folder with a model file.
#![forbid(unsafe_code)]

mod attention;
mod checkpoint;
mod ema;
mod error;
mod evaluate;
mod events;
mod fault;
mod folder;
mod journal;
mod learner;
mod lesson;
mod loss;
mod optimizer;
mod recipe;
mod report;
mod run;
mod schedule;
mod setup;
mod start;
mod world;

pub use attention::{AttentionStats, LayerAttention};
pub use checkpoint::Best;
pub use error::TrainError;
pub use folder::RunFolder;
pub use journal::{Epoch, Step, Timing, Validation};
pub use recipe::{
    AugmentRecipe, BUILT_IN, BuiltIn, DataRecipe, ImageSize, ModelRecipe, OptimizerKind, Recipe, RecipeError, Schedule,
    TemperatureRecipe, TemperatureSchedule, TrainRecipe,
};
pub use run::{Event, Trained, train};
pub use setup::{Setup, SetupError, open, setup, static_twin, task};
pub use start::{StartError, Started, start};
pub use world::World;
