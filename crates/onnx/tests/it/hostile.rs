//! Small files that ask for much memory or time, and operators without what they need: one answer each, soon.

use bytes::Bytes;
use dyconv_onnx::proto::{AttributeProto, FunctionProto, NodeProto, TensorProto, data_type};

use crate::models::{Model, int, ints};
use crate::networks::noise;

/// A function of the domain `f`; nodes as "operator: inputs → outputs".
fn function(name: &str, inputs: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name.to_owned()),
        input: inputs.split(' ').map(str::to_owned).collect(),
        output: vec!["out".to_owned()],
        node: nodes,
        domain: Some("f".to_owned()),
        ..FunctionProto::default()
    }
}

fn node(op: &str, inputs: &str, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.split_whitespace().map(str::to_owned).collect(),
        output: vec![output.to_owned()],
        op_type: Some(op.to_owned()),
        domain: Some(if op.starts_with("level") { "f" } else { "" }.to_owned()),
        attribute,
        ..NodeProto::default()
    }
}

/// A model that runs `body` 9⁴ times, by functions that call functions.
fn repeated(mut model: Model, inputs: &str, body: Vec<NodeProto>) -> Model {
    let rest = inputs.split_once(' ').map_or("", |(_, rest)| rest);
    model.0.functions.push(function("level0", inputs, body));
    for level in 1..=4 {
        let calls = (0..9).map(|i| {
            let input = if i == 0 { inputs.to_owned() } else { format!("v{i} {rest}") };
            let output = if i == 8 { "out".to_owned() } else { format!("v{}", i + 1) };
            node(&format!("level{}", level - 1), &input, &output, Vec::new())
        });
        model.0.functions.push(function(&format!("level{level}"), inputs, calls.collect()));
    }
    let call = node("level4", &format!("x {rest}"), "y", Vec::new());
    model.graph().node.push(call);
    model
}

/// A tensor without values.
fn empty(mut model: Model, name: &str, dims: &[i64]) -> Model {
    model.graph().initializer.push(TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(data_type::INT64),
        raw_data: Some(Bytes::new()),
        ..TensorProto::default()
    });
    model
}

/// 6,561 layers from a weight of 40 kB: of one initializer, or of a constant inside a function.
#[test]
fn weights_that_are_repeated_without_end_are_refused() {
    let weight = noise(1, 100 * 100);
    let model = || Model::new([1, 100, 4, 4]);
    let body = || vec![node("Conv", "a w", "b", Vec::new()), node("Relu", "b", "out", Vec::new())];
    let shared = repeated(model().floats("w", &[100, 100, 1, 1], &weight), "a w", body());
    assert!(shared.bytes().len() < 50_000);
    let error = shared.error();
    assert!(error.contains("weights, but the file has only 10000 numbers"), "{error}");

    let tensor = TensorProto {
        dims: vec![100, 100, 1, 1],
        data_type: Some(data_type::FLOAT),
        float_data: weight,
        ..TensorProto::default()
    };
    let value =
        AttributeProto { name: Some("value".to_owned()), t: Some(Box::new(tensor)), ..AttributeProto::default() };
    let constant = node("Constant", "", "w", vec![value]);
    let error = repeated(model(), "a", [vec![constant], body()].concat()).error();
    assert!(error.contains("its constants are too large to compute"), "{error}");
}

/// Layers of five levels that share their weights, as heads of detectors do, are read.
#[test]
fn shared_weights_are_read() {
    let mut model = Model::new([1, 8, 4, 4]).floats("w", &[8, 8, 1, 1], &noise(1, 64));
    for level in 0..5 {
        let input = if level == 0 { "x".to_owned() } else { format!("r{}", level - 1) };
        let output = if level == 4 { "y".to_owned() } else { format!("r{level}") };
        model = model.node("Conv", &format!("{input} w"), &format!("c{level}"), &[]);
        model = model.node("Relu", &format!("c{level}"), &output, &[]);
    }
    assert_eq!(model.read().unwrap().graph.parameters().len(), 5);
}

/// Factors of a vector become linear layers of 2048 × 2048 weights.
#[test]
fn layers_that_the_file_does_not_have_are_bounded() {
    let mut model = Model::new([1, 2048, 4, 4]).floats("s", &[1], &[3.0]).node("GlobalAveragePool", "x", "g", &[]);
    model = model.node("Flatten", "g", "v0", &[]);
    for i in 0..40 {
        model = model.node("Mul", &format!("v{i} s"), &format!("m{i}"), &[]);
        let output = if i == 39 { "y".to_owned() } else { format!("v{}", i + 1) };
        model = model.node("Relu", &format!("m{i}"), &output, &[]);
    }
    let error = model.error();
    assert!(error.contains("weights, but the file has only"), "{error}");
}

