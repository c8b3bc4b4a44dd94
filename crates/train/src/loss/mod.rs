//! Cross-entropy with mixed targets, label smoothing and class weights; the loss of heat maps is in [`joints`].

pub(crate) mod keypoints;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use dyconv_data::{Batch, Classes};

use crate::recipe::{RecipeError, TrainRecipe};

/// −Σ_n Σ_c w_c · t_nc · log softmax(z_n)_c / Σ_n w(n).
///
/// t_n is one-hot, or of two classes if images were mixed, with label smoothing ε; w_c is the weight of class c, and
/// w(n) the weight of image n's own class (or classes, by their shares), as in PyTorch.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    smoothing: f32,
    /// By class.
    weights: Vec<f32>,
}

impl Loss {
    /// # Errors
    /// If a weight is given for a class that the data do not have.
    pub fn new(recipe: &TrainRecipe, classes: &[String]) -> Result<Self, RecipeError> {
        let given: &BTreeMap<String, f64> = &recipe.class_weights;
        if let Some(unknown) = given.keys().find(|k| !classes.contains(k)) {
            return Err(RecipeError::unknown("train.class_weights", "class of the data", unknown, classes));
        }
        let weights = classes.iter().map(|c| given.get(c).map_or(1.0, |w| *w as f32)).collect();
        Ok(Self { smoothing: recipe.label_smoothing as f32, weights })
    }

    /// Σ_n w(n) over a batch.
    pub fn weight_sum(&self, batch: &Batch) -> f32 {
        let Classes { labels, second, lambda } = batch.classes();
        let pairs = labels.iter().zip(second).zip(lambda);
        pairs.map(|((a, b), l)| l * self.weights[*a] + (1.0 - l) * self.weights[*b]).sum()
    }

    /// w_c · t_nc for a range of images of a batch, row by row.
    fn targets(&self, batch: &Batch, images: Range<usize>) -> Vec<f32> {
        let Classes { labels, second, lambda } = batch.classes();
        let classes = self.weights.len();
        let mut targets = vec![self.smoothing / classes as f32; images.len() * classes];
        for (row, n) in targets.chunks_exact_mut(classes).zip(images) {
            let own = 1.0 - self.smoothing;
            row[labels[n]] += own * lambda[n];
            row[second[n]] += own * (1.0 - lambda[n]);
            row.iter_mut().zip(&self.weights).for_each(|(t, w)| *t *= w);
        }
        targets
    }

    /// The contribution of these images to the loss of a batch with this total `weight_sum`, one number; `logits` is
    /// `[N, classes]`.
    pub fn forward(
        &self,
        logits: Tensor<2>,
        batch: &Batch,
        images: Range<usize>,
        weight_sum: f64,
        device: &Device,
    ) -> Tensor<1> {
        let data = TensorData::new(self.targets(batch, images), logits.dims());
        // By rows first: Burn's sum over a large tensor has no fixed order.
        let rows = (log_softmax(logits, 1) * Tensor::from_data(data, device)).sum_dim(1);
        rows.sum().mul_scalar(-1.0 / weight_sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use burn::nn::loss::CrossEntropyLossConfig;
    use burn::tensor::Int;
    use dyconv_data::Targets;

    const LOGITS: [[f32; 3]; 4] = [[0.3, -1.0, 2.0], [0.0, 0.5, 0.1], [-2.0, 1.5, 0.7], [0.2, 0.2, -0.4]];

    fn loss(settings: &[(&str, &str)]) -> Loss {
        let settings: Vec<_> = settings.iter().map(|(k, v)| (format!("train.{k}"), (*v).to_owned())).collect();
        let recipe = Recipe::resolve(None, None, &settings).unwrap();
        Loss::new(&recipe.train, &["a", "b", "c"].map(str::to_owned)).unwrap()
    }

    fn batch(second: [usize; 4], lambda: f32) -> Batch {
        let classes = Classes { labels: vec![2, 0, 1, 1], second: second.to_vec(), lambda: vec![lambda; 4] };
        Batch { targets: Targets::Classes(classes), indices: vec![0; 4], ..Batch::default() }
    }

    fn value(loss: &Loss, batch: &Batch) -> f32 {
        let device = Device::flex();
        let part = |r: Range<usize>| {
            let rows: Vec<f32> = LOGITS[r.clone()].concat();
            let logits = Tensor::from_data(TensorData::new(rows, [r.len(), 3]), &device);
            loss.forward(logits, batch, r, f64::from(loss.weight_sum(batch)), &device).into_scalar::<f32>()
        };
        let (whole, parts) = (part(0..4), part(0..1) + part(1..4));
        assert!((whole - parts).abs() < 1e-6, "parts of a batch add up to its loss: {whole} and {parts}");
        whole
    }

    /// Σ over images of `weight`·(own·(−log p_label) + …), written out.
    fn naive(batch: &Batch, smoothing: f64, weights: [f64; 3]) -> f64 {
        let (mut sum, mut weight_sum) = (0.0, 0.0);
        for (n, z) in LOGITS.iter().enumerate() {
            let z = z.map(f64::from);
            let all: f64 = z.iter().map(|z| z.exp()).sum();
            let nll = |c: usize| weights[c] * (all.ln() - z[c]);
            let l = f64::from(batch.classes().lambda[n]);
            let (a, b) = (batch.classes().labels[n], batch.classes().second[n]);
            sum += (1.0 - smoothing) * (l * nll(a) + (1.0 - l) * nll(b)) + smoothing / 3.0 * (nll(0) + nll(1) + nll(2));
            weight_sum += l * weights[a] + (1.0 - l) * weights[b];
        }
        sum / weight_sum
    }

    #[test]
    fn smoothing_soft_targets_and_class_weights_are_as_by_hand() {
        let hard = batch([2, 0, 1, 1], 1.0);
        let mixed = batch([1, 2, 0, 1], 0.3);
        for batch in [&hard, &mixed] {
            for (settings, smoothing, weights) in [
                (&[][..], 0.0, [1.0; 3]),
                (&[("label_smoothing", "0.1")][..], 0.1, [1.0; 3]),
                (&[("class_weights", "{ c = 2.5, a = 0.5 }")][..], 0.0, [0.5, 1.0, 2.5]),
                (&[("class_weights", "{ c = 2.5 }"), ("label_smoothing", "0.2")][..], 0.2, [1.0, 1.0, 2.5]),
            ] {
                let (found, expected) = (value(&loss(settings), batch), naive(batch, smoothing, weights));
                assert!((f64::from(found) - expected).abs() < 1e-6, "{settings:?}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn smoothed_labels_agree_with_burn() {
        let device = Device::flex();
        let criterion = CrossEntropyLossConfig::new().with_smoothing(Some(0.1)).init(&device);
        let logits = Tensor::<2>::from_floats(LOGITS, &device);
        let labels = Tensor::<1, Int>::from_ints([2, 0, 1, 1], &device);
        let burn = criterion.forward(logits, labels).into_scalar::<f32>();
        let ours = value(&loss(&[("label_smoothing", "0.1")]), &batch([2, 0, 1, 1], 1.0));
        assert!((burn - ours).abs() < 1e-6, "{burn} and {ours}");
    }

    #[test]
    fn unknown_classes_are_named() {
        let recipe = Recipe::resolve(None, Some("[train]\nclass_weights = { cta = 2.0 }"), &[]).unwrap();
        let error = Loss::new(&recipe.train, &["cat".into(), "dog".into()]).unwrap_err().to_string();
        assert!(error.contains("`cta`") && error.contains("did you mean `cat`?"), "{error}");
    }
}
