//! Update rules, with the semantics of the PyTorch optimizers of the same names.
//!
//! ```text
//! g ← gradient + decay · w                                        (AdamW: w ← w − lr · decay · w instead)
//! SGD      v ← momentum · v + g, at first g     w ← w − lr · v    (Nesterov: w ← w − lr · (g + momentum · v))
//! Adam(W)  m ← β₁m + (1 − β₁)g,  s ← β₂s + (1 − β₂)g²    w ← w − lr / (1 − β₁ᵗ) · m / (√s / √(1 − β₂ᵗ) + ε)
//! RMSprop  s ← αs + (1 − α)g²,  v ← momentum · v + g / (√s + ε)   w ← w − lr · v
//! ```
//!
//! They are implemented here, a few lines each, so that their state is a list of named tensors.

use burn::tensor::{Device, Tensor, TensorData};
use dyconv_graph::Tensor as Stored;
use dyconv_nn::ops::{SgdRule, sgd};
use dyconv_nn::{Gradients, Network, Trained};

use crate::checkpoint::Tensors;
use crate::recipe::{OptimizerKind, TrainRecipe};

/// Name of the step counter in a saved state.
const STEPS: &str = "steps";
/// The counter stops here, where f32 is still exact and every βᵗ has long vanished.
const MOST_STEPS: u32 = 1 << 24;

/// An update rule with its state.
#[derive(Debug)]
pub(crate) struct Optimizer {
    rule: TrainRecipe,
    trained: Vec<Trained>,
    steps: u32,
    /// v or m of each trained tensor that had a gradient, flattened.
    first: Vec<Option<Tensor<1>>>,
    /// s of each.
    second: Vec<Option<Tensor<1>>>,
}

impl Optimizer {
    pub fn new(recipe: &TrainRecipe, network: &Network) -> Self {
        let trained = network.trained();
        let none = vec![None; trained.len()];
        Self { rule: recipe.clone(), trained, steps: 0, first: none.clone(), second: none }
    }

    /// Updates the weights; a tensor without a gradient is left unchanged.
    pub fn step(&mut self, lr: f64, network: Network, mut gradients: Gradients) -> Network {
        self.steps = (self.steps + 1).min(MOST_STEPS);
        network.update(|i, weight| gradients.0[i].take().map(|gradient| self.moved(i, lr, weight, gradient)))
    }

    fn moved(&mut self, i: usize, lr: f64, weight: Tensor<1>, gradient: Tensor<1>) -> Tensor<1> {
        let rule = &self.rule;
        let spared = self.trained[i].norm_or_bias && !rule.decay_norm_and_bias;
        let decay = if spared { 0.0 } else { rule.weight_decay };
        if rule.optimizer == OptimizerKind::Sgd && rule.momentum > 0.0 {
            let [lr, momentum, decay] = [lr, rule.momentum, decay].map(|v| v as f32);
            let rule = SgdRule { lr, momentum, decay, nesterov: rule.nesterov };
            let velocity = self.first[i].take().unwrap_or_else(|| weight.zeros_like());
            let (weight, velocity) = sgd(weight, gradient, velocity, rule);
            self.first[i] = Some(velocity);
            return weight;
        }
        let coupled = rule.optimizer != OptimizerKind::Adamw;
        let (weight, gradient) = match decay > 0.0 {
            true if coupled => (weight.clone(), gradient + weight.mul_scalar(decay)),
            true => (weight.mul_scalar(1.0 - lr * decay), gradient),
            false => (weight, gradient),
        };
        let (first, second) = (&mut self.first[i], &mut self.second[i]);
        match rule.optimizer {
            OptimizerKind::Sgd => weight - gradient.mul_scalar(lr),
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                let correction = rule.betas.map(|beta| 1.0 - beta.powf(f64::from(self.steps)));
                let mean = average(first, rule.betas[0], gradient.clone());
                let root = average(second, rule.betas[1], gradient.square()).sqrt();
                let root = root.div_scalar(correction[1].sqrt()).add_scalar(rule.eps);
                weight - (mean / root).mul_scalar(lr / correction[0])
            }
            OptimizerKind::Rmsprop => {
                let root = average(second, rule.alpha, gradient.clone().square()).sqrt().add_scalar(rule.eps);
                weight - momentum(first, rule.momentum, gradient / root).mul_scalar(lr)
            }
        }
    }

    /// The state, keyed by `<parameter>.velocity` or `.mean` and `<parameter>.square`.
    pub fn state(&self) -> Tensors {
        let [first, second] = self.names();
        let state = self.trained.iter().zip(&self.first).zip(&self.second).flat_map(|((trained, a), b)| {
            let named = |kind: &str, t: &Tensor<1>| (format!("{}.{kind}", trained.name), stored(t.clone()));
            [a.as_ref().map(|a| named(first, a)), b.as_ref().map(|b| named(second, b))].into_iter().flatten()
        });
        let steps = Stored::full(&[1], self.steps as f32);
        state.chain([(STEPS.to_owned(), steps)]).collect()
    }

    /// Restores a saved state.
    pub fn load(&mut self, mut state: Tensors, device: &Device) {
        let [first, second] = self.names();
        let mut take = |name: String| state.remove(&name).map(|t| loaded(t, device));
        for (i, trained) in self.trained.iter().enumerate() {
            self.first[i] = take(format!("{}.{first}", trained.name));
            self.second[i] = take(format!("{}.{second}", trained.name));
        }
        self.steps = state.get(STEPS).map_or(0, |t| t.data[0] as u32);
    }

    fn names(&self) -> [&'static str; 2] {
        match self.rule.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => ["mean", "square"],
            OptimizerKind::Sgd | OptimizerKind::Rmsprop => ["velocity", "square"],
        }
    }
}

