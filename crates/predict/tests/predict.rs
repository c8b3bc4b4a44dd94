//! Classifiers and keypoint networks as a library user calls them: from bytes, in batches, on many threads, with
//! attention.

use dyconv_data::{Image, PersonBox, Transform};
use dyconv_engine::oracle;
use dyconv_file::{Model, Provenance};
use dyconv_graph::{Init, Op, RouterInit, Shape, init};
use dyconv_models::{Options, build};
use dyconv_predict::{Bank, Classifier, Error, ModelOptions, PoseEstimator, Predictor};
use dyconv_task::{CropMode, Interpolation, Preprocessing, Skeleton, Task};

const SIDE: usize = 32;

/// A network whose routers are far from uniform, so that its attention differs from image to image.
fn model(name: &str, task: Task) -> Model {
    let outputs = match &task {
        Task::Classification { classes } => classes.len(),
        Task::Keypoints(skeleton) => skeleton.joints.len(),
    };
    let small_stem = !name.starts_with("pose");
    let options =
        Options { classes: outputs, joints: outputs, image_size: [SIDE, SIDE], small_stem, ..Options::default() };
    let graph = build(name, &options).unwrap();
    Model {
        weights: init(&graph, Init { seed: 3, router: RouterInit::Large }),
        graph,
        tau: 1.0,
        preprocessing: Preprocessing::usual(3, [SIDE, SIDE], SIDE),
        task,
        provenance: Provenance::default(),
    }
}

fn classes() -> Task {
    Task::Classification { classes: ["ant", "bee", "cat", "dog", "eel"].map(String::from).to_vec() }
}

fn image(seed: usize) -> Image {
    let (width, height) = (20 + seed, 40 - seed);
    let pixel = |i: usize| ((i * (seed + 7) * 2_654_435_761) >> 7) as u8;
    Image::new(width, height, 3, (0..3 * width * height).map(pixel).collect())
}

fn probabilities(classifier: &Classifier, image: &Image) -> Vec<f32> {
    classifier.predict(image).unwrap().probabilities().to_vec()
}

#[test]
fn a_file_its_bytes_and_the_model_answer_alike() {
    let model = model("dy_resnet10_x0_125", classes());
    let bytes = model.to_bytes().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.write(&path).unwrap();
    let expected = probabilities(&ModelOptions::new().compile(model).unwrap().into_classifier().unwrap(), &image(1));
    assert_eq!(probabilities(&Classifier::open(&path).unwrap(), &image(1)), expected);
    assert_eq!(probabilities(&Classifier::from_bytes(&bytes).unwrap(), &image(1)), expected);
    let error = Classifier::from_bytes(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
    assert!(error.starts_with("the bytes of the model: is not a whole safetensors file"), "{error}");
}

#[test]
fn many_threads_share_one_classifier() {
    fn shareable<T: Send + Sync>(_: &T) {}
    let model = model("dy_mobilenet_v3_small_x0_35", classes());
    let classifier = ModelOptions::new().threads(2).compile(model).unwrap().into_classifier().unwrap();
    shareable(&classifier);
    let images: Vec<Image> = (0..6).map(image).collect();
    let expected: Vec<Vec<f32>> = images.iter().map(|image| probabilities(&classifier, image)).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "each image has its own answer");
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (classifier, images, expected) = (&classifier, &images, &expected);
            scope.spawn(move || {
                for i in (0..12).map(|i| (start + i) % images.len()) {
                    assert_eq!(probabilities(classifier, &images[i]), expected[i], "image {i}");
                }
            });
        }
    });
}

#[test]
fn a_batch_is_its_images_one_by_one() {
    let model = model("dy_resnet10_x0_125", classes());
    let classifier = ModelOptions::new().compile(model).unwrap().into_classifier().unwrap();
    let images: Vec<Image> = (0..11).map(image).collect();
    let batch = classifier.predict_batch(&images).unwrap();
    assert_eq!(batch.len(), 11);
    for (found, image) in batch.iter().zip(&images) {
        assert_eq!(found.probabilities(), probabilities(&classifier, image));
    }
    assert!(classifier.predict_batch(&[]).unwrap().is_empty());
}

