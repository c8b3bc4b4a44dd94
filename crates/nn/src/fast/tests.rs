//! The generic bodies, which no device here uses, against the CPU's.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use dyconv_kernels::train::NormActivation;

use super::{TrainOps, generic};
use crate::ops::ConvGeometry;

/// Numbers without a pattern that a kernel could profit from, around 0.
fn noise(shape: &[usize], seed: usize) -> FlexTensor {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i| ((i * 7919 + i / 97 * 31 + seed * 641) % 2003) as f32 / 1001.0 - 1.0)
        .collect();
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

fn near(what: &str, found: FlexTensor, expected: FlexTensor) {
    let [found, expected] = [found, expected].map(|t| t.into_data().try_into_vec::<f32>().unwrap());
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    let error = found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
    assert!(error <= 1e-5, "{what}: relative error {error:e}");
}

#[test]
fn generic_mixtures_agree() {
    // Input channels, output channels, kernel, stride, padding, groups.
    let cases = [(6, 10, [1, 1], 1, 0, 1), (6, 9, [3, 2], 2, 1, 3), (5, 5, [3, 3], 1, 1, 5), (4, 6, [3, 3], 1, 2, 1)];
    for (i, o, kernel, stride, padding, groups) in cases {
        let g = ConvGeometry { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups };
        let (x, pi) = (noise(&[3, i, 7, 6], 1), noise(&[3, 4], 2));
        let bank = noise(&[4, o, i / groups, kernel[0], kernel[1]], 3);
        let y = Flex::mix_conv(x.clone(), pi.clone(), bank.clone(), g);
        let dy = noise(y.layout().shape().as_slice(), 4);
        near("y", generic::mix_conv::<Flex>(x.clone(), pi.clone(), bank.clone(), g), y);
        let expected = Flex::mix_conv_backward(x.clone(), pi.clone(), bank.clone(), dy.clone(), g);
        let found = generic::mix_conv_backward::<Flex>(x, pi, bank, dy, g);
        near("dx", found.0, expected.0);
        near("dpi", found.1, expected.1);
        near("dbank", found.2, expected.2);
    }
}

#[test]
fn generic_batch_norms_and_pools_agree() {
    use NormActivation::{HardSwish, None, Relu, Relu6};
    let (x, scale, shift) = (noise(&[3, 4, 5, 6], 1), noise(&[4], 2), noise(&[4], 3));
    let dy = noise(&[3, 4, 5, 6], 5);
    for activation in [None, Relu, Relu6, HardSwish] {
        let (y, mean, variance) = Flex::norm_act(x.clone(), scale.clone(), shift.clone(), 1e-3, activation);
        let found = generic::norm_act::<Flex>(x.clone(), scale.clone(), shift.clone(), 1e-3, activation);
        near("y", found.0, y);
        near("mean", found.1, mean.clone());
        near("variance", found.2, variance.clone());
        let inputs = || (x.clone(), scale.clone(), shift.clone(), mean.clone(), variance.clone(), dy.clone());
        let (a, b, c, d, e, f) = inputs();
        let expected = Flex::norm_act_backward(a, b, c, d, e, f, 1e-3, activation);
        let (a, b, c, d, e, f) = inputs();
        let found = generic::norm_act_backward::<Flex>(a, b, c, d, e, f, 1e-3, activation);
        near("dx", found.0, expected.0);
        near("dscale", found.1, expected.1);
        near("dshift", found.2, expected.2);
    }
    near("pool", generic::pool::<Flex>(x.clone()), Flex::pool(x, false));
    let dy = noise(&[3, 4], 6);
    near("dpool", generic::pool_backward::<Flex>(dy.clone(), 5, 6), Flex::pool_backward(dy, 5, 6));
}
