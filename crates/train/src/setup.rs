//! From a recipe and a data set to a network: sizes and statistics that depend on the data are decided here.

use std::sync::Arc;

use dyconv_data::{Augment, DataError, Dataset, OpenOptions};
use dyconv_file::Preprocessing;
use dyconv_graph::{Gate, Graph, Init, Shape, Weights, init};
use dyconv_models::{ModelError, Options, build, matches};

use crate::loss::Loss;
use crate::{Recipe, RecipeError};

/// Side in pixels of photographs where the recipe does not say.
const PHOTO_SIDE: usize = 128;
/// Images up to this side get the small stem where the recipe does not say.
pub(crate) const SMALL_SIDE: usize = 64;
/// Share of the resized shorter side that the centre crop keeps where the recipe does not say: 224 of 256.
const CROP_PCT: f64 = 0.875;

/// A network ready to be trained on a data set.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The network.
    pub graph: Graph,
    /// Its first weights.
    pub weights: Weights,
    /// How evaluation reads an image.
    pub preprocessing: Preprocessing,
    /// What training adds.
    pub augment: Augment,
    pub(crate) loss: Loss,
}

/// A recipe that does not fit the data or its own network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// The network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A name that stands for no class or no layer.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

/// Opens the recipe's data set: `digits` or a path.
///
/// # Errors
/// The data set's.
pub fn open(spec: &str, recipe: &Recipe) -> Result<Arc<Dataset>, DataError> {
    let options = OpenOptions { val_fraction: recipe.data.val_fraction, seed: recipe.seed };
    Ok(Arc::new(Dataset::open(spec, &options)?))
}

/// Builds the recipe's network for a data set.
///
/// # Errors
/// When the model is unknown, an option means nothing for it, the images are too small for it, or the recipe names a class
/// or a layer that does not exist.
pub fn setup(recipe: &Recipe, dataset: &Dataset) -> Result<Setup, SetupError> {
    let m = &recipe.model;
    let channels = recipe.data.channels.or(dataset.native_channels()).unwrap_or(3);
    let native = dataset.native_size();
    let size = m.image_size.map(|s| [s, s]).or(native).unwrap_or([PHOTO_SIDE, PHOTO_SIDE]);
    let side = size[0].max(size[1]);
    let (kept, crop_pct) = if native.is_some() { (size[0].min(size[1]), 1.0) } else { (side, CROP_PCT) };
    // Rounded down, but for what a division leaves below a whole number.
    let resize = (kept as f64 / recipe.data.crop_pct.unwrap_or(crop_pct) + 1e-6) as usize;
    let options = Options {
        classes: dataset.classes().len(),
        in_channels: channels,
        image_size: size,
        width: m.width,
        kernels: m.kernels,
        layer_kernels: m.layer_kernels.clone(),
        reduction: m.reduction,
        min_hidden: m.min_hidden,
        gate: m.gate,
        dynamic_parts: m.dynamic_parts,
        dynamic_head: m.dynamic_head,
        dynamic_shortcut: m.dynamic_shortcut,
        small_stem: m.small_stem.unwrap_or(side <= SMALL_SIDE),
        se: m.se,
        dropout: m.dropout,
        ..Options::default()
    };
    let graph = build(&m.name, &options)?;
    if let Shape::Map(_) = graph.output_shape() {
        return Err(
            RecipeError(format!("`model.name`: `{}` is a keypoint network, the data have classes", m.name)).into()
        );
    }
    let weights = init(&graph, Init { seed: recipe.seed, router: m.router_init });
    let mut preprocessing = Preprocessing::usual(channels, size, resize);
    for (own, usual) in [(&recipe.data.mean, &mut preprocessing.mean), (&recipe.data.std, &mut preprocessing.std)] {
        if !own.is_empty() {
            usual.clone_from(own);
        }
    }
    let loss = Loss::new(&recipe.train, dataset.classes())?;
    check_frozen(&recipe.train.freeze, &graph)?;
    Ok(Setup { graph, weights, preprocessing, augment: recipe.augment.augment(), loss })
}

/// Every pattern must freeze something, but not all patterns everything.
fn check_frozen(patterns: &[String], graph: &Graph) -> Result<(), RecipeError> {
    let parameters = graph.parameters();
    let names: Vec<String> = parameters.iter().map(|p| graph.node(p.node).name.clone()).collect();
    if let Some(unused) = patterns.iter().find(|pattern| !names.iter().any(|n| matches(pattern, n))) {
        return Err(RecipeError::unknown("train.freeze", "layer", unused, &names));
    }
    if names.iter().all(|n| patterns.iter().any(|pattern| matches(pattern, n))) {
        return Err(RecipeError("`train.freeze` leaves nothing to train".into()));
    }
    Ok(())
}

/// The recipe of the static twin: the same network without attention; `None` if the recipe's network is static already.
pub fn static_twin(recipe: &Recipe) -> Option<Recipe> {
    let name = dyconv_models::static_twin(&recipe.model.name)?;
    let mut twin = recipe.clone();
    twin.model.name = name;
    twin.model.gate = Gate::Softmax;
    // What only a dynamic network understands.
    twin.model.layer_kernels.clear();
    twin.model.dynamic_head = false;
    twin.model.dynamic_shortcut = false;
    twin.model.dynamic_parts = dyconv_models::DynamicParts::default();
    Some(twin)
}
