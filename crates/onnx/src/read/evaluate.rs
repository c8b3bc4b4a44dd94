//! Walks the nodes of a file in their order and reads each one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use super::constant::Constant;
use super::context::{Computed, Context, NodeView, Outputs, Value};
use super::net::Origins;
use super::{arithmetic, contraction, fold, layout, mixture, tensor, window};
use crate::error::Problem;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto};

/// Functions that call functions are followed to this depth.
const MAX_CALLS: usize = 32;
/// Nodes that are read, those of functions each time that they are called.
const MAX_NODES: usize = 200_000;
/// Inputs, outputs and attributes of these nodes and functions.
const MAX_PARTS: usize = 4_000_000;

/// Everything that the nodes of a file are read with.
pub(super) struct Evaluation<'a> {
    pub cx: Context,
    pub dir: Option<&'a Path>,
    pub opset: i64,
    pub functions: HashMap<(&'a str, &'a str), &'a FunctionProto>,
    pub problems: Vec<Problem>,
    /// Nodes read so far.
    pub read: usize,
    /// Inputs, outputs and attributes of these.
    pub parts: usize,
    /// Initializers that were decoded, so that one that is read twice is in memory once.
    pub decoded: HashMap<&'a str, Constant>,
    pub initializers: HashMap<&'a str, &'a TensorProto>,
    /// Whether the file has the input as `[N, H, W, C]`.
    pub bytes: bool,
}

/// The values of one graph or function, by name.
type Values<'a> = HashMap<&'a str, Value>;

