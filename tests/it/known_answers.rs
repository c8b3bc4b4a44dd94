//! Models made by hand, whose answers can be worked out on paper: through a file, the engine and the façade.

use std::fs;

use crate::common::Shell;
use dyconv::data::{Image, PersonBox};
use dyconv::file::{Model, Preprocessing, Provenance, Skeleton, Task};
use dyconv::graph::{Builder, Conv2d, Graph, Linear, MixLinear, Op, Tensor, Weights};
use dyconv::{Classifier, PoseEstimator};
use image::{ImageBuffer, Rgb};
use serde_json::{Value, json};

const TAU: f32 = 0.5;

/// The router's weight `[K, I]` and bias `[K]`: light images are answered by the first kernel, dark ones by the second.
const GATE: ([[f64; 3]; 2], [f64; 2]) = ([[2.0; 3], [-2.0; 3]], [-3.0, 3.0]);
/// The bank `[K, O, I]`: the first kernel names the strongest of red, green and blue, the second the one after it.
const BANK: [[[f64; 3]; 3]; 2] =
    [[[6.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 6.0]], [[0.0, 0.0, 6.0], [6.0, 0.0, 0.0], [0.0, 6.0, 0.0]]];
const BANK_BIAS: [[f64; 3]; 2] = [[0.25, 0.0, 0.0], [0.0, 0.0, -0.25]];
const CLASSES: [&str; 3] = ["red", "green", "blue"];

fn model(graph: Graph, tau: f32, task: Task, values: impl Fn(&str) -> Vec<f64>) -> Model {
    let image_size = [graph.input_dims()[1], graph.input_dims()[2]];
    let tensor = |p: dyconv::graph::Parameter| {
        let data = values(&p.name).into_iter().map(|v| v as f32).collect();
        let tensor = Tensor::new(&p.shape, data);
        (p.name, tensor)
    };
    let preprocessing =
        Preprocessing { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::usual(3, image_size, image_size[0]) };
    Model {
        weights: Weights(graph.parameters().into_iter().map(tensor).collect()),
        graph,
        tau,
        preprocessing,
        task,
        provenance: Provenance::default(),
    }
}

/// The mean colour of the image, and a mixture of two linear layers upon it.
fn classifier() -> Model {
    let mut b = Builder::new([3, 8, 8]).unwrap();
    let x = b.input();
    let mean = b.push("mean", Op::GlobalAvgPool, &[x]).unwrap();
    let gate = b.push("gate", Op::Linear(Linear { out_features: 2, bias: true }), &[mean]).unwrap();
    let pi = b.push("softmax", Op::Softmax, &[gate]).unwrap();
    let linear = Linear { out_features: 3, bias: true };
    let y = b.push("classifier", Op::MixLinear(MixLinear { kernels: 2, linear }), &[mean, pi]).unwrap();
    let graph = b.finish(y).unwrap();
    let classes = CLASSES.map(str::to_owned).to_vec();
    model(graph, TAU, Task::Classification { classes }, |name| match name {
        "gate.weight" => GATE.0.concat(),
        "gate.bias" => GATE.1.to_vec(),
        "classifier.weight" => BANK.concat().concat(),
        "classifier.bias" => BANK_BIAS.concat(),
        name => panic!("no weight `{name}`"),
    })
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let exp: Vec<f64> = z.iter().map(|z| z.exp()).collect();
    exp.iter().map(|e| e / exp.iter().sum::<f64>()).collect()
}

/// The probabilities for an image of one colour, by definition.
fn by_definition(colour: [u8; 3]) -> Vec<f64> {
    let x = colour.map(|v| f64::from(v) / 255.0);
    let dot = |w: &[f64; 3]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    let gate = [0, 1].map(|k| (dot(&GATE.0[k]) + GATE.1[k]) / f64::from(TAU));
    let pi = softmax(&gate);
    let logit = |o: usize| (0..2).map(|k| pi[k] * (dot(&BANK[k][o]) + BANK_BIAS[k][o])).sum::<f64>();
    softmax(&[0, 1, 2].map(logit))
}

