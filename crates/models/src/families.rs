//! The architectures, and the names that tables and listings show.

use dyconv_graph::{Graph, NodeId};

use crate::blocks::{Features, Net};
use crate::error::ModelError;
use crate::options::Options;
use crate::{efficientnet_lite, mobilenet_v2, mobilenet_v3, resnet};

/// An architecture family: its name and its builders.
#[derive(Clone, Copy)]
pub struct Family {
    /// Name without `dy_` and without a width.
    pub name: &'static str,
    /// Source of its table.
    pub source: &'static str,
    /// Usual height and width of a classifier's images, in pixels.
    pub image_size: usize,
    /// The network up to its last convolution.
    pub(crate) features: fn(f64, bool, &Options) -> Features<'_>,
    /// Completes it as a classifier.
    pub(crate) classify: fn(Net<'_>, NodeId) -> Result<Graph, ModelError>,
}

/// Every family. Tests walk this list.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "mobilenet_v2",
        source: "arXiv 1801.04381, table 2",
        image_size: 224,
        features: |w, d, o| mobilenet_v2::features(&mobilenet_v2::MOBILENET_V2, w, d, o),
        classify: |net, x| mobilenet_v2::classify(&mobilenet_v2::MOBILENET_V2, net, x),
    },
    Family {
        name: "mobilenet_v3_small",
        source: "arXiv 1905.02244, table 2",
        image_size: 224,
        features: |w, d, o| mobilenet_v3::features(&mobilenet_v3::SMALL, w, d, o),
        classify: |net, x| mobilenet_v3::classify(&mobilenet_v3::SMALL, net, x),
    },
    Family {
        name: "mobilenet_v3_small_early",
        source: "the 66 M network that arXiv 1912.03458 compares with",
        image_size: 224,
        features: |w, d, o| mobilenet_v3::features(&mobilenet_v3::SMALL_EARLY, w, d, o),
        classify: |net, x| mobilenet_v3::classify(&mobilenet_v3::SMALL_EARLY, net, x),
    },
    Family {
        name: "mobilenet_v3_large",
        source: "arXiv 1905.02244, table 1",
        image_size: 224,
        features: |w, d, o| mobilenet_v3::features(&mobilenet_v3::LARGE, w, d, o),
        classify: |net, x| mobilenet_v3::classify(&mobilenet_v3::LARGE, net, x),
    },
    Family {
        name: "resnet10",
        source: "arXiv 1512.03385, one block a stage",
        image_size: 224,
        features: |w, d, o| resnet::features(&resnet::RESNET10, w, d, o),
        classify: resnet::classify,
    },
    Family {
        name: "resnet18",
        source: "arXiv 1512.03385, table 1",
        image_size: 224,
        features: |w, d, o| resnet::features(&resnet::RESNET18, w, d, o),
        classify: resnet::classify,
    },
    Family {
        name: "resnet50",
        source: "arXiv 1512.03385, table 1; stride on the 3×3",
        image_size: 224,
        features: |w, d, o| resnet::features(&resnet::RESNET50, w, d, o),
        classify: resnet::classify,
    },
    Family {
        name: "efficientnet_lite0",
        source: "arXiv 1905.11946, TensorFlow's mobile variants",
        image_size: efficientnet_lite::LITE0.image_size,
        features: |w, d, o| efficientnet_lite::features(&efficientnet_lite::LITE0, w, d, o),
        classify: |net, x| efficientnet_lite::classify(&efficientnet_lite::LITE0, net, x),
    },
    Family {
        name: "efficientnet_lite1",
        source: "arXiv 1905.11946, TensorFlow's mobile variants",
        image_size: efficientnet_lite::LITE1.image_size,
        features: |w, d, o| efficientnet_lite::features(&efficientnet_lite::LITE1, w, d, o),
        classify: |net, x| efficientnet_lite::classify(&efficientnet_lite::LITE1, net, x),
    },
    Family {
        name: "efficientnet_lite2",
        source: "arXiv 1905.11946, TensorFlow's mobile variants",
        image_size: efficientnet_lite::LITE2.image_size,
        features: |w, d, o| efficientnet_lite::features(&efficientnet_lite::LITE2, w, d, o),
        classify: |net, x| efficientnet_lite::classify(&efficientnet_lite::LITE2, net, x),
    },
    Family {
        name: "efficientnet_lite3",
        source: "arXiv 1905.11946, TensorFlow's mobile variants",
        image_size: efficientnet_lite::LITE3.image_size,
        features: |w, d, o| efficientnet_lite::features(&efficientnet_lite::LITE3, w, d, o),
        classify: |net, x| efficientnet_lite::classify(&efficientnet_lite::LITE3, net, x),
    },
    Family {
        name: "efficientnet_lite4",
        source: "arXiv 1905.11946, TensorFlow's mobile variants",
        image_size: efficientnet_lite::LITE4.image_size,
        features: |w, d, o| efficientnet_lite::features(&efficientnet_lite::LITE4, w, d, o),
        classify: |net, x| efficientnet_lite::classify(&efficientnet_lite::LITE4, net, x),
    },
    Family {
        name: "rn4",
        source: "ResNet-10 of 4 to 12 channels for 32 × 32 pixels",
        image_size: 224,
        features: |w, d, o| resnet::features(&resnet::RN4, w, d, o),
        classify: resnet::classify,
    },
    Family {
        name: "mb4",
        source: "MobileNetV2 of 4 to 8 channels for 32 × 32 pixels",
        image_size: 224,
        features: |w, d, o| mobilenet_v2::features(&mobilenet_v2::MB4, w, d, o),
        classify: |net, x| mobilenet_v2::classify(&mobilenet_v2::MB4, net, x),
    },
];

/// The networks that tables and listings show. Each also exists as `dy_…`, and at any other width.
pub const ALL: &[&str] = &[
    "mobilenet_v2_x1_0",
    "mobilenet_v2_x0_75",
    "mobilenet_v2_x0_5",
    "mobilenet_v2_x0_35",
    "mobilenet_v3_small",
    "mobilenet_v3_small_early",
    "mobilenet_v3_large",
    "resnet10",
    "resnet18",
    "resnet50",
    "efficientnet_lite0",
];

/// The keypoint networks that tables and listings show: every network of [`ALL`] with both heads. Each also exists as
/// `pose_dy_…`, and with any family and width.
pub fn pose_names() -> impl Iterator<Item = String> {
    ALL.iter().flat_map(|backbone| ["a", "b"].map(|head| format!("pose_{backbone}_{head}")))
}
