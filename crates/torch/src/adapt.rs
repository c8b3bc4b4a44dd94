//! Makes a network of `dyconv-models` into the one that a state dict describes: its dynamic layers, biases, numbers of
//! outputs, epsilon and padding.

use std::collections::BTreeMap;

use dyconv_graph::{
    Activation, Builder, Conv2d, Graph, GraphError, Linear, MixConv, Node, NodeId, Op, Shape, same_padding,
};

use crate::dialects::{Bank, Base, Dialect, Layout, Numerics, Tensors, condconv, dyconv, kaijieshi7, tardelean};

/// The shapes of a state dict, by the names that a dialect produces.
pub(crate) type Shapes<'a> = &'a dyn Fn(&str) -> Option<&'a [usize]>;

/// Banks that are looked for.
pub(crate) const BANKS: [&Bank; 4] = [&kaijieshi7::BANK, &dyconv::BANK, &tardelean::BANK, &condconv::BANK];

/// The same network as the state dict has it, and the bank of its dynamic layers, if it has any.
pub(crate) fn adapt(
    graph: &Graph,
    layout: &Layout<'_>,
    dialect: &Dialect,
    numerics: Numerics,
    shapes: Shapes<'_>,
) -> Result<(Graph, Option<&'static Bank>), GraphError> {
    let mut builder = Builder::new(graph.input_dims())?;
    let mut ids = vec![builder.input()];
    let (mut found, mut shared) = (None, BTreeMap::new());
    for node in &graph.nodes()[1..] {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| ids[i.index()]).collect();
        let shape = |parameter: &str| shapes(&dialect.foreign(layout, node, parameter, BANKS[0])?.name);
        let bias = shape("bias").is_some();
        let id = match &node.op {
            Op::Conv(conv) => {
                let conv = Conv2d { bias, ..padded(conv, builder.shape(inputs[0]), numerics.same) };
                match dynamic(layout, dialect, node, shapes) {
                    Some((bank, kernels)) => {
                        found = Some(bank);
                        let module = (dialect.module)(layout, Base::of(&node.name), false).unwrap_or_default();
                        let pi = if bank.flat {
                            block_router(&mut builder, layout, (node, kernels), inputs[0], shapes, &mut shared)?
                        } else {
                            router(&mut builder, (&module, bank, kernels), node, inputs[0], shapes)?
                        };
                        let bias = bank_shape(layout, dialect, node, bank, "bias", shapes).is_some();
                        let mix = MixConv { kernels, conv: Conv2d { bias, ..conv } };
                        builder.push(&node.name, Op::MixConv(mix), &[inputs[0], pi])?
                    }
                    None => builder.push(&node.name, Op::Conv(conv), &inputs)?,
                }
            }
            Op::Linear(linear) => {
                let free = matches!(node.name.as_str(), "classifier" | "hidden") || node.name.ends_with("se.fc1");
                let outputs = shape("weight").filter(|_| free).map(|s| match dialect.tensors {
                    Tensors::Torch => s.first().copied().unwrap_or(0),
                    Tensors::Keras => s.last().copied().unwrap_or(0),
                });
                let out_features = outputs.filter(|n| (1..=65_536).contains(n)).unwrap_or(linear.out_features);
                // A bias that is missing from the classifier is more likely lost than never there.
                builder.push(&node.name, Op::Linear(Linear { out_features, bias }), &inputs)?
            }
            Op::BatchNorm { .. } => builder.push(&node.name, Op::BatchNorm { eps: numerics.eps }, &inputs)?,
            op => builder.push(&node.name, op.clone(), &inputs)?,
        };
        ids.push(id);
    }
    Ok((builder.finish(ids[graph.output().index()])?, found))
}

/// The convolution with TensorFlow's padding, if `same`.
fn padded(conv: &Conv2d, input: Shape, same: bool) -> Conv2d {
    let Shape::Map([_, height, width]) = input else { return conv.clone() };
    if !same {
        return conv.clone();
    }
    let axis = |axis: usize, size| same_padding(size, conv.kernel[axis], conv.stride[axis]);
    let [[top, bottom], [left, right]] = [axis(0, height), axis(1, width)];
    Conv2d { padding: [top, left], end_padding: Some([bottom, right]), ..conv.clone() }
}

