//! Training that starts from a model whose network is not one of our architectures, such as an imported one: the run
//! trains the model's own graph.

#[cfg(test)]
mod tests;

use dyconv_file::Model;
use dyconv_graph::{Graph, GraphError, NodeId, Op};
use dyconv_models::{ModelError, Options, build};

use crate::recipe::{ModelRecipe, Recipe, RecipeError, SMALL_SIDE};

/// Sizes of a network that the data determine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub channels: usize,
    /// Height and width.
    pub image: [usize; 2],
    /// Number of classes, if the network is a classifier.
    pub classes: Option<usize>,
    /// Number of joints, if it is a keypoint network.
    pub joints: Option<usize>,
}

impl Sizes {
    /// The options of an architecture.
    pub fn options(self, recipe: &ModelRecipe) -> Options {
        let usual = Options::default();
        let [height, width] = self.image;
        Options {
            classes: self.classes.unwrap_or(usual.classes),
            joints: self.joints.unwrap_or(usual.joints),
            in_channels: self.channels,
            image_size: self.image,
            small_stem: recipe.small_stem.unwrap_or(height.max(width) <= SMALL_SIDE),
            ..recipe.options.clone()
        }
    }

    fn of(model: &Model) -> Self {
        let [channels, height, width] = model.graph.input_dims();
        Self {
            channels,
            image: [height, width],
            classes: model.skeleton().is_none().then(|| model.classes().len()),
            joints: model.skeleton().map(|skeleton| skeleton.joints.len()),
        }
    }
}

/// The graph that a run from `model` trains, if that is the model's own: its recipe names no other network, and the
/// architecture of that name, if there is one, has another graph. `None` if an architecture describes the network.
///
/// # Errors
/// If the recipe sets an option of an architecture, which would have no effect.
pub fn own_network(model: &Model, recipe: &Recipe) -> Result<Option<Graph>, RecipeError> {
    let plain = Recipe::resolve_from(model, None, None, &[])?;
    let is_own = |recipe: &Recipe| {
        let built = build(&recipe.model.name, &Sizes::of(model).options(&recipe.model));
        built.is_ok_and(|graph| graph == model.graph)
    };
    if recipe.model.name != plain.model.name || is_own(recipe) || is_own(&plain) {
        return Ok(None);
    }
    if recipe.model.options != plain.model.options || recipe.model.small_stem != plain.model.small_stem {
        let message = "the options in `model` are those of architectures, but the network is the model's own; only \
                       `model.image_size` can be set";
        return Err(RecipeError::new(message));
    }
    Ok(Some(model.graph.clone()))
}

/// The graph for other sizes of its input and output.
///
/// # Errors
/// If a layer does not fit the new input, or the number of outputs differs and the last layer cannot be changed.
pub(crate) fn resized(graph: &Graph, sizes: Sizes) -> Result<Graph, ModelError> {
    let outputs = sizes.classes.or(sizes.joints);
    let last = last_layer(graph);
    let [height, width] = sizes.image;
    let new = graph.rebuilt([sizes.channels, height, width], |id, op| match outputs {
        Some(outputs) if id == last => with_outputs(op, outputs),
        _ => op.clone(),
    })?;
    let found = new.output_shape().channels();
    if let Some(expected) = outputs.filter(|expected| *expected != found) {
        let name = &graph.node(last).name;
        let message = format!("the network has {found} outputs, the data need {expected}: `{name}` is no last layer");
        return Err(GraphError::new(&graph.node(graph.output()).name, message).into());
    }
    Ok(new)
}

/// The layer that computes the outputs: the last one with tensors, if only functions of single values follow it.
pub(crate) fn last_layer(graph: &Graph) -> NodeId {
    let mut id = graph.output();
    while let [input] = graph.node(id).inputs[..]
        && graph.node_parameters(id).is_empty()
    {
        id = input;
    }
    id
}

/// A layer with another number of output channels; any other op as it is.
fn with_outputs(op: &Op, outputs: usize) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Conv(conv) if conv.groups == 1 => conv.out_channels = outputs,
        Op::MixConv(mix) if mix.conv.groups == 1 => mix.conv.out_channels = outputs,
        Op::ConvTranspose(conv) if conv.groups == 1 => conv.out_channels = outputs,
        Op::Linear(linear) => linear.out_features = outputs,
        Op::MixLinear(mix) => mix.linear.out_features = outputs,
        Op::Conv(_)
        | Op::MixConv(_)
        | Op::ConvTranspose(_)
        | Op::Input
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Scale
        | Op::GlobalAvgPool
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => {}
    }
    op
}
