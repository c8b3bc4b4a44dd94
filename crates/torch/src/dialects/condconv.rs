//! timm conditional convolutions.
