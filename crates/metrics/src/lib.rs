//! Scores: top-k accuracy and confusion matrix for classifiers, OKS average precision for keypoints, and Welch's test for comparing
//! sets of runs.
//!
//! Everything takes plain slices of logits, class indices and keypoints. There are no tensors and no images.
//!
//! ```
//! use dyconv_metrics::{Confusion, TopK, answer, top_k};
//!
//! let logits = [0.1, 2.0, -1.0];
//! assert_eq!(top_k(&logits, 2), vec![(1, 2.0), (0, 0.1)]);
//!
//! let mut top1 = TopK::new(1);
//! let mut confusion = Confusion::new(3);
//! top1.add(&logits, 1);
//! confusion.add(1, answer(&logits));
//! assert_eq!(top1.accuracy(), Some(1.0));
//! assert_eq!(confusion.accuracy(), Some(1.0));
//! ```
#![forbid(unsafe_code)]

mod answer;
mod class_meter;
mod confusion;
mod keypoints;
mod topk;
mod welch;

pub use answer::answer;
pub use class_meter::ClassMeter;
pub use confusion::{ClassScore, Confusion};
pub use keypoints::{
    Detection, GroundTruth, KeypointError, KeypointScores, MAX_DETECTIONS, Pose, keypoint_scores, oks, oks_nms, rescore,
};
pub use topk::{TopK, softmax, top_k};
pub use welch::{Sample, Welch};
