//! The network in training: one iteration after another.

use std::io;
use std::ops::Range;
use std::sync::mpsc;
use std::thread::{Builder, ScopedJoinHandle};

use burn::module::Module;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_data::Batch;
use dyconv_graph::Weights;
use dyconv_graph::words::matches;
use dyconv_nn::{Gradients, Network, NetworkError};

use crate::checkpoint::{Checkpoint, Tensors};
use crate::ema::Ema;
use crate::non_finite::{self, NonFinite};
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::recipe::{Recipe, TrainRecipe};
use crate::setup::Setup;
use crate::world::World;

/// Sections of a checkpoint.
const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const EMA: &str = "ema";

/// Why an iteration failed.
#[derive(Debug)]
pub(crate) enum StepError {
    NonFinite(NonFinite),
    /// The operating system refuses to start a thread for each device.
    Threads(io::Error),
}

impl From<NonFinite> for StepError {
    fn from(non_finite: NonFinite) -> Self {
        Self::NonFinite(non_finite)
    }
}

/// The network, its optimizer, and its moving average.
#[derive(Debug)]
pub(crate) struct Learner<'a> {
    rule: &'a TrainRecipe,
    objective: &'a Objective,
    world: &'a World,
    /// One replica per device. They hold the same weights and take the same steps; each has running statistics of its
    /// own images, of which the first replica's are used.
    replicas: Vec<Replica>,
    ema: Option<Ema>,
}

/// The network on one device.
#[derive(Debug)]
struct Replica {
    network: Network,
    optimizer: Optimizer,
    /// With gradients enabled.
    device: Device,
}

/// The result of a device for its part of a batch.
struct Part {
    /// Its part of the loss.
    value: f64,
    /// `None` if it had no images.
    gradients: Option<Gradients>,
    /// Images whose loss is not finite.
    suspect: Option<Tensor<4>>,
}

impl<'a> Learner<'a> {
    /// Restores a learner from a checkpoint, which holds first weights in its section `model` when a run starts.
    ///
    /// # Errors
    /// If the weights do not fit the graph.
    pub fn new(
        recipe: &'a Recipe,
        setup: &'a Setup,
        world: &'a World,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self, NetworkError> {
        let rule = &recipe.train;
        let (weights, state) = (Weights(checkpoint.take(MODEL)), checkpoint.take(OPTIMIZER));
        let replica = |device: &Device| {
            let training = device.clone().autodiff();
            let network = Network::new(&setup.graph, &weights, recipe.temperature.end, &training)?;
            let network = network.freeze(|node| rule.freeze.iter().any(|pattern| matches(pattern, node)));
            let mut optimizer = Optimizer::new(rule, &network);
            optimizer.load(state.clone(), device);
            Ok(Replica { network, optimizer, device: training })
        };
        let replicas = world.devices().iter().map(replica).collect::<Result<Vec<_>, NetworkError>>()?;
        let mut ema = (rule.ema > 0.0).then(|| Ema::new(rule.ema, &replicas[0].network));
        if let Some(ema) = &mut ema {
            ema.load(checkpoint.take(EMA), &setup.graph, &world.devices()[0]);
        }
        Ok(Self { rule, objective: &setup.objective, world, replicas, ema })
    }

    fn network(&self) -> &Network {
        &self.replicas[0].network
    }

    /// Stores first weights for [`Learner::new`].
    pub fn first(checkpoint: Checkpoint, weights: &Weights) -> Checkpoint {
        checkpoint.with(MODEL, weights.0.clone())
    }

    /// Adds everything needed by a later [`Learner::new`].
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn save(&self, checkpoint: Checkpoint) -> Result<Checkpoint, NonFinite> {
        let weights = self.network().weights();
        if let Some(origin) = non_finite::weights(self.network(), &weights) {
            return Err(NonFinite { what: "a weight is not finite".into(), origin });
        }
        let ema = self.ema.as_ref().map_or_else(Tensors::new, |ema| ema.state(self.network().graph()));
        Ok(checkpoint.with(MODEL, weights.0).with(OPTIMIZER, self.replicas[0].optimizer.state()).with(EMA, ema))
    }

