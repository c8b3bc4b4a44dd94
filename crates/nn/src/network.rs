//! A graph made trainable.

use std::sync::Arc;

use burn::module::Module;
use burn::nn::DropoutConfig;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};
use dyconv_graph::{Activation, Conv2d, ConvTranspose2d, Graph, Node, NodeId, Op, Pool2d, Weights, WeightsError};
use dyconv_train_kernels::{Isa, start_threads};

use crate::layer::Layer;
use crate::ops::{self, ConvGeometry, TransposedGeometry};

/// What flows between nodes, for a whole batch.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[N, C, H, W]`
    Map(Tensor<4>),
    /// `[N, C]`
    Vector(Tensor<2>),
}

impl Value {
    /// The numbers in row-major order.
    pub fn into_vec(self) -> Vec<f32> {
        let data = match self {
            Value::Map(x) => x.into_data(),
            Value::Vector(x) => x.into_data(),
        };
        data.try_into_vec::<f32>().expect("activations are f32")
    }

    /// Dimensions, the batch first.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Value::Map(x) => x.dims().to_vec(),
            Value::Vector(x) => x.dims().to_vec(),
        }
    }

    fn map(self) -> Tensor<4> {
        match self {
            Value::Map(x) => x,
            Value::Vector(_) => unreachable!("shape inference gave this op a map"),
        }
    }

    fn vector(self) -> Tensor<2> {
        match self {
            Value::Vector(x) => x,
            Value::Map(_) => unreachable!("shape inference gave this op a vector"),
        }
    }
}

/// A network that cannot be made trainable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// The weights do not fit the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// τ is no temperature.
    #[error("the temperature must be a positive number, got {0}")]
    Temperature(f32),
    /// The environment variable `DYCONV_ISA` names no instruction set of this CPU.
    #[error("DYCONV_ISA: {0}")]
    InstructionSet(String),
}

/// A graph with its weights as Burn parameters and its temperature τ.
///
/// On a device with gradients it trains (batch statistics, dropout); on `valid()` it evaluates.
#[derive(Module, Debug)]
pub struct Network {
    pub(crate) layers: Vec<Layer>,
    #[module(skip)]
    structure: Arc<Structure>,
    #[module(skip)]
    tau: f32,
    /// By layer: whether it stays as it is; see [`Network::freeze`].
    #[module(skip)]
    frozen: Vec<bool>,
}

#[derive(Debug)]
struct Structure {
    graph: Graph,
    /// Index into `layers` of each node that owns tensors.
    layer: Vec<Option<usize>>,
    /// The last node that reads each value.
    last_reader: Vec<Option<NodeId>>,
    /// For a batch norm, the activation that alone reads it; for that activation, itself.
    fused: Vec<Option<Activation>>,
    /// Pools whose input has a reader that depends on them: routers and squeeze-and-excitation.
    joins: Vec<bool>,
}

/// Finds pools whose input has another reader that depends on them.
fn joins(graph: &Graph) -> Vec<bool> {
    let readers = graph.readers();
    let depends = |pool: NodeId, reader: NodeId| {
        let mut on_pool = vec![false; graph.nodes().len()];
        on_pool[pool.index()] = true;
        for id in graph.ids().skip(pool.index() + 1) {
            on_pool[id.index()] = graph.node(id).inputs.iter().any(|i| on_pool[i.index()]);
        }
        on_pool[reader.index()]
    };
    let joins = |id: NodeId| {
        let node = graph.node(id);
        node.op == Op::GlobalAvgPool
            && readers[node.inputs[0].index()].iter().any(|reader| *reader != id && depends(id, *reader))
    };
    graph.ids().map(joins).collect()
}

