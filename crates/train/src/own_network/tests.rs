//! Fine-tunes networks that are no architecture of ours.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dyconv_data::{Dataset, OpenOptions};
use dyconv_file::{Model, Provenance};
use dyconv_graph::{Activation, AvgPool2d, Builder, Conv2d, Graph, Init, Linear, Op, Pool2d, Router, init, to_dynamic};
use dyconv_task::{CropMode, Interpolation, Preprocessing, Task};

use super::*;
use crate::folder::{Claim, RunFolder};
use crate::recipe::TemperatureSchedule;
use crate::run::{Trained, train};
use crate::setup::{Setup, setup, setup_with, task};
use crate::warm_start::warm_start;
use crate::world::World;

fn digits() -> Arc<Dataset> {
    Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap())
}

/// Two branches, one behind an average pool, that are concatenated.
fn graph() -> Graph {
    let conv =
        |out, kernel: usize| Op::Conv(Conv2d { padding: [kernel / 2; 2], bias: true, ..Conv2d::new(out, [kernel; 2]) });
    let silu = || Op::Activation(Activation::Silu);
    let mut b = Builder::new([1, 8, 8]).unwrap();
    let x = b.input();
    let stem = b.push("features.stem", conv(8, 3), &[x]).unwrap();
    let stem = b.push("features.stem_silu", silu(), &[stem]).unwrap();
    let a = b.push("features.a", conv(6, 3), &[stem]).unwrap();
    let pool = Pool2d { padding: [0, 0], end_padding: Some([1, 1]), ..Pool2d::new(2, 1) };
    let pooled = b.push("features.pool", Op::AvgPool(AvgPool2d { pool, count_padding: false }), &[stem]).unwrap();
    let c = b.push("features.b", conv(6, 1), &[pooled]).unwrap();
    let y = b.push("features.cat", Op::Concat, &[a, c]).unwrap();
    let y = b.push("features.silu", silu(), &[y]).unwrap();
    let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
    let y = b.push("fc", Op::Linear(Linear { out_features: 4, bias: true }), &[y]).unwrap();
    b.finish(y).unwrap()
}

