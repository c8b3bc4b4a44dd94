//! The structure of written models.

use dyconv_onnx::proto::{ModelProto, NodeProto};
use dyconv_onnx::write::{Batch, Form, WriteOptions, write};
use prost::Message;

use crate::networks::{TAU, attention, dynamic, small, weights};

fn decoded(graph: &dyconv_graph::Graph, form: Form) -> ModelProto {
    let pi = attention(graph);
    let batch = if form == Form::Exact { Batch::Fixed(1) } else { Batch::Free };
    let options = WriteOptions { form, batch, attention: Some(&pi), ..WriteOptions::default() };
    ModelProto::decode(write(graph, &weights(graph), TAU, &options).unwrap().model.as_slice()).unwrap()
}

fn ops(nodes: &[NodeProto]) -> Vec<&str> {
    nodes.iter().map(NodeProto::op_type).collect()
}

/// Single assignment, order, and names that are known: what ONNX's checker demands.
#[test]
fn every_model_is_well_formed() {
    for (name, graph) in small() {
        for form in [Form::Exact, Form::Portable, Form::Frozen] {
            let model = decoded(&graph, form);
            assert_eq!((model.ir_version(), model.opset_import[0].version()), (8, 17));
            let proto = model.graph.unwrap();
            assert_eq!((proto.input[0].name(), proto.output[0].name()), ("input", "output"));
            let mut known: std::collections::HashSet<&str> = ["input", ""].into();
            for initializer in &proto.initializer {
                assert!(known.insert(initializer.name()), "{name}: {} twice", initializer.name());
            }
            let mut names = std::collections::HashSet::new();
            for node in &proto.node {
                assert!(
                    node.input.iter().all(|i| known.contains(i.as_str())),
                    "{name}: {node:?} reads what is not there"
                );
                assert!(known.insert(&node.output[0]), "{name}: {} twice", node.output[0]);
                assert!(names.insert(node.name()) && !node.name().contains(':'), "{name}: {}", node.name());
            }
            assert!(known.contains("output"), "{name}");
            let read: std::collections::HashSet<&String> = proto.node.iter().flat_map(|n| &n.input).collect();
            let unread = proto.initializer.iter().find(|i| !read.contains(i.name.as_ref().unwrap()));
            assert_eq!(unread.map(|i| i.name()), None, "{name}");
        }
    }
}

#[test]
fn only_the_exact_form_computes_kernels() {
    for (name, graph) in dynamic() {
        for form in [Form::Exact, Form::Portable, Form::Frozen] {
            let proto = decoded(&graph, form).graph.unwrap();
            let constants: std::collections::HashSet<&str> = proto.initializer.iter().map(|i| i.name()).collect();
            let computed = |node: &&NodeProto| {
                matches!(node.op_type(), "Conv" | "Gemm") && !constants.contains(node.input[1].as_str())
            };
            let count = proto.node.iter().filter(computed).count();
            assert_eq!(count, if form == Form::Exact { graph.dynamic_layers() } else { 0 }, "{name}");
            if form == Form::Frozen && name != "shared_attention" {
                assert!(!ops(&proto.node).iter().any(|op| ["Softmax", "Sigmoid", "MatMul"].contains(op)), "{name}");
            }
        }
    }
}

#[test]
fn batch_norms_are_folded_where_nobody_else_reads_the_convolution() {
    let all = small();
    let of = |name: &str| {
        let graph = &all.iter().find(|(n, _)| n == name).unwrap().1;
        decoded(graph, Form::Portable).graph.unwrap()
    };
    for (name, expected) in [
        ("two_norms", &["Conv"][..]),
        ("norm_behind_dropout", &["Conv"]),
        ("norm_first", &["BatchNormalization", "Conv"]),
        ("transposed_grouped_norm", &["ConvTranspose"]),
        ("read_twice", &["Conv", "BatchNormalization", "Add"]),
        ("dropout_only", &["Identity"]),
        ("called_output", &["Conv", "Conv", "Conv"]),
    ] {
        assert_eq!(ops(&of(name).node), expected, "{name}");
    }
    let graph = of("two_norms");
    assert_eq!(
        (graph.node[0].name(), graph.node[0].input.as_slice()),
        ("conv", ["input", "conv.weight", "conv.bias"].map(str::to_owned).as_slice())
    );
}

#[test]
fn options_that_do_not_fit_are_errors() {
    let graph = dynamic().remove(0).1;
    let error = |options: &WriteOptions| write(&graph, &weights(&graph), TAU, options).unwrap_err().to_string();
    let exact = |batch| error(&WriteOptions { form: Form::Exact, batch, ..WriteOptions::default() });
    assert!(exact(Batch::Free).ends_with("needs a batch of 1, got a free batch"));
    assert!(exact(Batch::Fixed(2)).ends_with("needs a batch of 1, got a batch of 2"));
    assert!(exact(Batch::Fixed(0)).ends_with("must be at least 1, got 0"));
    let frozen = |layer: &str, pi: &[f32]| {
        let attention = [(layer.to_owned(), pi.to_vec())].into();
        error(&WriteOptions { form: Form::Frozen, attention: Some(&attention), ..WriteOptions::default() })
    };
    assert!(frozen("other", &[0.5; 3]).contains("layer `conv`: the frozen form needs its mean attention"));
    assert!(frozen("conv", &[1.0]).contains("needs 3 values, got 1"));
    assert!(frozen("conv", &[f32::NAN; 3]).contains("not finite"));
    let preprocessing = dyconv_file::Preprocessing::usual(3, [6, 5], 6);
    let options = WriteOptions { preprocessing: Some(&preprocessing), ..WriteOptions::default() };
    assert!(error(&options).ends_with("preprocessing makes [3, 6, 5], but the network's input is [4, 6, 5]"));
    let error = write(&graph, &weights(&graph), f32::NAN, &WriteOptions::default()).unwrap_err().to_string();
    assert!(error.contains("tau must be a positive number, got NaN"));
    let error = write(&graph, &dyconv_graph::Weights::default(), TAU, &WriteOptions::default()).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn texts_and_the_temperature_travel_in_the_file() {
    let graph = dynamic().remove(0).1;
    let metadata = [("names", "{0: 'a'}"), ("tau", "4")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let options = WriteOptions { metadata, ..WriteOptions::default() };
    let bytes = |tau| write(&graph, &weights(&graph), tau, &options).unwrap().model;
    let model = ModelProto::decode(bytes(TAU).as_slice()).unwrap();
    let found: Vec<(&str, &str)> = model.metadata_props.iter().map(|p| (p.key(), p.value())).collect();
    assert_eq!(found, [("names", "{0: 'a'}"), ("tau", "4")]);
    let count = |tau: f32| {
        let graph = ModelProto::decode(bytes(tau).as_slice()).unwrap().graph.unwrap();
        graph.node.iter().filter(|node| node.op_type() == "Div").count()
    };
    assert_eq!((count(TAU), count(1.0)), (1, 0));
    assert_eq!(bytes(TAU), bytes(TAU));
}
