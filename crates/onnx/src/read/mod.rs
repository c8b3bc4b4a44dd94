//! Reads ONNX.
//!
//! A file is walked twice: once over its bytes, to bound the memory of decoding it (`wire`), and once over its nodes in
//! their order (`evaluate`). Each value is a constant, or computed from the input. Constants are computed where they
//! are met, which takes care of shape arithmetic. A computed value is a node of the network under construction (`net`)
//! with its axes in some arrangement (`axes`), so reshapes and transpositions cost nothing until an operator needs its
//! input in order. A free batch is read with `FREE_BATCH` samples, so that no axis can be mistaken for it.
//!
//! Sums of products (`contraction`) become linear layers, and those that mix kernels become dynamic layers (`mixture`). At the end,
//! `settle` merges affine maps and borders into the layers beside them, and `emit` makes the graph.

mod arithmetic;
mod axes;
mod constant;
mod context;
mod contraction;
mod emit;
mod evaluate;
mod fold;
mod layout;
mod mixture;
mod names;
mod net;
mod report;
mod settle;
mod tensor;
mod window;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;
use dyconv_graph::{Graph, Op, Shape, Tensor, Weights, short_name};
use prost::Message;

use self::context::{Computed, Context, Value};
use self::evaluate::Evaluation;
use self::net::{Net, Origins};
pub use self::report::{DynamicLayer, Ending, Report};
use crate::error::OnnxError;
use crate::proto::{Dimension, GraphProto, ModelProto, TensorProto, ValueInfoProto, data_type};

/// Operator sets that are read.
pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=28;

/// Samples with which a file with a free batch is read: a size that no other axis is likely to have as a factor.
const FREE_BATCH: usize = 8191;

/// A network that was read from an ONNX file.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The computation.
    pub graph: Graph,
    /// Its tensors.
    pub weights: Weights,
    /// Temperature of every softmax router.
    pub tau: f32,
    /// What was understood.
    pub report: Report,
    /// The model's `metadata_props`.
    pub metadata: BTreeMap<String, String>,
}

/// How an ONNX file is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadOptions {
    /// Height and width of the input in pixels, where the file leaves them free.
    pub image_size: Option<[usize; 2]>,
}

/// Reads an ONNX model; `dir` is the folder where its external data lie.
///
/// # Errors
/// If the bytes are not an ONNX model, or it contains what a graph cannot express: [`OnnxError::Operators`] lists every
/// operator that was not understood.
pub fn read(bytes: &[u8], dir: Option<&Path>) -> Result<Imported, OnnxError> {
    read_with(bytes, dir, &ReadOptions::default())
}

/// As [`read()`], with options.
///
/// # Errors
/// As for [`read()`].
pub fn read_with(bytes: &[u8], dir: Option<&Path>, options: &ReadOptions) -> Result<Imported, OnnxError> {
    wire::check(bytes).map_err(OnnxError::Invalid)?;
    let model = ModelProto::decode(Bytes::copy_from_slice(bytes)).map_err(|e| OnnxError::Invalid(e.to_string()))?;
    let metadata: BTreeMap<String, String> = model
        .metadata_props
        .iter()
        .map(|entry| (entry.key.clone().unwrap_or_default(), entry.value.clone().unwrap_or_default()))
        .collect();
    let graph = model.graph.as_ref().ok_or_else(|| OnnxError::Invalid("it has no graph".into()))?;
    let opset = opset(&model)?;
    let input = input(graph, &metadata, options)?;
    let report = Report {
        opset,
        ir_version: model.ir_version.unwrap_or(0),
        producer: producer(&model),
        input: input.name.to_owned(),
        nodes: graph.node.len(),
        ..Report::default()
    };
    let first = import(&model, graph, dir, &input, input.batch.unwrap_or(FREE_BATCH), report.clone());
    let done = match (first, input.batch) {
        // A file that was traced with one sample may work for one sample only.
        (Err(OnnxError::Operators { .. } | OnnxError::Unsupported(_)), None) => {
            import(&model, graph, dir, &input, 1, report).map(|mut done| {
                done.report.notes.push("the file leaves the batch free, but its shapes are those of one sample".into());
                done
            })
        }
        (first, _) => first,
    };
    done.map(|imported| Imported { metadata, ..imported })
}

/// Reads a tensor of numbers from a file of its own, as test data beside a model are (`input_0.pb`): integers become
/// floats.
///
/// # Errors
/// If the bytes are not a tensor, or of a type that is not read.
pub fn read_tensor(bytes: &[u8]) -> Result<Tensor, OnnxError> {
    let tensor = TensorProto::decode(bytes).map_err(|e| OnnxError::Invalid(e.to_string()))?;
    let constant =
        tensor::decode(&tensor, None).map_err(|message| OnnxError::Invalid(format!("the tensor {message}")))?;
    Ok(Tensor::new(&constant.dims, constant.to_floats().to_vec()))
}

