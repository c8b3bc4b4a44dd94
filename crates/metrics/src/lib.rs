//! Top-k accuracy and confusion matrices.
#![forbid(unsafe_code)]
