//! Training: a recipe, a data set, a network, and a loop that ends in a run folder with a model file.
//!
//! A run goes through these types, each made from those before it:
//!
//! - [`Recipe`]: everything that decides a run, layers of TOML over commented defaults;
//! - a [`Dataset`](dyconv_data::Dataset), opened as the recipe says ([`open`]);
//! - [`Setup`]: the network, its first weights and how it reads images ([`setup`]); [`warm_start`] puts the weights of a model in;
//! - [`RunFolder`]: where the run writes; nobody else may write there meanwhile, and a run that was stopped is resumed from it;
//! - [`World`]: the processes and devices that share each batch;
//! - [`train`], which reports what happens as [`Event`]s and returns what was [`Trained`].
//!
//! Training from code, here for a few steps on handwritten digits that the crate contains:
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use dyconv_train::{Event, Recipe, RunFolder, World, open, setup, train};
//!
//! let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
//! let settings = [set("model.name", "dy_resnet10_x0_125"), set("train.epochs", "2")];
//! let recipe = Recipe::resolve(Some("digits"), None, &settings)?;
//! let dataset = open("digits", &recipe)?;
//! let setup = setup(&recipe, &dataset)?;
//! let folder = RunFolder::create("runs/digits".as_ref(), &recipe, "digits", &dataset, false)?;
//! // Whoever sets it stops the run after the iteration; `RunFolder::open` resumes it.
//! let stop = AtomicBool::new(false);
//! let trained = train(&recipe, Some(&folder), &dataset, &setup, &World::alone(), &stop, &mut |event| {
//!     if let Event::Epoch(epoch) = event {
//!         println!("epoch {}: loss {:.3}", epoch.epoch, epoch.loss);
//!     }
//! })?;
//! println!("{} holds the network of epoch {}", folder.model().display(), trained.best.epoch);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod attention;
mod checkpoint;
mod devices;
mod ema;
mod error;
mod evaluate;
mod events;
mod files;
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
mod splitmix;
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