    /// The temperature τ.
    pub fn temperature(&self) -> f32 {
        self.network().temperature()
    }

    /// Sets τ.
    ///
    /// # Errors
    /// If it is not a valid temperature.
    pub fn set_temperature(&mut self, tau: f32) -> Result<(), NetworkError> {
        self.replicas.iter_mut().try_for_each(|replica| replica.network.set_temperature(tau))
    }

    /// The network that is evaluated and saved, without gradients: the moving average, if there is one.
    ///
    /// # Errors
    /// If a tensor of the average is not finite.
    pub fn evaluated(&self) -> Result<Network, NetworkError> {
        match &self.ema {
            None => Ok(self.network().valid()),
            Some(ema) => {
                let graph = self.network().graph();
                Network::new(graph, &ema.weights(graph), self.temperature(), &self.world.devices()[0])
            }
        }
    }

    /// Forward, backward, step; returns the loss of the whole batch, over all processes. `seed` determines dropout.
    ///
    /// The batch passes through the network in as many pieces as the recipe says. Their gradients add up to those of
    /// the batch, except that batch norm sees one piece at a time.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite; the weights are then unchanged, and all processes agree on it. Or if
    /// the threads of the devices cannot be started.
    pub fn step(&mut self, batch: &Batch, lr: f64, seed: u64) -> Result<f32, StepError> {
        let weight_sum = self.world.total(f64::from(self.objective.weight_sum(batch)));
        let mut parts = self.parts(batch, weight_sum, seed).map_err(StepError::Threads)?;
        let value = self.world.total(parts.iter().map(|part| part.value).sum()) as f32;
        if !value.is_finite() {
            let origin = match parts.iter_mut().find_map(|part| part.suspect.take()) {
                // On the first device, where the network is examined.
                Some(images) => non_finite::origin(self.network(), images.to_device(&self.replicas[0].device)),
                None => "It came up in another process".to_owned(),
            };
            return Err(NonFinite { what: format!("the loss is {value}"), origin }.into());
        }
        let gradients: Option<Vec<Gradients>> = parts.into_iter().map(|part| part.gradients).collect();
        let gradients = gradients.expect("every device has images");
        let devices = self.world.devices();
        let (rule, world) = (self.rule, self.world);
        // Every device takes the same step. The all-reduce over devices waits until all of them take part.
        let stepped = on_each(self.replicas.iter_mut().zip(gradients).collect(), |(replica, gradients)| {
            let gradients = summed_over(devices, world.all_reduce_gradients(gradients));
            let gradients = clipped(rule.clip_norm, &replica.network, gradients)?;
            replica.network = replica.optimizer.step(lr, replica.network.clone(), gradients);
            Ok(())
        });
        stepped.map_err(StepError::Threads)?.into_iter().collect::<Result<(), NonFinite>>()?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.replicas[0].network);
        }
        Ok(value)
    }

    /// Runs forward and backward on every device.
    fn parts(&self, batch: &Batch, weight_sum: f64, seed: u64) -> io::Result<Vec<Part>> {
        let shares = pieces(0..batch.len(), self.replicas.len());
        on_each(self.replicas.iter().zip(shares).collect(), |(replica, images)| {
            replica.device.seed(seed.wrapping_add(images.start as u64));
            let mut part = Part { value: 0.0, gradients: None, suspect: None };
            for piece in pieces(images, self.rule.accumulate) {
                let images = input(batch, piece.clone(), &replica.device);
                let answer = replica.network.forward(images.clone());
                let loss = self.objective.loss(answer, batch, piece, weight_sum, &replica.device);
                let share = loss.clone().into_scalar::<f32>();
                if !share.is_finite() {
                    part.suspect = part.suspect.or(Some(images));
                }
                part.value += f64::from(share);
                let gradients = replica.network.gradients(&loss);
                part.gradients = Some(match part.gradients {
                    None => gradients,
                    Some(sum) => sum.plus(gradients),
                });
            }
            part
        })
    }
}

