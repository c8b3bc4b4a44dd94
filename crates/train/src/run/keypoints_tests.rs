//! Trains keypoint networks with two convolutions, on a handful of figures.

use std::path::Path;

use dyconv_figures::{FigureOptions, make_figures};
use dyconv_file::Model;
use dyconv_graph::{
    Activation, Builder, Conv2d, Graph, Init, Linear, MixConv, Op, RouterInit, Tensor as Stored, Weights, init,
};
use dyconv_task::Task;

use super::*;
use crate::journal::Validation;
use crate::objective::Objective;
use crate::setup::{open, task};
use crate::warm_start::warm_start;

const SETTINGS: [(&str, &str); 14] = [
    ("model.image_size", "[32, 24]"),
    ("train.optimizer", "adam"),
    ("train.lr", "0.01"),
    ("train.batch", "8"),
    ("train.epochs", "2"),
    ("train.ema", "0.5"),
    ("train.accumulate", "2"),
    ("train.log_steps", "1"),
    ("train.checkpoint_steps", "1"),
    ("data.threads", "2"),
    ("augment.rotate", "30"),
    ("augment.scale", "[0.8, 1.2]"),
    ("augment.half_body", "0.3"),
    ("temperature.epochs", "1"),
];

fn recipe(extra: &[(&str, &str)]) -> Recipe {
    let pairs = SETTINGS.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Recipe::resolve(None, None, &pairs.collect::<Vec<_>>()).unwrap()
}

/// Heat maps of 8 × 6 cells: a dynamic convolution of stride 4 and a 1×1 convolution.
fn graph(joints: usize) -> Graph {
    let mut b = Builder::new([3, 32, 24]).unwrap();
    let x = b.input();
    let pooled = b.push("stem.router.pool", Op::GlobalAvgPool, &[x]).unwrap();
    let scores = b.push("stem.router.fc2", Op::Linear(Linear { out_features: 2, bias: true }), &[pooled]).unwrap();
    let pi = b.push("stem.router.softmax", Op::Softmax, &[scores]).unwrap();
    let conv = Conv2d { stride: [4, 4], padding: [2, 2], bias: true, ..Conv2d::new(8, [7, 7]) };
    let stem = b.push("stem", Op::MixConv(MixConv { kernels: 2, conv }), &[x, pi]).unwrap();
    let act = b.push("stem.act", Op::Activation(Activation::Relu), &[stem]).unwrap();
    let last = Conv2d { bias: true, ..Conv2d::new(joints, [1, 1]) };
    let maps = b.push("head.maps", Op::Conv(last), &[act]).unwrap();
    b.finish(maps).unwrap()
}

/// Like [`crate::setup`], with this small network.
fn set_up(recipe: &Recipe) -> Setup {
    let graph = graph(17);
    let weights = init(&graph, Init { seed: recipe.seed, router: RouterInit::Small });
    let maps = dyconv_data::HeatMaps { input: [32, 24], map: [8, 6] };
    let objective = Objective::Keypoints { maps, sigma: 1.0, augment: recipe.augment.pose() };
    Setup { graph, weights, preprocessing: dyconv_task::Preprocessing::usual(3, [32, 24], 32), objective }
}

fn figures(folder: &Path) {
    let options = FigureOptions { train: 16, val: 6, seed: 1, threads: 2, overwrite: false };
    make_figures(folder, &options, &mut |_| ()).unwrap();
}

/// Trains in `out`; with `stops` it is asked to stop in every iteration and resumed until it is done.
fn run(out: &Path, data: &Path, recipe: &Recipe, stops: bool) -> Trained {
    let spec = data.to_str().unwrap();
    let dataset = open(spec, recipe).unwrap();
    let setup = set_up(recipe);
    drop(RunFolder::create(out, recipe, spec, &dataset, false).unwrap());
    let mut interrupted = 0;
    loop {
        let folder = RunFolder::open(out).unwrap();
        let stop = AtomicBool::new(stops);
        match train(recipe, Some(&folder), &dataset, &setup, &World::alone(), &stop, &mut |_| ()) {
            Ok(trained) => {
                assert!(!stops || interrupted > 2, "{interrupted}");
                return trained;
            }
            Err(TrainError::Interrupted { .. }) => interrupted += 1,
            Err(error) => panic!("{error}"),
        }
        // Also interrupted in evaluation: that does not disturb the resumed run.
        if interrupted > 2 * recipe.train.epochs * dataset.len(Split::Train).div_ceil(8) {
            drop(folder);
            return run_on(out, recipe, &dataset, &setup);
        }
    }
}

fn run_on(out: &Path, recipe: &Recipe, dataset: &Arc<Dataset>, setup: &Setup) -> Trained {
    let folder = RunFolder::open(out).unwrap();
    train(recipe, Some(&folder), dataset, setup, &World::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap()
}

#[test]
fn a_run_on_joints_keeps_scores_resumes_bit_by_bit_and_writes_its_skeleton() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("figures");
    figures(&data);
    let recipe = recipe(&[]);
    let whole = run(&dir.path().join("whole"), &data, &recipe, false);
    run(&dir.path().join("broken"), &data, &recipe, true);
    for file in ["model.safetensors", "evaluation.json", "run.json"] {
        let read = |run: &str| std::fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("whole") == read("broken"), "{file}");
    }
    let Validation { accuracy, ap, val_loss } = whole.epochs[1].validation;
    assert!(accuracy.is_none() && ap.is_some() && val_loss.is_some_and(|l| l > 0.0 && l < 0.1), "{ap:?} {val_loss:?}");
    assert_eq!(whole.best.score, whole.epochs.iter().filter_map(|e| e.validation.ap).reduce(f64::max));
    assert!(whole.epochs[1].attention.is_some());
    let model = Model::read(&dir.path().join("whole/model.safetensors")).unwrap();
    assert_eq!(model.task, Task::Keypoints(dyconv_task::Skeleton::coco()));
    let read = |file: &str| std::fs::read_to_string(dir.path().join("whole").join(file)).unwrap();
    assert!(read("metrics.csv").starts_with("epoch,step,loss,ap,val_loss,lr,"), "{}", read("metrics.csv"));
    let last = read("metrics.jsonl").lines().last().unwrap().to_owned();
    assert!(last.contains("\"ap\":") && !last.contains("accuracy"), "{last}");
    let report = read("report.html");
    assert!(report.contains("AP (held-out), points") && report.contains("held-out persons in their own boxes"));
}

