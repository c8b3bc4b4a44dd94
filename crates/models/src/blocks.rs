//! Building blocks of the architectures: a convolution with its batch norm and activation, static or dynamic.

use std::collections::BTreeSet;

use dyconv_graph::{Activation, Builder, Conv2d, Graph, Linear, MixConv, NodeId, Op, short_name};

use crate::{ModelError, Options};

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
    /// Dynamic in a `dy_` network.
    pub dynamic: bool,
}

impl<'a> Net<'a> {
    pub fn new(dynamic: bool, eps: f32, options: &'a Options) -> Result<Self, ModelError> {
        let [h, w] = options.image_size;
        let builder = Builder::new([options.in_channels, h, w])?;
        Ok(Self { builder, options, dynamic, eps, matched: BTreeSet::new() })
    }

    /// `<name>` (with `<name>.router.*` when dynamic), `<name>.bn` and `<name>.act`.
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

    /// `<name>.bn`, and `<name>.act` if there is an activation.
    pub fn norm(&mut self, name: &str, y: NodeId, act: Option<Activation>) -> Result<NodeId, ModelError> {
        let y = self.builder.push(&format!("{name}.bn"), Op::BatchNorm { eps: self.eps }, &[y])?;
        match act {
            Some(act) => Ok(self.builder.push(&format!("{name}.act"), Op::Activation(act), &[y])?),
            None => Ok(y),
        }
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

    /// `dropout` (if any) and `classifier`, behind a vector of features.
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

    /// The network whose output is `y`. Checks that every pattern of `layer_kernels` matched a layer.
    pub fn finish(self, y: NodeId) -> Result<Graph, ModelError> {
        if let Some(pattern) = self.options.layer_kernels.keys().find(|p| !self.matched.contains(p.as_str())) {
            let pattern = short_name(pattern);
            let message = format!("`{pattern}` matches no dynamic layer; `dyconv cost NAME --layers` shows the names");
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

/// An error if an option is set that has no effect in the family.
pub(crate) fn refuse(option: &'static str, set: bool, family: &str) -> Result<(), ModelError> {
    if set {
        Err(ModelError::Option { option, message: format!("means nothing for {family}; leave it out") })
    } else {
        Ok(())
    }
}

/// Nearest multiple of 8, at least 8, never below 90 % of the request (MobileNetV2 reference code).
pub(crate) fn make_divisible(channels: f64) -> usize {
    round_channels(channels, 8)
}

/// As [`make_divisible`] with another divisor.
pub(crate) fn round_channels(channels: f64, divisor: usize) -> usize {
    let rounded = (((channels + divisor as f64 / 2.0) as usize) / divisor * divisor).max(divisor);
    if (rounded as f64) < 0.9 * channels { rounded + divisor } else { rounded }
}

/// Longest pattern that [`matches`](fn@matches) looks at, in bytes: five times the longest name of a node.
pub const MAX_PATTERN: usize = 1000;

/// Whether `pattern`, in which `*` stands for any characters, matches all of `text`. A pattern of more than [`MAX_PATTERN`]
/// bytes matches nothing.
///
/// ```text
/// from left to right, byte by byte: an equal byte of both is passed; a star is remembered with the place where it stands;
/// where neither is possible, the last star takes one byte more, and what follows it is tried again
/// ```
///
/// Only the last star is ever tried again: what an earlier one takes more, the last one can take as well.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    if pattern.len() > MAX_PATTERN {
        return false;
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and the end of what it takes.
    let mut star = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, t));
            }
            (Some(byte), _) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((behind, taken))) => {
                p = behind;
                t = taken + 1;
                star = Some((behind, t));
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channels_round_like_the_reference() {
        let rounded = [(11.2, 16), (5.6, 8), (33.6, 32), (48.0, 48), (1.0, 8), (44.8, 48), (22.4, 24)];
        for (request, expected) in rounded {
            assert_eq!(make_divisible(request), expected, "{request}");
        }
    }

    #[test]
    fn stars_match_anything() {
        assert!(matches("blocks.*.expand", "blocks.12.expand"));
        assert!(matches("*", "stem"));
        assert!(!matches("blocks.1.*", "blocks.12.expand"));
        assert!(!matches("blocks", "blocks.1"));
    }

    /// By the definition, in exponential time: a star takes any beginning.
    fn naive(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((head, tail)) => text
                .strip_prefix(head)
                .is_some_and(|rest| (0..=rest.len()).any(|i| rest.is_char_boundary(i) && naive(tail, &rest[i..]))),
        }
    }

    proptest! {
        #[test]
        fn stars_match_as_defined(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), naive(&pattern, &text), "{} {}", pattern, text);
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let (stars, name) = ("*a".repeat(MAX_PATTERN / 2 - 1), "a".repeat(200_000));
        assert!(matches(&stars, &name) && !matches(&(stars + "*b"), &name));
        assert!(matches(&"*".repeat(MAX_PATTERN), "") && !matches(&"*".repeat(MAX_PATTERN + 1), ""));
    }
}
