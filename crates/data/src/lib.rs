//! From images to batches: sources → decode → augment → batch, seeded, on a few threads.
//!
//! A [`Dataset`] knows where labelled images are and which of them are for training; [`Transform`] and [`Augment`] turn
//! an image into a network's input; [`Loader`] makes batches of inputs. The same seeds give the same pixels, whatever
//! the number of threads.
//!
//! The items of a data set may also be persons with joints ([`People`]): [`PersonCrop`] and [`PoseAugment`] crop a
//! person for the network, [`HeatMaps`] encodes joints as targets and decodes predictions into joints.
//!
//! ```
//! use std::sync::Arc;
//! use dyconv_data::{Augment, Dataset, Loader, LoaderOptions, OpenOptions, Preprocessing, Split, Transform};
//!
//! let data = Arc::new(Dataset::open("digits", &OpenOptions::default())?);
//! assert!(data.describe().ends_with("(1,432 train, 365 val, split seed 0)"));
//!
//! let pre = Preprocessing { mean: vec![0.3], std: vec![0.38], ..Preprocessing::usual(1, [8, 8], 8) };
//! let pre = Transform::new(pre)?;
//! let options = LoaderOptions { batch: 64, threads: 2, shuffle: true, ..LoaderOptions::default() };
//! let augment = Augment { shift: 1, ..Augment::default() };
//! for batch in Loader::epoch(&data, Split::Train, &pre, Some(augment), &options, 0) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.len() * 64);
//! }
//! # Ok::<(), dyconv_data::DataError>(())
//! ```
#![forbid(unsafe_code)]

mod augment;
mod crop;
mod dataset;
mod decode;
mod draw;
mod encode;
mod error;
mod extensions;
mod fingerprint;
mod heatmap;
mod image;
mod image_crate;
mod jpeg;
mod limits;
mod loader;
mod orient;
mod people;
mod png;
mod preprocessing;
pub mod raster;
mod regular;
mod resize;
mod source;
mod split;
#[cfg(test)]
mod testdata;
mod words;

pub use augment::{Augment, Crop, PoseAugment, RandAugment};
pub use crop::{Affine, PersonBox, PersonCrop};
pub use dataset::{Dataset, OpenOptions};
pub use decode::{MAX_FILE_BYTES, decode, in_decoder, load};
pub use draw::draw_skeleton;
pub use dyconv_task::{CropMode, DataMatch, Fingerprint, Interpolation, Orientation, Preprocessing, Skeleton};
pub use error::DataError;
pub use heatmap::{FoundKeypoint, HeatMaps};
pub use image::Image;
pub use limits::DecodeOptions;
pub use loader::{Batch, Batches, Broken, Classes, Keypoints, Loader, LoaderOptions, Targets};
pub use people::{
    BoxFile, DetectedBox, DetectedBoxes, Keypoint, KeypointMeter, People, Person, PersonImage, Visibility,
};
pub use preprocessing::Transform;
pub use split::Split;
pub use words::thousands;
