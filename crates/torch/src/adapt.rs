//! Makes a network of `dyconv-models` into the one that a state dict describes: its dynamic layers, biases, numbers of
//! outputs, epsilon and padding.

use dyconv_graph::{Activation, Builder, Conv2d, Graph, GraphError, Linear, MixConv, Node, NodeId, Op, Shape};

use crate::dialects::{Bank, Base, Dialect, Layout, Numerics, Tensors, kaijieshi7, tardelean};

/// The shapes of a state dict, by the names that a dialect produces.
pub(crate) type Shapes<'a> = &'a dyn Fn(&str) -> Option<&'a [usize]>;

/// Banks that are looked for.
pub(crate) const BANKS: [&Bank; 2] = [&kaijieshi7::BANK, &tardelean::BANK];

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
    let mut found = None;
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
                        let pi = router(&mut builder, layout, dialect, node, bank, inputs[0], shapes)?;
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

/// The convolution with TensorFlow's padding: as many outputs as inputs divided by the stride, rounded up; what does not
/// divide by two goes to the end.
fn padded(conv: &Conv2d, input: Shape, same: bool) -> Conv2d {
    let Shape::Map([_, height, width]) = input else { return conv.clone() };
    if !same {
        return conv.clone();
    }
    let total = [height, width].into_iter().enumerate().map(|(axis, size)| {
        let reach = (size.div_ceil(conv.stride[axis]) - 1) * conv.stride[axis] + conv.kernel[axis];
        reach.saturating_sub(size)
    });
    let total: Vec<usize> = total.collect();
    let padding = [total[0] / 2, total[1] / 2];
    Conv2d { padding, end_padding: Some([total[0] - padding[0], total[1] - padding[1]]), ..conv.clone() }
}

/// The bank of a layer that is dynamic in the state dict, and its K.
fn dynamic(layout: &Layout<'_>, dialect: &Dialect, node: &Node, shapes: Shapes<'_>) -> Option<(&'static Bank, usize)> {
    BANKS.iter().find_map(|bank| {
        let weight = bank_shape(layout, dialect, node, bank, "weight", shapes)?;
        let &[kernels, _, _, _, _] = weight else { return None };
        Some((*bank, kernels))
    })
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
    layout: &Layout<'_>,
    dialect: &Dialect,
    node: &Node,
    bank: &Bank,
    x: NodeId,
    shapes: Shapes<'_>,
) -> Result<NodeId, GraphError> {
    let module = (dialect.module)(layout, Base::of(&node.name), false);
    let shape = |part: &str, parameter: &str| shapes(&bank.router(module.as_deref()?, part, parameter)?.name);
    let name = |part: &str| format!("{}.router.{part}", node.name);
    let mut z = builder.push(&name("pool"), Op::GlobalAvgPool, &[x])?;
    for part in ["fc1", "fc2"] {
        // Where the weight is missing, any width gives a report that says so.
        let out_features = shape(part, "weight").and_then(|s| s.first().copied()).unwrap_or(1);
        let linear = Linear { out_features, bias: shape(part, "bias").is_some() };
        z = builder.push(&name(part), Op::Linear(linear), &[z])?;
        if part == "fc1" {
            z = builder.push(&name("relu"), Op::Activation(Activation::Relu), &[z])?;
        }
    }
    builder.push(&name("softmax"), Op::Softmax, &[z])
}