/// Finds batch norms whose only reader is an activation.
fn fuse(graph: &Graph) -> Vec<Option<Activation>> {
    let mut fused = vec![None; graph.nodes().len()];
    for (id, readers) in graph.ids().zip(graph.readers()) {
        if let (Op::BatchNorm { .. }, [reader]) = (&graph.node(id).op, &readers[..])
            && let Op::Activation(activation) = graph.node(*reader).op
            && graph.output() != id
        {
            fused[id.index()] = Some(activation);
            fused[reader.index()] = Some(activation);
        }
    }
    fused
}

impl Network {
    /// Loads checked weights onto a device, and starts the threads that layers run on
    /// ([`start_threads`](crate::start_threads)).
    ///
    /// # Errors
    /// When the weights do not fit the graph, τ is not a positive number, or the environment variable `DYCONV_ISA` names no
    /// instruction set of this CPU.
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
        let last_reader = graph.readers().iter().map(|r| r.iter().max().copied()).collect();
        let structure =
            Arc::new(Structure { graph: graph.clone(), layer, last_reader, fused: fuse(graph), joins: joins(graph) });
        let frozen = vec![false; layers.len()];
        let mut network = Self { layers, structure, tau: 1.0, frozen };
        network.set_temperature(tau)?;
        Ok(network)
    }

    /// Freezes the nodes that `choose` picks by name: their tensors have no gradient, and batch norms among them normalise
    /// by their running statistics, which stay as they are, also in training.
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

    /// The network's description.
    pub fn graph(&self) -> &Graph {
        &self.structure.graph
    }

    /// Where its tensors are.
    ///
    /// # Panics
    /// When it has none.
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
    /// When τ is not a positive finite number.
    pub fn set_temperature(&mut self, tau: f32) -> Result<(), NetworkError> {
        if !(tau.is_finite() && tau > 0.0) {
            return Err(NetworkError::Temperature(tau));
        }
        self.tau = tau;
        Ok(())
    }

    /// The tensors as they stand in a model file.
    pub fn weights(&self) -> Weights {
        let Structure { graph, layer, .. } = &*self.structure;
        let stored = graph.nodes().iter().zip(layer).filter_map(|(node, layer)| {
            let tensors = self.layers[(*layer)?].store();
            Some(tensors.into_iter().map(|(parameter, tensor)| (format!("{}.{parameter}", node.name), tensor)))
        });
        Weights(stored.flatten().collect())
    }

    /// Runs a batch `[N, C, H, W]` and returns the answer.
    ///
    /// # Panics
    /// When the input is not `[N, C, H, W]` of the graph.
    pub fn forward(&self, x: Tensor<4>) -> Value {
        self.run(x, true, |_, value| value)
    }

    /// As [`Network::forward`], and shows every node's value as soon as it is computed.
    ///
    /// # Panics
    /// When the input is not `[N, C, H, W]` of the graph.
    pub fn forward_all(&self, x: Tensor<4>, mut visit: impl FnMut(&Node, &Value)) -> Value {
        self.run(x, false, |node, value| {
            visit(node, &value);
            value
        })
    }

    /// As [`Network::forward_all`], but what `replace` gives for a node is what its readers get: to see what a network does
    /// with other attention, for example.
    ///
    /// # Panics
    /// When the input is not `[N, C, H, W]` of the graph, or a replacement is not of the shape of what it replaces.
    pub fn forward_with(&self, x: Tensor<4>, mut replace: impl FnMut(&Node, Value) -> Value) -> Value {
        self.run(x, false, |node, value| {
            let dims = value.dims();
            let value = replace(node, value);
            assert_eq!(value.dims(), dims, "the value of `{}` was replaced by one of another shape", node.name);
            value
        })
    }

    /// Runs a batch, giving every value through `each`; `fuse` lets a batch norm give what its activation would, which then
    /// does nothing.
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
        let layer = self.structure.layer[id.index()].map(|i| &self.layers[i]);
        let frozen = self.structure.layer[id.index()].is_some_and(|i| self.frozen[i]);
        let fused = self.structure.fused[id.index()].filter(|_| fuse);
        match (&node.op, layer) {
            (Op::Conv(conv), Some(Layer::Conv(l))) => {
                Value::Map(ops::conv(next().map(), l.weight.val(), l.bias.as_ref().map(|b| b.val()), geometry(conv)))
            }
            (Op::ConvTranspose(conv), Some(Layer::Conv(l))) => {
                let bias = l.bias.as_ref().map(|b| b.val());
                Value::Map(ops::conv_transpose(next().map(), l.weight.val(), bias, transposed(conv)))
            }
            (Op::MixConv(mix), Some(Layer::MixConv(l))) => {
                let (x, pi) = (next().map(), next().vector());
                Value::Map(ops::mix_conv(x, pi, l.weight.val(), l.bias.as_ref().map(|b| b.val()), geometry(&mix.conv)))
            }
            (Op::Linear(_), Some(Layer::Linear(l))) => {
                Value::Vector(ops::linear(next().vector(), l.weight.val(), l.bias.as_ref().map(|b| b.val())))
            }
            (Op::MixLinear(_), Some(Layer::MixLinear(l))) => {
                let (x, pi) = (next().vector(), next().vector());
                Value::Vector(ops::mix_linear(x, pi, l.weight.val(), l.bias.as_ref().map(|b| b.val())))
            }
            (Op::BatchNorm { .. }, Some(Layer::BatchNorm(l))) if frozen => Value::Map(l.evaluate(next().map(), fused)),
            (Op::BatchNorm { .. }, Some(Layer::BatchNorm(l))) => Value::Map(l.forward_with(next().map(), fused)),
            (Op::Activation(_), _) if fused.is_some() => next(),
            (Op::Activation(a), _) => match next() {
                Value::Map(x) => Value::Map(ops::activation(*a, x)),
                Value::Vector(x) => Value::Vector(ops::activation(*a, x)),
            },
            (Op::Softmax, _) => Value::Vector(ops::softmax(next().vector(), self.tau)),
            (Op::Add, _) => match (next(), next()) {
                (Value::Map(a), Value::Map(b)) => Value::Map(a + b),
                (a, b) => Value::Vector(a.vector() + b.vector()),
            },
            (Op::Scale, _) => {
                let (x, s) = (next().map(), next().vector());
                let [n, c] = s.dims();
                Value::Map(x * s.reshape([n, c, 1, 1]))
            }
            (Op::GlobalAvgPool, _) if self.structure.joins[id.index()] => {
                Value::Vector(ops::pool_beside_reader(next().map()))
            }
            (Op::GlobalAvgPool, _) => Value::Vector(ops::global_avg_pool(next().map())),
            (Op::MaxPool(pool), _) => Value::Map(max_pool(next().map(), pool)),
            (Op::Upsample { scale }, _) => Value::Map(ops::upsample(next().map(), *scale)),
            (Op::Dropout { rate }, _) => {
                let dropout = DropoutConfig::new(f64::from(*rate)).init();
                match next() {
                    Value::Map(x) => Value::Map(dropout.forward(x)),
                    Value::Vector(x) => Value::Vector(dropout.forward(x)),
                }
            }
            (op, _) => unreachable!("`{}` was loaded without its tensors", op.name()),
        }
    }
}

fn geometry(conv: &Conv2d) -> ConvGeometry {
    ConvGeometry { stride: conv.stride, padding: conv.padding, dilation: conv.dilation, groups: conv.groups }
}

fn transposed(conv: &ConvTranspose2d) -> TransposedGeometry {
    let ConvTranspose2d { stride, padding, output_padding, groups, .. } = *conv;
    TransposedGeometry { stride, padding, output_padding, groups }
}

fn max_pool(x: Tensor<4>, pool: &Pool2d) -> Tensor<4> {
    let mut options = MaxPoolOptions::new(pool.kernel);
    options.stride = pool.stride;
    options.padding = pool.padding.map(|p| (p, p));
    max_pool2d(x, options)
}