#[test]
fn a_classifier_names_the_class_and_its_probability() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colours.safetensors");
    classifier().write(&path).unwrap();
    let classifier = Classifier::open(&path).unwrap();
    for (colour, expected) in [
        ([250, 150, 150], "red"),
        ([140, 240, 160], "green"),
        ([150, 150, 255], "blue"),
        // Dark: the second kernel answers.
        ([120, 20, 10], "green"),
        ([10, 130, 20], "blue"),
        ([0, 30, 110], "red"),
        // Between light and dark: both have a say, 44 and 56 %.
        ([255, 60, 60], "green"),
    ] {
        let probabilities = by_definition(colour);
        let check = |found: &[f32], top: &str, what: &str| {
            assert_eq!(top, expected, "{colour:?} {what}: {found:?}");
            for (found, expected) in found.iter().zip(&probabilities) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{colour:?} {what}: {found} and {expected}");
            }
        };
        let image = Image::new(30, 20, 3, colour.repeat(600));
        let answer = classifier.predict(&image).unwrap();
        check(answer.probabilities(), answer.top(1)[0].class, "from memory");
        let file = folder.path().join("image.png");
        ImageBuffer::from_pixel(20, 30, Rgb(colour)).save(&file).unwrap();
        let answer = classifier.predict_file(&file).unwrap();
        check(answer.probabilities(), answer.top(1)[0].class, "from a file");
    }
}

/// One heat map for each of red, green and blue: the mean of that channel over 5 × 5 pixels, at every fourth pixel.
fn pose(flip_pairs: Vec<[usize; 2]>) -> Model {
    let joints = CLASSES.map(str::to_owned).to_vec();
    pose_of(Skeleton { joints, bones: vec![], flip_pairs, sigmas: vec![0.1; 3], upper_body: vec![] })
}

/// As [`pose`], with the three maps over and over for all joints of a skeleton.
fn pose_of(skeleton: Skeleton) -> Model {
    let joints = skeleton.joints.len();
    let mut b = Builder::new([3, 64, 48]).unwrap();
    let x = b.input();
    let conv = Conv2d { stride: [4, 4], padding: [2, 2], ..Conv2d::new(joints, [5, 5]) };
    let y = b.push("maps", Op::Conv(conv), &[x]).unwrap();
    let graph = b.finish(y).unwrap();
    assert_eq!(graph.output_shape().dims(), [joints, 16, 12]);
    model(graph, 1.0, Task::Keypoints(skeleton), |name| {
        assert_eq!(name, "maps.weight");
        let weight = |joint: usize, channel| if joint % 3 == channel { 0.04 } else { 0.0 };
        (0..joints * 3).flat_map(|i| [weight(i / 3, i % 3); 25]).collect()
    })
}

/// A person: its box, half the side of a dot, and the centres of the red, the green and the blue one; in pixels.
struct Person {
    bbox: [f64; 4],
    radius: i32,
    dots: [[i32; 2]; 3],
}

/// The second is half as large, and its dots lie in another order.
const PERSONS: [Person; 2] = [
    Person { bbox: [40.0, 30.0, 60.0, 100.0], radius: 8, dots: [[70, 45], [50, 85], [92, 110]] },
    Person { bbox: [260.0, 40.0, 30.0, 50.0], radius: 4, dots: [[265, 84], [286, 60], [272, 46]] },
];

fn picture() -> Image {
    let (width, height) = (400, 160);
    let mut data = vec![0; width * height * 3];
    for person in &PERSONS {
        for (channel, [x, y]) in person.dots.into_iter().enumerate() {
            for (dy, dx) in
                (-person.radius..=person.radius).flat_map(|y| (-person.radius..=person.radius).map(move |x| (y, x)))
            {
                data[((y + dy) as usize * width + (x + dx) as usize) * 3 + channel] = 255;
            }
        }
    }
    Image::new(width, height, 3, data)
}

