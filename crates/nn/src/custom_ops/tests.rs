//! The generic implementations, which no device here uses, compared with those of the CPU.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use dyconv_train_kernels::{NormActivation, SgdRule};

use super::{TrainOps, generic};
use crate::geometry::{ConvGeometry, TransposedGeometry};

/// Pseudo-random numbers around 0.
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
        let g = ConvGeometry {
            stride: [stride; 2],
            padding: [padding; 2],
            end_padding: [padding; 2],
            dilation: [1; 2],
            groups,
        };
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
    let (dx, dy) = (noise(&[3, 4, 5, 6], 7), noise(&[3, 4], 6));
    let found = generic::pool_backward_add::<Flex>(dx.clone(), dy.clone());
    near("dpool added", found, Flex::pool_backward_add(dx, dy));
}

#[test]
fn generic_descent_agrees() {
    for nesterov in [false, true] {
        let rule = SgdRule { lr: 0.1, momentum: 0.9, decay: 0.01, nesterov };
        let [w, g, v] = [1, 2, 3].map(|seed| noise(&[35], seed));
        let found = generic::sgd::<Flex>(w.clone(), g.clone(), v.clone(), rule);
        let expected = Flex::sgd(w, g, v, rule);
        near("weight", found.0, expected.0);
        near("velocity", found.1, expected.1);
    }
}

#[test]
fn generic_transposed_convolutions_and_upsampling_agree() {
    for (i, o, kernel, stride, padding, groups) in [(6, 4, 4, 2, 1, 1), (4, 6, 3, 2, 0, 2), (3, 5, 2, 1, 1, 1)] {
        let g = TransposedGeometry { stride: [stride; 2], padding: [padding; 2], output_padding: [0; 2], groups };
        let (x, weight) = (noise(&[2, i, 5, 4], 1), noise(&[i, o / groups, kernel, kernel], 2));
        let y = Flex::conv_transpose(x.clone(), weight.clone(), g);
        let dy = noise(y.layout().shape().as_slice(), 3);
        near("y", generic::conv_transpose::<Flex>(x.clone(), weight.clone(), g), y);
        let found = generic::conv_transpose_dx::<Flex>(weight.clone(), dy.clone(), g);
        near("dx", found, Flex::conv_transpose_dx(weight.clone(), dy.clone(), g));
        let found = generic::conv_transpose_dweight::<Flex>(x.clone(), weight.clone(), dy.clone(), g);
        near("dweight", found, Flex::conv_transpose_dweight(x, weight, dy, g));
    }
    for scale in [2, 3] {
        let (x, dy) = (noise(&[2, 3, 5, 4], 1), noise(&[2, 3, 5 * scale, 4 * scale], 2));
        near("up", generic::upsample::<Flex>(x.clone(), scale), Flex::upsample(x, scale));
        let found = generic::upsample_backward::<Flex>(dy.clone(), scale);
        near("back", found, Flex::upsample_backward(dy, scale));
    }
}
