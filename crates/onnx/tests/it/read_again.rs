//! What we write is read back as the same network.

use dyconv_engine::oracle;
use dyconv_graph::{Builder, Graph, Op};
use dyconv_onnx::write::{Batch, Form, WriteOptions, write};
use dyconv_onnx::{Ending, read};

use crate::networks::{TAU, attention, frozen, noise, small, weights};

fn has(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> bool {
    graph.nodes().iter().any(|node| wanted(&node.op))
}

/// Without what is folded or left out, graph and bits are the same; otherwise the answers are.
#[test]
fn what_is_written_is_read_back() {
    for (name, graph) in small() {
        let weights = weights(&graph);
        // A softmax at the end of a network is taken for class probabilities.
        let plain = !has(&graph, |op| matches!(op, Op::BatchNorm { .. } | Op::Dropout { .. }));
        if graph.node(graph.output()).op == Op::Softmax {
            continue;
        }
        for form in [Form::Exact, Form::Portable, Form::Frozen] {
            let pi = attention(&graph);
            let batch = if form == Form::Exact { Batch::Fixed(1) } else { Batch::Free };
            let options = WriteOptions { form, batch, attention: Some(&pi), ..WriteOptions::default() };
            let written = write(&graph, &weights, TAU, &options).unwrap();
            let again = read(&written.model, None).unwrap_or_else(|e| panic!("{name} {form:?}: {e}"));
            let (graph, weights) = match form {
                Form::Frozen => frozen(&graph, &weights, &pi),
                Form::Exact | Form::Portable => (graph.clone(), weights.clone()),
            };
            let softmax = has(&graph, |op| *op == Op::Softmax);
            assert_eq!(again.tau, if softmax { TAU } else { 1.0 }, "{name} {form:?}");
            if plain && form != Form::Frozen {
                assert_eq!(again.graph, graph, "{name} {form:?}");
                assert_eq!(again.weights, weights, "{name} {form:?}");
                continue;
            }
            let x = noise(5, 2 * graph.input_dims().iter().product::<usize>());
            let expected = oracle::run(&graph, &weights, TAU, &x, 2).unwrap();
            let found = oracle::run(&again.graph, &again.weights, again.tau, &x, 2).unwrap();
            let largest = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            for (a, b) in found.iter().zip(&expected) {
                // Folding a batch norm rounds each weight once.
                assert!((a - b).abs() <= 2e-5 * largest, "{name} {form:?}: {a} is not {b}");
            }
        }
    }
}

/// A softmax at the end is class probabilities, unless the file says that it is one of ours.
#[test]
fn our_header_keeps_the_softmax_at_the_end() {
    let mut b = Builder::new([4, 6, 6]).unwrap();
    let x = b.input();
    let y = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
    let y = b.push("softmax", Op::Softmax, &[y]).unwrap();
    let graph = b.finish(y).unwrap();
    let read_with = |metadata| {
        let options = WriteOptions { metadata, ..WriteOptions::default() };
        read(&write(&graph, &weights(&graph), TAU, &options).unwrap().model, None).unwrap()
    };
    let ours = read_with([("dyconv".to_owned(), "{}".to_owned())].into());
    assert_eq!((ours.graph, ours.tau), (graph.clone(), TAU));
    assert_eq!(read_with(Default::default()).report.ending, Ending::Softmax);
}
