//! Compile options.

use dyconv_kernels::{Isa, Storage};

/// Options for compiling a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The instruction set; `None` means the one that the environment variable `DYCONV_ISA` names, or else the fastest
    /// of this CPU.
    pub isa: Option<Isa>,
    /// Storage of the kernel banks of dynamic convolutions. With anything but f32, the routers' matrices, a fifth of
    /// the weights of a dynamic network, are stored as bf16, and the outputs change a little.
    pub bank: Storage,
    /// Precision of the products in convolutions. Anything but f32 changes the outputs.
    pub precision: Precision,
}

/// Precision of the products in convolutions; sums, biases, activations and all other steps are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// Exact f32 values.
    #[default]
    F32,
    /// Inputs and (mixed) kernels are rounded to bf16 in convolutions without groups, if rounding pays;
    /// [`Plan::describe`](crate::Plan::describe) lists them as `bf16_panel_conv`.
    Bf16,
}

/// Bytes per weight in a bank with this storage.
pub(crate) fn weight_bytes(storage: Storage) -> usize {
    match storage {
        Storage::F32 => 4,
        Storage::Bf16 => 2,
        Storage::Int8 => 1,
    }
}
