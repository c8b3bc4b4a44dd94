//! Builds a [`Graph`] from architecture tables.
//!
//! Every network of [`ALL`] exists as a static twin and, with the prefix `dy_`, as a dynamic network whose
//! convolutions mix K kernels by an attention computed from their input (paper §3). A width multiplier is part of the
//! name: `mobilenet_v2_x0_5`, `dy_resnet18_x0_25`. The prefix `pose_` and the suffix `_a` or `_b` make a keypoint
//! network with that backbone ([`pose`]): `pose_dy_mobilenet_v2_x0_5_b`.
//!
//! ```
//! use dyconv_graph::cost;
//! use dyconv_models::{Options, build};
//!
//! let graph = build("dy_mobilenet_v2_x0_5", &Options::default())?;
//! assert_eq!(cost(&graph).params, 3_946_334);
//! # Ok::<(), dyconv_models::ModelError>(())
//! ```
#![forbid(unsafe_code)]

mod blocks;
pub mod efficientnet_lite;
mod error;
mod families;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
mod name;
mod options;
pub mod pose;
pub mod resnet;

use dyconv_graph::Graph;

pub use error::ModelError;
pub use families::{ALL, FAMILIES, Family, pose_names};
pub use name::{ModelName, dynamic_form, static_twin};
pub use options::{DynamicParts, Options};
pub use pose::Head;

/// Builds a network by name, e.g. `dy_mobilenet_v2_x0_5`, `resnet18` or `pose_dy_resnet18_a`.
///
/// # Errors
/// If the name is unknown (the nearest one is suggested), or an option is out of bounds or matches nothing.
pub fn build(name: &str, options: &Options) -> Result<Graph, ModelError> {
    let name: ModelName = name.parse()?;
    options.check()?;
    let width = options.width.unwrap_or(name.width);
    options::check_width("width", width)?;
    let (net, x) = (name.family.features)(width, name.dynamic, options)?;
    match name.head {
        Some(head) => pose::end(head, net, x),
        None => (name.family.classify)(net, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number at its limit and beyond: a network or an error, for every family.
    #[test]
    fn absurd_numbers_are_errors() {
        let error = |name: &str, options: &Options| build(name, options).map(|_| ()).unwrap_err().to_string();
        for width in ["x99999999", "x1e300", "x9e999", "x0", "x17", "x0_001", "x0_0"] {
            for family in FAMILIES {
                for name in [format!("dy_{}_{width}", family.name), format!("pose_{}_{width}_b", family.name)] {
                    let error = error(&name, &Options::default());
                    assert!(error.starts_with("model option `width`: must lie in 0.01..=16"), "{name}: {error}");
                }
            }
        }
        let change = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options
        };
        for options in [
            change(|o| o.kernels = 1_000_000_000),
            change(|o| o.kernels = usize::MAX),
            change(|o| o.reduction = usize::MAX),
            change(|o| o.min_hidden = usize::MAX),
            change(|o| (o.classes, o.joints) = (usize::MAX, usize::MAX)),
            change(|o| o.in_channels = usize::MAX),
            change(|o| o.image_size = [usize::MAX; 2]),
            change(|o| o.width = Some(1e9)),
            change(|o| o.width = Some(f64::NAN)),
            change(|o| o.head_width = f64::INFINITY),
            change(|o| (o.width, o.kernels, o.image_size) = (Some(16.0), 65_536, [16_384; 2])),
            change(|o| o.layer_kernels = [("*".repeat(1 << 20), 2)].into()),
            change(|o| o.layer_kernels = [("x".repeat(999), 2)].into()),
        ] {
            for name in FAMILIES.iter().flat_map(|f| [format!("dy_{}", f.name), format!("pose_dy_{}_a", f.name)]) {
                let error = error(&name, &options);
                assert!(error.len() < 400, "{name}: {error}");
            }
        }
        // Whether the largest valid options give a network or an error, nothing overflows.
        let largest = change(|o| (o.width, o.kernels, o.reduction, o.min_hidden) = (Some(16.0), 64, 65_536, 65_536));
        for name in FAMILIES.iter().flat_map(|f| [f.name.to_owned(), format!("pose_dy_{}_b", f.name)]) {
            let _ = build(&name, &largest);
        }
    }
}
