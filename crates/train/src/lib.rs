//! Training: a recipe, a data set, a network, and a loop that produces a run folder with a model file.
//!
//! A run goes through these types, each made from the ones before it:
//!
//! - [`Recipe`]: everything that determines a run, as layers of TOML over commented defaults;
//! - a [`Dataset`](dyconv_data::Dataset), opened as the recipe says ([`open`]);
//! - [`Setup`]: the network, its first weights and its preprocessing ([`setup`]); [`warm_start`] loads the weights of a
//!   model, whose network may also be its own ([`own_network`]);
//! - [`RunFolder`]: the output folder; it is locked while the run writes to it, and a run that was stopped is resumed
//!   from it;
//! - [`World`]: the processes and devices that share each batch;
//! - [`train`], which reports progress as [`Event`]s and returns [`Trained`].
//!
//! Training from code, here for two epochs on the handwritten digits embedded in the data crate:
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
mod own_network;
mod recipe;
mod record;
mod report;
mod run;
mod schedule;
mod setup;
mod splitmix;
mod warm_start;
mod world;

pub use attention::{AttentionStats, LayerAttentionStats};
pub use checkpoint::Best;
pub use devices::{DeviceKind, devices};
pub use error::{Kept, TrainError};
pub use folder::{Claim, FolderLock, RunFolder};
pub use grid::{Axis, Cell, cells};
pub use inspect::{
    Example, InspectError, InspectOptions, Inspection, Layer, REPLACEMENTS, Replacement, Score, SizeScores, inspect,
};
pub use journal::{Epoch, Step, Timing, Validation, epochs_done};
pub use own_network::own_network;
pub use recipe::{
    AugmentRecipe, BUILT_IN, BuiltIn, DataRecipe, FineTuning, ImageSize, ModelRecipe, OptimizerKind, Recipe,
    RecipeError, RecipeErrorKind, Schedule, TemperatureRecipe, TemperatureSchedule, TrainRecipe, toml_value,
};
pub use record::RunRecord;
pub use run::{Event, Trained, train};
pub use setup::{Setup, SetupError, open, setup, setup_with, static_twin, task};
pub use warm_start::{WarmStart, WarmStartError, warm_start};
pub use world::World;
