//! Building blocks of the architectures: a convolution with its batch norm and activation, static or dynamic.

use std::collections::BTreeSet;

use dyconv_graph::words::matches;
use dyconv_graph::{Activation, Builder, Conv2d, Graph, Linear, MixConv, NodeId, Op, short_name};

use crate::error::ModelError;
use crate::options::Options;

/// A network under construction.
pub(crate) struct Net<'a> {
    pub builder: Builder,
    pub options: &'a Options,
    /// Whether this is the `dy_` network.
    dynamic: bool,
    /// Epsilon of every batch norm.
    eps: f32,
    /// Patterns of `layer_kernels` that matched a layer.
    matched: BTreeSet<&'a str>,
}

/// A network up to its last convolution, whose value is the node.
pub(crate) type Features<'a> = Result<(Net<'a>, NodeId), ModelError>;

/// A convolution as in the tables of the papers; the padding is half the kernel.
#[derive(Clone, Copy)]
pub(crate) struct ConvSpec {
    pub out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub act: Option<Activation>,
    /// Whether it is dynamic in a `dy_` network.
    pub dynamic: bool,
}

/// An inverted residual block of the MobileNets.
#[derive(Clone, Copy)]
pub(crate) struct InvertedResidual {
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Channels of the depthwise convolution.
    pub expanded: usize,
    pub out: usize,
    pub stride: usize,
    /// Whether squeeze-and-excitation follows the depthwise convolution.
    pub se: bool,
    pub act: Activation,
}

impl<'a> Net<'a> {
    pub fn new(dynamic: bool, eps: f32, options: &'a Options) -> Result<Self, ModelError> {
        let [h, w] = options.image_size;
        let builder = Builder::new([options.in_channels, h, w])?;
        Ok(Self { builder, options, dynamic, eps, matched: BTreeSet::new() })
    }

    /// Adds `<name>` (with `<name>.router.*` if it is dynamic), `<name>.bn` and `<name>.act`.
    pub fn conv(&mut self, name: &str, x: NodeId, spec: ConvSpec) -> Result<NodeId, ModelError> {
        let conv = Conv2d {
            stride: [spec.stride; 2],
            padding: [spec.kernel / 2; 2],
            groups: spec.groups,
            ..Conv2d::new(spec.out, [spec.kernel; 2])
        };
        let kernels = if self.dynamic && spec.dynamic { self.kernels(name) } else { 1 };
        let y = if kernels > 1 {
            let pi = self.builder.router(&format!("{name}.router"), x, &self.options.router(kernels))?;
            self.builder.push(name, Op::MixConv(MixConv { kernels, conv }), &[x, pi])?
        } else {
            self.builder.push(name, Op::Conv(conv), &[x])?
        };
        self.norm(name, y, spec.act)
    }

    /// Adds `<name>.bn`, and `<name>.act` if there is an activation.
    pub fn norm(&mut self, name: &str, y: NodeId, act: Option<Activation>) -> Result<NodeId, ModelError> {
        let y = self.builder.push(&format!("{name}.bn"), Op::BatchNorm { eps: self.eps }, &[y])?;
        match act {
            Some(act) => Ok(self.builder.push(&format!("{name}.act"), Op::Activation(act), &[y])?),
            None => Ok(y),
        }
    }

    /// 1×1 to the expanded channels (unless there are already that many), depthwise, 1×1 to the output channels; added
    /// to the input if the shapes are equal. Adds `<name>.expand`, `.depthwise`, `.se`, `.project` and `.add`.
    pub fn inverted_residual(&mut self, name: &str, x: NodeId, block: InvertedResidual) -> Result<NodeId, ModelError> {
        let InvertedResidual { kernel, expanded, out, stride, se, act } = block;
        let at = |part: &str| format!("{name}.{part}");
        let channels = self.builder.shape(x).channels();
        let parts = self.options.dynamic_parts;
        let base = ConvSpec { out: expanded, kernel: 1, stride: 1, groups: 1, act: Some(act), dynamic: parts.expand };
        let mut y = x;
        if expanded != channels {
            y = self.conv(&at("expand"), y, base)?;
        }
        let depthwise = ConvSpec { kernel, stride, groups: expanded, dynamic: parts.depthwise, ..base };
        y = self.conv(&at("depthwise"), y, depthwise)?;
        if se {
            y = self.squeeze_excite(&at("se"), y)?;
        }
        y = self.conv(&at("project"), y, ConvSpec { out, act: None, dynamic: parts.project, ..base })?;
        if stride == 1 && channels == out {
            y = self.builder.push(&at("add"), Op::Add, &[x, y])?;
        }
        Ok(y)
    }

