//! Changes to ONNX files that leave them ONNX files: bytes changed at random seldom do.

use dyconv::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use prost::Message;

/// Operators that are read, and two that are not.
const OPERATORS: &str = "Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose Div \
Dropout Einsum Equal Erf Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity If \
LeakyRelu LogSoftmax MatMul Max MaxPool Min Mul Neg PRelu Pad Pow Range ReduceMax ReduceMean ReduceProd ReduceSum Relu Reshape \
Resize Shape Sigmoid Size Slice Softmax Split Sqrt Squeeze Sub Sum Swish Tanh Transpose Unsqueeze Upsample Where";

/// Names of attributes that operators read.
const ATTRIBUTES: &str = "alpha allowzero auto_pad axes axis beta ceil_mode count_include_pad dilations end epsilon equation group \
kernel_shape keepdims max min mode noop_with_empty_axes num_outputs output_padding output_shape pads perm scales start strides \
to transA transB value value_float value_int value_ints";

/// Integers that are read as sizes, axes, steps and counts.
const INTS: [i64; 18] = [0, 1, 2, 3, 4, 5, 7, 8, 16, 32, -1, -2, -3, 8191, 1 << 16, 1 << 30, i64::MAX, i64::MIN];

/// Floats that are read as factors, bounds and values.
const FLOATS: [f32; 10] = [0.0, 1.0, -1.0, 0.5, 2.0, 6.0, 1e-5, f32::MAX, f32::INFINITY, f32::NAN];

/// Changes the ONNX file in the first `size` bytes, and returns its new size, of at most `most`.
pub fn mutate_onnx(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) | 1 << 40);
    let model = ModelProto::decode(&data[..size]).ok().filter(|_| random.below(4) > 0);
    let Some(mut model) = model else { return libfuzzer_sys::fuzzer_mutate(data, size, most) };
    for _ in 0..=random.below(3) {
        change(&mut model, &mut random);
    }
    let bytes = model.encode_to_vec();
    if bytes.len() > most {
        return libfuzzer_sys::fuzzer_mutate(data, size, most);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }

    /// One of them, if there are any.
    fn pick<'a, T>(&mut self, all: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(all.len());
        all.get_mut(at)
    }

    fn word(&mut self, words: &str) -> String {
        let at = self.below(words.split_whitespace().count());
        words.split_whitespace().nth(at).unwrap_or_default().to_owned()
    }

    fn int(&mut self, old: i64) -> i64 {
        match self.below(4) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old.wrapping_mul(2),
            _ => INTS[self.below(INTS.len())],
        }
    }
}

fn change(model: &mut ModelProto, random: &mut Random) {
    if random.below(20) == 0 {
        if let Some(opset) = random.pick(&mut model.opset_import) {
            opset.version = Some(9 + random.below(20) as i64);
        }
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    let names = names(graph);
    match random.below(12) {
        0 | 1 => insert(graph, &names, random),
        2 => {
            if !graph.node.is_empty() {
                let removed = graph.node.remove(random.below(graph.node.len()));
                // Its readers read its input instead.
                if let (Some(input), Some(output)) = (removed.input.first(), removed.output.first()) {
                    let inputs = graph.node.iter_mut().flat_map(|node| &mut node.input);
                    inputs.filter(|name| *name == output).for_each(|name| name.clone_from(input));
                }
            }
        }
        3 | 4 => tensor(graph, random),
        5 => {
            let ends = graph.input.iter_mut().chain(&mut graph.output);
            let shapes = ends.filter_map(|end| end.r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut());
            let mut dims: Vec<_> = shapes.flat_map(|shape| &mut shape.dim).collect();
            if let Some(dim) = random.pick(&mut dims) {
                dim.value = Some(dyconv::onnx::proto::Dimension::Value(random.int(8)));
            }
        }
        6 => {
            // The network ends elsewhere.
            if let (Some(output), Some(node)) = (graph.output.first_mut(), random.pick(&mut graph.node)) {
                output.name = node.output.first().cloned();
            }
        }
        _ => {
            if let Some(node) = random.pick(&mut graph.node) {
                change_node(node, &names, random);
            }
        }
    }
}

/// Names of all values.
fn names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().filter_map(|value| value.name.clone());
    let initializers = graph.initializer.iter().filter_map(|tensor| tensor.name.clone());
    inputs.chain(initializers).chain(graph.node.iter().flat_map(|node| node.output.clone())).collect()
}

