//! Builds a network from a recipe and a data set; sizes and statistics that depend on the data are decided here.

use std::path::Path;
use std::sync::Arc;

use dyconv_data::{DataError, Dataset, HeatMaps, OpenOptions};
use dyconv_graph::words::matches;
use dyconv_graph::{Graph, Init, Shape, Weights, init};
use dyconv_models::{ModelError, build};
use dyconv_nn::Isa;
use dyconv_task::{CropMode, Preprocessing, Skeleton, Task};

use crate::loss::Loss;
use crate::objective::Objective;
use crate::own_network::{Sizes, resized};
use crate::recipe::{DataRecipe, Recipe, RecipeError};

/// Default side of photographs in pixels.
const PHOTO_SIDE: usize = 128;
/// Default height and width of persons in pixels.
const PERSON: [usize; 2] = [256, 192];
/// Default fraction of the resized shorter side that the centre crop keeps: 224 of 256.
const CROP_PCT: f64 = 0.875;

/// A network ready for training on a data set.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The network.
    pub graph: Graph,
    /// Its first weights.
    pub weights: Weights,
    /// How an image is preprocessed for evaluation.
    pub preprocessing: Preprocessing,
    /// The training objective.
    pub(crate) objective: Objective,
}

/// A recipe that does not fit the data or its own network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The environment variable `DYCONV_ISA` names no instruction set of this CPU.
    #[error("DYCONV_ISA: {0}")]
    InstructionSet(String),
    /// The name of a class or layer that does not exist, or a key that does not apply to the data.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A network that predicts classes for data with keypoints, or the other way round.
    #[error("`{model}` answers with {answer}, the data hold {data}; {hint}")]
    Answer {
        /// Name of the network.
        model: String,
        /// What it predicts.
        answer: &'static str,
        /// What the data contain.
        data: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

/// Opens the data set that `spec` names: `digits` or a path.
///
/// # Errors
/// If the data set or the file named by `data.skeleton` cannot be opened, or there is nothing to train on.
pub fn open(spec: &str, recipe: &Recipe) -> Result<Arc<Dataset>, DataError> {
    if Dataset::is_people(spec) {
        let skeleton = recipe.data.skeleton.as_deref().map(read_skeleton).transpose()?;
        return Ok(Arc::new(Dataset::open_people(Path::new(spec), skeleton.as_ref())?));
    }
    let options = OpenOptions { val_fraction: recipe.data.val_fraction, seed: recipe.seed };
    let dataset = Dataset::open(spec, &options)?;
    dataset.check_training(spec)?;
    Ok(Arc::new(dataset))
}

/// Reads the TOML file that describes a skeleton.
fn read_skeleton(path: &str) -> Result<Skeleton, DataError> {
    let wrong = |message: String| DataError { name: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let skeleton: Skeleton = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        wrong(format!("line {line}: {}", e.message().lines().next().unwrap_or_default()))
    })?;
    skeleton.check().map(|()| skeleton).map_err(wrong)
}

/// The task of a network for a data set.
pub fn task(dataset: &Dataset) -> Task {
    match dataset.people() {
        Some(people) => Task::Keypoints(people.skeleton.clone()),
        None => Task::Classification { classes: dataset.classes().to_vec() },
    }
}

/// Builds the recipe's network for a data set.
///
/// # Errors
/// If the model is unknown, an option does not apply to it, the images are too small for it, or it does not predict
/// what the data contain; if the recipe names a class or layer that does not exist, or has a key that does not apply to
/// the data; or if the environment variable `DYCONV_ISA` names no instruction set of this CPU.
pub fn setup(recipe: &Recipe, dataset: &Dataset) -> Result<Setup, SetupError> {
    setup_with(recipe, dataset, None)
}

