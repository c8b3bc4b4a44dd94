//! What is written and read is the same network: bit for bit once batch norms are folded, and with its dynamic layers.

use std::collections::BTreeMap;

use dyconv_engine::oracle;
use dyconv_graph::{Builder, Graph, Op, Weights};
use dyconv_models::{FAMILIES, Options};
use dyconv_onnx::write::{Batch, Form, WriteOptions, write};
use dyconv_onnx::{Ending, Imported, read};

use crate::networks::{TAU, attention, frozen, noise, small, weights};

/// Rounding of the weights into which a batch norm is folded, over a few layers.
const CLOSE: f32 = 1e-5;

fn written(graph: &Graph, weights: &Weights, tau: f32, form: Form, pi: &BTreeMap<String, Vec<f32>>) -> Vec<u8> {
    let batch = if form == Form::Exact { Batch::Fixed(1) } else { Batch::Free };
    let options = WriteOptions { form, batch, attention: Some(pi), ..WriteOptions::default() };
    write(graph, weights, tau, &options).unwrap().model
}

/// Writes the network, reads it, and checks that doing so again gives the same graph and the same bits.
fn trip(name: &str, graph: &Graph, weights: &Weights, form: Form) -> Imported {
    let name = format!("{name}, {form:?}");
    let pi = attention(graph);
    let first = written(graph, weights, TAU, form, &pi);
    let imported = read(&first, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    let softmax = match form {
        Form::Frozen => has(&frozen(graph, weights, &pi).0, |op| *op == Op::Softmax),
        Form::Exact | Form::Portable => has(graph, |op| *op == Op::Softmax),
    };
    assert_eq!(imported.tau, if softmax { TAU } else { 1.0 }, "{name}");
    // Batch norms are folded and dropout is left out.
    if form != Form::Frozen && !has(graph, |op| matches!(op, Op::BatchNorm { .. } | Op::Dropout { .. })) {
        assert_eq!(&imported.graph, graph, "{name}");
        assert!(&imported.weights == weights, "{name}: the same bits");
    }
    let second = written(&imported.graph, &imported.weights, imported.tau, form, &pi);
    let again = read(&second, None).unwrap_or_else(|e| panic!("{name}, second: {e}"));
    assert_eq!(again.graph, imported.graph, "{name}");
    assert!(again.weights == imported.weights && again.tau == imported.tau, "{name}: the same bits");
    // The first file may have the shift of a batch norm, which is read as biases of the kernels.
    assert!(imported.graph.dynamic_layers() > 0 || first == second, "{name}: the same file");
    let third = written(&again.graph, &again.weights, again.tau, form, &pi);
    assert!(second == third, "{name}: the same file");
    imported
}

fn same_answers(name: &str, [a, b]: [(&Graph, &Weights, f32); 2]) {
    let [c, h, w] = a.0.input_dims();
    let input = noise(9, 2 * c * h * w);
    let [a, b] = [a, b].map(|(graph, weights, tau)| oracle::run(graph, weights, tau, &input, 2).unwrap());
    let largest = a.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    let difference = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
    assert!(a.len() == b.len() && difference <= CLOSE, "{name}: {difference:e}");
}

fn check(name: &str, graph: &Graph, weights: &Weights) {
    let forms: &[Form] = if graph.dynamic_layers() == 0 { &[Form::Portable] } else { &[Form::Exact, Form::Portable] };
    for form in forms {
        let imported = trip(name, graph, weights, *form);
        assert_eq!(imported.graph.dynamic_layers(), graph.dynamic_layers(), "{name}, {form:?}");
        assert_eq!(imported.report.ending, Ending::Values, "{name}, {form:?}");
        same_answers(name, [(graph, weights, TAU), (&imported.graph, &imported.weights, imported.tau)]);
    }
    if graph.dynamic_layers() > 0 {
        let imported = trip(name, graph, weights, Form::Frozen);
        let (constant, mixed) = frozen(graph, weights, &attention(graph));
        same_answers(name, [(&constant, &mixed, TAU), (&imported.graph, &imported.weights, imported.tau)]);
    }
}

fn has(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> bool {
    graph.nodes().iter().any(|node| wanted(&node.op))
}

#[test]
fn small_networks() {
    // A softmax at the end of a network is taken for class probabilities, and left out.
    for (name, graph) in small() {
        if graph.node(graph.output()).op == Op::Softmax {
            continue;
        }
        check(&name, &graph, &weights(&graph));
    }
}

#[test]
fn every_family() {
    let options = Options { classes: 10, joints: 5, image_size: [32, 32], width: Some(0.125), ..Options::default() };
    for family in FAMILIES {
        let family = family.name;
        for name in [family.into(), format!("dy_{family}"), format!("pose_{family}_a"), format!("pose_dy_{family}_b")] {
            let head_width = if name.starts_with("pose_") { 0.125 } else { 1.0 };
            let graph = dyconv_models::build(&name, &Options { head_width, ..options.clone() }).unwrap();
            check(&name, &graph, &weights(&graph));
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
