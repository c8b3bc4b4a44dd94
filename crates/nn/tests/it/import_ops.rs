//! The ops of imported networks in training, compared with PyTorch (`golden/generate_import_ops.py`), and pools compared
//! with naive loops.

use crate::common::{GOLDEN, floats, noise, relative_error};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_graph::{AvgPool2d, Builder, Graph, Op, Pool2d, Tensor as Stored, Weights};
use dyconv_nn::{Network, Operations, Value};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value as Json;

/// The sum of `value` · `by`.
fn weighted(value: Value, by: TensorData, device: &Device) -> Tensor<1> {
    match value {
        Value::Map(y) => (y * Tensor::from_data(by, device)).sum(),
        Value::Vector(y) => (y * Tensor::from_data(by, device)).sum(),
    }
}

#[test]
fn forward_and_every_gradient_equal_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/import_ops.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(cases.len(), 30);
    let device = Device::flex().autodiff();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let graph: Graph = serde_json::from_value(case["graph"].clone()).unwrap();
        let data = |part: &str| {
            let view = file.tensor(&format!("{name}.{part}")).unwrap();
            let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
            TensorData::new(values, view.shape().to_vec())
        };
        let weights =
            graph.parameters().into_iter().map(|p| (p.name.clone(), Stored::new(&p.shape, floats(data(&p.name)))));
        let weights = Weights(weights.collect());
        for operations in [Operations::Custom, Operations::Reference] {
            let near = |part: &str, found: Vec<f32>| {
                let error = relative_error(&found, &floats(data(part)), 1e-30);
                assert!(error <= GOLDEN, "{name} {operations:?} {part}: relative error {error:e}");
            };
            let network = Network::new(&graph, &weights, 1.0, &device).unwrap().with_operations(operations);
            let x = Tensor::<4>::from_data(data("x"), &device).require_grad();
            let y = network.forward(x.clone());
            near("y", y.clone().into_vec());
            let loss = weighted(y, data("dy"), &device);
            near("grad.x", floats(x.grad(&loss.backward()).unwrap().into_data()));
            let loss = weighted(network.forward(x), data("dy"), &device);
            for (parameter, gradient) in graph.parameters().iter().zip(network.gradients(&loss).0) {
                near(&format!("grad.{}", parameter.name), floats(gradient.unwrap().into_data()));
            }
            let evaluated = network.valid().forward(Tensor::from_data(data("x"), &Device::flex()));
            near("y", evaluated.into_vec());
        }
    }
}

/// Value and input gradient of a network with one pool.
fn pooled(op: &Op, size: [usize; 2], x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let device = Device::flex().autodiff();
    let mut b = Builder::new([2, size[0], size[1]]).unwrap();
    let input = b.input();
    let y = b.push("pool", op.clone(), &[input]).unwrap();
    let network = Network::new(&b.finish(y).unwrap(), &Weights::default(), 1.0, &device).unwrap();
    let x = Tensor::<4>::from_data(TensorData::new(x.to_vec(), [1, 2, size[0], size[1]]), &device).require_grad();
    let Value::Map(y) = network.forward(x.clone()) else { unreachable!("a map") };
    let dy = TensorData::new(dy[..y.shape().num_elements()].to_vec(), y.dims());
    let loss = (y.clone() * Tensor::from_data(dy, &device)).sum();
    [floats(y.into_data()), floats(x.grad(&loss.backward()).unwrap().into_data())]
}

/// The same by definition, and the height and width of the output.
fn by_definition(op: &Op, size: [usize; 2], x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let (pool, count) = match op {
        Op::MaxPool(pool) => (pool, None),
        Op::AvgPool(AvgPool2d { pool, count_padding }) => (pool, Some(*count_padding)),
        _ => unreachable!("a pool"),
    };
    let out = [0, 1].map(|a| (size[a] + pool.padding[a] + pool.end_padding()[a] - pool.kernel[a]) / pool.stride[a] + 1);
    let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
    for channel in 0..2 {
        for at in 0..out[0] * out[1] {
            let begin = [at / out[1] * pool.stride[0], at % out[1] * pool.stride[1]];
            let mut inside = Vec::new();
            for r in begin[0]..begin[0] + pool.kernel[0] {
                for c in begin[1]..begin[1] + pool.kernel[1] {
                    let (r, c) = (r.wrapping_sub(pool.padding[0]), c.wrapping_sub(pool.padding[1]));
                    if r < size[0] && c < size[1] {
                        inside.push((channel * size[0] + r) * size[1] + c);
                    }
                }
            }
            let g = dy[y.len()];
            match count {
                None => {
                    let best = inside.iter().copied().reduce(|a, b| if x[b] > x[a] { b } else { a }).unwrap();
                    y.push(x[best]);
                    dx[best] += g;
                }
                Some(count) => {
                    let divisor = if count { pool.kernel[0] * pool.kernel[1] } else { inside.len() } as f32;
                    y.push(inside.iter().map(|i| x[*i]).sum::<f32>() / divisor);
                    inside.iter().for_each(|i| dx[*i] += g / divisor);
                }
            }
        }
    }
    [y, dx]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pools_of_any_geometry_are_those_of_the_definition(
        extra in [0usize..7, 0usize..7], kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], end in [0usize..4, 0usize..4], which in 0usize..3,
    ) {
        let within = |p: [usize; 2]| [0, 1].map(|a| p[a].min(kernel[a] - 1));
        let (padding, end) = (within(padding), within(end));
        let size = [0, 1].map(|a| kernel[a].saturating_sub(padding[a] + end[a]).max(1) + extra[a]);
        let pool = Pool2d { kernel, stride, padding, end_padding: Some(end) };
        let op = match which {
            0 => Op::MaxPool(pool),
            which => Op::AvgPool(AvgPool2d { pool, count_padding: which == 1 }),
        };
        // Noise without ties: a maximum has one place.
        let (x, dy) = (noise(2 * size[0] * size[1], 3), noise(2 * 32 * 32, 4));
        let (found, expected) = (pooled(&op, size, &x, &dy), by_definition(&op, size, &x, &dy));
        for (found, expected) in found.iter().zip(&expected) {
            let error = relative_error(found, expected, 0.1);
            prop_assert!(error <= GOLDEN, "{op:?} differs by {error:e}");
        }
    }
}