#[test]
fn attention_is_that_of_the_oracle() {
    for name in ["dy_resnet10_x0_125", "dy_mobilenet_v2_x0_35", "dy_mobilenet_v3_small_x0_35"] {
        let model = model(name, classes());
        let input = Transform::new(model.preprocessing.clone()).unwrap().evaluate(&image(2));
        let mut values = std::collections::HashMap::new();
        let mut keep = |node: &str, _: Shape, value: &[f32]| drop(values.insert(node.to_owned(), value.to_vec()));
        oracle::run_all(&model.graph, &model.weights, model.tau, &input, 1, &mut keep).unwrap();
        let dynamic = model.graph.nodes().iter().filter(|n| matches!(n.op, Op::MixConv(_) | Op::MixLinear(_)));
        let expected: Vec<(String, Vec<f32>)> =
            dynamic.map(|node| (node.name.clone(), values[&model.graph.node(node.inputs[1]).name].clone())).collect();
        let classifier = ModelOptions::new().compile(model).unwrap().into_classifier().unwrap();
        let (prediction, attention) = classifier.predict_with_attention(&image(2)).unwrap();
        assert_eq!(prediction.probabilities(), probabilities(&classifier, &image(2)), "{name}");
        assert!(attention.len() == expected.len() && attention.len() > 3, "{name}: {} layers", attention.len());
        for (found, (layer, kernels)) in attention.iter().zip(&expected) {
            assert_eq!(&found.layer, layer);
            assert_eq!((found.kernels.len(), kernels.len()), (4, 4), "{name} {layer}");
            assert!((found.kernels.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name} {layer}: softmax sums to one");
            for (a, b) in found.kernels.iter().zip(kernels) {
                // Rounding errors accumulate over the preceding layers.
                assert!((a - b).abs() < 1e-4, "{name} {layer}: {:?}, expected {kernels:?}", found.kernels);
            }
        }
        let uniform = attention.iter().all(|layer| layer.kernels.iter().all(|pi| (pi - 0.25).abs() < 0.01));
        assert!(!uniform, "{name}: the routers say something");
    }
}

#[test]
fn a_static_network_has_no_attention() {
    let model = model("resnet10_x0_125", classes());
    let classifier = ModelOptions::new().compile(model).unwrap().into_classifier().unwrap();
    assert_eq!(classifier.predict_with_attention(&image(0)).unwrap().1, []);
}

#[test]
fn a_keypoint_network_answers_for_each_box() {
    let model = model("pose_dy_resnet10_x0_125_a", Task::Keypoints(Skeleton::coco()));
    let bytes = model.to_bytes().unwrap();
    let estimator = PoseEstimator::from_bytes(&bytes).unwrap();
    let picture = image(4);
    let boxes = [PersonBox::whole(&picture), PersonBox { x: 2.0, y: 3.0, width: 9.0, height: 20.0 }];
    let both = estimator.predict(&picture, &boxes).unwrap();
    assert_eq!((both.len(), both[0].len()), (2, 17));
    assert_eq!(both[1], estimator.predict(&picture, &boxes[1..]).unwrap()[0]);
    assert_ne!(both[0], both[1]);
    assert!(!estimator.attention(&picture, boxes[0]).unwrap().is_empty());
    assert!(estimator.predict(&picture, &[]).unwrap().is_empty());
    let error = Classifier::from_bytes(&bytes).unwrap_err();
    assert!(matches!(error, Error::NotAClassifier(17)), "{error}");
}

#[test]
fn every_way_to_predict_prepares_the_image_as_the_model_says() {
    let mut answers = Vec::new();
    for interpolation in [Interpolation::Bilinear, Interpolation::Lanczos] {
        for crop in [CropMode::Center, CropMode::Squash, CropMode::Border] {
            let mut model = model("resnet10_x0_125", classes());
            (model.preprocessing.interpolation, model.preprocessing.crop) = (interpolation, crop);
            let input = Transform::new(model.preprocessing.clone()).unwrap().evaluate(&image(2));
            let classifier = ModelOptions::new().compile(model).unwrap().into_classifier().unwrap();
            let powers: Vec<f32> = classifier.logits(&input, 1).unwrap().iter().map(|z| z.exp()).collect();
            let found = classifier.predict(&image(2)).unwrap();
            for (a, b) in found.probabilities().iter().zip(&powers) {
                assert!((a - b / powers.iter().sum::<f32>()).abs() < 1e-5, "{:?}", found.probabilities());
            }
            let batch = classifier.predict_batch(&[image(0), image(2)]).unwrap();
            assert_eq!(batch[1].probabilities(), found.probabilities());
            assert_eq!(classifier.predict_with_attention(&image(2)).unwrap().0.probabilities(), found.probabilities());
            answers.push(found.probabilities().to_vec());
        }
    }
    for (i, answer) in answers.iter().enumerate() {
        assert!(!answers[..i].contains(answer), "setting {i} changes nothing");
    }
}

#[test]
fn a_keypoint_network_refuses_another_filter_or_crop() {
    let mut model = model("pose_dy_resnet10_x0_125_a", Task::Keypoints(Skeleton::coco()));
    model.preprocessing.interpolation = Interpolation::Bicubic;
    let error = PoseEstimator::new(model).unwrap_err().to_string();
    assert!(
        error.starts_with("preprocessing: interpolation is bicubic, and a keypoint network has none but"),
        "{error}"
    );
}

#[test]
fn a_classifier_is_no_keypoint_network() {
    let predictor = ModelOptions::new().compile(model("dy_resnet10_x0_125", classes())).unwrap();
    assert!(matches!(&predictor, Predictor::Classifier(_)) && predictor.bank_deviation().is_none());
    assert!(matches!(predictor.into_pose().unwrap_err(), Error::NotAKeypointNetwork(5)));
}

#[test]
fn banks_are_stored_as_asked() {
    for bank in Bank::ALL {
        let options = ModelOptions::new().bank(bank);
        let predictor = options.compile(model("dy_resnet10_x0_125", classes())).unwrap();
        match bank.storage() {
            Some(storage) => assert_eq!(predictor.plan().bank(), storage),
            None => assert!(predictor.bank_deviation().unwrap() <= dyconv_predict::AUTO_BOUND),
        }
    }
}

#[test]
fn weights_that_are_nan_are_no_answer() {
    let mut model = model("resnet10_x0_125", classes());
    let (_, tensor) = model.weights.0.iter_mut().last().unwrap();
    let damaged = dyconv_graph::Tensor::new(&tensor.shape, vec![f32::NAN; tensor.data.len()]);
    *tensor = damaged;
    let compiled = ModelOptions::new().compile(model).and_then(Predictor::into_classifier);
    match compiled {
        Ok(classifier) => assert!(matches!(classifier.predict(&image(0)), Err(Error::NoAnswer { .. }))),
        Err(error) => assert!(error.to_string().contains("NaN") || error.to_string().contains("finite"), "{error}"),
    }
}
