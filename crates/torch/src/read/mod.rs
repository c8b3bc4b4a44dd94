//! Files of weights: what they are is decided by their bytes, not by their names.

mod costs;
mod guard;
mod pickle;
mod safetensors;

pub(crate) use safetensors::{ARCH, GRAPH};

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{FileProblem, TorchError};
use crate::state_dict::StateDict;

/// Reads the weights of a network from `.safetensors`, `.pth`, `.pt` or `.bin`.
///
/// PyTorch's files may have any layout that `torch.save` ever wrote: zip, the stream before version 1.6, tar, also with a
/// whole module instead of its state dict. No code in them is run. Tensors come out in row-major order, whatever their
/// strides in the file; f16, bf16 and f64 become f32; integer counters are skipped. Wrappers around the weights are taken
/// off as timm does; [`StateDict::notes`] says what was done.
///
/// # Errors
/// If the file cannot be read, is damaged, holds quantized, sparse or complex tensors, describes more data than it has,
/// or has a name twice.
pub fn read_state_dict(path: &Path) -> Result<StateDict, TorchError> {
    let fail = |kind| TorchError::File { path: path.to_owned(), kind };
    let io = |source| fail(FileProblem::Io { what: "read", source });
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?;
    if size.is_dir() {
        return Err(io(std::io::Error::other("it is a folder, a file was expected")));
    }
    let mut start = Vec::new();
    file.by_ref().take(9).read_to_end(&mut start).map_err(io)?;
    let raw =
        if safetensors::is_safetensors(&start) { safetensors::read(path) } else { pickle::read(path, size.len()) };
    raw.and_then(crate::state_dict::Raw::finish).map_err(fail)
}
