//! A network that learns: one iteration after another.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_data::Batch;
use dyconv_graph::Weights;
use dyconv_models::matches;
use dyconv_nn::{Gradients, Network, NetworkError};

use crate::checkpoint::{Checkpoint, Tensors};
use crate::ema::Ema;
use crate::fault;
use crate::lesson::Lesson;
use crate::optimizer::Optimizer;
use crate::{Recipe, Setup, TrainRecipe, World};

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
    lesson: &'a Lesson,
    world: &'a World,
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
    pub fn new(
        recipe: &'a Recipe,
        setup: &'a Setup,
        world: &'a World,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self, NetworkError> {
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
        Ok(Self { rule, lesson: &setup.lesson, world, network, optimizer, ema, device: device.autodiff() })
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

    /// Forward, backward, step; gives the loss of the batch, of which other processes may have parts. `seed` decides over
    /// dropout.
    ///
    /// The batch passes in pieces, as many as the recipe says; their gradients add up to that of the batch, but that batch
    /// norm sees one piece at a time.
    ///
    /// # Errors
    /// When the loss or a gradient is not finite; then nothing was learnt. All processes agree on it.
    pub fn step(&mut self, batch: &Batch, lr: f64, seed: u64) -> Result<f32, Fault> {
        self.device.seed(seed);
        let mass = self.world.total(f64::from(self.lesson.mass(batch)));
        let mut value = 0.0;
        let mut sum: Option<Gradients> = None;
        let mut suspect = None;
        for piece in pieces(batch.len(), self.rule.accumulate) {
            let images = input(batch, piece.clone(), &self.device);
            let answer = self.network.forward(images.clone());
            let loss = self.lesson.loss(answer, batch, piece, mass, &self.device);
            let share = loss.clone().into_scalar::<f32>();
            if !share.is_finite() {
                suspect = suspect.or(Some(images));
            }
            value += f64::from(share);
            let gradients = self.network.gradients(&loss);
            sum = Some(match sum {
                None => gradients,
                Some(sum) => sum.plus(gradients),
            });
        }
        let value = self.world.total(value) as f32;
        if !value.is_finite() {
            let origin = suspect.map_or_else(
                || "It came up in another process".to_owned(),
                |images| fault::origin(&self.network, images),
            );
            return Err(Fault { what: format!("the loss is {value}"), origin });
        }
        let gradients = self.clipped(self.world.add_up_gradients(sum.expect("a batch has images")))?;
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

/// Cuts `images` into `count` pieces whose sizes differ by at most one; into as many as there are images if these are fewer.
fn pieces(images: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let count = count.min(images);
    (0..count).map(move |i| i * images / count..(i + 1) * images / count)
}

/// Some images of a batch as a network's input `[N, C, H, W]`.
pub(crate) fn input(batch: &Batch, images: Range<usize>, device: &Device) -> Tensor<4> {
    let [_, c, h, w] = batch.shape();
    let elements = c * h * w;
    let data = batch.images[images.start * elements..images.end * elements].to_vec();
    Tensor::from_data(TensorData::new(data, [images.len(), c, h, w]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::State;
    use crate::setup;
    use dyconv_data::{Dataset, LoaderOptions, OpenOptions, Transform};
    use std::sync::Arc;

    struct Bench {
        world: World,
        recipe: Recipe,
        setup: Setup,
        batches: Vec<Batch>,
    }

    impl Bench {
        fn new(settings: &[(&str, &str)]) -> Self {
            let own = [("model.name", "dy_resnet10_x0_125"), ("model.image_size", "8"), ("train.batch", "30")];
            let pairs = own.iter().chain(settings).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let recipe = Recipe::resolve(None, None, &pairs.collect::<Vec<_>>()).unwrap();
            let dataset = Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap());
            let setup = setup(&recipe, &dataset).unwrap();
            let transform = Transform::new(setup.preprocessing.clone()).unwrap();
            let options = LoaderOptions { batch: recipe.train.batch, ..LoaderOptions::default() };
            let epoch = setup.lesson.training(&dataset, &transform, &options, 0);
            let batches = epoch.take(4).collect::<Result<_, _>>().unwrap();
            Self { world: World::alone(), recipe, setup, batches }
        }

        fn learner(&self) -> Learner<'_> {
            let empty = Checkpoint::new(State::first(String::new()));
            Learner::new(&self.recipe, &self.setup, &self.world, &mut Learner::first(empty, &self.setup.weights))
                .unwrap()
        }

        fn steps(&self, learner: &mut Learner<'_>, steps: Range<usize>) -> Vec<f32> {
            steps.map(|i| learner.step(&self.batches[i], 0.05, i as u64).unwrap()).collect()
        }
    }

    /// Length of the way from `a` to `b`.
    fn distance(a: &Weights, b: &Weights) -> f64 {
        let pairs = a.0.iter().flat_map(|(name, t)| t.data.iter().zip(&b.get(name).data));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn pieces_of_a_batch_add_up_to_it_where_batch_norms_are_frozen() {
        let frozen = [("train.freeze", "[\"*.bn\"]"), ("augment.mixup", "0.4"), ("train.label_smoothing", "0.1")];
        let weights = |accumulate: &str| {
            let bench = Bench::new(&[&frozen[..], &[("train.accumulate", accumulate)]].concat());
            let mut learner = bench.learner();
            let losses = bench.steps(&mut learner, 0..3);
            (losses, learner.evaluated().unwrap().weights(), bench.setup.weights.clone())
        };
        let (losses, whole, first) = weights("1");
        let way = distance(&first, &whole);
        for accumulate in ["2", "4", "30"] {
            let (parts, accumulated, _) = weights(accumulate);
            // The same sums in another order, three steps long.
            assert!(losses.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4), "{losses:?} and {parts:?}");
            let apart = distance(&whole, &accumulated);
            assert!(apart < 1e-3 * way, "{accumulate}: {apart} on a way of {way}");
        }
        assert_eq!(pieces(30, 4).map(|p| p.len()).collect::<Vec<_>>(), [7, 8, 7, 8]);
        assert_eq!(pieces(3, 4).count(), 3);
    }

    #[test]
    fn clipping_bounds_the_step() {
        let settings = [
            ("train.clip_norm", "0.01"),
            ("train.momentum", "0"),
            ("train.weight_decay", "0"),
            ("train.freeze", "[\"*.bn\"]"),
        ];
        let bench = Bench::new(&settings);
        let mut learner = bench.learner();
        bench.steps(&mut learner, 0..1);
        let step = distance(&bench.setup.weights, &learner.evaluated().unwrap().weights());
        assert!((step / (0.05 * 0.01) - 1.0).abs() < 1e-2, "{step}");
    }

    #[test]
    fn what_is_saved_goes_on_bit_by_bit() {
        for optimizer in ["sgd", "adam", "adamw", "rmsprop"] {
            let bench = Bench::new(&[
                ("train.optimizer", optimizer),
                ("train.ema", "0.9"),
                ("train.accumulate", "3"),
                ("train.clip_norm", "1"),
                ("train.freeze", "[\"stem*\"]"),
                ("augment.mixup", "0.5"),
                ("augment.cutmix", "0.5"),
                // No dropout: it draws from a generator that all tests of this process share.
            ]);
            let mut whole = bench.learner();
            bench.steps(&mut whole, 0..4);
            let mut half = bench.learner();
            bench.steps(&mut half, 0..2);
            let mut saved = half.save(Checkpoint::new(State::first(String::new()))).unwrap();
            let mut resumed = Learner::new(&bench.recipe, &bench.setup, &bench.world, &mut saved).unwrap();
            bench.steps(&mut resumed, 2..4);
            let end = |learner: &Learner<'_>| learner.save(Checkpoint::new(State::first(String::new()))).unwrap();
            assert!(end(&whole) == end(&resumed), "{optimizer}");
            let (average, last) = (whole.evaluated().unwrap().weights(), whole.network.weights());
            assert!(distance(&average, &last) > 0.0);
            assert_eq!(average, resumed.evaluated().unwrap().weights());
            let stem = |w: &Weights| w.get("stem.weight").data.clone();
            assert_eq!(stem(&last), stem(&bench.setup.weights), "frozen");
        }
    }

    #[test]
    fn every_optimizer_learns() {
        for (optimizer, lr) in [("sgd", 0.05), ("adam", 0.003), ("adamw", 0.003), ("rmsprop", 0.0003)] {
            let bench = Bench::new(&[("train.optimizer", optimizer), ("augment.color_jitter", "[0.2, 0.2, 0, 0]")]);
            let mut learner = bench.learner();
            let losses: Vec<f32> = (0..30).map(|i| learner.step(&bench.batches[0], lr, i).unwrap()).collect();
            assert!(losses[29] < 0.2 * losses[0], "{optimizer}: {losses:?}");
        }
    }
}
