//! Warm starts: training that starts from the weights of a model. The model may be the same network, the same with
//! other classes or joints, the static twin of a dynamic network, or a classifier whose backbone a keypoint network
//! shares.

use dyconv_file::Model;
use dyconv_graph::{Gate, Graph, Parameter, Tensor, Weights, bank};
use dyconv_task::Task;

use crate::own_network::last_layer;
use crate::setup::Setup;

/// How the tensors of a new network were initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WarmStart {
    /// Number of tensors copied unchanged.
    pub copied: usize,
    /// Number of banks made from a static kernel.
    pub warmed: usize,
    /// Whether the last layer is new, because the classes or joints differ.
    pub new_classifier: bool,
    /// Number of tensors of a keypoint network that keep their first weights, because a classifier has none for them.
    pub fresh: usize,
    /// Number of tensors of a classifier that a keypoint network does not use.
    pub left: usize,
}

/// A model that cannot initialise the network: names the first tensor that differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarmStartError {
    /// A tensor of a different shape.
    #[error(
        "tensor `{name}` has shape {found:?} in the model, but {expected:?} in the network: give the model's own \
         architecture and options"
    )]
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the model.
        found: Vec<usize>,
        /// Its shape in the network.
        expected: Vec<usize>,
    },
    /// A tensor that is missing in the model.
    #[error(
        "the model has no tensor `{0}`: give its own architecture and options, or, for its dynamic form, `dy_` before it"
    )]
    Missing(String),
    /// A classifier with a different backbone.
    #[error("the model has no tensor in common with the network: name the keypoint network on its backbone")]
    Nothing,
    /// A tensor that is missing in the network.
    #[error("tensor `{0}` of the model has no place in the network: give the model's own architecture and options")]
    Left(String),
}

/// Loads the weights of `model` into a network that was set up for a task.
///
/// If the model is the static twin of a dynamic network, each bank becomes K copies of the static kernel plus seeded
/// differences with mean zero ([`bank`]), and the last layer of each router becomes zero: attention is uniform, and the
/// network computes the same function as the static one. [`dyconv_graph::to_dynamic`] does the same to any graph.
///
/// A keypoint network takes the shared backbone from a classifier and keeps its first weights elsewhere.
///
/// # Errors
/// If a tensor differs; the error names the first.
pub fn warm_start(setup: &mut Setup, model: &Model, task: &Task) -> Result<WarmStart, WarmStartError> {
    let graph = &setup.graph;
    let (routers, last) = (graph.router_nodes(), last_layer(graph));
    let backbone = matches!((&model.task, task), (Task::Classification { .. }, Task::Keypoints(_)));
    let other = match (&model.task, task) {
        (Task::Classification { classes: a }, Task::Classification { classes: b }) => a != b,
        (Task::Keypoints(a), Task::Keypoints(b)) => a.joints != b.joints,
        _ => true,
    };
    let mut warm = WarmStart { new_classifier: other, ..WarmStart::default() };
    let mut left: std::collections::BTreeSet<&String> = model.weights.0.keys().collect();
    let mut weights = Weights::default();
    for parameter in graph.parameters() {
        let Parameter { name, shape, node, .. } = &parameter;
        let fresh = setup.weights.get(name);
        left.remove(name);
        let tensor = match model.weights.0.get(name) {
            _ if *node == last && warm.new_classifier => {
                warm.fresh += usize::from(backbone);
                fresh.clone()
            }
            Some(own) if own.shape == *shape => {
                warm.copied += 1;
                own.clone()
            }
            Some(own)
                if shape
                    .split_first()
                    .is_some_and(|(_, kernel)| is_bank(graph, &parameter) && *kernel == own.shape) =>
            {
                warm.warmed += 1;
                bank(own, fresh, coefficients(graph, &parameter))
            }
            Some(own) => {
                return Err(WarmStartError::Shape {
                    name: name.clone(),
                    found: own.shape.clone(),
                    expected: shape.clone(),
                });
            }
            // A router, which the static twin does not have.
            None if routers[node.index()] && is_warm(graph, &parameter, model) => Tensor::full(shape, 0.0),
            None if routers[node.index()] => fresh.clone(),
            None if backbone => {
                warm.fresh += 1;
                fresh.clone()
            }
            None => return Err(WarmStartError::Missing(name.clone())),
        };
        weights.0.insert(name.clone(), tensor);
    }
    match left.first() {
        Some(name) if !backbone => return Err(WarmStartError::Left((*name).clone())),
        _ if warm.copied + warm.warmed == 0 => return Err(WarmStartError::Nothing),
        _ => warm.left = left.len(),
    }
    setup.weights = weights;
    Ok(warm)
}

