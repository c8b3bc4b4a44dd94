//! Training: a recipe, a data set, a network, and a loop that ends in a model file.
#![forbid(unsafe_code)]

mod recipe;
mod run;
mod schedule;
mod setup;
mod world;

pub use recipe::{
    AugmentRecipe, DataRecipe, ModelRecipe, Recipe, RecipeError, TemperatureRecipe, TemperatureSchedule, TrainRecipe,
};
pub use run::{Epoch, Event, Step, TrainError, Trained, train};
pub use setup::{Setup, open, setup, static_twin};
pub use world::World;