impl<'a> Evaluation<'a> {
    /// Reads all nodes of the graph; returns the values by name.
    pub fn graph(&mut self, graph: &'a GraphProto, input: &'a str) -> Result<Values<'a>, String> {
        let mut values = Values::new();
        values.insert(input, self.input());
        let names: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_deref().unwrap_or("")).collect();
        if names.contains(input) {
            return Err(format!("the input `{}` is an initializer, too", dyconv_graph::short_name(input)));
        }
        self.nodes(&graph.node, &mut values, &BTreeMap::new(), 0)?;
        Ok(values)
    }

    fn input(&self) -> Value {
        match self.cx.plain(0) {
            Value::Computed(x) if self.bytes => {
                Value::Computed(Computed { axes: x.axes.transpose(&[0, 2, 3, 1]), ..x })
            }
            value => value,
        }
    }

    /// Reads nodes in their order.
    fn nodes(
        &mut self,
        nodes: &'a [NodeProto],
        values: &mut Values<'a>,
        given: &BTreeMap<&'a str, &'a AttributeProto>,
        depth: usize,
    ) -> Result<(), String> {
        let readers = if depth == 0 { readers(nodes) } else { HashMap::new() };
        for node in nodes {
            self.read += 1;
            if self.read > MAX_NODES {
                return Err(format!("more than {MAX_NODES} nodes"));
            }
            self.count_parts([node.input.len(), node.output.len(), node.attribute.len()])?;
            if depth == 0 {
                self.cx.origins = Origins { tensor: None, node: node_name(node).into(), at: self.cx.origins.at + 1 };
            }
            let mut missing = None;
            let mut inputs = Vec::with_capacity(node.input.len());
            for name in &node.input {
                inputs.push(match name.as_str() {
                    "" => None,
                    name => match self.value(values, name, depth) {
                        Ok(value) => {
                            if value.is_none() {
                                missing = Some(name);
                            }
                            value
                        }
                        Err(message) => return Err(message),
                    },
                });
            }
            if let Some(name) = missing {
                return Err(format!(
                    "node `{}` reads `{}`, which no node before it makes",
                    dyconv_graph::short_name(&node_name(node)),
                    dyconv_graph::short_name(name)
                ));
            }
            let unknown = inputs.iter().flatten().any(|v| matches!(v, Value::Unknown));
            let attributes = attributes(node, given);
            let view = NodeView { proto: node, inputs, opset: self.opset, attributes };
            let outputs = if unknown { Err(String::new()) } else { self.node(&view, depth) };
            let outputs = match outputs {
                Ok(outputs) => outputs,
                Err(message) if depth > 0 => {
                    return Err(if message.is_empty() { message } else { format!("{}: {message}", view.title()) });
                }
                Err(message) => {
                    if !message.is_empty() {
                        self.problems.push(problem(node, &readers, message));
                    }
                    vec![Value::Unknown; node.output.len()]
                }
            };
            for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                // An output that the reader of an operator does not make.
                let value = outputs.get(i).cloned().unwrap_or(Value::Unknown);
                if (depth == 0 && self.initializers.contains_key(name.as_str())) || values.insert(name, value).is_some()
                {
                    return Err(format!("the value `{}` is made twice", dyconv_graph::short_name(name)));
                }
            }
        }
        Ok(())
    }

    /// Counts what is walked for each node; functions may repeat it without end.
    fn count_parts(&mut self, parts: [usize; 3]) -> Result<(), String> {
        self.parts = parts.into_iter().fold(self.parts, usize::saturating_add);
        if self.parts > MAX_PARTS {
            return Err(format!("its nodes have more than {MAX_PARTS} inputs, outputs and attributes"));
        }
        Ok(())
    }

    /// A value by name, from a node or an initializer; `None` if there is none.
    fn value(&mut self, values: &Values<'a>, name: &'a str, depth: usize) -> Result<Option<Value>, String> {
        if let Some(value) = values.get(name) {
            return Ok(Some(value.clone()));
        }
        if depth > 0 {
            return Ok(None);
        }
        if let Some(constant) = self.decoded.get(name) {
            return Ok(Some(Value::Constant(constant.clone())));
        }
        let Some(proto) = self.initializers.get(name) else { return Ok(None) };
        let constant = tensor::decode(proto, self.dir)
            .map_err(|message| format!("initializer `{}` {message}", dyconv_graph::short_name(name)))?;
        self.cx.net.stored += constant.len();
        self.decoded.insert(name, constant.clone());
        Ok(Some(Value::Constant(constant)))
    }

    /// Reads one node.
    fn node(&mut self, node: &NodeView<'a>, depth: usize) -> Outputs {
        let domain = node.proto.domain.as_deref().unwrap_or("");
        let standard = matches!(domain, "" | "ai.onnx");
        if let Some(function) = self.functions.get(&(domain, node.op())).copied() {
            return self.call(node, function, depth);
        }
        if !standard {
            return Err(format!("belongs to the domain `{}`, which is not read", dyconv_graph::short_name(domain)));
        }
        if node.op() == "Constant" {
            let value = constant(node, self.dir)?;
            if depth > 0 {
                self.cx.spend(value.len())?;
            } else {
                self.cx.net.stored += value.len();
            }
            return Ok(vec![Value::Constant(value)]);
        }
        if !matches!(node.op(), "If" | "Loop" | "Scan")
            && let Some(outputs) = fold::fold(&mut self.cx, node)
        {
            self.cx.count("constants");
            return outputs;
        }
        if node.op() == "Concat"
            && let Some(joined) = layout::join_samples(&self.cx, node)
        {
            return Ok(vec![Value::Computed(joined)]);
        }
        let samples: Vec<Option<usize>> = node
            .inputs
            .iter()
            .flatten()
            .filter_map(|value| match value {
                Value::Computed(x) => Some(x.sample),
                Value::Product(product) => Some(product.sample),
                Value::Constant(_) | Value::Unknown => None,
            })
            .collect();
        match samples.iter().find_map(|s| *s) {
            None => read(&mut self.cx, node),
            Some(sample) if samples.iter().all(|s| *s == Some(sample)) => {
                // Each sample is read as if it were alone; equal nodes are one, so all samples have the same ones.
                let batch = std::mem::replace(&mut self.cx.batch, 1);
                let outputs = read(&mut self.cx, node);
                self.cx.batch = batch;
                outputs.map(|mut values| {
                    for value in &mut values {
                        if let Value::Computed(x) = value {
                            x.sample = Some(sample);
                        }
                    }
                    values
                })
            }
            Some(_) => Err("computes with several samples of the batch".into()),
        }
    }

    /// Reads the body of a function in place of the node that calls it.
    fn call(&mut self, node: &NodeView<'a>, function: &'a FunctionProto, depth: usize) -> Outputs {
        if depth >= MAX_CALLS {
            return Err("calls functions that call functions without end".into());
        }
        self.count_parts([function.input.len(), function.output.len(), function.attribute_proto.len()])?;
        let mut values = Values::new();
        for (i, name) in function.input.iter().enumerate() {
            if let Some(value) = node.optional(i) {
                values.insert(name, value.clone());
            }
        }
        let mut given = BTreeMap::new();
        for attribute in &function.attribute_proto {
            given.insert(attribute.name.as_deref().unwrap_or(""), attribute);
        }
        for (name, attribute) in &node.attributes {
            given.insert(name, attribute);
        }
        self.nodes(&function.node, &mut values, &given, depth + 1)?;
        let output = |name: &String| {
            values.get(name.as_str()).cloned().ok_or_else(|| {
                format!("calls a function that does not make its output `{}`", dyconv_graph::short_name(name))
            })
        };
        function.output.iter().map(output).collect()
    }
}

/// The attributes of a node; in a function, some are those of the caller.
fn attributes<'a>(
    node: &'a NodeProto,
    given: &BTreeMap<&'a str, &'a AttributeProto>,
) -> BTreeMap<&'a str, &'a AttributeProto> {
    let mut all = BTreeMap::new();
    for attribute in &node.attribute {
        let value = match attribute.ref_attr_name.as_deref().filter(|n| !n.is_empty()) {
            Some(name) => given.get(name).copied(),
            None => Some(attribute),
        };
        if let Some(value) = value {
            all.insert(attribute.name.as_deref().unwrap_or(""), value);
        }
    }
    all
}

