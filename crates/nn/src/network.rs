//! A trainable network built from a graph.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::DropoutConfig;
use burn::tensor::{Device, Tensor};
use dyconv_graph::{Graph, Node, NodeId, Op, Weights, WeightsError};
use dyconv_train_kernels::{Isa, start_threads};

use crate::layer::Layer;
use crate::operations::Operations;
use crate::ops;
use crate::structure::Structure;
use crate::value::Value;

/// Errors in building a trainable network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// τ is not a positive number.
    #[error("the temperature must be a positive number, got {0}")]
    Temperature(f32),
    /// The environment variable `DYCONV_ISA` does not name an instruction set of this CPU.
    #[error("DYCONV_ISA: {0}")]
    InstructionSet(String),
}

/// A graph with its weights as Burn parameters and its temperature τ.
///
/// On a device with gradients it trains (batch statistics, dropout); after `valid()` it evaluates.
#[derive(Module, Debug)]
pub struct Network {
    pub(crate) layers: Vec<Layer>,
    #[module(skip)]
    structure: Arc<Structure>,
    #[module(skip)]
    tau: f32,
    /// Whether each layer is frozen; see [`Network::freeze`].
    #[module(skip)]
    frozen: Vec<bool>,
    #[module(skip)]
    operations: Operations,
}

impl Network {
    /// Loads checked weights onto a device, and starts the threads of the layers
    /// ([`start_threads`](crate::start_threads)).
    ///
    /// # Errors
    /// If the weights do not belong to the graph, τ is not a positive number, or the environment variable `DYCONV_ISA`
    /// does not name an instruction set of this CPU.
    pub fn new(graph: &Graph, weights: &Weights, tau: f32, device: &Device) -> Result<Self, NetworkError> {
        Isa::chosen().map_err(NetworkError::InstructionSet)?;
        weights.check(graph)?;
        start_threads();
        let mut layers = Vec::new();
        let mut layer = Vec::new();
        for node in graph.nodes() {
            let loaded = Layer::load(&node.op, &node.name, weights, device);
            layer.push(loaded.is_some().then_some(layers.len()));
            layers.extend(loaded);
        }
        let structure = Arc::new(Structure::new(graph, layer));
        let frozen = vec![false; layers.len()];
        let mut network = Self { layers, structure, tau: 1.0, frozen, operations: Operations::default() };
        network.set_temperature(tau)?;
        Ok(network)
    }

    /// Freezes the nodes whose names `choose` selects: their tensors have no gradient, and batch norms among them
    /// normalize by their running statistics, which do not change, also in training.
    #[must_use]
    pub fn freeze(mut self, choose: impl Fn(&str) -> bool) -> Self {
        let structure = Arc::clone(&self.structure);
        for (node, layer) in structure.graph.nodes().iter().zip(&structure.layer) {
            if let Some(layer) = layer.filter(|_| choose(&node.name)) {
                self.frozen[layer] = true;
            }
        }
        let layers = self.layers.into_iter().zip(&self.frozen);
        self.layers = layers.map(|(layer, frozen)| if *frozen { layer.no_grad() } else { layer }).collect();
        self
    }

    /// Uses the given implementation of the operations.
    #[must_use]
    pub fn with_operations(mut self, operations: Operations) -> Self {
        self.operations = operations;
        self
    }

    /// The graph of the network.
    pub fn graph(&self) -> &Graph {
        &self.structure.graph
    }

    /// The device of its tensors.
    ///
    /// # Panics
    /// If it has no tensors.
    pub fn device(&self) -> Device {
        self.devices().into_iter().next().expect("a network has tensors")
    }

    /// The temperature τ of every softmax router.
    pub fn temperature(&self) -> f32 {
        self.tau
    }

    /// Sets τ.
    ///
    /// # Errors
    /// If τ is not a positive finite number.
    pub fn set_temperature(&mut self, tau: f32) -> Result<(), NetworkError> {
        if !(tau.is_finite() && tau > 0.0) {
            return Err(NetworkError::Temperature(tau));
        }
        self.tau = tau;
        Ok(())
    }