/// The model as an import makes it.
fn model(name: &str) -> Model {
    let graph = graph();
    Model {
        weights: init(&graph, Init { seed: 5, ..Init::default() }),
        tau: 1.0,
        preprocessing: Preprocessing {
            mean: vec![0.25],
            interpolation: Interpolation::Bicubic,
            crop: CropMode::Squash,
            ..Preprocessing::usual(1, [8, 8], 8)
        },
        task: Task::Classification { classes: ["a", "b", "c", "d"].map(str::to_owned).to_vec() },
        provenance: Provenance { producer: Provenance::IMPORT.into(), model: name.into(), ..Provenance::default() },
        graph,
    }
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

const SHORT: [(&str, &str); 3] = [("train.epochs", "1"), ("train.batch", "256"), ("data.threads", "1")];

/// One epoch from the model in `out`, as the folder describes the run.
fn run(out: &Path, recipe: &Recipe, dataset: &Arc<Dataset>, setup: &Setup, network: Option<&Graph>) -> Trained {
    let claim = Claim::take(out, false).unwrap();
    let folder = claim.begin(recipe, "digits", dataset, None, network).unwrap();
    train(recipe, Some(&folder), dataset, setup, &World::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap()
}

#[test]
fn an_imported_network_is_fine_tuned_resumed_and_fine_tuned_again() {
    let (dataset, dir) = (digits(), tempfile::tempdir().unwrap());
    let (recipe, how) = Recipe::resolve_fine_tuning(&model("my-net"), false, &settings(&SHORT)).unwrap();
    assert!(how.is_some_and(|how| !how.dynamic && !how.new_routers), "an import counts as trained");
    assert_eq!((recipe.model.name.as_str(), recipe.data.mean[0]), ("my-net", 0.25));
    assert_eq!((recipe.data.interpolation, recipe.data.crop), (Interpolation::Bicubic, CropMode::Squash));
    let network = own_network(&model("my-net"), &recipe).unwrap();
    assert_eq!(network.as_ref(), Some(&graph()));
    let mut first = setup_with(&recipe, &dataset, network.as_ref()).unwrap();
    assert_eq!(first.graph.output_shape().dims(), [10]);
    assert_eq!(first.preprocessing, model("").preprocessing);
    let warm = warm_start(&mut first, &model("my-net"), &task(&dataset)).unwrap();
    assert_eq!((warm.copied, warm.new_classifier), (6, true));
    let out = dir.path().join("first");
    run(&out, &recipe, &dataset, &first, network.as_ref());

    // The folder alone describes the run: resuming it finds it complete.
    let folder = RunFolder::open(&out).unwrap();
    let again = folder.network().unwrap();
    assert_eq!(again, network);
    let again = setup_with(folder.recipe(), &dataset, again.as_ref()).unwrap();
    assert_eq!(again.graph, first.graph);
    train(&recipe, Some(&folder), &dataset, &again, &World::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap();

    let trained = Model::read(&folder.model()).unwrap();
    assert_eq!((&trained.graph, trained.classes().len()), (&first.graph, 10));
    assert_ne!(trained.weights.get("features.a.weight"), model("").weights.get("features.a.weight"));
    let (recipe, _) = Recipe::resolve_fine_tuning(&trained, false, &settings(&SHORT)).unwrap();
    let network = own_network(&trained, &recipe).unwrap();
    assert_eq!(network.as_ref(), Some(&trained.graph));
    let mut second = setup_with(&recipe, &dataset, network.as_ref()).unwrap();
    let warm = warm_start(&mut second, &trained, &task(&dataset)).unwrap();
    assert_eq!((warm.copied, warm.new_classifier), (8, false));
    assert_eq!(second.weights, trained.weights);
}

#[test]
fn its_dynamic_form_is_fine_tuned_with_falling_temperature() {
    let (dataset, dir) = (digits(), tempfile::tempdir().unwrap());
    let mut model = model("dy_my-net");
    (model.graph, model.weights) = to_dynamic(&model.graph, &model.weights, 3, &Router::default(), 1).unwrap();
    model.tau = 30.0;
    let (recipe, how) = Recipe::resolve_fine_tuning(&model, false, &settings(&SHORT)).unwrap();
    assert!(how.is_some_and(|how| how.dynamic));
    let t = &recipe.temperature;
    assert_eq!((t.schedule, t.start, t.end), (TemperatureSchedule::Linear, 30.0, 1.0));
    let network = own_network(&model, &recipe).unwrap().unwrap();
    let mut setup = setup_with(&recipe, &dataset, Some(&network)).unwrap();
    warm_start(&mut setup, &model, &task(&dataset)).unwrap();
    assert_eq!(setup.weights.get("features.a.weight"), model.weights.get("features.a.weight"));
    let out = dir.path().join("run");
    run(&out, &recipe, &dataset, &setup, Some(&network));
    let trained = Model::read(&RunFolder::model_in(&out)).unwrap();
    let scores = &trained.weights.get("features.a.router.fc2.weight").data;
    assert!(scores.iter().any(|v| *v != 0.0), "the routers learn");
}

#[test]
fn a_dynamic_form_begins_as_a_warm_start_does() {
    let data = digits();
    let recipe = |name: &str| {
        let own = [("model.name", name), ("model.image_size", "8"), ("data.channels", "1")];
        Recipe::resolve(None, None, &settings(&own)).unwrap()
    };
    let fixed = setup(&recipe("resnet10_x0_125"), &data).unwrap();
    let mut ours = setup(&recipe("dy_resnet10_x0_125"), &data).unwrap();
    let (graph, weights) =
        to_dynamic(&fixed.graph, &fixed.weights, 4, &Router::default(), recipe("resnet10").seed).unwrap();
    assert_eq!(graph, ours.graph);
    let twin = Model {
        graph: fixed.graph,
        weights: fixed.weights,
        task: task(&data),
        preprocessing: fixed.preprocessing,
        ..model("resnet10_x0_125")
    };
    warm_start(&mut ours, &twin, &task(&data)).unwrap();
    assert_eq!(weights, ours.weights);
}

#[test]
fn architectures_stay_architectures() {
    let data = digits();
    let recipe = |pairs: &[(&str, &str)]| Recipe::resolve(None, None, &settings(pairs)).unwrap();
    let ours = recipe(&[("model.name", "dy_resnet10_x0_125"), ("model.image_size", "8"), ("model.kernels", "2")]);
    let made = setup(&ours, &data).unwrap();
    let trained = Model {
        graph: made.graph,
        weights: made.weights,
        task: task(&data),
        preprocessing: made.preprocessing,
        provenance: Provenance { recipe: ours.to_toml(), ..Provenance::default() },
        ..model("")
    };
    let own = |model: &Model, pairs: &[(&str, &str)]| {
        own_network(model, &Recipe::resolve_from(model, None, None, &settings(pairs)).unwrap())
    };
    assert_eq!(own(&trained, &[]).unwrap(), None);
    assert_eq!(own(&trained, &[("model.kernels", "4")]).unwrap(), None);
    // A file without a recipe that has other options than those of its name.
    let mut new = trained.clone();
    new.provenance = Provenance { model: "dy_resnet10_x0_125".into(), ..Provenance::default() };
    assert_eq!(own(&new, &[("model.kernels", "2")]).unwrap(), None);
    assert_eq!(own(&new, &[]).unwrap().as_ref(), Some(&new.graph));
    // Another network is named.
    assert_eq!(own(&model("my-net"), &[("model.name", "resnet10")]).unwrap(), None);
    let error = own(&model("my-net"), &[("model.kernels", "2")]).unwrap_err().to_string();
    assert!(error.contains("only `model.image_size` can be set"), "{error}");
}

#[test]
fn a_network_takes_the_sizes_of_the_data() {
    let sizes = Sizes { channels: 1, image: [12, 10], classes: Some(3), joints: None };
    let larger = resized(&graph(), sizes).unwrap();
    assert_eq!((larger.input_dims(), larger.output_shape().dims()), ([1, 12, 10], vec![3]));
    // The last layer is a convolution before the pool.
    let mut b = Builder::new([1, 8, 8]).unwrap();
    let x = b.input();
    let y = b.push("conv", Op::Conv(Conv2d::new(4, [1, 1])), &[x]).unwrap();
    let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
    let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
    let late = b.finish(y).unwrap();
    assert_eq!(late.node(last_layer(&late)).name, "conv");
    assert_eq!(resized(&late, sizes).unwrap().output_shape().dims(), [3]);
    // One that cannot have another number of outputs.
    let mut b = Builder::new([1, 8, 8]).unwrap();
    let x = b.input();
    let y = b.push("conv", Op::Conv(Conv2d::new(4, [1, 1])), &[x]).unwrap();
    let y = b.push("bn", Op::BatchNorm { eps: 1e-5 }, &[y]).unwrap();
    let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
    let error = resized(&b.finish(y).unwrap(), sizes).unwrap_err().to_string();
    assert!(error.contains("has 4 outputs, the data need 3") && error.contains("`bn`"), "{error}");
}