#[test]
fn a_keypoint_network_finds_coloured_dots_in_image_coordinates() {
    let (image, boxes) =
        (picture(), PERSONS.map(|p| PersonBox { x: p.bbox[0], y: p.bbox[1], width: p.bbox[2], height: p.bbox[3] }));
    for flip in [false, true] {
        let estimator = PoseEstimator::new(pose(vec![])).unwrap();
        let estimator = if flip { estimator.with_flip() } else { estimator };
        let found = estimator.predict(&image, &boxes).unwrap();
        assert_eq!(found.len(), 2);
        for (person, joints) in PERSONS.iter().zip(&found) {
            // Pixels of the image from cell to cell: the box's height with its margin, on 16 cells.
            let cell = person.bbox[3] * 1.25 / 16.0;
            assert_eq!(joints.len(), 3);
            for (joint, [x, y]) in joints.iter().zip(person.dots) {
                let (dx, dy) = (joint.x - f64::from(x), joint.y - f64::from(y));
                // Half a cell to the next one, a quarter by which it is corrected, and half a pixel.
                let bound = 0.75 * cell + 0.5;
                assert!(dx.abs() <= bound && dy.abs() <= bound, "{joint:?} instead of ({x}, {y}), flip: {flip}");
                assert!(joint.score > 0.5 && joint.score <= 1.001, "{joint:?}, flip: {flip}");
            }
        }
    }
}

/// Average precision is high where the annotations are right, and falls to nothing where they are a third of a person off.
#[test]
fn average_precision_tells_right_answers_from_wrong_ones() {
    let shell = Shell::new();
    pose_of(Skeleton::coco()).write(&shell.path("dots.safetensors")).unwrap();
    let image = picture();
    let png = ImageBuffer::<Rgb<u8>, _>::from_raw(image.width as u32, image.height as u32, image.data).unwrap();
    fs::create_dir(shell.path("pictures")).unwrap();
    png.save(shell.path("pictures/1.png")).unwrap();
    let average_precision = |off: f64| {
        let person = |(id, person): (usize, &Person)| {
            let [_, _, width, height] = person.bbox;
            let keypoints: Vec<f64> = (0..17)
                .flat_map(|joint| {
                    let [x, y] = person.dots[joint % 3];
                    [f64::from(x) + off * width, f64::from(y), 2.0]
                })
                .collect();
            json!({"id": id + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 0.6 * width * height,
                "bbox": person.bbox, "num_keypoints": 17, "keypoints": keypoints})
        };
        let annotations = json!({
            "images": [{"id": 1, "file_name": "1.png", "width": 400, "height": 160}],
            "annotations": PERSONS.iter().enumerate().map(person).collect::<Vec<_>>(),
            "categories": [{"id": 1, "name": "person", "keypoints": Skeleton::coco().joints}],
        });
        shell.write("a.json", annotations.to_string().as_bytes());
        let said = shell.ok("eval dots.safetensors --data a.json --images pictures --json");
        serde_json::from_str::<Value>(&said).unwrap()["AP"].as_f64().unwrap()
    };
    let (right, wrong) = (average_precision(0.0), average_precision(1.0 / 3.0));
    assert!(right > 0.8 && wrong < 0.1, "AP {right} and {wrong}");
}

/// Green and blue take each other's place in a mirrored image, which this network does not know of: so their heat maps are
/// averaged with empty ones, and red's with its own.
#[test]
fn the_flip_test_exchanges_the_sides() {
    let (image, boxes) =
        (picture(), PERSONS.map(|p| PersonBox { x: p.bbox[0], y: p.bbox[1], width: p.bbox[2], height: p.bbox[3] }));
    let scores = |flip_pairs| {
        let estimator = PoseEstimator::new(pose(flip_pairs)).unwrap().with_flip();
        estimator.predict(&image, &boxes).unwrap().concat().iter().map(|joint| joint.score).collect::<Vec<f32>>()
    };
    let (own, exchanged) = (scores(vec![]), scores(vec![[1, 2]]));
    for (i, (own, exchanged)) in own.into_iter().zip(exchanged).enumerate() {
        let expected = if i % 3 == 0 { own } else { 0.5 * own };
        assert!((exchanged - expected).abs() < 0.05, "joint {i}: {exchanged} instead of {expected}");
    }
}
