//! Where a layer stands in its network, as the dialects ask for it.

use dyconv_graph::Graph;
use dyconv_models::{efficientnet_lite as lite, mobilenet_v2};

/// A network whose layers are to be named.
pub(crate) struct Layout<'a> {
    pub family: &'a str,
    pub graph: &'a Graph,
    /// Number of blocks of each stage of a MobileNet.
    stages: Vec<usize>,
}

/// A layer of our networks, by its node's name without `.bn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base<'a> {
    Stem,
    /// Block `i`, part `expand`, `depthwise`, `se.fc1`, `se.fc2` or `project`.
    Block(usize, &'a str),
    /// Block `layer1.0`, part `conv1`, `conv2`, `conv3` or `shortcut`.
    Residual(&'a str, &'a str),
    Head,
    /// `se.fc1` or `se.fc2` behind the head.
    HeadSe(&'a str),
    Hidden,
    Classifier,
    /// A transposed convolution of a keypoint head.
    Deconvolution(usize),
    Heatmaps,
    /// Anything else keeps its name.
    Other(&'a str),
}

impl<'a> Base<'a> {
    pub fn of(name: &'a str) -> Self {
        let indexed = |rest: &'a str| {
            let (index, part) = rest.split_once('.')?;
            Some((index.parse::<usize>().ok()?, part))
        };
        match name {
            "stem" => return Base::Stem,
            "head" => return Base::Head,
            "hidden" => return Base::Hidden,
            "classifier" => return Base::Classifier,
            "heatmaps" => return Base::Heatmaps,
            _ => {}
        }
        if let Some((block, part)) = name.strip_prefix("blocks.").and_then(indexed) {
            return Base::Block(block, part);
        }
        if let Some(part) = name.strip_prefix("head.") {
            return Base::HeadSe(part);
        }
        if let Some(index) = name.strip_prefix("deconv.").and_then(|i| i.parse().ok()) {
            return Base::Deconvolution(index);
        }
        if name.starts_with("layer")
            && let Some((block, part)) = name.rsplit_once('.')
        {
            return Base::Residual(block, part);
        }
        Base::Other(name)
    }
}

impl<'a> Layout<'a> {
    pub fn new(family: &'a str, graph: &'a Graph) -> Self {
        let v2 = |table: &mobilenet_v2::Table| table.rows.iter().map(|row| row.2).collect();
        let stages = match family {
            "mobilenet_v2" => v2(&mobilenet_v2::MOBILENET_V2),
            "mb4" => v2(&mobilenet_v2::MB4),
            "mobilenet_v3_small" | "mobilenet_v3_small_early" => vec![1, 2, 3, 2, 3],
            "mobilenet_v3_large" => vec![1, 2, 3, 4, 2, 3],
            "efficientnet_lite0" => lite::LITE0.repeats().to_vec(),
            "efficientnet_lite1" => lite::LITE1.repeats().to_vec(),
            "efficientnet_lite2" => lite::LITE2.repeats().to_vec(),
            "efficientnet_lite3" => lite::LITE3.repeats().to_vec(),
            "efficientnet_lite4" => lite::LITE4.repeats().to_vec(),
            _ => Vec::new(),
        };
        Self { family, graph, stages }
    }

    pub fn is_resnet(&self) -> bool {
        self.family.starts_with("resnet") || self.family == "rn4"
    }

    pub fn is_v2(&self) -> bool {
        matches!(self.family, "mobilenet_v2" | "mb4")
    }

    pub fn is_v3(&self) -> bool {
        self.family.starts_with("mobilenet_v3")
    }

    pub fn is_lite(&self) -> bool {
        self.family.starts_with("efficientnet_lite")
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.stages.iter().sum()
    }

    /// Number of stages.
    pub fn stage_count(&self) -> usize {
        self.stages.len()
    }

    /// Stage of a block and its place in it.
    pub fn stage(&self, mut block: usize) -> Option<(usize, usize)> {
        for (stage, &repeats) in self.stages.iter().enumerate() {
            if block < repeats {
                return Some((stage, block));
            }
            block -= repeats;
        }
        None
    }

    /// Whether block `i` has this part.
    pub fn has(&self, block: usize, part: &str) -> bool {
        self.graph.find(&format!("blocks.{block}.{part}")).is_some()
    }
}
