//! What is not read, and files that lie.

use dyconv_onnx::proto::{StringStringEntryProto, TensorProto};
use dyconv_onnx::{OnnxError, read};
use prost::Message;

use crate::models::{Model, float, int, ints};
use crate::networks::noise;

#[test]
fn every_operator_that_is_not_understood_is_named_with_its_readers() {
    let model = Model::new([1, 3, 8, 8])
        .node("Softplus", "x", "s", &[])
        .node("Relu", "s", "r", &[])
        .node("InstanceNormalization", "x", "i", &[])
        .node("Add", "r i", "y", &[]);
    let error = model.error();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines,
        [
            "node `s` (Softplus): is an operator that is not read; it reads x and is read by r (Relu)",
            "node `i` (InstanceNormalization): is an operator that is not read; it reads x and is read by y (Add)",
        ]
    );
    let mut many = Model::new([1, 3, 8, 8]);
    for i in 0..30 {
        many = many.node("Softplus", "x", &format!("s{i}"), &[]);
    }
    let error = many.node("Relu", "s0", "y", &[]).error();
    assert!(error.ends_with("\nand 10 more"), "{error}");
}

#[test]
fn a_foreign_parameter_is_named() {
    let model = || Model::new([1, 4, 8, 8]);
    let pool = |extra| model().node("MaxPool", "x", "y", &[ints("kernel_shape", &[2, 2]), extra]).error();
    assert!(pool(ints("dilations", &[2, 2])).contains("dilations [2, 2]; only 1 is read"));
    let resized = model().floats("s", &[4], &[1.0, 1.0, 1.5, 1.5]).node("Resize", "x - s", "y", &[]).error();
    assert!(resized.contains("only one whole number"), "{resized}");
    let norm = model()
        .floats("one", &[4], &[1.0; 4])
        .node("BatchNormalization", "x one one one one", "y", &[int("training_mode", 1)])
        .error();
    assert!(norm.contains("is in training mode"), "{norm}");
    let hard = model().node("HardSigmoid", "x", "y", &[float("alpha", 0.2)]).error();
    assert!(hard.contains("alpha 0.2"), "{hard}");
    let line = model().floats("w", &[4, 4, 3], &[0.0; 48]).node("Conv", "x w", "y", &[]).error();
    assert!(line.contains("only 2-D convolutions are read"), "{line}");
    let quantized = model().node("QuantizeLinear", "x", "y", &[]).error();
    assert!(quantized.contains("quantized networks are not read"), "{quantized}");
}

#[test]
fn contradictions_are_named() {
    let model = || Model::new([1, 4, 8, 8]);
    let wrong = model().floats("w", &[4, 4, 1, 1], &[0.0; 15]).node("Conv", "x w", "y", &[]).error();
    assert!(wrong.contains("has 60 bytes, but dimensions [4, 4, 1, 1] of type FLOAT need 64"), "{wrong}");
    let twice = model().floats("w", &[1], &[0.0]).floats("w", &[1], &[0.0]).node("Relu", "x", "y", &[]).error();
    assert!(twice.contains("two initializers `w`"), "{twice}");
    let order = model().node("Relu", "later", "y", &[]).node("Relu", "x", "later", &[]).error();
    assert!(order.contains("node `y` reads `later`, which no node before it makes"), "{order}");
    let same = model().node("Relu", "x", "y", &[]).node("Sigmoid", "x", "y", &[]).error();
    assert!(same.contains("the value `y` is made twice"), "{same}");
    let huge = model().floats("w", &[1 << 30, 1 << 30], &[]).node("Add", "x w", "y", &[]).error();
    assert!(huge.contains("absurd dimensions"), "{huge}");
    let none = model().node("Relu", "x", "z", &[]).error();
    assert!(none.contains("no node makes the output `y`"), "{none}");
    let free = Model::new([0, 3, 0, 0]).node("Relu", "x", "y", &[]).error();
    assert!(free.contains("leaves height or width free"), "{free}");
    let mut old = model().node("Relu", "x", "y", &[]);
    old.0.opset_import[0].version = Some(8);
    assert!(old.error().contains("operator set 8: 9 to 28 are read"));
    let infinite = model().floats("w.weight", &[1, 4, 1, 1], &[f32::NAN; 4]).node("Conv", "x w.weight", "y", &[]);
    assert!(matches!(infinite.read(), Err(OnnxError::Weights(_))));
}

