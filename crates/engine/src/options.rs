//! The choices of a compilation.

use dyconv_kernels::{Isa, Storage};

/// Choices of a compilation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The instruction set; `None` is the fastest of this CPU, or what the environment variable `DYCONV_ISA` names.
    pub isa: Option<Isa>,
    /// How the kernel banks of dynamic convolutions are stored. Anything but f32 stores the routers' matrices, which are a
    /// fifth of a dynamic network, as bf16, and changes the answers a little.
    pub bank: Storage,
    /// What convolutions multiply. Anything but f32 changes the answers.
    pub precision: Precision,
}

/// What convolutions multiply; sums, biases, activations and all other steps are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// Values as they are.
    #[default]
    F32,
    /// Inputs and (mixed) kernels rounded to bf16, in convolutions without groups where rounding pays;
    /// [`Plan::describe`](crate::Plan::describe) names those `bf16_panel_conv`.
    Bf16,
}

/// Bytes of a weight in a bank that is stored so.
pub(crate) fn weight_bytes(storage: Storage) -> usize {
    match storage {
        Storage::F32 => 4,
        Storage::Bf16 => 2,
        Storage::Int8 => 1,
    }
}
