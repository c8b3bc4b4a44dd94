//! A network's input, the meaning of its output, and the data it was trained on.
//!
//! The model file stores these types, and the data crate prepares images by them. They only describe; the crates above
//! execute. Each is serialized with serde in the form used in the header of a model file.
//!
//! ```
//! use dyconv_task::{Preprocessing, Skeleton, Task};
//!
//! let preprocessing = Preprocessing::usual(3, [256, 192], 256);
//! assert_eq!(preprocessing.check(), Ok(()));
//!
//! let task = Task::Keypoints(Skeleton::coco());
//! assert_eq!(task.skeleton().map(|skeleton| skeleton.joints.len()), Some(17));
//! assert!(task.classes().is_empty());
//! ```
#![forbid(unsafe_code)]

mod fingerprint;
mod preprocessing;
mod skeleton;
mod task;

pub use fingerprint::{DataMatch, Fingerprint};
pub use preprocessing::{CropMode, Interpolation, Orientation, Preprocessing};
pub use skeleton::Skeleton;
pub use task::Task;