    /// Squeeze-and-excitation: pool → linear → ReLU → linear → hard sigmoid → scale.
    pub fn squeeze_excite(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let channels = self.builder.shape(x).channels();
        let b = &mut self.builder;
        let linear = |out_features| Op::Linear(Linear { out_features, bias: true });
        let s = b.push(&format!("{name}.pool"), Op::GlobalAvgPool, &[x])?;
        let s = b.push(&format!("{name}.fc1"), linear(make_divisible(channels as f64 / 4.0)), &[s])?;
        let s = b.push(&format!("{name}.relu"), Op::Activation(Activation::Relu), &[s])?;
        let s = b.push(&format!("{name}.fc2"), linear(channels), &[s])?;
        let s = b.push(&format!("{name}.hard_sigmoid"), Op::Activation(Activation::HardSigmoid), &[s])?;
        Ok(b.push(name, Op::Scale, &[x, s])?)
    }

    /// Adds `dropout` (if any) and `classifier` to a vector of features.
    pub fn classify(mut self, mut x: NodeId, default_dropout: f32) -> Result<Graph, ModelError> {
        refuse("head_width", self.options.head_width != 1.0, "a classifier, which has no keypoint head")?;
        let rate = self.options.dropout.unwrap_or(default_dropout);
        if rate != 0.0 {
            x = self.builder.push("dropout", Op::Dropout { rate }, &[x])?;
        }
        let classifier = Linear { out_features: self.options.classes, bias: true };
        let y = self.builder.push("classifier", Op::Linear(classifier), &[x])?;
        self.finish(y)
    }

    /// Finishes the network with output `y`. Checks that every pattern of `layer_kernels` matched a layer.
    pub fn finish(self, y: NodeId) -> Result<Graph, ModelError> {
        if let Some(pattern) = self.options.layer_kernels.keys().find(|p| !self.matched.contains(p.as_str())) {
            let pattern = short_name(pattern);
            let message = format!("`{pattern}` matches no dynamic layer");
            return Err(ModelError::Option { option: "layer_kernels", message });
        }
        Ok(self.builder.finish(y)?)
    }

    fn kernels(&mut self, layer: &str) -> usize {
        let mut kernels = self.options.kernels;
        for (pattern, k) in &self.options.layer_kernels {
            if matches(pattern, layer) {
                self.matched.insert(pattern);
                kernels = *k;
            }
        }
        kernels
    }
}

/// Returns an error if an option is set that has no effect in the family.
pub(crate) fn refuse(option: &'static str, set: bool, family: &str) -> Result<(), ModelError> {
    if set {
        Err(ModelError::Option { option, message: format!("means nothing for {family}; leave it out") })
    } else {
        Ok(())
    }
}

/// Nearest multiple of 8, at least 8, and never below 90 % of the given number (MobileNetV2 reference code).
pub(crate) fn make_divisible(channels: f64) -> usize {
    round_channels(channels, 8)
}

/// Like [`make_divisible`], with another divisor.
pub(crate) fn round_channels(channels: f64, divisor: usize) -> usize {
    let rounded = (((channels + divisor as f64 / 2.0) as usize) / divisor * divisor).max(divisor);
    if (rounded as f64) < 0.9 * channels { rounded + divisor } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_like_the_reference() {
        let rounded = [(11.2, 16), (5.6, 8), (33.6, 32), (48.0, 48), (1.0, 8), (44.8, 48), (22.4, 24)];
        for (request, expected) in rounded {
            assert_eq!(make_divisible(request), expected, "{request}");
        }
    }
}
