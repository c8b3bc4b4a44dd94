//! `.pth`, `.pt` and `.bin` files: pickles in any container of PyTorch.

use std::path::Path;

use dyconv_graph::Tensor;
use pytorch_reader::{DType, PytorchError, PytorchReader};

use super::guard::{self, FACTOR};
use super::safetensors::decode;
use crate::error::FileProblem;
use crate::state_dict::Raw;

pub(super) fn read(path: &Path, size: u64) -> Result<Raw, FileProblem> {
    let classes = guard::check(path, size)?;
    let mut tensors: Vec<_> = PytorchReader::new(path).map_err(problem)?.into_tensors().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let claimed = tensors.iter().fold(0u64, |sum, (_, t)| {
        sum.saturating_add((t.byte_len() as u64).max((t.num_elements() as u64).saturating_mul(4)))
    });
    if claimed > FACTOR.saturating_mul(size) {
        return Err(FileProblem::Bomb { what: "tensors", claimed, file: size });
    }
    let mut raw = Raw { classes, ..Raw::default() };
    for (name, tensor) in tensors {
        let kind = match tensor.dtype() {
            DType::F32 => None,
            DType::F16 => Some("f16"),
            DType::BF16 => Some("bf16"),
            DType::F64 => Some("f64"),
            DType::I64 | DType::I32 | DType::I16 | DType::U64 | DType::U32 | DType::U16 | DType::Bool => {
                raw.integers.push(name);
                continue;
            }
            DType::I8 => return Err(FileProblem::Dtype { name, dtype: "int8".into() }),
            DType::U8 => return Err(FileProblem::Dtype { name, dtype: "uint8".into() }),
        };
        if let Some(kind) = kind {
            *raw.converted.entry(kind).or_insert(0) += 1;
        }
        let bytes = tensor.read().map_err(|e| FileProblem::Container(e.to_string()))?;
        let data = match tensor.dtype() {
            DType::F16 => decode(&bytes, |b| half::f16::from_ne_bytes(b).to_f32()),
            DType::BF16 => decode(&bytes, |b| half::bf16::from_ne_bytes(b).to_f32()),
            DType::F64 => decode(&bytes, |b| f64::from_ne_bytes(b) as f32),
            _ => decode(&bytes, f32::from_ne_bytes),
        };
        raw.tensors.push((name, Tensor { shape: tensor.shape().to_vec(), data }));
    }
    Ok(raw)
}

/// What the reader says, with what a person can do about it.
fn problem(error: PytorchError) -> FileProblem {
    use pytorch_reader::PickleError::UnsupportedType;
    match error {
        PytorchError::Io(source) if source.raw_os_error().is_some() => FileProblem::Io { what: "read", source },
        PytorchError::Pickle(UnsupportedType(name)) => FileProblem::Container(format!(
            "it holds `{name}`, which is not a dense float tensor; save the state dict of the float model"
        )),
        other => FileProblem::Container(other.to_string()),
    }
}
