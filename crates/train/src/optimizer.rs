//! SGD with PyTorch's momentum.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_graph::Tensor as Stored;
use dyconv_nn::Network;

use crate::TrainRecipe;
use crate::checkpoint::Tensors;

/// An optimiser with its state: v ← momentum · v + (g + decay · w), w ← w − lr · v.
#[derive(Debug)]
pub(crate) struct Optimizer {
    momentum: f32,
    nesterov: bool,
    decay: f32,
    /// v of each parameter that had a gradient.
    velocity: HashMap<ParamId, TensorData>,
}

impl Optimizer {
    pub fn new(recipe: &TrainRecipe) -> Self {
        let TrainRecipe { momentum, nesterov, weight_decay, .. } = *recipe;
        Self { momentum: momentum as f32, nesterov, decay: weight_decay, velocity: HashMap::new() }
    }

    pub fn step(&mut self, lr: f64, network: Network, gradients: GradientsParams) -> Network {
        network.map(&mut Update { optimizer: self, gradients, lr })
    }

    /// The state by `<parameter>.velocity`.
    pub fn state(&self, network: &Network) -> Tensors {
        let velocity = names(network).into_iter().filter_map(|(id, name)| {
            let data = self.velocity.get(&id)?.clone();
            let shape = data.shape().to_vec();
            let values = data.try_into_vec::<f32>().expect("the state is f32");
            Some((format!("{name}.velocity"), Stored::new(&shape, values)))
        });
        velocity.collect()
    }

    /// Takes a state of the same network.
    pub fn load(&mut self, network: &Network, mut state: Tensors) {
        for (id, name) in names(network) {
            if let Some(v) = state.remove(&format!("{name}.velocity")) {
                self.velocity.insert(id, TensorData::new(v.data, v.shape));
            }
        }
    }
}

/// The network's parameters in order, with their names.
fn names(network: &Network) -> Vec<(ParamId, String)> {
    struct Ids(Vec<ParamId>);
    impl ModuleVisitor for Ids {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            self.0.push(parameter.id);
        }
    }
    let mut ids = Ids(Vec::new());
    network.visit(&mut ids);
    ids.0.into_iter().zip(network.graph().parameters().into_iter().map(|p| p.name)).collect()
}

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    lr: f64,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = parameter.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let Optimizer { momentum, nesterov, decay, velocity } = &mut *self.optimizer;
        let tracked = tensor.is_require_grad();
        let device: Device = gradient.device();
        let weight = tensor.inner();
        let gradient = if *decay > 0.0 { gradient + weight.clone().mul_scalar(*decay) } else { gradient };
        let step = if *momentum > 0.0 {
            let v = match velocity.remove(&id) {
                Some(v) => gradient.clone() + Tensor::from_data(v, &device).mul_scalar(*momentum),
                None => gradient.clone(),
            };
            velocity.insert(id, v.clone().into_data());
            if *nesterov { v.mul_scalar(*momentum) + gradient } else { v }
        } else {
            gradient
        };
        let moved = weight - step.mul_scalar(self.lr);
        let moved = Tensor::from_inner(moved).set_require_grad(tracked);
        Param::from_mapped_value(id, moved, mapper)
    }
}