#[test]
fn external_data_stays_inside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    let values = noise(1, 16);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.join("weights.bin"), [&[0; 8], bytes.as_slice()].concat()).unwrap();
    std::fs::write(folder.path().join("outside.bin"), &bytes).unwrap();
    let with = |location: &str, offset: &str, length: &str| {
        let mut model = Model::new([1, 4, 8, 8]).node("Conv", "x c.weight", "y", &[]);
        let entry =
            |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        model.graph().initializer.push(TensorProto {
            name: Some("c.weight".into()),
            dims: vec![4, 4, 1, 1],
            data_type: Some(1),
            data_location: Some(1),
            external_data: vec![entry("location", location), entry("offset", offset), entry("length", length)],
            ..TensorProto::default()
        });
        read(&model.bytes(), Some(&dir))
    };
    let imported = with("weights.bin", "8", "64").unwrap();
    assert_eq!(imported.weights.get("c.weight").data, values);
    for (location, offset, length, message) in [
        ("../outside.bin", "0", "64", "external data must lie in the folder of the model"),
        ("/etc/passwd", "0", "64", "external data must lie in the folder of the model"),
        ("weights.bin", "16", "64", "lies at 16, 64 bytes long, in `weights.bin`, which has 72 bytes"),
        ("weights.bin", "18446744073709551615", "64", "which has 72 bytes"),
        ("weights.bin", "8", "60", "has 60 bytes in `weights.bin`, but its dimensions need 64"),
        ("weights.bin", "x", "64", "which is not a number"),
        ("missing.bin", "0", "64", "cannot be read"),
    ] {
        let error = with(location, offset, length).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("outside.bin"), dir.join("link.bin")).unwrap();
        let error = with("link.bin", "0", "64").unwrap_err().to_string();
        assert!(error.contains("must lie in the folder"), "{error}");
    }
}

/// Graphs inside attributes of nodes, deeper than a decoder may recurse.
#[test]
fn nesting_is_bounded() {
    use dyconv_onnx::proto::{AttributeProto, GraphProto, NodeProto};
    let mut graph = GraphProto::default();
    for _ in 0..2000 {
        let attribute = AttributeProto { g: Some(Box::new(graph)), ..AttributeProto::default() };
        let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
        graph = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    let mut model = Model::new([1, 4, 8, 8]);
    model.0.graph = Some(graph);
    assert!(model.error().contains("nested too deeply"));
}

/// Structure that takes far more memory than bytes.
#[test]
fn empty_messages_are_bounded() {
    let bytes = [0x3a, 0x80, 0x80, 0x80, 0x02].into_iter().chain([0x0a, 0].into_iter().cycle().take(4 << 20));
    let error = read(&bytes.collect::<Vec<u8>>(), None).unwrap_err().to_string();
    assert!(error.contains("its structure takes more than"), "{error}");
}

/// Mutated files are read or refused, and never panic.
#[test]
fn mutations_are_read_or_refused() {
    let router = Model::new([0, 4, 6, 6])
        .node("GlobalAveragePool", "x", "g", &[])
        .node("Flatten", "g", "f", &[])
        .floats("r.weight", &[3, 4], &noise(7, 12))
        .node("Gemm", "f r.weight", "z", &[int("transB", 1)])
        .node("Softmax", "z", "pi", &[int("axis", 1)])
        .floats("bank.weight", &[3, 4], &noise(8, 12))
        .node("MatMul", "pi bank.weight", "m", &[])
        .node("Shape", "x", "shape", &[])
        .ints("first", &[0])
        .node("Gather", "shape first", "n", &[int("axis", 0)])
        .ints("rest", &[4, 1, 1])
        .node("Concat", "n rest", "to", &[int("axis", 0)])
        .node("Reshape", "m to", "s", &[])
        .node("Mul", "x s", "q", &[])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .node("Pad", "q pads", "p", &[])
        .node("MaxPool", "p", "y", &[ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])]);
    let good = router.bytes();
    read(&good, None).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + draw(3) {
            let at = draw(bytes.len());
            match draw(4) {
                0 => bytes[at] = draw(256) as u8,
                1 => bytes[at] ^= 1 << draw(8),
                2 => drop(bytes.drain(at..(at + 1 + draw(8)).min(bytes.len()))),
                _ => bytes.insert(at, draw(256) as u8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        accepted += usize::from(read(&bytes, None).is_ok());
    }
    assert!(accepted > 100, "{accepted} of 10,000 mutations were still read");
    let _ = router.0.encoded_len();
}
