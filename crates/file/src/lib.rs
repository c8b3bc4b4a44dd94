//! The dyconv model file: safetensors with the graph in its header.
#![forbid(unsafe_code)]