/// The bank of a layer that is dynamic in the state dict, and its K.
fn dynamic(layout: &Layout<'_>, dialect: &Dialect, node: &Node, shapes: Shapes<'_>) -> Option<(&'static Bank, usize)> {
    let module = (dialect.module)(layout, Base::of(&node.name), false)?;
    let kernels = |bank: &Bank| match *bank_shape(layout, dialect, node, bank, "weight", shapes)? {
        [kernels, _, _, _, _] if !bank.flat => Some(kernels),
        [kernels, _] if bank.flat => {
            shapes(&condconv::router(layout, block_of(node)?, "weight")?.name).map(|_| kernels)
        }
        _ => None,
    };
    let router = |bank: &Bank| bank.router(&module, "fc1", "weight").is_none_or(|f| shapes(&f.name).is_some());
    // Where the router is missing, the report says so.
    let bank = BANKS.iter().find(|b| kernels(b).is_some() && router(b));
    let bank = bank.or_else(|| BANKS.iter().find(|b| kernels(b).is_some()))?;
    Some((bank, kernels(bank)?))
}

/// The block of a convolution: `blocks.3` of `blocks.3.expand`.
fn block_of(node: &Node) -> Option<&str> {
    node.name.rsplit_once('.').map(|(block, _)| block).filter(|block| block.starts_with("blocks."))
}

/// The router that a block's convolutions share: linear and sigmoid on the pooled input of its first one.
fn block_router(
    builder: &mut Builder,
    layout: &Layout<'_>,
    (node, kernels): (&Node, usize),
    x: NodeId,
    shapes: Shapes<'_>,
    shared: &mut BTreeMap<String, NodeId>,
) -> Result<NodeId, GraphError> {
    let block = block_of(node).unwrap_or(&node.name);
    if let Some(id) = shared.get(block) {
        return Ok(*id);
    }
    let shape = |parameter: &str| shapes(&condconv::router(layout, block, parameter)?.name);
    let name = |part: &str| format!("{block}.router.{part}");
    let z = builder.push(&name("pool"), Op::GlobalAvgPool, &[x])?;
    let linear = Linear { out_features: kernels, bias: shape("bias").is_some() };
    let z = builder.push(&name(condconv::LAYER), Op::Linear(linear), &[z])?;
    let pi = builder.push(&name("sigmoid"), Op::Activation(Activation::Sigmoid), &[z])?;
    shared.insert(block.to_owned(), pi);
    Ok(pi)
}

fn bank_shape<'a>(
    layout: &Layout<'_>,
    dialect: &Dialect,
    node: &Node,
    bank: &Bank,
    parameter: &str,
    shapes: Shapes<'a>,
) -> Option<&'a [usize]> {
    let module = (dialect.module)(layout, Base::of(&node.name), false)?;
    shapes(&bank.tensor(&module, parameter).name)
}

/// Adds the router of a dynamic layer with the widths and biases that the state dict has.
fn router(
    builder: &mut Builder,
    (module, bank, kernels): (&str, &Bank, usize),
    node: &Node,
    x: NodeId,
    shapes: Shapes<'_>,
) -> Result<NodeId, GraphError> {
    let shape = |part: &str, parameter: &str| shapes(&bank.router(module, part, parameter)?.name);
    let name = |part: &str| format!("{}.router.{part}", node.name);
    let mut z = builder.push(&name("pool"), Op::GlobalAvgPool, &[x])?;
    for part in ["fc1", "fc2"] {
        // Where the weight is missing, any width gives a report that says so.
        let hidden = || shape(part, "weight").and_then(|s| s.first().copied()).unwrap_or(1);
        let out_features = if part == "fc2" { kernels } else { hidden() };
        let linear = Linear { out_features, bias: shape(part, "bias").is_some() };
        z = builder.push(&name(part), Op::Linear(linear), &[z])?;
        if part == "fc1" {
            z = builder.push(&name("relu"), Op::Activation(Activation::Relu), &[z])?;
        }
    }
    builder.push(&name("softmax"), Op::Softmax, &[z])
}