/// The network's input: its name, its dimensions, the batch if it is fixed.
struct Input<'a> {
    name: &'a str,
    batch: Option<usize>,
    dims: [usize; 3],
    /// Whether the file has it as `[N, H, W, C]` of bytes.
    bytes: bool,
    /// Whether the file was written by this crate with the header of a model file.
    ours: bool,
}

fn producer(model: &ModelProto) -> String {
    let text = |s: &Option<String>| s.as_deref().map(short_name).unwrap_or_default();
    format!("{} {}", text(&model.producer_name), text(&model.producer_version)).trim().to_owned()
}

fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    let own = |domain: &Option<String>| matches!(domain.as_deref(), None | Some("" | "ai.onnx"));
    let version = model.opset_import.iter().find(|o| own(&o.domain)).and_then(|o| o.version);
    match version {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        Some(version) => {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            Err(OnnxError::Unsupported(format!("operator set {version}: {first} to {last} are read")))
        }
        None => Err(OnnxError::Invalid("it does not say which operator set it uses".into())),
    }
}

fn value_name(value: &ValueInfoProto) -> &str {
    value.name.as_deref().unwrap_or("")
}

/// Finds the network's input and its size.
fn input<'a>(
    graph: &'a GraphProto,
    metadata: &BTreeMap<String, String>,
    options: &ReadOptions,
) -> Result<Input<'a>, OnnxError> {
    let unsupported = |message: String| Err(OnnxError::Unsupported(message));
    let is_constant = |name: &str| graph.initializer.iter().any(|t| t.name.as_deref() == Some(name));
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|i| !is_constant(value_name(i))).collect();
    let [value] = inputs.as_slice() else {
        let names: Vec<String> = inputs.iter().take(8).map(|i| short_name(value_name(i))).collect();
        return unsupported(format!(
            "it has {} inputs {names:?}; networks with one image as input are read",
            inputs.len()
        ));
    };
    let name = value_name(value);
    let shown = short_name(name);
    let tensor = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let kind = tensor.and_then(|t| t.elem_type).unwrap_or(0);
    let shape = tensor.and_then(|t| t.shape.as_ref());
    let dims: Vec<Option<usize>> = shape
        .map(|s| s.dim.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|d| match d.value {
            Some(Dimension::Value(v)) => usize::try_from(v).ok().filter(|v| (1..1 << 31).contains(v)),
            Some(Dimension::Param(_)) | None => None,
        })
        .collect();
    let [batch, second, third, last] = *dims.as_slice() else {
        return unsupported(format!("input `{shown}` has {} dimensions; images [N, C, H, W] are read", dims.len()));
    };
    let bytes = kind == data_type::UINT8;
    if kind != data_type::FLOAT && !bytes {
        let kind = data_type::name(kind);
        return unsupported(format!("input `{shown}` is of type {kind}; FLOAT is read: export the network in 32 bits"));
    }
    let (channels, sides) = if bytes { (last, [second, third]) } else { (second, [third, last]) };
    let Some(channels) = channels else {
        return unsupported(format!("input `{shown}` leaves the number of channels free"));
    };
    let noted = || metadata.get("imgsz").and_then(|text| serde_json::from_str::<[usize; 2]>(text).ok());
    let [height, width] = match (sides, options.image_size.or_else(noted)) {
        ([Some(h), Some(w)], _) => [h, w],
        ([h, w], Some(size)) => [h.unwrap_or(size[0]), w.unwrap_or(size[1])],
        ([_, _], None) => {
            return unsupported(format!(
                "input `{shown}` leaves height or width free; say for which image size the network is to be read"
            ));
        }
    };
    Ok(Input { name, batch, dims: [channels, height, width], bytes, ours: metadata.contains_key("dyconv") })
}