    /// The tensors in the form of the model file.
    pub fn weights(&self) -> Weights {
        let Structure { graph, layer, .. } = &*self.structure;
        let stored = graph.nodes().iter().zip(layer).filter_map(|(node, layer)| {
            let tensors = self.layers[(*layer)?].store();
            Some(tensors.into_iter().map(|(parameter, tensor)| (format!("{}.{parameter}", node.name), tensor)))
        });
        Weights(stored.flatten().collect())
    }

    /// Runs a batch `[N, C, H, W]` and returns the output.
    ///
    /// # Panics
    /// If the input is not `[N, C, H, W]` of the graph.
    pub fn forward(&self, x: Tensor<4>) -> Value {
        self.run(x, true, |_, value| value)
    }

    /// Like [`Network::forward`], and passes the value of every node to `visit` as soon as it is computed.
    ///
    /// # Panics
    /// If the input is not `[N, C, H, W]` of the graph.
    pub fn forward_all(&self, x: Tensor<4>, mut visit: impl FnMut(&Node, &Value)) -> Value {
        self.run(x, false, |node, value| {
            visit(node, &value);
            value
        })
    }

    /// Like [`Network::forward_all`], but the readers of a node get what `replace` returns for it: for example, to
    /// study a network with other attention.
    ///
    /// # Panics
    /// If the input is not `[N, C, H, W]` of the graph, or a replacement does not have the shape of the value it
    /// replaces.
    pub fn forward_with(&self, x: Tensor<4>, mut replace: impl FnMut(&Node, Value) -> Value) -> Value {
        self.run(x, false, |node, value| {
            let dims = value.dims();
            let value = replace(node, value);
            assert_eq!(value.dims(), dims, "the value of `{}` was replaced by one of another shape", node.name);
            value
        })
    }

    /// Runs a batch, passing every value through `each`. With `fuse`, a batch norm returns the value of its activation,
    /// which then does nothing.
    fn run(&self, x: Tensor<4>, fuse: bool, mut each: impl FnMut(&Node, Value) -> Value) -> Value {
        let Structure { graph, last_reader, .. } = &*self.structure;
        let [_, c, h, w] = x.dims();
        assert_eq!([c, h, w], graph.input_dims(), "the input must be [N, C, H, W] of the graph");
        let mut values: Vec<Option<Value>> = vec![None; graph.nodes().len()];
        let mut input = Some(x);
        for id in graph.ids() {
            let node = graph.node(id);
            let value = match input.take() {
                Some(x) => Value::Map(x),
                None => {
                    let inputs = node.inputs.iter().map(|i| values[i.index()].clone().expect("inputs come first"));
                    self.apply(id, node, inputs.collect(), fuse)
                }
            };
            values[id.index()] = Some(each(node, value));
            for read in &node.inputs {
                if last_reader[read.index()] == Some(id) && *read != graph.output() {
                    values[read.index()] = None;
                }
            }
        }
        values[graph.output().index()].take().expect("the output was computed")
    }