/// Runs `work` for each device, on a thread of its own if there are several. None begins before all threads have
/// started, because they may wait for each other.
///
/// # Errors
/// If a thread cannot be started; then nothing was done.
fn on_each<T: Send, R: Send>(mut items: Vec<T>, work: impl Fn(T) -> R + Sync) -> io::Result<Vec<R>> {
    if items.len() == 1 {
        return Ok(vec![work(items.remove(0))]);
    }
    let work = &work;
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(items.len());
        for item in items {
            let (begin, begun) = mpsc::channel();
            // The sender is dropped without sending if a later thread cannot be started.
            let body = move || begun.recv().ok().map(|()| work(item));
            threads.push((Builder::new().spawn_scoped(scope, body)?, begin));
        }
        threads.iter().for_each(|(_, begin)| begin.send(()).expect("the thread waits for it"));
        let join = |(thread, _): (ScopedJoinHandle<'_, Option<R>>, _)| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).expect("it was told to begin")
        };
        Ok(threads.into_iter().map(join).collect())
    })
}

/// All-reduces the gradients: their sum over all devices, on each of them (Burn's collectives).
fn summed_over(devices: &[Device], gradients: Gradients) -> Gradients {
    if devices.len() == 1 {
        return gradients;
    }
    let sum = |own: Tensor<1>| all_reduce(own, ReduceOperation::Sum, devices.to_vec()).resolve();
    Gradients(gradients.0.into_iter().map(|gradient| gradient.map(sum)).collect())
}

/// Clips gradients to a norm of `most`, as PyTorch's `clip_grad_norm_` does; 0 disables clipping.
fn clipped(most: f64, network: &Network, gradients: Gradients) -> Result<Gradients, NonFinite> {
    let norm = gradients.norm();
    if !norm.is_finite() {
        let origin = non_finite::gradients(network, &gradients);
        return Err(NonFinite { what: "a gradient is not finite".into(), origin });
    }
    if most > 0.0 && norm > most { Ok(gradients.scale(most / (norm + 1e-6))) } else { Ok(gradients) }
}

/// Cuts `images` into `count` pieces whose sizes differ by at most one, or into one piece per image if there are fewer.
fn pieces(images: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    let (first, n) = (images.start, images.len());
    let count = count.min(n);
    (0..count).map(move |i| first + i * n / count..first + (i + 1) * n / count)
}

/// A range of images of a batch as a network's input `[N, C, H, W]`.
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
    use crate::setup::setup;
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
            let epoch = setup.objective.training(&dataset, &transform, &options, 0);
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

    /// Euclidean distance of `a` and `b`.
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
            // The same sums in a different order, over three steps.
            assert!(losses.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4), "{losses:?} and {parts:?}");
            let apart = distance(&whole, &accumulated);
            assert!(apart < 1e-3 * way, "{accumulate}: {apart} on a way of {way}");
        }
        assert_eq!(pieces(0..30, 4).map(|p| p.len()).collect::<Vec<_>>(), [7, 8, 7, 8]);
        assert_eq!(pieces(2..5, 4).map(|p| p.start).collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn work_for_several_devices_is_done_on_threads_that_wait_for_each_other() {
        let barrier = std::sync::Barrier::new(3);
        let done = on_each(vec![1, 2, 3], |n| {
            barrier.wait();
            n * n
        });
        assert_eq!(done.unwrap(), [1, 4, 9]);
        assert_eq!(on_each(vec![5], |n| n + 1).unwrap(), [6]);
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
                // Dropout is off: it draws from a generator shared by all tests of this process.
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
            let (average, last) = (whole.evaluated().unwrap().weights(), whole.network().weights());
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
