//! Recipes and the training loop.
#![forbid(unsafe_code)]
