//! Each graph node as ONNX nodes.

use dyconv_graph::{
    Activation, AvgPool2d, Conv2d, ConvTranspose2d, Graph, Node, NodeId, Op, Pool2d, Shape, TensorSource, UpsampleMode,
};
use dyconv_task::Preprocessing;

use super::emit::{Emitted, Emitter, float, int, sizes, text};
use super::fold::{Affine, Folds};
use super::values::{Recipe, Regroup, Scale, Values, read};
use super::{Batch, Form, WriteOptions};
use crate::error::OnnxError;
use crate::proto::{AttributeProto, data_type};

/// Writes nodes of a graph.
pub(super) struct Writer<'a> {
    pub graph: &'a Graph,
    pub weights: &'a dyn TensorSource,
    pub options: &'a WriteOptions<'a>,
    pub folds: Folds,
    pub out: Emitter,
    tau: f32,
    /// Name of the value of each graph node, by its index.
    names: Vec<String>,
}

/// The nodes and constants of the whole network.
pub(super) fn emit(
    graph: &Graph,
    weights: &dyn TensorSource,
    tau: f32,
    options: &WriteOptions<'_>,
) -> Result<Emitted, OnnxError> {
    weights.check_shapes(graph)?;
    let fail = |message: String| Err(OnnxError::Options(message));
    if !(tau.is_finite() && tau > 0.0) {
        return fail(format!("tau must be a positive number, got {tau}"));
    }
    if options.batch == Batch::Fixed(0) {
        return fail("the batch must be at least 1, got 0".into());
    }
    let dynamic = graph.dynamic_layers() > 0;
    if dynamic && options.form == Form::Exact && options.batch != Batch::Fixed(1) {
        let found = match options.batch {
            Batch::Free => "a free batch".into(),
            Batch::Fixed(n) => format!("a batch of {n}"),
        };
        return fail(format!("the exact form mixes the kernels of one sample and needs a batch of 1, got {found}"));
    }
    let folds = Folds::new(graph, weights, dynamic && options.form == Form::Frozen)?;
    let last = folds.of(graph.output());
    let names = graph.ids().map(|id| value_name(graph, id, last)).collect();
    let mut writer = Writer { graph, weights, options, folds, out: Emitter::default(), tau, names };
    let input = writer.input(last)?;
    for id in graph.ids().skip(1) {
        if writer.folds.written[id.index()] {
            writer.node(id)?;
        }
    }
    let Emitter { nodes, initializers, .. } = writer.out;
    Ok(Emitted { nodes, initializers, input, output: graph.output_shape().dims() })
}

/// The name of a node's value. Values share their names with constants, which have the names of tensors of the graph.
fn value_name(graph: &Graph, id: NodeId, last: NodeId) -> String {
    let name = &graph.node(id).name;
    let tensors = [".weight", ".bias", ".shift", ".running_mean", ".running_var"];
    if id == last {
        "output".into()
    } else if name == "output" || tensors.iter().any(|end| name.ends_with(end)) {
        format!("{name}/value")
    } else {
        name.clone()
    }
}