#[test]
fn the_loss_falls_and_joints_are_learned() {
    let dir = tempfile::tempdir().unwrap();
    figures(dir.path());
    let recipe = recipe(&[("augment.flip", "0"), ("train.accumulate", "1")]);
    let dataset = open(dir.path().to_str().unwrap(), &recipe).unwrap();
    let setup = set_up(&recipe);
    let transform = Transform::new(setup.preprocessing.clone()).unwrap();
    let options = LoaderOptions { batch: 8, ..LoaderOptions::default() };
    let batch = setup.objective.training(&dataset, &transform, &options, 0).next().unwrap().unwrap();
    let first = Learner::first(Checkpoint::new(State::first(String::new())), &setup.weights);
    let world = World::alone();
    let mut learner = Learner::new(&recipe, &setup, &world, &mut { first }).unwrap();
    let losses: Vec<f32> = (0..60).map(|i| learner.step(&batch, 0.01, i).unwrap()).collect();
    assert!(losses[59] < 0.5 * losses[5], "{losses:?}");
}

#[test]
fn a_missing_image_is_told_and_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    figures(dir.path());
    let recipe = recipe(&[]);
    let spec = dir.path().to_str().unwrap();
    let dataset = open(spec, &recipe).unwrap();
    let gone = dataset.item(Split::Val, 0).1;
    std::fs::remove_file(dir.path().join(gone.split('#').next().unwrap())).unwrap();
    let setup = set_up(&recipe);
    let mut reported = Vec::new();
    let trained = train(&recipe, None, &dataset, &setup, &World::alone(), &AtomicBool::new(false), &mut |event| {
        if let Event::Broken(broken) = event {
            reported.push(broken.name.clone());
        }
    });
    // Without a folder nothing is evaluated; with one, broken images of evaluation are reported.
    assert!(trained.is_ok() && reported.is_empty());
    let out = dir.path().join("run");
    let folder = RunFolder::create(&out, &recipe, spec, &dataset, false).unwrap();
    train(&recipe, Some(&folder), &dataset, &setup, &World::alone(), &AtomicBool::new(false), &mut |event| {
        if let Event::Broken(broken) = event {
            reported.push(broken.name.clone());
        }
    })
    .unwrap();
    assert!(reported.contains(&gone), "{reported:?}");
    std::fs::write(dir.path().join("annotations/person_keypoints_val2017.json"), "{}").unwrap();
    let error = open(spec, &recipe).unwrap_err().to_string();
    assert!(error.contains("person_keypoints_val2017.json: ") && error.contains("missing field `images`"), "{error}");
}

#[test]
fn a_keypoint_network_begins_on_a_classifier_s_backbone() {
    let recipe = recipe(&[]);
    let dir = tempfile::tempdir().unwrap();
    figures(dir.path());
    let dataset = open(dir.path().to_str().unwrap(), &recipe).unwrap();
    let task = task(&dataset);
    let mut made = set_up(&recipe);
    // The static classifier with the same stem.
    let mut weights = Weights::default();
    weights.0.insert("stem.weight".into(), Stored::full(&[8, 3, 7, 7], 0.5));
    weights.0.insert("stem.bias".into(), Stored::full(&[8], 0.25));
    weights.0.insert("classifier.weight".into(), Stored::full(&[2, 8], 1.0));
    let mut classifier = Model {
        graph: made.graph.clone(),
        weights,
        tau: 1.0,
        preprocessing: made.preprocessing.clone(),
        task: Task::Classification { classes: vec!["a".into(), "b".into()] },
        provenance: dyconv_file::Provenance::default(),
    };
    let fresh = made.weights.clone();
    let warm = warm_start(&mut made, &classifier, &task).unwrap();
    assert_eq!((warm.copied, warm.warmed, warm.fresh, warm.left), (0, 2, 2, 1), "{warm:?}");
    assert_eq!(made.weights.get("stem.router.fc2.weight").data, vec![0.0; 6], "attention begins uniform");
    let mean = |name: &str, i: usize| {
        let data = &made.weights.get(name).data;
        0.5 * (data[i] + data[data.len() / 2 + i])
    };
    assert!((mean("stem.weight", 3) - 0.5).abs() < 1e-6 && (mean("stem.bias", 7) - 0.25).abs() < 1e-6);
    assert_eq!(made.weights.get("head.maps.weight"), fresh.get("head.maps.weight"));
    classifier.weights.0.retain(|name, _| name.starts_with("classifier"));
    let error = warm_start(&mut set_up(&recipe), &classifier, &task).unwrap_err().to_string();
    assert!(error.contains("no tensor in common"), "{error}");
    // The other way round, the weights of the classifier are missing.
    let keypoints = Model { weights: fresh, task: task.clone(), ..classifier };
    let again = warm_start(&mut set_up(&recipe), &keypoints, &task).unwrap();
    assert!(!again.new_classifier && again.copied == keypoints.weights.0.len());
}
