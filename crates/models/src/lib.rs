//! Architecture tables: MobileNetV2, MobileNetV3, ResNet, static and dynamic.
#![forbid(unsafe_code)]