fn is_bank(graph: &Graph, parameter: &Parameter) -> bool {
    graph.node(parameter.node).mixture().is_some()
}

/// The sum of a mixture's coefficients if all scores are zero; 1 if they do not come from a known gate.
fn coefficients(graph: &Graph, parameter: &Parameter) -> f32 {
    let mixture = graph.node(parameter.node).mixture();
    let gate = mixture.and_then(|mixture| Gate::of(&graph.node(mixture.attention).op));
    gate.map_or(1.0, |gate| gate.sum_at_zero(parameter.shape[0]))
}

/// Whether this is the last layer of a router before its gate, and the router's bank is made from a kernel of `model`.
fn is_warm(graph: &Graph, parameter: &Parameter, model: &Model) -> bool {
    let readers = graph.readers();
    let gates = readers[parameter.node.index()].iter().filter(|gate| Gate::of(&graph.node(**gate).op).is_some());
    let mut mixed = gates.flat_map(|gate| &readers[gate.index()]).map(|mix| &graph.node(*mix).name);
    mixed.any(|mix| model.weights.0.contains_key(&format!("{mix}.weight")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::recipe::{ImageSize, Recipe};
    use crate::setup::{setup, task};
    use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
    use dyconv_data::{Dataset, OpenOptions};
    use dyconv_file::Provenance;
    use dyconv_models::FAMILIES;
    use dyconv_nn::Network;
    use dyconv_task::Task;

    /// The dynamic network sums K products where the static one has a single one, over up to 50 layers.
    const SAME: f32 = 1e-4;

    fn digits() -> Arc<Dataset> {
        Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap())
    }

    fn recipe(name: &str, settings: &[(&str, &str)]) -> Recipe {
        let own = [("model.name", name), ("model.image_size", "32"), ("temperature.start", "30.0")];
        let pairs = own.iter().chain(settings).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Recipe::resolve(None, None, &pairs.collect::<Vec<_>>()).unwrap()
    }

    /// A model that looks trained: every weight changed, and statistics that differ from those of a new batch norm.
    fn model(recipe: &Recipe, classes: &[String]) -> Model {
        let made = setup(recipe, &digits()).unwrap();
        let mut state = 7u32;
        let mut weights = made.weights;
        for (name, tensor) in &mut weights.0 {
            for value in &mut tensor.data {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let r = state as f32 / u32::MAX as f32 - 0.5;
                *value = if name.ends_with("running_var") { 1.0 + r } else { *value + 0.1 * r };
            }
        }
        Model {
            graph: made.graph,
            weights,
            tau: 1.0,
            preprocessing: made.preprocessing,
            task: Task::Classification { classes: classes.to_vec() },
            provenance: Provenance {
                producer: "test".into(),
                model: recipe.model.name.clone(),
                recipe: recipe.to_toml(),
                data: None,
            },
        }
    }

    fn logits(graph: &Graph, weights: &Weights, tau: f32) -> Vec<f32> {
        let device = Device::flex();
        let [c, h, w] = graph.input_dims();
        let pixels: Vec<f32> = (0..2 * c * h * w).map(|i| ((i * 7919 % 256) as f32 - 128.0) / 64.0).collect();
        let x = BurnTensor::<4>::from_data(TensorData::new(pixels, [2, c, h, w]), &device);
        Network::new(graph, weights, tau, &device).unwrap().forward(x).into_vec()
    }

    #[test]
    fn a_dynamic_network_begins_as_its_static_twin_does_in_every_family() {
        let data = digits();
        for family in FAMILIES {
            let width = if family.name.len() < 4 { "1.0" } else { "0.25" };
            for gate in ["softmax", "sigmoid"] {
                let settings = [("model.width", width), ("model.gate", gate)];
                let twin = model(&recipe(family.name, &[("model.width", width)]), data.classes());
                let mut made = setup(&recipe(&format!("dy_{}", family.name), &settings), &data).unwrap();
                let warm = warm_start(&mut made, &twin, &task(&data)).unwrap();
                let layers = made.graph.dynamic_layers();
                assert_eq!((warm.warmed, warm.new_classifier), (layers, false), "{}", family.name);
                let expected = logits(&twin.graph, &twin.weights, 1.0);
                let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for tau in [30.0, 1.0] {
                    let found = logits(&made.graph, &made.weights, tau);
                    let error = found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
                    assert!(error < SAME, "{} with {gate}: {error:e} of the largest logit", family.name);
                }
                // The kernels differ; otherwise a router could not learn.
                let bank = made.graph.parameters().into_iter().find(|p| is_bank(&made.graph, p)).unwrap();
                let kernels = &made.weights.get(&bank.name).data;
                let one = kernels.len() / bank.shape[0];
                assert_ne!(kernels[..one], kernels[one..2 * one], "{}", bank.name);
            }
        }
    }

    #[test]
    fn other_classes_get_a_new_classifier_and_nothing_else() {
        let data = digits();
        let recipe = recipe("dy_resnet10_x0_125", &[]);
        let mut old = model(&recipe, data.classes());
        let mut made = setup(&recipe, &data).unwrap();
        assert_eq!(warm_start(&mut made, &old, &task(&data)).unwrap().copied, old.weights.0.len());
        assert_eq!(made.weights, old.weights);

        let mut made = setup(&recipe, &data).unwrap();
        let fresh = made.weights.clone();
        old.task = Task::Classification { classes: vec!["cat".into(), "dog".into()] };
        for (name, shape) in [("classifier.weight", vec![2, 64]), ("classifier.bias", vec![2])] {
            old.weights.0.insert(name.into(), Tensor::full(&shape, 9.0));
        }
        let warm = warm_start(&mut made, &old, &task(&data)).unwrap();
        assert_eq!(warm, WarmStart { copied: old.weights.0.len() - 2, new_classifier: true, ..WarmStart::default() });
        for (name, tensor) in &made.weights.0 {
            let expected = if name.starts_with("classifier.") { fresh.get(name) } else { old.weights.get(name) };
            assert_eq!(tensor, expected, "{name}");
        }
    }

    #[test]
    fn the_first_tensor_that_differs_is_named() {
        let data = digits();
        let says = |from: &str, to: &str, settings: &[(&str, &str)], expected: &str| {
            let old = model(&recipe(from, &[]), data.classes());
            let mut made = setup(&recipe(to, settings), &data).unwrap();
            let error = warm_start(&mut made, &old, &task(&data)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        says("resnet10_x0_125", "resnet10_x0_25", &[], "tensor `stem.weight` has shape [8, 1, 3, 3] in the model");
        says("dy_resnet10_x0_125", "resnet10_x0_125", &[], "has shape [4, 8, 8, 3, 3] in the model");
        says(
            "dy_resnet10_x0_125",
            "dy_resnet10_x0_125",
            &[("model.kernels", "2")],
            "`layer1.0.conv1.router.fc2.weight`",
        );
        says("resnet10_x0_125", "resnet18_x0_125", &[], "the model has no tensor `layer1.1.conv1.weight`");
        says("resnet18_x0_125", "resnet10_x0_125", &[], "tensor `layer1.1.");
    }

    #[test]
    fn a_recipe_starts_from_the_model_s_network() {
        let old = model(&recipe("dy_resnet10_x0_125", &[("model.min_hidden", "3"), ("data.mean", "[0.3]")]), &[]);
        let set = [("model.name".to_owned(), "dy_resnet18_x0_125".to_owned())];
        let made = Recipe::resolve_from(&old, Some("finetune"), None, &set).unwrap();
        assert_eq!((made.model.name.as_str(), made.model.options.min_hidden), ("dy_resnet18_x0_125", 3));
        assert_eq!((made.model.image_size, made.model.small_stem), (Some(ImageSize::Side(32)), Some(true)));
        assert_eq!((made.data.mean[0], made.data.channels, made.train.epochs), (0.3, Some(1), 15));
    }
}