    fn apply(&self, id: NodeId, node: &Node, inputs: Vec<Value>, fuse: bool) -> Value {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("the graph was checked");
        let fused = self.structure.fused[id.index()].filter(|_| fuse);
        match &node.op {
            Op::Input => unreachable!("the input is given"),
            Op::Conv(conv) => {
                let Layer::Conv(l) = self.layer(id) else { mismatch(node) };
                let bias = l.bias.as_ref().map(Param::val);
                Value::Map(self.operations.conv(next().map(), l.weight.val(), bias, conv.into()))
            }
            Op::ConvTranspose(conv) => {
                let Layer::Conv(l) = self.layer(id) else { mismatch(node) };
                let bias = l.bias.as_ref().map(Param::val);
                Value::Map(self.operations.conv_transpose(next().map(), l.weight.val(), bias, conv.into()))
            }
            Op::MixConv(mix) => {
                let Layer::MixConv(l) = self.layer(id) else { mismatch(node) };
                let (x, pi, bias) = (next().map(), next().vector(), l.bias.as_ref().map(Param::val));
                Value::Map(self.operations.mix_conv(x, pi, l.weight.val(), bias, (&mix.conv).into()))
            }
            Op::Linear(_) => {
                let Layer::Linear(l) = self.layer(id) else { mismatch(node) };
                Value::Vector(ops::linear(next().vector(), l.weight.val(), l.bias.as_ref().map(Param::val)))
            }
            Op::MixLinear(_) => {
                let Layer::MixLinear(l) = self.layer(id) else { mismatch(node) };
                let (x, pi) = (next().vector(), next().vector());
                Value::Vector(ops::mix_linear(x, pi, l.weight.val(), l.bias.as_ref().map(Param::val)))
            }
            Op::BatchNorm { .. } => {
                let Layer::BatchNorm(l) = self.layer(id) else { mismatch(node) };
                Value::Map(if self.is_frozen(id) {
                    l.evaluate(next().map(), fused)
                } else {
                    l.forward_by(self.operations, next().map(), fused)
                })
            }
            Op::Activation(_) if fused.is_some() => next(),
            Op::Activation(a) => next().each(|x| ops::activation(*a, x), |x| ops::activation(*a, x)),
            Op::LeakyRelu { slope } => next().each(|x| ops::leaky_relu(x, *slope), |x| ops::leaky_relu(x, *slope)),
            Op::Softmax => Value::Vector(ops::softmax(next().vector(), self.tau)),
            Op::Add => match (next(), next()) {
                (Value::Map(a), Value::Map(b)) => Value::Map(a + b),
                (a, b) => Value::Vector(a.vector() + b.vector()),
            },
            Op::Mul => match (next(), next()) {
                (Value::Map(a), Value::Map(b)) => Value::Map(a * b),
                (a, b) => Value::Vector(a.vector() * b.vector()),
            },
            Op::Concat => concat(inputs.collect()),
            Op::Slice { start, channels } => {
                next().each(|x| x.narrow(1, *start, *channels), |x| x.narrow(1, *start, *channels))
            }
            Op::Flatten => Value::Vector(next().map().flatten(1, 3)),
            Op::ChannelShuffle { groups } => Value::Map(ops::channel_shuffle(next().map(), *groups)),
            Op::Scale => {
                let (x, s) = (next().map(), next().vector());
                let [n, c] = s.dims();
                Value::Map(x * s.reshape([n, c, 1, 1]))
            }
            Op::GlobalAvgPool => Value::Vector(if self.structure.joins[id.index()] {
                self.operations.pool_beside_reader(next().map())
            } else {
                self.operations.global_avg_pool(next().map())
            }),
            Op::MaxPool(pool) => Value::Map(ops::max_pool(next().map(), pool)),
            Op::AvgPool(pool) => Value::Map(ops::avg_pool(next().map(), pool)),
            Op::Upsample { scale, mode } => Value::Map(self.operations.upsample(next().map(), *scale, *mode)),
            Op::Dropout { rate } => {
                let dropout = DropoutConfig::new(f64::from(*rate)).init();
                next().each(|x| dropout.forward(x), |x| dropout.forward(x))
            }
        }
    }

    /// The layer of a node that owns tensors.
    fn layer(&self, id: NodeId) -> &Layer {
        let layer = self.structure.layer[id.index()];
        &self.layers[layer.expect("`Layer::load` gave the op its tensors")]
    }

    fn is_frozen(&self, id: NodeId) -> bool {
        self.structure.layer[id.index()].is_some_and(|i| self.frozen[i])
    }
}

/// Maps or vectors, one behind the other along the channels.
fn concat(inputs: Vec<Value>) -> Value {
    match inputs.first() {
        Some(Value::Map(_)) => Value::Map(Tensor::cat(inputs.into_iter().map(Value::map).collect(), 1)),
        _ => Value::Vector(Tensor::cat(inputs.into_iter().map(Value::vector).collect(), 1)),
    }
}

fn mismatch(node: &Node) -> ! {
    unreachable!("`Layer::load` gave `{}` the tensors of another op", node.name)
}
