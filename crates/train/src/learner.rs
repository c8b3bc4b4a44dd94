//! A network that learns: one iteration after another.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_data::Batch;
use dyconv_graph::Weights;
use dyconv_models::matches;
use dyconv_nn::{Gradients, Network, NetworkError, Value};

use crate::checkpoint::{Checkpoint, Tensors};
use crate::ema::Ema;
use crate::fault;
use crate::loss::Loss;
use crate::optimizer::Optimizer;
use crate::{Recipe, Setup, TrainRecipe};

/// Parts of a checkpoint.
const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const EMA: &str = "ema";

/// A number that is not finite: what it is, and where it comes from.
#[derive(Debug)]
pub(crate) struct Fault {
    pub what: String,
    pub origin: String,
}

/// The network, what moves it, and its average.
#[derive(Debug)]
pub(crate) struct Learner<'a> {
    rule: &'a TrainRecipe,
    loss: &'a Loss,
    network: Network,
    optimizer: Optimizer,
    ema: Option<Ema>,
    device: Device,
}

impl<'a> Learner<'a> {
    /// As a checkpoint left it, or with first weights as its part `model`.
    ///
    /// # Errors
    /// When the weights do not fit the graph.
    pub fn new(recipe: &'a Recipe, setup: &'a Setup, checkpoint: &mut Checkpoint) -> Result<Self, NetworkError> {
        let rule = &recipe.train;
        let device = Device::flex();
        let weights = Weights(checkpoint.take(MODEL));
        let network = Network::new(&setup.graph, &weights, recipe.temperature.end, &device.clone().autodiff())?;
        let network = network.freeze(|node| rule.freeze.iter().any(|pattern| matches(pattern, node)));
        let mut optimizer = Optimizer::new(rule, &network);
        optimizer.load(checkpoint.take(OPTIMIZER), &device);
        let mut ema = (rule.ema > 0.0).then(|| Ema::new(rule.ema, &network));
        if let Some(ema) = &mut ema {
            ema.load(checkpoint.take(EMA), &setup.graph, &device);
        }
        Ok(Self { rule, loss: &setup.loss, network, optimizer, ema, device: device.autodiff() })
    }

    /// First weights for [`Learner::new`].
    pub fn first(checkpoint: Checkpoint, weights: &Weights) -> Checkpoint {
        checkpoint.with(MODEL, weights.0.clone())
    }

    /// Adds everything that a later [`Learner::new`] needs.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn save(&self, checkpoint: Checkpoint) -> Result<Checkpoint, Fault> {
        let weights = self.network.weights();
        if let Some(origin) = fault::weights(&self.network, &weights) {
            return Err(Fault { what: "a weight is not finite".into(), origin });
        }
        let ema = self.ema.as_ref().map_or_else(Tensors::new, |ema| ema.state(self.network.graph()));
        Ok(checkpoint.with(MODEL, weights.0).with(OPTIMIZER, self.optimizer.state()).with(EMA, ema))
    }

    /// The temperature τ.
    pub fn temperature(&self) -> f32 {
        self.network.temperature()
    }

    /// Sets τ.
    ///
    /// # Errors
    /// When it is no temperature.
    pub fn set_temperature(&mut self, tau: f32) -> Result<(), NetworkError> {
        self.network.set_temperature(tau)
    }

    /// The network that is evaluated and kept, without gradients: the average, where there is one.
    ///
    /// # Errors
    /// When a tensor of the average is not finite.
    pub fn evaluated(&self) -> Result<Network, NetworkError> {
        match &self.ema {
            None => Ok(self.network.valid()),
            Some(ema) => {
                let graph = self.network.graph();
                Network::new(graph, &ema.weights(graph), self.temperature(), &self.device.clone().inner())
            }
        }
    }

    /// Forward, backward, step; gives the loss of the batch. `seed` decides over dropout.
    ///
    /// The batch passes in parts, as many as the recipe says; their gradients add up to that of the batch, but that batch
    /// norm sees one part at a time.
    ///
    /// # Errors
    /// When the loss or a gradient is not finite; then nothing was learnt.
    pub fn step(&mut self, batch: &Batch, lr: f64, seed: u64) -> Result<f32, Fault> {
        self.device.seed(seed);
        let (mut value, mut sum): (f32, Option<Gradients>) = (0.0, None);
        for part in parts(batch.len(), self.rule.accumulate) {
            let images = input(batch, part.clone(), &self.device);
            let loss = self.loss.forward(vector(self.network.forward(images.clone())), batch, part, &self.device);
            let share = loss.clone().into_scalar::<f32>();
            if !share.is_finite() {
                return Err(Fault {
                    what: format!("the loss is {share}"),
                    origin: fault::origin(&self.network, images),
                });
            }
            value += share;
            let gradients = self.network.gradients(&loss);
            sum = Some(match sum {
                None => gradients,
                Some(sum) => sum.plus(gradients),
            });
        }
        let gradients = self.clipped(sum.expect("a batch has images"))?;
        self.network = self.optimizer.step(lr, self.network.clone(), gradients);
        if let Some(ema) = &mut self.ema {
            ema.update(&self.network);
        }
        Ok(value)
    }

    /// Shortens the gradients to the recipe's norm, as PyTorch's `clip_grad_norm_` does.
    fn clipped(&self, gradients: Gradients) -> Result<Gradients, Fault> {
        let norm = gradients.norm();
        if !norm.is_finite() {
            let origin = fault::gradients(&self.network, &gradients);
            return Err(Fault { what: "a gradient is not finite".into(), origin });
        }
        let most = self.rule.clip_norm;
        if most > 0.0 && norm > most { Ok(gradients.scale(most / (norm + 1e-6))) } else { Ok(gradients) }
    }
}

/// Cuts `images` into at most `count` parts of equal size, the last perhaps smaller.
fn parts(images: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let each = images.div_ceil(count).max(1);
    (0..images).step_by(each).map(move |start| start..images.min(start + each))
}

/// Some images of a batch as a network's input `[N, C, H, W]`.
pub(crate) fn input(batch: &Batch, images: Range<usize>, device: &Device) -> Tensor<4> {
    let [_, c, h, w] = batch.shape();
    let elements = c * h * w;
    let data = batch.images[images.start * elements..images.end * elements].to_vec();
    Tensor::from_data(TensorData::new(data, [images.len(), c, h, w]), device)
}

pub(crate) fn vector(value: Value) -> Tensor<2> {
    match value {
        Value::Vector(logits) => logits,
        Value::Map(_) => unreachable!("a classifier answers with a vector"),
    }
}
