//! The content of a run folder, read without locking it.

use std::path::{Path, PathBuf};

use crate::error::TrainError;
use crate::folder::{Data, read, recipe_difference};
use crate::journal::Epoch;
use crate::journal::read_epochs;
use crate::recipe::Recipe;

/// A run as recorded in its folder: finished, stopped, or training in another process.
#[derive(Debug)]
pub struct RunRecord {
    path: PathBuf,
    recipe: Recipe,
    data: Data,
    epochs: Vec<Epoch>,
}

impl RunRecord {
    /// Reads the folder of a run. Nothing in it is changed.
    ///
    /// # Errors
    /// If it holds no run, or its files are damaged.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let (recipe, data) = read(path)?;
        Ok(Self { path: path.to_owned(), recipe, data, epochs: read_epochs(path)? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The completed epochs.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// Whether all epochs of the recipe are completed.
    pub fn is_finished(&self) -> bool {
        self.epochs.len() >= self.recipe.train.epochs
    }

    /// Whether the run trains a keypoint network, which is scored by AP, rather than a classifier.
    pub fn of_keypoints(&self) -> bool {
        self.data.of_keypoints()
    }

    /// Whether both were trained and scored on the same items with the same labels, wherever the data are stored.
    pub fn has_data_of(&self, other: &Self) -> bool {
        self.data.difference(&other.data).is_none()
    }

    /// The first dotted key, except the seed, in which the recipes differ, with the value of this run and of the other.
    pub fn recipe_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let other = Recipe { seed: self.recipe.seed, ..other.recipe.clone() };
        recipe_difference(&self.recipe, &other)
    }
}
