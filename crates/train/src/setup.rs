//! From a recipe and a data set to a network: sizes and statistics that depend on the data are decided here.

use std::sync::Arc;

use dyconv_data::{Augment, Crop, DataError, Dataset, OpenOptions};
use dyconv_file::Preprocessing;
use dyconv_graph::{Gate, Graph, Init, Weights, init};
use dyconv_models::{ModelError, Options, build};

use crate::Recipe;

/// Side in pixels of photographs where the recipe does not say.
const PHOTO_SIDE: usize = 128;
/// Images up to this side get the small stem where the recipe does not say.
const SMALL_SIDE: usize = 64;
/// Share of the resized shorter side that the centre crop keeps: 224 of 256.
const CENTRE: (usize, usize) = (256, 224);

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
/// When the model is unknown, an option means nothing for it, or the images are too small for it.
pub fn setup(recipe: &Recipe, dataset: &Dataset) -> Result<Setup, ModelError> {
    let m = &recipe.model;
    let channels = dataset.native_channels().unwrap_or(3);
    let native = dataset.native_size();
    let size = m.image_size.map(|s| [s, s]).or(native).unwrap_or([PHOTO_SIDE, PHOTO_SIDE]);
    let side = size[0].max(size[1]);
    let resize = if native.is_some() { size[0].min(size[1]) } else { size[0].max(size[1]) * CENTRE.0 / CENTRE.1 };
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
    };
    let graph = build(&m.name, &options)?;
    let weights = init(&graph, Init { seed: recipe.seed, router: m.router_init });
    let mut preprocessing = Preprocessing::usual(channels, size, resize);
    for (own, usual) in [(&recipe.data.mean, &mut preprocessing.mean), (&recipe.data.std, &mut preprocessing.std)] {
        if !own.is_empty() {
            usual.clone_from(own);
        }
    }
    let a = &recipe.augment;
    let crop = (a.crop_scale != [1.0, 1.0]).then_some(Crop { scale: a.crop_scale, ratio: a.crop_ratio });
    let augment = Augment { random_resized_crop: crop, flip: a.flip, shift: a.shift, ..Augment::default() };
    Ok(Setup { graph, weights, preprocessing, augment })
}

/// The recipe of the static twin: the same network without attention; `None` if the recipe's network is static already.
pub fn static_twin(recipe: &Recipe) -> Option<Recipe> {
    let name = recipe.model.name.strip_prefix("dy_")?.to_owned();
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