impl Writer<'_> {
    /// The network's input with its preprocessing, if any; returns its element type and shape.
    fn input(&mut self, last: NodeId) -> Result<(i32, Vec<usize>), OnnxError> {
        let [c, h, w] = self.graph.input_dims();
        let only = last.index() == 0;
        let Some(preprocessing) = self.options.preprocessing else {
            if only {
                self.out.node("input/output", "Identity", &["input"], "output", Vec::new());
            }
            return Ok((data_type::FLOAT, vec![c, h, w]));
        };
        let Preprocessing { channels, image_size: [height, width], mean, std, .. } = preprocessing;
        preprocessing.check().map_err(|e| OnnxError::Options(format!("preprocessing: {e}")))?;
        if [*channels, *height, *width] != [c, h, w] {
            return Err(OnnxError::Options(format!(
                "preprocessing makes [{channels}, {height}, {width}], but the network's input is [{c}, {h}, {w}]"
            )));
        }
        let per_channel = |values: &[f32]| Values::Floats(values.iter().map(|v| 255.0 * v).collect());
        let mean = self.out.constant("preprocessing/mean".into(), &[c, 1, 1], per_channel(mean));
        let std = self.out.constant("preprocessing/std".into(), &[c, 1, 1], per_channel(std));
        let x =
            self.out.part("preprocessing", "floats", "Cast", &["input"], vec![int("to", i64::from(data_type::FLOAT))]);
        let x = self.out.part("preprocessing", "maps", "Transpose", &[&x], vec![sizes("perm", &[0, 3, 1, 2])]);
        let x = self.out.part("preprocessing", "centred", "Sub", &[&x, &mean], Vec::new());
        let to = if only { "output" } else { "preprocessing/normalized" };
        self.out.node("preprocessing/normalized", "Div", &[&x, &std], to, Vec::new());
        self.names[0] = to.into();
        Ok((data_type::UINT8, vec![h, w, c]))
    }

    /// The name of the value of a node's input.
    pub fn input_name(&self, node: &Node, position: usize) -> String {
        self.names[self.folds.of(node.inputs[position]).index()].clone()
    }

    fn node(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let node = self.graph.node(id);
        let name = node.name.as_str();
        let to = self.names[id.index()].clone();
        let inputs: Vec<String> = if node.mixture().is_some() {
            vec![self.input_name(node, 0)]
        } else {
            (0..node.inputs.len()).map(|i| self.input_name(node, i)).collect()
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut simple = |op_type: &str, attributes| self.out.node(name, op_type, &inputs, &to, attributes);
        match &node.op {
            Op::Input => {}
            Op::Conv(spec) => {
                let weight = self.weight(id, 1, None);
                let bias = self.static_bias(id)?;
                self.conv(name, spec, [inputs[0], &weight], bias.as_deref(), &to);
            }
            Op::MixConv(mix) => self.mix_conv(id, mix, inputs[0], &to)?,
            Op::ConvTranspose(spec) => {
                let weight = self.weight(id, spec.groups, None);
                let bias = self.static_bias(id)?;
                let all: Vec<&str> = [inputs[0], &weight].into_iter().chain(bias.as_deref()).collect();
                self.out.node(name, "ConvTranspose", &all, &to, conv_transpose(spec));
            }
            Op::Linear(_) => self.linear(id, inputs[0], &to)?,
            Op::MixLinear(mix) => self.mix_linear(id, mix, inputs[0], &to)?,
            Op::BatchNorm { eps } => {
                let parameters = self.graph.node_parameters(id);
                let tensors: Vec<String> = parameters
                    .into_iter()
                    .map(|p| {
                        let recipe = Recipe { elements: p.elements(), tensor: p.name.clone(), ..Recipe::default() };
                        self.out.constant(p.name, &p.shape, Values::Tensor(recipe))
                    })
                    .collect();
                let all: Vec<&str> = inputs.into_iter().chain(tensors.iter().map(String::as_str)).collect();
                self.out.node(name, "BatchNormalization", &all, &to, vec![float("epsilon", *eps)]);
            }
            Op::Activation(function) => self.activation(name, *function, inputs[0], &to),
            Op::Softmax => {
                let mut z = inputs[0].to_owned();
                if self.tau != 1.0 {
                    let tau = self.out.scalar(self.tau);
                    z = self.out.part(name, "z", "Div", &[&z, &tau], Vec::new());
                }
                self.out.node(name, "Softmax", &[&z], &to, vec![int("axis", 1)]);
            }
            Op::Add => simple("Add", Vec::new()),
            Op::Scale => {
                let axes = self.out.ints(&[2, 3]);
                let factors = self.out.part(name, "factors", "Unsqueeze", &[inputs[1], &axes], Vec::new());
                self.out.node(name, "Mul", &[inputs[0], &factors], &to, Vec::new());
            }
            Op::GlobalAvgPool => {
                let mean = self.out.part(name, "mean", "GlobalAveragePool", &inputs, Vec::new());
                self.out.node(name, "Flatten", &[&mean], &to, vec![int("axis", 1)]);
            }
            Op::MaxPool(pool) => simple("MaxPool", window(pool)),
            Op::AvgPool(AvgPool2d { pool, count_padding }) => {
                let attributes = [window(pool), vec![int("count_include_pad", i64::from(*count_padding))]].concat();
                simple("AveragePool", attributes);
            }
            Op::Upsample { scale, mode } => self.upsample(name, *scale, *mode, inputs[0], &to),
            Op::LeakyRelu { slope } => simple("LeakyRelu", vec![float("alpha", *slope)]),
            Op::Mul => simple("Mul", Vec::new()),
            Op::Concat => simple("Concat", vec![int("axis", 1)]),
            Op::Slice { start, channels } => {
                let [starts, ends, axes] = [*start, start + channels, 1].map(|value| self.out.ints(&[value as i64]));
                self.out.node(name, "Slice", &[inputs[0], &starts, &ends, &axes], &to, Vec::new());
            }
            Op::Flatten => simple("Flatten", vec![int("axis", 1)]),
            Op::ChannelShuffle { groups } => {
                let (channels, [height, width]) = (node.shape.channels(), sides(node.shape));
                let matrix = [0, *groups, channels / groups, height, width].map(|d| d as i64);
                let (matrix, map) = (self.out.ints(&matrix), self.out.ints(&map_shape(node.shape)));
                let x = self.out.part(name, "matrix", "Reshape", &[inputs[0], &matrix], Vec::new());
                let perm = vec![sizes("perm", &[0, 2, 1, 3, 4])];
                let x = self.out.part(name, "transposed", "Transpose", &[&x], perm);
                self.out.node(name, "Reshape", &[&x, &map], &to, Vec::new());
            }
            Op::Dropout { .. } => {}
        }
        Ok(())
    }

    /// A convolution of `[x, weight]`.
    pub fn conv(&mut self, name: &str, spec: &Conv2d, inputs: [&str; 2], bias: Option<&str>, to: &str) {
        let all: Vec<&str> = inputs.into_iter().chain(bias).collect();
        self.out.node(name, "Conv", &all, to, conv(spec));
    }

    fn linear(&mut self, id: NodeId, x: &str, to: &str) -> Result<(), OnnxError> {
        let weight = self.weight(id, 1, None);
        let bias = self.static_bias(id)?;
        let all: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        self.out.node(&self.graph.node(id).name, "Gemm", &all, to, vec![int("transB", 1)]);
        Ok(())
    }

    /// The weight of a static layer as in the graph, with what is folded into it; that of a dynamic layer mixed by `pi`.
    /// Its output channels are in `groups` parts on its first axes.
    pub fn weight(&mut self, id: NodeId, groups: usize, pi: Option<Vec<f32>>) -> String {
        let (recipe, shape) = self.recipe(id, groups);
        let shape = if pi.is_some() { shape[1..].to_vec() } else { shape };
        self.out.constant(recipe.tensor.clone(), &shape, Values::Tensor(Recipe { mix: pi, ..recipe }))
    }

    /// The bank of a dynamic layer, written with these dimensions.
    pub fn bank(&mut self, id: NodeId, dims: &[usize], regroup: Option<Regroup>) -> String {
        let (recipe, _) = self.recipe(id, 1);
        self.out.constant(recipe.tensor.clone(), dims, Values::Tensor(Recipe { regroup, ..recipe }))
    }

    /// How the weight of a layer is read, and its shape in the graph.
    fn recipe(&self, id: NodeId, groups: usize) -> (Recipe, Vec<usize>) {
        let node = self.graph.node(id);
        let tensor = format!("{}.weight", node.name);
        let parameter = self.graph.node_parameters(id).into_iter().find(|p| p.name == tensor);
        let (elements, shape) = parameter.map(|p| (p.elements(), p.shape)).unwrap_or_default();
        // The values of one output channel lie together: [(K,) O, I/g, kh, kw], or [C, O/g, kh, kw] when transposed.
        let skipped = usize::from(node.mixture().is_some()) + if let Op::ConvTranspose(_) = node.op { 2 } else { 1 };
        let run = shape.iter().skip(skipped).product();
        let scale = self.folds.affine[id.index()].as_ref().map(|a| Scale { factors: a.scale.clone(), groups, run });
        (Recipe { tensor, elements, scale, ..Recipe::default() }, shape)
    }

    /// The values of a layer's bias `[O]`, or `[K, O]` of a dynamic layer, with the folded scale; `None` if it has none.
    pub fn bias_values(&self, id: NodeId) -> Result<Option<Vec<f64>>, OnnxError> {
        let tensor = format!("{}.bias", self.graph.node(id).name);
        let Some(bias) = self.graph.node_parameters(id).into_iter().find(|p| p.name == tensor) else {
            return Ok(None);
        };
        let mut values = Vec::new();
        read(self.weights, &tensor, bias.elements(), &mut values)?;
        let mut values: Vec<f64> = values.into_iter().map(f64::from).collect();
        if let Some(Affine { scale, .. }) = &self.folds.affine[id.index()] {
            values.iter_mut().zip(scale.iter().cycle()).for_each(|(v, s)| *v *= s);
        }
        Ok(Some(values))
    }

    /// What a folded batch norm adds to each output channel.
    pub fn shift_values(&self, id: NodeId) -> Option<&[f64]> {
        self.folds.affine[id.index()].as_ref().map(|affine| affine.shift.as_slice())
    }

    /// The whole bias of a static layer.
    fn static_bias(&mut self, id: NodeId) -> Result<Option<String>, OnnxError> {
        let bias = self.bias_values(id)?;
        Ok(self.sum(&format!("{}.bias", self.graph.node(id).name), bias, id))
    }

    /// A constant called `name`: `bias` and the folded shift, of which one may be absent.
    pub fn sum(&mut self, name: &str, bias: Option<Vec<f64>>, id: NodeId) -> Option<String> {
        let sum: Vec<f64> = match (bias, self.shift_values(id)) {
            (Some(bias), Some(shift)) => bias.iter().zip(shift).map(|(b, s)| b + s).collect(),
            (Some(bias), None) => bias,
            (None, Some(shift)) => shift.to_vec(),
            (None, None) => return None,
        };
        let floats: Vec<f32> = sum.iter().map(|v| *v as f32).collect();
        Some(self.out.constant(name.to_owned(), &[floats.len()], Values::Floats(floats)))
    }

    fn upsample(&mut self, name: &str, scale: usize, mode: UpsampleMode, x: &str, to: &str) {
        let scale = scale as f32;
        let scales = self.out.constant(format!("{name}/scales"), &[4], Values::Floats(vec![1.0, 1.0, scale, scale]));
        let how = match mode {
            UpsampleMode::Bilinear => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
            }
            UpsampleMode::Nearest => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
        };
        self.out.node(name, "Resize", &[x, "", &scales], to, how);
    }

    fn activation(&mut self, name: &str, function: Activation, x: &str, to: &str) {
        match function {
            Activation::Relu => self.out.node(name, "Relu", &[x], to, Vec::new()),
            Activation::Relu6 => {
                let (low, high) = (self.out.scalar(0.0), self.out.scalar(6.0));
                self.out.node(name, "Clip", &[x, &low, &high], to, Vec::new());
            }
            Activation::HardSwish => self.out.node(name, "HardSwish", &[x], to, Vec::new()),
            Activation::HardSigmoid => {
                let slope = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.out.node(name, "HardSigmoid", &[x], to, slope);
            }
            Activation::Sigmoid => self.out.node(name, "Sigmoid", &[x], to, Vec::new()),
            Activation::Silu => {
                let gate = self.out.part(name, "sigmoid", "Sigmoid", &[x], Vec::new());
                self.out.node(name, "Mul", &[x, &gate], to, Vec::new());
            }
            Activation::Gelu => {
                let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.out.scalar(value));
                let z = self.out.part(name, "z", "Div", &[x, &root], Vec::new());
                let z = self.out.part(name, "erf", "Erf", &[&z], Vec::new());
                let z = self.out.part(name, "sum", "Add", &[&z, &one], Vec::new());
                let z = self.out.part(name, "product", "Mul", &[x, &z], Vec::new());
                self.out.node(name, "Mul", &[&z, &half], to, Vec::new());
            }
        }
    }
}

