//! The loss of heat maps: joint-weighted mean squared error, SimpleBaseline's `JointsMSELoss`.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use dyconv_data::Batch;

/// The contribution of some persons of a batch to ½ · mean over persons, joints and cells of (w_nj · (y − t))²; `maps`
/// is `[N, joints, height, width]`, `weight_sum` the number of persons in the whole batch.
pub(crate) fn forward(
    maps: Tensor<4>,
    batch: &Batch,
    items: Range<usize>,
    weight_sum: f64,
    device: &Device,
) -> Tensor<1> {
    let [n, joints, height, width] = maps.dims();
    let (each, cells) = (joints * height * width, height * width);
    let targets = &batch.joints().maps[items.start * each..items.end * each];
    let targets = Tensor::from_data(TensorData::new(targets.to_vec(), [n, joints, height, width]), device);
    let weights = batch.joints().weights[items.start * joints..items.end * joints].to_vec();
    let weights = Tensor::<4>::from_data(TensorData::new(weights, [n, joints, 1, 1]), device);
    let off = (maps - targets) * weights;
    // Step by step: Burn's sum over a large tensor has no fixed order.
    let by_joint = (off.clone() * off).reshape([n * joints, cells]).sum_dim(1);
    let by_person = by_joint.reshape([n, joints]).sum_dim(1);
    by_person.sum().mul_scalar(0.5 / (weight_sum * each as f64))
}

/// The same for one person, in plain numbers: `answer` and `targets` are `[joints, height, width]`, `weights` is
/// `[joints]`.
pub(crate) fn value(answer: &[f32], targets: &[f32], weights: &[f32]) -> f64 {
    let cells = targets.len() / weights.len();
    let pairs = answer.iter().zip(targets).enumerate();
    let squares = pairs.map(|(i, (y, t))| f64::from(weights[i / cells] * (y - t)).powi(2));
    0.5 * squares.sum::<f64>() / targets.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_data::{Keypoints, Targets};

    /// Three persons with two joints on maps of 2 × 3 cells.
    fn batch() -> (Vec<f32>, Batch) {
        let number = |i: usize| (i * 37 % 17) as f32 / 8.0 - 1.0;
        let joints =
            Keypoints { maps: (0..36).map(|i| number(i + 5)).collect(), weights: vec![1., 0., 1., 1., 0., 1.] };
        let batch = Batch { targets: Targets::Keypoints(joints), indices: vec![0, 1, 2], ..Batch::default() };
        ((0..36).map(number).collect(), batch)
    }

    fn loss(answer: &[f32], batch: &Batch, items: Range<usize>) -> f32 {
        let device = Device::flex();
        let part = answer[items.start * 12..items.end * 12].to_vec();
        let maps = Tensor::from_data(TensorData::new(part, [items.len(), 2, 2, 3]), &device);
        forward(maps, batch, items, 3.0, &device).into_scalar::<f32>()
    }

    #[test]
    fn it_is_simple_baseline_s_loop_over_joints() {
        let (answer, batch) = batch();
        // As in `JointsMSELoss`: for each joint ½ · the mean over persons and cells of (w · y − w · t)², then the mean
        // over joints.
        let Keypoints { maps, weights } = batch.joints();
        let mut expected = 0.0;
        for joint in 0..2 {
            let mut sum = 0.0;
            for person in 0..3 {
                for cell in 0..6 {
                    let at = (person * 2 + joint) * 6 + cell;
                    let w = f64::from(weights[person * 2 + joint]);
                    sum += (w * f64::from(answer[at]) - w * f64::from(maps[at])).powi(2);
                }
            }
            expected += 0.5 * sum / 18.0 / 2.0;
        }
        let whole = f64::from(loss(&answer, &batch, 0..3));
        assert!((whole - expected).abs() < 1e-6, "{whole}, expected {expected}");
        let parts = f64::from(loss(&answer, &batch, 0..1) + loss(&answer, &batch, 1..3));
        assert!((whole - parts).abs() < 1e-6, "parts of a batch add up to its loss");
        let each = (0..3).map(|n| {
            value(&answer[n * 12..][..12], &batch.joints().maps[n * 12..][..12], &batch.joints().weights[n * 2..][..2])
        });
        let mean = each.sum::<f64>() / 3.0;
        assert!((mean - expected).abs() < 1e-9, "{mean}, expected {expected}");
    }

    #[test]
    fn what_has_no_weight_has_no_gradient() {
        let (answer, batch) = batch();
        let device = Device::flex().autodiff();
        let maps = Tensor::<4>::from_data(TensorData::new(answer, [3, 2, 2, 3]), &device).require_grad();
        let gradients = forward(maps.clone(), &batch, 0..3, 3.0, &device).backward();
        let gradient = maps.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap();
        for (joint, cells) in gradient.chunks_exact(6).enumerate() {
            let expected = batch.joints().weights[joint] > 0.0;
            assert_eq!(cells.iter().any(|g| *g != 0.0), expected, "joint {joint}");
        }
    }
}
