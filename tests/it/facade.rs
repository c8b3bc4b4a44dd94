//! The façade as library users meet it, without Burn.

use std::sync::Arc;

use dyconv::data::{Dataset, Image, OpenOptions, Split};
use dyconv::file::{Model, Provenance};
use dyconv::graph::{Init, init};
use dyconv::models::{Options, build};
use dyconv::task::{Preprocessing, Task};
use dyconv::{Classifier, Error, EvaluationOptions, ModelOptions, evaluate};

fn model(classes: &[String]) -> Model {
    let options =
        Options { classes: classes.len(), in_channels: 1, image_size: [8, 8], small_stem: true, ..Options::default() };
    let graph = build("dy_resnet10_x0_125", &options).unwrap();
    Model {
        weights: init(&graph, Init::default()),
        graph,
        tau: 1.0,
        preprocessing: Preprocessing::usual(1, [8, 8], 8),
        task: Task::Classification { classes: classes.to_vec() },
        provenance: Provenance::default(),
    }
}

fn digits() -> Arc<Dataset> {
    Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap())
}

fn classifier(model: Model, threads: usize) -> Classifier {
    ModelOptions::new().threads(threads).compile(model).unwrap().into_classifier().unwrap()
}

#[test]
fn a_model_answers_with_probabilities() {
    let data = digits();
    let classifier = classifier(model(data.classes()), 1);
    let prediction = classifier.predict(&Image::new(20, 30, 3, vec![77; 1800])).unwrap();
    assert!((prediction.probabilities().iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let top = prediction.top(3);
    assert_eq!(top.len(), 3);
    assert!(top[0].probability >= top[1].probability);
    assert_eq!(top[0].class, data.classes()[top[0].index]);
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    let data = digits();
    let image = Image::new(8, 8, 1, (0..64).map(|i| i * 4).collect());
    let probabilities = |threads| {
        let classifier = classifier(model(data.classes()), threads);
        classifier.predict(&image).unwrap().probabilities().to_vec()
    };
    assert_eq!(probabilities(1), probabilities(3));
}

#[test]
fn evaluation_counts_every_image_once_in_any_batches() {
    let data = digits();
    let classifier = classifier(model(data.classes()), 1);
    let score = |batch| {
        let options = EvaluationOptions { split: Split::Val, batch, max_broken: 0 };
        let mut last = 0;
        let evaluation = evaluate(&classifier, &data, &options, &mut |done| last = done).unwrap();
        assert_eq!((last, evaluation.confusion.total()), (365, 365));
        (evaluation.top1, evaluation.top5, evaluation.confusion)
    };
    assert_eq!(score(1), score(50));
}

#[test]
fn classes_are_matched_by_name() {
    let data = digits();
    let mut classes = data.classes().to_vec();
    classes.reverse();
    let options = EvaluationOptions { split: Split::Val, batch: 64, max_broken: 0 };
    let backwards = classifier(model(&classes), 1);
    let evaluation = evaluate(&backwards, &data, &options, &mut |_| {}).unwrap();
    let support: Vec<u64> = evaluation.confusion.per_class().iter().map(|c| c.support).collect();
    let nines = (0..365).filter(|i| data.classes()[data.label(Split::Val, *i)] == "9").count();
    assert_eq!(support[0], nines as u64);
    classes[3] = "six-ish".into();
    let stranger = classifier(model(&classes), 1);
    let error = evaluate(&stranger, &data, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, Error::UnknownClass { class, .. } if class == "6"), "{error}");
}

/// A matrix of them would take 12.8 GB.
#[test]
fn forty_thousand_classes_are_scored_as_ten() {
    use dyconv::graph::{Builder, Linear, Op};
    let data = digits();
    let mut b = Builder::new([1, 8, 8]).unwrap();
    let x = b.input();
    let mean = b.push("mean", Op::GlobalAvgPool, &[x]).unwrap();
    let y = b.push("classifier", Op::Linear(Linear { out_features: 40_000, bias: true }), &[mean]).unwrap();
    let graph = b.finish(y).unwrap();
    let classes: Vec<String> = (0..40_000).map(|class| class.to_string()).collect();
    let model = Model { weights: init(&graph, Init::default()), graph, ..model(&classes[..10]) };
    let classifier = classifier(Model { task: Task::Classification { classes }, ..model }, 1);
    let options = EvaluationOptions { split: Split::All, batch: 64, max_broken: 0 };
    let evaluation = evaluate(&classifier, &data, &options, &mut |_| {}).unwrap();
    assert_eq!((evaluation.confusion.total(), evaluation.unanswered), (1797, 0));
    assert!(evaluation.confusion.cells().len() <= 1797);
    assert_eq!(evaluation.confusion.per_class().len(), 40_000);
}