/// Attributes of a convolution.
fn conv(spec: &Conv2d) -> Vec<AttributeProto> {
    let common = common(spec.kernel, spec.stride, spec.padding, spec.end_padding());
    [common, vec![sizes("dilations", &spec.dilation), int("group", spec.groups as i64)]].concat()
}

fn conv_transpose(spec: &ConvTranspose2d) -> Vec<AttributeProto> {
    let common = common(spec.kernel, spec.stride, spec.padding, spec.padding);
    [common, vec![sizes("output_padding", &spec.output_padding), int("group", spec.groups as i64)]].concat()
}

fn window(pool: &Pool2d) -> Vec<AttributeProto> {
    common(pool.kernel, pool.stride, pool.padding, pool.end_padding())
}

fn common(kernel: [usize; 2], stride: [usize; 2], start: [usize; 2], end: [usize; 2]) -> Vec<AttributeProto> {
    let pads = [start, end].concat();
    vec![sizes("kernel_shape", &kernel), sizes("strides", &stride), sizes("pads", &pads)]
}

/// The shape of a batch of maps for `Reshape`, where 0 keeps the batch.
pub(super) fn map_shape(shape: Shape) -> [i64; 4] {
    let [height, width] = sides(shape);
    [0, shape.channels(), height, width].map(|d| d as i64)
}

/// Height and width of a map.
pub(super) fn sides(shape: Shape) -> [usize; 2] {
    match shape {
        Shape::Map([_, h, w]) => [h, w],
        Shape::Vector(_) => [1, 1],
    }
}
