//! The layers of a network that own tensors, with the names and shapes of the model file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use dyconv_graph::{Op, Tensor as Stored, Weights};

use crate::batch_norm::BatchNorm;

/// The layer of one node that owns tensors.
#[derive(Module, Debug)]
pub(crate) enum Layer {
    Conv(Conv),
    MixConv(MixConv),
    Linear(Linear),
    MixLinear(MixLinear),
    BatchNorm(BatchNorm),
}

/// Parameters of a convolution or of a transposed one.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    pub weight: Param<Tensor<4>>,
    pub bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
pub(crate) struct MixConv {
    pub weight: Param<Tensor<5>>,
    pub bias: Option<Param<Tensor<2>>>,
}

#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub weight: Param<Tensor<2>>,
    pub bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
pub(crate) struct MixLinear {
    pub weight: Param<Tensor<3>>,
    pub bias: Option<Param<Tensor<2>>>,
}

impl Layer {
    /// The layer of the node called `name`, or `None` for an op without tensors.
    pub fn load(op: &Op, name: &str, weights: &Weights, device: &Device) -> Option<Self> {
        let source = Source { name, weights, device };
        Some(match op {
            Op::Conv(conv) => {
                Layer::Conv(Conv { weight: source.param("weight"), bias: source.optional("bias", conv.bias) })
            }
            Op::ConvTranspose(conv) => {
                Layer::Conv(Conv { weight: source.param("weight"), bias: source.optional("bias", conv.bias) })
            }
            Op::MixConv(mix) => {
                Layer::MixConv(MixConv { weight: source.param("weight"), bias: source.optional("bias", mix.conv.bias) })
            }
            Op::Linear(linear) => {
                Layer::Linear(Linear { weight: source.param("weight"), bias: source.optional("bias", linear.bias) })
            }
            Op::MixLinear(mix) => Layer::MixLinear(MixLinear {
                weight: source.param("weight"),
                bias: source.optional("bias", mix.linear.bias),
            }),
            Op::BatchNorm { eps } => Layer::BatchNorm(BatchNorm {
                weight: source.param("weight"),
                bias: source.param("bias"),
                running_mean: burn::module::RunningState::new(source.tensor("running_mean")),
                running_var: burn::module::RunningState::new(source.tensor("running_var")),
                eps: f64::from(*eps),
            }),
            Op::Input
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
            | Op::Dropout { .. } => return None,
        })
    }