/// Like [`setup`], but with a network that is given, for the sizes of the data: that of
/// [`own_network`](crate::own_network), for a run that starts from a model.
///
/// # Errors
/// As [`setup`].
pub fn setup_with(recipe: &Recipe, dataset: &Dataset, network: Option<&Graph>) -> Result<Setup, SetupError> {
    Isa::chosen().map_err(SetupError::InstructionSet)?;
    let m = &recipe.model;
    let people = dataset.people();
    recipe.check_use(people.is_some())?;
    let channels = recipe.data.channels.or(dataset.native_channels()).unwrap_or(3);
    let native = dataset.native_size();
    let usual = if people.is_some() { PERSON } else { [PHOTO_SIDE, PHOTO_SIDE] };
    let size = m.image_size.map(crate::recipe::ImageSize::sides).or(native).unwrap_or(usual);
    let side = size[0].max(size[1]);
    let center = recipe.data.crop == CropMode::Center;
    let kept = if native.is_some() && center { size[0].min(size[1]) } else { side };
    let crop_pct = if native.is_some() { 1.0 } else { CROP_PCT };
    // Rounded down, with a tolerance for the rounding error of the division.
    let resize = (kept as f64 / recipe.data.crop_pct.unwrap_or(crop_pct) + 1e-6) as usize;
    let sizes = Sizes {
        channels,
        image: size,
        classes: people.is_none().then(|| dataset.classes().len()),
        joints: people.map(|people| people.skeleton.joints.len()),
    };
    let graph = match network {
        Some(network) => resized(network, sizes)?,
        None => build(&m.name, &sizes.options(m))?,
    };
    let weights = init(&graph, Init { seed: recipe.seed, router: m.router_init });
    let usual = Preprocessing::usual(channels, size, resize);
    let DataRecipe { orientation, interpolation, crop, .. } = recipe.data;
    let mut preprocessing = Preprocessing { orientation, interpolation, crop, ..usual };
    for (own, usual) in [(&recipe.data.mean, &mut preprocessing.mean), (&recipe.data.std, &mut preprocessing.std)] {
        if !own.is_empty() {
            usual.clone_from(own);
        }
    }
    let objective = match (people, graph.output_shape()) {
        (None, Shape::Vector(_)) => {
            Objective::Classes { augment: recipe.augment.augment(), loss: Loss::new(&recipe.train, dataset.classes())? }
        }
        (Some(_), Shape::Map([_, height, width])) => Objective::Keypoints {
            maps: HeatMaps { input: size, map: [height, width] },
            sigma: recipe.data.heatmap_sigma,
            augment: recipe.augment.pose(),
        },
        (people, _) => {
            let [classes, joints] = ["classes", "joints"];
            let (answer, data, hint) = match people {
                Some(_) => (classes, "persons with joints", "name a `pose_` network"),
                None => (joints, "images with classes", "name a network without `pose_`"),
            };
            return Err(SetupError::Answer { model: m.name.clone(), answer, data, hint });
        }
    };
    check_frozen(&recipe.train.freeze, &graph)?;
    Ok(Setup { graph, weights, preprocessing, objective })
}

/// Every pattern must match something, but together they must not freeze everything.
fn check_frozen(patterns: &[String], graph: &Graph) -> Result<(), RecipeError> {
    let parameters = graph.parameters();
    let names: Vec<String> = parameters.iter().map(|p| graph.node(p.node).name.clone()).collect();
    if let Some(unused) = patterns.iter().find(|pattern| !names.iter().any(|n| matches(pattern, n))) {
        return Err(RecipeError::unknown("train.freeze", "layer", unused, &names));
    }
    if names.iter().all(|n| patterns.iter().any(|pattern| matches(pattern, n))) {
        return Err(RecipeError::new("`train.freeze` leaves nothing to train"));
    }
    Ok(())
}

/// The recipe of the static twin, the same network without attention; `None` if the recipe's network is static already.
pub fn static_twin(recipe: &Recipe) -> Option<Recipe> {
    let name = dyconv_models::static_twin(&recipe.model.name)?;
    let mut twin = recipe.clone();
    twin.model.name = name;
    twin.model.options = twin.model.options.static_twin();
    Some(twin)
}
