//! Model options: what can be varied in every network.

use std::collections::BTreeMap;

use dyconv_graph::words::MAX_PATTERN;
use dyconv_graph::{Gate, Router, short_name};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// Settings of a network besides its name. The defaults are the paper's (K = 4, hidden = C/4, stem, head, shortcuts,
/// squeeze-and-excitation and classifier static).
///
/// Recipes and flags use this struct. Fields that they cannot set by name, because they depend on the data, are
/// skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Number of classes: outputs of a classifier.
    #[serde(skip)]
    pub classes: usize,
    /// Number of keypoints: heat maps of a keypoint network.
    #[serde(skip)]
    pub joints: usize,
    /// Channels of the input images.
    #[serde(skip)]
    pub in_channels: usize,
    /// Height and width of the input images in pixels; [`ModelName::image_size`](crate::ModelName::image_size) returns
    /// the default.
    #[serde(skip)]
    pub image_size: [usize; 2],
    /// Width multiplier; overrides the one in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
    /// Number K of kernels of a dynamic layer. A layer with one kernel is static.
    pub kernels: usize,
    /// K by layer name, where `*` matches any characters: `{"blocks.16.*": 8}`. If several patterns match, the last in
    /// alphabetical order applies.
    pub layer_kernels: BTreeMap<String, usize>,
    /// Input channels per hidden unit of a router.
    pub reduction: usize,
    /// Minimum number of hidden units of a router.
    pub min_hidden: usize,
    /// `softmax` (the paper) or `sigmoid` (CondConv).
    pub gate: Gate,
    /// Which convolutions of an inverted residual block are dynamic.
    pub dynamic_parts: DynamicParts,
    /// MobileNets: makes the last 1×1 convolution dynamic too.
    pub dynamic_head: bool,
    /// ResNets: makes the 1×1 shortcut convolutions dynamic too.
    pub dynamic_shortcut: bool,
    /// Stem for 28 to 64 pixel images: 3×3, stride 1, no pooling.
    #[serde(skip)]
    pub small_stem: bool,
    /// MobileNetV3: keeps squeeze-and-excitation.
    pub se: bool,
    /// Keypoint networks: width multiplier of the head.
    pub head_width: f64,
    /// Dropout before the classifier; `None` means the default of the family (MobileNets 0.2, ResNets 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
}

/// The three convolutions of an inverted residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicParts {
    /// The 1×1 convolution that expands.
    pub expand: bool,
    /// The depthwise convolution.
    pub depthwise: bool,
    /// The 1×1 convolution that projects.
    pub project: bool,
}

impl Default for DynamicParts {
    fn default() -> Self {
        Self { expand: true, depthwise: true, project: true }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            classes: 1000,
            joints: 17,
            in_channels: 3,
            image_size: [224, 224],
            width: None,
            kernels: 4,
            layer_kernels: BTreeMap::new(),
            reduction: 4,
            min_hidden: 1,
            gate: Gate::Softmax,
            dynamic_parts: DynamicParts::default(),
            dynamic_head: false,
            dynamic_shortcut: false,
            small_stem: false,
            se: true,
            head_width: 1.0,
            dropout: None,
        }
    }
}

/// Checks a width multiplier.
pub(crate) fn check_width(option: &'static str, width: f64) -> Result<(), ModelError> {
    if (0.01..=16.0).contains(&width) {
        Ok(())
    } else {
        Err(ModelError::Option { option, message: format!("must lie in 0.01..=16, got {width}") })
    }
}

impl Options {
    /// Names of the options that only a dynamic network uses.
    pub const OF_DYNAMIC: [&str; 8] = [
        "kernels",
        "layer_kernels",
        "reduction",
        "min_hidden",
        "gate",
        "dynamic_parts",
        "dynamic_head",
        "dynamic_shortcut",
    ];

    /// The options of the static twin: without those that a static network rejects.
    #[must_use]
    pub fn static_twin(&self) -> Self {
        let usual = Self::default();
        Self {
            layer_kernels: usual.layer_kernels,
            gate: usual.gate,
            dynamic_parts: usual.dynamic_parts,
            dynamic_head: usual.dynamic_head,
            dynamic_shortcut: usual.dynamic_shortcut,
            ..self.clone()
        }
    }

    /// These options, with those of dynamic networks ([`OF_DYNAMIC`](Self::OF_DYNAMIC)) from `other`.
    #[must_use]
    pub fn with_dynamic_of(&self, other: &Self) -> Self {
        // Every field is named, so adding an option requires a decision here whether a static network uses it.
        Self {
            classes: self.classes,
            joints: self.joints,
            in_channels: self.in_channels,
            image_size: self.image_size,
            width: self.width,
            kernels: other.kernels,
            layer_kernels: other.layer_kernels.clone(),
            reduction: other.reduction,
            min_hidden: other.min_hidden,
            gate: other.gate,
            dynamic_parts: other.dynamic_parts,
            dynamic_head: other.dynamic_head,
            dynamic_shortcut: other.dynamic_shortcut,
            small_stem: self.small_stem,
            se: self.se,
            head_width: self.head_width,
            dropout: self.dropout,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let fail = |option, message: String| Err(ModelError::Option { option, message });
        let counts = [
            ("classes", self.classes),
            ("joints", self.joints),
            ("in_channels", self.in_channels),
            ("kernels", self.kernels),
            ("reduction", self.reduction),
            ("min_hidden", self.min_hidden),
        ];
        for (option, n) in counts.into_iter().chain(self.layer_kernels.values().map(|k| ("layer_kernels", *k))) {
            if !(1..=65_536).contains(&n) {
                return fail(option, format!("must lie in 1..=65536, got {n}"));
            }
        }
        if let Some(pattern) = self.layer_kernels.keys().find(|pattern| pattern.len() > MAX_PATTERN) {
            let pattern = short_name(pattern);
            return fail("layer_kernels", format!("a pattern has at most {MAX_PATTERN} bytes, got `{pattern}`"));
        }
        check_width("width", self.width.unwrap_or(1.0))?;
        check_width("head_width", self.head_width)
    }

    pub(crate) fn router(&self, kernels: usize) -> Router {
        Router { kernels, reduction: self.reduction, min_hidden: self.min_hidden, gate: self.gate }
    }
}