fn node_name(node: &NodeProto) -> String {
    node.name.clone().filter(|n| !n.is_empty()).or_else(|| node.output.first().cloned()).unwrap_or_default()
}

/// Which nodes read each value.
fn readers(nodes: &[NodeProto]) -> HashMap<&str, Vec<&NodeProto>> {
    let mut readers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
    for node in nodes {
        for input in &node.input {
            readers.entry(input).or_default().push(node);
        }
    }
    readers
}

fn problem(node: &NodeProto, readers: &HashMap<&str, Vec<&NodeProto>>, message: String) -> Problem {
    let short = dyconv_graph::short_name;
    let read_by = node.output.iter().filter_map(|o| readers.get(o.as_str())).flatten();
    Problem {
        node: short(&node_name(node)),
        op_type: short(node.op_type.as_deref().unwrap_or("")),
        message,
        inputs: node.input.iter().take(6).map(|i| short(i)).collect(),
        readers: read_by
            .take(4)
            .map(|r| format!("{} ({})", short(&node_name(r)), short(r.op_type.as_deref().unwrap_or(""))))
            .collect(),
    }
}

/// The value of a `Constant` node.
fn constant(node: &NodeView, dir: Option<&Path>) -> Result<Constant, String> {
    let name: Option<Rc<str>> = node.proto.output.first().map(|name| Rc::from(name.as_str()));
    let value = if let Some(tensor) = node.attributes.get("value").and_then(|a| a.t.as_deref()) {
        tensor::decode(tensor, dir)?
    } else if let Some(value) = node.float("value_float") {
        Constant::floats(&[], vec![value])
    } else if let Some(value) = node.int("value_int") {
        Constant::int(value)
    } else if let Some(values) = node.attributes.get("value_floats").map(|a| a.floats.clone()) {
        Constant::floats(&[values.len()], values)
    } else if let Some(values) = node.ints("value_ints") {
        Constant::ints(values.to_vec())
    } else {
        return Err("is neither a tensor nor numbers".into());
    };
    Ok(Constant { name, ..value })
}

/// Reads an operator that depends on the network's input.
fn read(cx: &mut Context, node: &NodeView) -> Outputs {
    if let Some(Value::Product(product)) = node.optional(0)
        && !matches!(node.op(), "ReduceSum" | "Shape" | "Identity")
    {
        return contraction::arrange_product(node, product);
    }
    match node.op() {
        "Conv" if matches!(node.optional(1), Some(Value::Computed(_))) => mixture::conv(cx, node),
        "Conv" => window::conv(cx, node),
        "ConvTranspose" => window::conv_transpose(cx, node),
        "MaxPool" => window::max_pool(cx, node),
        "AveragePool" => window::average_pool(cx, node),
        "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceMax" => window::reduce_pixels(cx, node),
        "Resize" | "Upsample" => window::resize(cx, node),
        "Pad" => layout::pad(cx, node),
        "Gemm" => contraction::gemm(cx, node),
        "MatMul" => contraction::mat_mul(cx, node),
        "Einsum" => contraction::einsum(cx, node),
        "ReduceSum" => contraction::reduce_sum(cx, node),
        "BatchNormalization" => arithmetic::batch_norm(cx, node),
        "Relu" | "Sigmoid" | "HardSwish" | "HardSigmoid" | "Swish" | "Gelu" | "Clip" => {
            arithmetic::activation(cx, node)
        }
        "LeakyRelu" | "PRelu" => arithmetic::leaky_relu(cx, node),
        "Max" | "Min" => arithmetic::bound(cx, node),
        "Erf" => arithmetic::erf(cx, node),
        "Pow" => arithmetic::pow(cx, node),
        "Neg" => arithmetic::negate(cx, node),
        "Softmax" | "LogSoftmax" => arithmetic::softmax(cx, node),
        "Add" | "Sub" | "Mul" | "Div" | "Sum" => arithmetic::binary(cx, node),
        "Reshape" => layout::reshape(cx, node),
        "Flatten" => layout::flatten(cx, node),
        "Squeeze" => layout::squeeze(cx, node),
        "Unsqueeze" => layout::unsqueeze(cx, node),
        "Transpose" => layout::transpose(cx, node),
        "Expand" => layout::expand(cx, node),
        "Slice" => layout::slice(cx, node),
        "Split" => layout::split(cx, node),
        "Gather" => layout::gather(cx, node),
        "Concat" => layout::concat(cx, node),
        "Shape" | "Size" => layout::shape(node),
        "Cast" | "CastLike" => layout::cast(cx, node),
        "Identity" | "Dropout" => {
            cx.count("identities");
            Ok(vec![node.input(0)?.clone()])
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => {
            Err("is quantized; quantized networks are not read, export the network before quantization".into())
        }
        "Tanh" => {
            Err("is not read; if it is part of a gelu in its tanh form, export the network with the exact form".into())
        }
        _ => Err("is an operator that is not read".into()),
    }
}