/// A node of one to three inputs, which the readers of its first one read instead.
fn insert(graph: &mut GraphProto, names: &[String], random: &mut Random) {
    let at = random.below(graph.node.len() + 1);
    let output = format!("new{}", random.below(1 << 16));
    let mut input = Vec::new();
    // Mostly the value that the node before makes.
    match at.checked_sub(1).and_then(|before| graph.node[before].output.first()) {
        Some(name) if random.below(4) > 0 => input.push(name.clone()),
        _ => input.extend(names.get(random.below(names.len())).cloned()),
    }
    for _ in 0..random.below(3) {
        input.extend(names.get(random.below(names.len())).cloned());
    }
    if let Some(first) = input.first() {
        for name in graph.node[at..].iter_mut().flat_map(|node| &mut node.input).filter(|name| *name == first) {
            name.clone_from(&output);
        }
    }
    let op_type = Some(random.word(OPERATORS));
    let mut node = NodeProto { input, output: vec![output], op_type, ..NodeProto::default() };
    for _ in 0..random.below(3) {
        attribute(&mut node, random);
    }
    graph.node.insert(at, node);
}

fn change_node(node: &mut NodeProto, names: &[String], random: &mut Random) {
    match random.below(7) {
        0 => node.op_type = Some(random.word(OPERATORS)),
        1 | 2 => {
            if let (Some(input), Some(name)) = (random.pick(&mut node.input), names.get(random.below(names.len()))) {
                input.clone_from(name);
            }
        }
        3 if random.below(2) == 0 => drop(node.input.pop()),
        3 => node.input.extend(names.get(random.below(names.len())).cloned()),
        4 if node.input.len() > 1 => node.input.swap(0, 1),
        _ => attribute(node, random),
    }
}

/// Changes, adds or removes an attribute.
fn attribute(node: &mut NodeProto, random: &mut Random) {
    match random.below(4) {
        0 => {
            let mut new = AttributeProto { name: Some(random.word(ATTRIBUTES)), ..AttributeProto::default() };
            match random.below(3) {
                0 => new.i = Some(random.int(1)),
                1 => new.f = Some(FLOATS[random.below(FLOATS.len())]),
                _ => new.ints = (0..random.below(6)).map(|_| random.int(1)).collect(),
            }
            node.attribute.push(new);
        }
        1 if !node.attribute.is_empty() => {
            node.attribute.remove(random.below(node.attribute.len()));
        }
        _ => {
            let Some(attribute) = random.pick(&mut node.attribute) else { return };
            if let Some(i) = &mut attribute.i {
                *i = random.int(*i);
            }
            if let Some(f) = &mut attribute.f {
                *f = FLOATS[random.below(FLOATS.len())];
            }
            if let Some(i) = random.pick(&mut attribute.ints) {
                *i = random.int(*i);
            }
        }
    }
}

/// Other dimensions for a constant, with as many values or not, or another value in it.
fn tensor(graph: &mut GraphProto, random: &mut Random) {
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_deref_mut());
    let mut tensors: Vec<_> = graph.initializer.iter_mut().chain(constants).collect();
    let Some(tensor) = random.pick(&mut tensors) else { return };
    match random.below(5) {
        0 if tensor.dims.len() > 1 => tensor.dims.swap(0, 1),
        0 => tensor.dims.push(1),
        1 if tensor.dims.len() > 1 => {
            let last = tensor.dims.pop().unwrap_or(1);
            tensor.dims[0] = tensor.dims[0].wrapping_mul(last);
        }
        1 => tensor.dims.insert(0, 1),
        2 => {
            // One dimension changes, and the values with it.
            let Some(dim) = random.pick(&mut tensor.dims) else { return };
            let old = usize::try_from(*dim).unwrap_or(0);
            *dim = random.int(*dim);
            let new = usize::try_from(*dim).unwrap_or(0);
            let raw = tensor.raw_data.take().unwrap_or_default();
            if old > 0
                && let Some(length) = (raw.len() / old).checked_mul(new).filter(|n| *n <= 4096)
            {
                tensor.raw_data = Some(raw.iter().copied().chain(std::iter::repeat(0)).take(length).collect());
            }
        }
        _ => {
            let Some(raw) = &tensor.raw_data else { return };
            let mut bytes = raw.to_vec();
            let width = if tensor.data_type == Some(7) { 8 } else { 4 };
            let at = random.below(bytes.len() / width) * width;
            let value = if width == 8 {
                random.int(1).to_le_bytes().to_vec()
            } else {
                FLOATS[random.below(FLOATS.len())].to_le_bytes().to_vec()
            };
            if let Some(place) = bytes.get_mut(at..at + width) {
                place.copy_from_slice(&value);
            }
            tensor.raw_data = Some(bytes.into());
        }
    }
}
