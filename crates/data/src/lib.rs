//! Images into batches: sources, decoding, augmentation.
#![forbid(unsafe_code)]