/// Reads the network with so many samples.
fn import(
    model: &ModelProto,
    graph: &GraphProto,
    dir: Option<&Path>,
    input: &Input<'_>,
    batch: usize,
    mut report: Report,
) -> Result<Imported, OnnxError> {
    let mut initializers: HashMap<&str, &TensorProto> = HashMap::new();
    for tensor in &graph.initializer {
        let name = tensor.name.as_deref().unwrap_or("");
        if initializers.insert(name, tensor).is_some() {
            return Err(OnnxError::Invalid(format!("it has two initializers `{}`", short_name(name))));
        }
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(OnnxError::Unsupported("it has sparse initializers; dense ones are read".into()));
    }
    dyconv_graph::Builder::new(input.dims)?;
    if batch == 0 || batch > 1 << 16 {
        return Err(OnnxError::Unsupported(format!("a batch of {batch} samples")));
    }
    let size: usize = graph.initializer.iter().map(prost::Message::encoded_len).fold(0, usize::saturating_add);
    let cx = Context {
        net: Net::new(input.dims),
        batch,
        // Twice the weights, and what shape arithmetic takes.
        budget: (size / 2).saturating_add(1 << 20),
        origins: Origins::default(),
        counts: BTreeMap::new(),
        notes: Vec::new(),
        logarithms: Vec::new(),
    };
    let functions = model
        .functions
        .iter()
        .map(|f| ((f.domain.as_deref().unwrap_or(""), f.name.as_deref().unwrap_or("")), f))
        .collect();
    let mut evaluation = Evaluation {
        cx,
        dir,
        opset: report.opset,
        functions,
        problems: Vec::new(),
        read: 0,
        parts: 0,
        decoded: HashMap::new(),
        initializers,
        bytes: input.bytes,
    };
    let values = evaluation.graph(graph, input.name).map_err(OnnxError::Invalid)?;
    let output = output(graph, &values);
    let Evaluation { mut cx, problems, decoded, .. } = evaluation;
    if !problems.is_empty() {
        return Err(OnnxError::operators(problems));
    }
    let (output, name) = output?;
    // What no node shares may be changed and moved in place.
    drop((values, decoded));
    let (mut node, shape) = last_node(&mut cx, &output, name)?;
    // Class probabilities: our outputs are the logits, except where the file has a header of ours.
    if cx.net.op(node) == Some(&Op::Softmax) && !input.ours {
        let (what, ending) = if cx.logarithms.contains(&node) {
            ("log-softmax", Ending::LogSoftmax)
        } else {
            ("softmax", Ending::Softmax)
        };
        report.ending = ending;
        node = cx.net.nodes[node].inputs[0];
        report.notes.push(format!("the {what} at the end is left out: outputs are logits"));
    }
    report.notes.append(&mut cx.notes);
    let mut net = cx.net;
    let inner = net.live(node);
    if cx.logarithms.iter().any(|i| inner[*i]) {
        return Err(OnnxError::Unsupported("it uses LogSoftmax elsewhere than at its end".into()));
    }
    let tau = settle::temperature(&mut net, node);
    let (node, folded) = settle::settle(&mut net, node).map_err(OnnxError::Unsupported)?;
    if folded > 0 {
        cx.counts.insert("affine maps and borders", folded);
    }
    report.folded = cx.counts.into_iter().map(|(what, count)| (what.to_owned(), count)).collect();
    if input.bytes {
        report.notes.push("the input is bytes [N, H, W, C]; here it is the same values as [N, C, H, W]".into());
    }
    let (graph, weights) = emit::emit(net, node)?;
    report.shape = graph.input_dims();
    report.bytes = input.bytes;
    report.output = shape.dims();
    report.dynamic = report::dynamic_layers(&graph);
    Ok(Imported { graph, weights, tau, report, metadata: BTreeMap::new() })
}

/// The value of the only output.
fn output<'a>(graph: &'a GraphProto, values: &HashMap<&str, Value>) -> Result<(Computed, &'a str), OnnxError> {
    let [output] = graph.output.as_slice() else {
        let names: Vec<String> = graph.output.iter().take(8).map(|o| short_name(value_name(o))).collect();
        return Err(OnnxError::Unsupported(format!(
            "it has {} outputs {names:?}; networks with one output are read",
            graph.output.len()
        )));
    };
    let name = value_name(output);
    match values.get(name) {
        Some(Value::Computed(value)) => Ok((value.clone(), name)),
        Some(Value::Unknown) => Err(OnnxError::Unsupported(format!(
            "the output `{}` is made by a node that is not understood",
            short_name(name)
        ))),
        Some(_) => {
            Err(OnnxError::Unsupported(format!("the output `{}` does not depend on the input", short_name(name))))
        }
        None => Err(OnnxError::Invalid(format!("no node makes the output `{}`", short_name(name)))),
    }
}

/// The node whose own value is the output.
fn last_node(cx: &mut Context, output: &Computed, name: &str) -> Result<(usize, Shape), OnnxError> {
    let shape = cx.net.shape(output.node);
    let four = output.axes.0.len() == 4 && matches!(shape, Shape::Map(_));
    let node = if four { cx.map(output) } else { cx.vector(output) };
    let node =
        node.map_err(|message| OnnxError::Unsupported(format!("the output `{}` {message}", short_name(name))))?;
    Ok((node, cx.net.shape(node)))
}