    /// The layer's tensors with their names in the model file.
    pub fn store(&self) -> Vec<(&'static str, Stored)> {
        fn pair<const W: usize, const B: usize>(
            w: &Param<Tensor<W>>,
            b: Option<&Param<Tensor<B>>>,
        ) -> Vec<(&'static str, Stored)> {
            let bias = b.map(|b| ("bias", stored(b.val())));
            [("weight", stored(w.val()))].into_iter().chain(bias).collect()
        }
        match self {
            Layer::Conv(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::MixConv(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::Linear(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::MixLinear(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::BatchNorm(l) => vec![
                ("weight", stored(l.weight.val())),
                ("bias", stored(l.bias.val())),
                ("running_mean", stored(l.running_mean.value_sync())),
                ("running_var", stored(l.running_var.value_sync())),
            ],
        }
    }

    /// The layer's tensors in the same order, flat and without gradient.
    pub fn tensors(&self) -> Vec<Tensor<1>> {
        fn pair<const W: usize, const B: usize>(w: &Param<Tensor<W>>, b: Option<&Param<Tensor<B>>>) -> Vec<Tensor<1>> {
            [flat(w.val())].into_iter().chain(b.map(|b| flat(b.val()))).collect()
        }
        match self {
            Layer::Conv(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::MixConv(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::Linear(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::MixLinear(l) => pair(&l.weight, l.bias.as_ref()),
            Layer::BatchNorm(l) => {
                let statistics = [&l.running_mean, &l.running_var].map(|s| flat(s.value_sync()));
                pair(&l.weight, Some(&l.bias)).into_iter().chain(statistics).collect()
            }
        }
    }

    /// Takes the gradients of the layer's trained tensors out of `from`, flat.
    pub fn gradients(&self, from: &mut Gradients) -> Vec<Option<Tensor<1>>> {
        fn pair<const W: usize, const B: usize>(
            w: &Param<Tensor<W>>,
            b: Option<&Param<Tensor<B>>>,
            from: &mut Gradients,
        ) -> Vec<Option<Tensor<1>>> {
            let weight = w.val().grad_remove(from).map(flat);
            [weight].into_iter().chain(b.map(|b| b.val().grad_remove(from).map(flat))).collect()
        }
        match self {
            Layer::Conv(l) => pair(&l.weight, l.bias.as_ref(), from),
            Layer::MixConv(l) => pair(&l.weight, l.bias.as_ref(), from),
            Layer::Linear(l) => pair(&l.weight, l.bias.as_ref(), from),
            Layer::MixLinear(l) => pair(&l.weight, l.bias.as_ref(), from),
            Layer::BatchNorm(l) => pair(&l.weight, Some(&l.bias), from),
        }
    }

    /// Changes the layer's trained tensors, in the same order; see [`crate::network::Network::update`].
    pub fn update(self, change: &mut impl FnMut(Tensor<1>) -> Option<Tensor<1>>) -> Self {
        match self {
            Layer::Conv(l) => {
                Layer::Conv(Conv { weight: updated(l.weight, change), bias: l.bias.map(|b| updated(b, change)) })
            }
            Layer::MixConv(l) => {
                Layer::MixConv(MixConv { weight: updated(l.weight, change), bias: l.bias.map(|b| updated(b, change)) })
            }
            Layer::Linear(l) => {
                Layer::Linear(Linear { weight: updated(l.weight, change), bias: l.bias.map(|b| updated(b, change)) })
            }
            Layer::MixLinear(l) => Layer::MixLinear(MixLinear {
                weight: updated(l.weight, change),
                bias: l.bias.map(|b| updated(b, change)),
            }),
            Layer::BatchNorm(l) => {
                Layer::BatchNorm(BatchNorm { weight: updated(l.weight, change), bias: updated(l.bias, change), ..l })
            }
        }
    }
}

/// All elements, without gradient.
fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let tensor = if tensor.device().is_autodiff() { tensor.inner() } else { tensor };
    let elements = tensor.shape().num_elements();
    tensor.reshape([elements])
}

/// A parameter with a new value of the same shape.
fn updated<const D: usize>(
    param: Param<Tensor<D>>,
    change: &mut impl FnMut(Tensor<1>) -> Option<Tensor<1>>,
) -> Param<Tensor<D>> {
    param.map(|old| {
        let Some(new) = change(flat(old.clone())) else { return old };
        let new = new.reshape(old.dims());
        if !old.device().is_autodiff() {
            return new;
        }
        Tensor::from_inner(new).set_require_grad(old.is_require_grad())
    })
}

/// Source of a layer's tensors.
struct Source<'a> {
    name: &'a str,
    weights: &'a Weights,
    device: &'a Device,
}

impl Source<'_> {
    fn tensor<const D: usize>(&self, parameter: &str) -> Tensor<D> {
        let stored = self.weights.get(&format!("{}.{parameter}", self.name));
        Tensor::from_data(TensorData::new(stored.data.clone(), stored.shape.clone()), self.device)
    }

    fn param<const D: usize>(&self, parameter: &str) -> Param<Tensor<D>> {
        Param::from_tensor(self.tensor(parameter))
    }

    fn optional<const D: usize>(&self, parameter: &str, present: bool) -> Option<Param<Tensor<D>>> {
        present.then(|| self.param(parameter))
    }
}

fn stored<const D: usize>(tensor: Tensor<D>) -> Stored {
    let shape = tensor.dims();
    let data = tensor.into_data().try_into_vec::<f32>().expect("weights are f32");
    Stored::new(&shape, data)
}
