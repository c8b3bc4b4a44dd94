//! What goes into a network, what its answer means, and which data it was trained on.
//!
//! These types stand below the model file, which holds them, and below the data, which are prepared by them. They describe; the
//! crates above execute. Each reads and writes itself with serde in the form that the header of a model file has.
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
pub use preprocessing::{Orientation, Preprocessing};
pub use skeleton::Skeleton;
pub use task::Task;
