//! Arrays in NumPy's file format.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use dyconv::file::write_atomically;
use npyz::{NpyFile, WriterBuilder};

/// Reads an array of 32-bit floats in C order: its shape and its values.
pub fn read(path: &Path) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let file = NpyFile::new(&bytes[..]).with_context(|| format!("{}: is no .npy file", path.display()))?;
    ensure!(file.order() == npyz::Order::C, "{}: is stored in Fortran order, expected C order", path.display());
    let shape: Vec<usize> = file.shape().iter().map(|d| *d as usize).collect();
    let claimed = file.shape().iter().try_fold(4u64, |n, d| n.checked_mul(*d));
    if claimed.is_none_or(|n| n > bytes.len() as u64) {
        bail!("{}: claims shape {shape:?}, more than its {} bytes hold", path.display(), bytes.len());
    }
    let dtype = file.dtype().descr();
    let values = file.into_vec::<f32>().map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => anyhow::anyhow!("{}: is cut short", path.display()),
        _ => anyhow::anyhow!("{}: holds elements of type {dtype}, expected '<f4' (32-bit floats)", path.display()),
    })?;
    Ok((shape, values))
}

/// Writes an array of 32-bit floats in C order.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let shape: Vec<u64> = shape.iter().map(|d| *d as u64).collect();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    bytes.flush()?;
    write_atomically(path, &bytes).with_context(|| format!("{}: cannot be written", path.display()))
}
