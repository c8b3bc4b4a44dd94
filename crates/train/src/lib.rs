//! Training: a recipe, a data set, a network, and a loop that ends in a run folder with a model file.
#![forbid(unsafe_code)]

mod checkpoint;
mod error;
mod evaluate;
mod events;
mod fault;
mod folder;
mod journal;
mod optimizer;
mod recipe;
mod report;
mod run;
mod schedule;
mod setup;
mod world;

pub use checkpoint::Best;
pub use error::TrainError;
pub use folder::RunFolder;
pub use journal::{Epoch, Step, Timing};
pub use recipe::{
    AugmentRecipe, DataRecipe, ModelRecipe, Recipe, RecipeError, TemperatureRecipe, TemperatureSchedule, TrainRecipe,
};
pub use run::{Event, Trained, train};
pub use setup::{Setup, open, setup, static_twin};
pub use world::World;
