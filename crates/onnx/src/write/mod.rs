//! Writes ONNX.