/// Dimensions of what has no values, and numbers of axes: doubled by each node, or simply claimed.
#[test]
fn absurd_shapes_are_refused() {
    let model = || Model::new([1, 3, 8, 8]);
    for dims in [vec![1 << 39, 0], vec![0, 1 << 39], vec![1 << 20, 1 << 19, 0], vec![1; 100]] {
        let error = empty(model(), "e", &dims).node("Concat", "e e", "k", &[int("axis", 1)]);
        let error = error.node("Reshape", "x k", "y", &[]).error();
        assert!(error.contains("absurd dimensions"), "{dims:?}: {error}");
    }
    let mut doubled = empty(model(), "g0", &[1, 1, 0]);
    let mut joined = model().node("Relu", "x", "g0", &[]);
    for i in 0..40 {
        doubled = doubled.node("Gather", &format!("g{i} g{i}"), &format!("g{}", i + 1), &[]);
        joined = joined.node("Concat", &format!("g{i} g{i}"), &format!("g{}", i + 1), &[int("axis", 1)]);
    }
    let error = doubled.node("Reshape", "x g40", "y", &[]).error();
    assert!(error.contains("(Gather): is too large"), "{error}");
    let error = joined.node("Relu", "g40", "y", &[]).error();
    assert!(error.contains("channels; at most 65536 are read"), "{error}");
    let axes: Vec<i64> = (4..5000).collect();
    let error = model().node("Unsqueeze", "x", "y", &[ints("axes", &axes)]).error();
    assert!(error.contains("expects a few integers as `axes`"), "{error}");
    let mut deep = model();
    for i in 0..20 {
        let input = if i == 0 { "x".to_owned() } else { format!("u{i}") };
        deep = deep.node("Unsqueeze", &input, &format!("u{}", i + 1), &[ints("axes", &[0, 1, 2, 3])]);
    }
    let error = deep.node("Relu", "u20", "y", &[]).error();
    assert!(error.contains("makes a value of 68 axes; at most 64 are read"), "{error}");
}

/// Each node reads the one before twice, so there are 2⁶⁰ ways from the last to the first.
#[test]
fn doubled_paths_are_walked_once() {
    let mut model = Model::new([1, 3, 8, 8]).node("Relu", "x", "c0", &[]);
    for i in 0..60 {
        model = model.node("Add", &format!("c{i} c{i}"), &format!("c{}", i + 1), &[]);
    }
    let model = model.ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]).node("Pad", "c60 pads", "p", &[]);
    let read = model.node("MaxPool", "p", "y", &[ints("kernel_shape", &[3, 3])]).read().unwrap();
    // The border of zeros below the maximum of what is never negative is the pool's own.
    assert_eq!(read.graph.nodes().len(), 63);
}

/// Thousands of nodes that have one long name, and functions with thousands of parameters.
#[test]
fn names_and_parameters_are_bounded() {
    let affine = || vec![node("Mul", "a w", "b", Vec::new()), node("Relu", "b", "out", Vec::new())];
    let mut model = Model::new([1, 3, 4, 4]).floats("w", &[3, 1, 1], &noise(1, 3));
    model = repeated(model, "a w", affine());
    model.graph().node[0].name = Some("/a".repeat(10_000));
    let error = model.error();
    assert!(error.contains("more than 10000 nodes"), "{error}");

    let many = " x".repeat(2000);
    let body = vec![node("Relu", "a", "out", Vec::new())];
    let error = repeated(Model::new([1, 3, 4, 4]), &format!("a{many}"), body).error();
    assert!(error.contains("inputs, outputs and attributes"), "{error}");
}

/// Every operator with none to three inputs, each a map, a vector, a constant of floats, of integers, or of nothing: read or
/// refused.
#[test]
fn operators_take_any_inputs() {
    const OPERATORS: &str = "Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape \
        Conv ConvTranspose Div Dropout Einsum Equal Erf Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalMaxPool \
        HardSigmoid HardSwish Identity LeakyRelu LogSoftmax MatMul Max MaxPool Min Mul Neg PRelu Pad Pow Range ReduceMax \
        ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Shape Sigmoid Size Slice Softmax Split Sqrt Squeeze \
        Sub Sum Swish Tanh Transpose Unsqueeze Upsample Where";
    let base = || {
        let model = Model::new([1, 4, 4, 4]).node("GlobalAveragePool", "x", "g", &[]).node("Flatten", "g", "v", &[]);
        empty(model.floats("f", &[4, 4, 1, 1], &noise(1, 16)).ints("i", &[1, 0, 2, 3]), "n", &[0])
    };
    let mut lists = vec![String::new()];
    for start in ["x", "v", "f", "i", "n"] {
        lists.push(start.to_owned());
        for second in ["x", "v", "f", "i", "n", "-"] {
            lists.push(format!("{start} {second}"));
            lists.extend(["x", "v", "f", "i", "n"].map(|third| format!("{start} {second} {third}")));
        }
    }
    let (mut read, mut refused) = (0, 0);
    for op in OPERATORS.split_whitespace() {
        for inputs in &lists {
            let mut model = base().node(op, inputs, "made", &[]).node("Relu", "made", "y", &[]);
            if inputs.is_empty() {
                model.graph().node[2].input.clear();
            }
            match model.read() {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 100 && refused > 5000, "{read} read, {refused} refused");
}
