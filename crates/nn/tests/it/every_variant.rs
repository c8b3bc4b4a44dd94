//! Every op, activation and gate of the graph, as a trainable network.

use crate::common::{LAYER, floats, noise, relative_error};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_graph::samples::networks;
use dyconv_graph::{Graph, Init, Op, init};
use dyconv_nn::{Network, Operations, Value};

fn input(graph: &Graph, device: &Device) -> Tensor<4> {
    let [c, h, w] = graph.input_dims();
    Tensor::from_data(TensorData::new(noise(2 * c * h * w, 1), [2, c, h, w]), device)
}

fn sum_of_squares(value: Value) -> Tensor<1> {
    match value {
        Value::Map(y) => y.square().sum(),
        Value::Vector(y) => y.square().sum(),
    }
}

#[test]
fn every_op_trains_and_evaluates() {
    let device = Device::flex().autodiff();
    for (name, graph) in networks() {
        let weights = init(&graph, Init::default());
        let answers = |operations: Operations| {
            let network = Network::new(&graph, &weights, 2.0, &device).unwrap().with_operations(operations);
            let gradients = (!weights.0.is_empty()).then(|| {
                let loss = sum_of_squares(network.forward(input(&graph, &device)));
                network.gradients(&loss).0
            });
            let gradients = gradients.unwrap_or_default();
            assert!(gradients.iter().all(Option::is_some), "{name}: a gradient for every parameter");
            let mut values: Vec<Vec<f32>> = gradients.into_iter().flatten().map(|g| floats(g.into_data())).collect();
            assert_eq!(network.weights().check(&graph), Ok(()), "{name}");
            let answer = network.valid().forward(input(&graph, &Device::flex()));
            let dims: Vec<usize> = [2].into_iter().chain(graph.output_shape().dims()).collect();
            assert_eq!(answer.dims(), dims, "{name}");
            values.push(answer.into_vec());
            values
        };
        let (ours, reference) = (answers(Operations::Custom), answers(Operations::Reference));
        for (ours, reference) in ours.iter().zip(&reference) {
            let error = relative_error(ours, reference, 1.0);
            assert!(error <= LAYER, "{name}: differs by {error:e}");
        }
        // In evaluation dropout does nothing.
        if graph.nodes().iter().any(|node| matches!(node.op, Op::Dropout { .. })) {
            assert_eq!(ours.last().unwrap(), &floats(input(&graph, &device).into_data()), "{name}");
        }
    }
}