/// v ← momentum · v + g; without momentum there is no state.
fn momentum(state: &mut Option<Tensor<1>>, momentum: f64, gradient: Tensor<1>) -> Tensor<1> {
    if momentum == 0.0 {
        return gradient;
    }
    let velocity = match state.take() {
        Some(velocity) => velocity.mul_scalar(momentum) + gradient,
        None => gradient,
    };
    state.insert(velocity).clone()
}

/// a ← β · a + (1 − β) · new, from 0.
fn average(state: &mut Option<Tensor<1>>, beta: f64, new: Tensor<1>) -> Tensor<1> {
    let new = new.mul_scalar(1.0 - beta);
    let average = match state.take() {
        Some(old) => old.mul_scalar(beta) + new,
        None => new,
    };
    state.insert(average).clone()
}

pub(crate) fn stored(tensor: Tensor<1>) -> Stored {
    let data = tensor.into_data().try_into_vec::<f32>().expect("the state is f32");
    Stored::new(&[data.len()], data)
}

pub(crate) fn loaded(tensor: Stored, device: &Device) -> Tensor<1> {
    let elements = tensor.data.len();
    Tensor::from_data(TensorData::new(tensor.data, [elements]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use dyconv_graph::{Builder, Linear, Op, Weights};

    const DECAY: f64 = 0.1;

    /// One linear layer with two inputs on a device with gradients.
    fn network() -> Network {
        let mut b = Builder::new([2, 1, 1]).unwrap();
        let x = b.input();
        let x = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
        let y = b.push("fc", Op::Linear(Linear { out_features: 1, bias: true }), &[x]).unwrap();
        let graph = b.finish(y).unwrap();
        let tensor = |shape: &[usize], values: &[f32]| Stored::new(shape, values.to_vec());
        let weights = Weights(Tensors::from([
            ("fc.weight".into(), tensor(&[1, 2], &[0.5, -1.0])),
            ("fc.bias".into(), tensor(&[1], &[0.25])),
        ]));
        Network::new(&graph, &weights, 1.0, &Device::flex().autodiff()).unwrap()
    }

    /// Gradients of step t: nonzero, of varying sign and size.
    fn gradient(t: usize) -> [f64; 3] {
        let t = t as f64;
        [0.3 - 0.2 * t, 0.01 * (t + 1.0), 2.0 / (t + 1.0)]
    }

    fn rule(settings: &[(&str, &str)]) -> TrainRecipe {
        let own = settings.iter().map(|(k, v)| (format!("train.{k}"), (*v).to_owned()));
        let decay = [("train.weight_decay".to_owned(), DECAY.to_string())];
        Recipe::resolve(None, None, &decay.into_iter().chain(own).collect::<Vec<_>>()).unwrap().train
    }

    fn run(optimizer: &mut Optimizer, mut network: Network, steps: std::ops::Range<usize>) -> Network {
        let device = Device::flex();
        for t in steps {
            let [a, b, c] = gradient(t).map(|g| g as f32);
            let gradients = [&[a, b][..], &[c][..]].map(|g| Some(Tensor::<1>::from_floats(g, &device)));
            network = optimizer.step(0.1 / (t + 1) as f64, network, Gradients(gradients.to_vec()));
        }
        network
    }

    fn values(network: &Network) -> Vec<f32> {
        let weights = network.weights();
        [&weights.get("fc.weight").data[..], &weights.get("fc.bias").data[..]].concat()
    }

    /// The documented algorithm for a single number: w, state, g, lr, t (one-based) → w.
    type Naive = fn(f64, &mut [f64; 2], f64, f64, i32) -> f64;

    /// Four steps equal four steps of the naive algorithm for each number, and give the same bits if the state is saved
    /// and loaded after two.
    fn check(settings: &[(&str, &str)], naive: Naive) {
        let rule = rule(settings);
        let mut expected = [0.5, -1.0, 0.25];
        for (i, w) in expected.iter_mut().enumerate() {
            let mut state = [0.0; 2];
            for t in 0..4 {
                *w = naive(*w, &mut state, gradient(t)[i], 0.1 / (t + 1) as f64, t as i32 + 1);
            }
        }
        let mut optimizer = Optimizer::new(&rule, &network());
        let whole = run(&mut optimizer, network(), 0..4);
        for (found, expected) in values(&whole).iter().zip(expected) {
            // Four f32 steps of numbers near one.
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{settings:?}: {found}, expected {expected}");
        }
        let mut optimizer = Optimizer::new(&rule, &network());
        let half = run(&mut optimizer, network(), 0..2);
        let state = optimizer.state();
        let mut resumed = Optimizer::new(&rule, &half);
        resumed.load(state, &Device::flex());
        assert_eq!(values(&run(&mut resumed, half, 2..4)), values(&whole), "{settings:?}");
    }

    #[test]
    fn sgd_is_pytorch_s() {
        check(&[("momentum", "0.0")], |w, _, g, lr, _| w - lr * (g + DECAY * w));
        check(&[], |w, s, g, lr, t| {
            let g = g + DECAY * w;
            s[0] = if t == 1 { g } else { 0.9 * s[0] + g };
            w - lr * s[0]
        });
        check(&[("nesterov", "true")], |w, s, g, lr, t| {
            let g = g + DECAY * w;
            s[0] = if t == 1 { g } else { 0.9 * s[0] + g };
            w - lr * (g + 0.9 * s[0])
        });
    }

    #[test]
    fn adam_and_adamw_are_pytorch_s() {
        check(&[("optimizer", "adam")], |w, s, g, lr, t| {
            let g = g + DECAY * w;
            *s = [0.9 * s[0] + 0.1 * g, 0.999 * s[1] + 0.001 * g * g];
            let (m, v) = (s[0] / (1.0 - 0.9f64.powi(t)), s[1] / (1.0 - 0.999f64.powi(t)));
            w - lr * m / (v.sqrt() + 1e-8)
        });
        check(&[("optimizer", "adamw"), ("betas", "[0.8, 0.99]"), ("eps", "0.01")], |w, s, g, lr, t| {
            let w = w - lr * DECAY * w;
            *s = [0.8 * s[0] + 0.2 * g, 0.99 * s[1] + 0.01 * g * g];
            let (m, v) = (s[0] / (1.0 - 0.8f64.powi(t)), s[1] / (1.0 - 0.99f64.powi(t)));
            w - lr * m / (v.sqrt() + 0.01)
        });
    }

    #[test]
    fn rmsprop_is_pytorch_s() {
        let settings = [("optimizer", "rmsprop"), ("alpha", "0.9"), ("eps", "0.001")];
        check(&[&settings[..], &[("momentum", "0.0")]].concat(), |w, s, g, lr, _| {
            let g = g + DECAY * w;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            w - lr * g / (s[1].sqrt() + 0.001)
        });
        check(&settings, |w, s, g, lr, _| {
            let g = g + DECAY * w;
            s[1] = 0.9 * s[1] + 0.1 * g * g;
            s[0] = 0.9 * s[0] + g / (s[1].sqrt() + 0.001);
            w - lr * s[0]
        });
    }

    #[test]
    fn the_switch_spares_biases() {
        let device = Device::flex();
        let zero = || Gradients(vec![Some(Tensor::zeros([2], &device)), Some(Tensor::zeros([1], &device))]);
        let rule = rule(&[("decay_norm_and_bias", "false")]);
        let moved = Optimizer::new(&rule, &network()).step(1.0, network(), zero());
        assert_eq!(values(&moved), [0.45, -0.9, 0.25]);
        let none = Gradients(vec![None, None]);
        assert_eq!(values(&Optimizer::new(&rule, &network()).step(1.0, network(), none)), [0.5, -1.0, 0.25]);
    }
}
