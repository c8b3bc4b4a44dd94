//! Decodes tensors of the file, and of the files beside it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use dyconv_graph::short_name;

use super::constant::{Constant, Data, elements};
use crate::proto::{EXTERNAL_LOCATION, TensorProto, data_type};

/// Bytes of one element of these types in `raw_data`; `None` for types that are not read.
fn element_bytes(kind: i32) -> Option<usize> {
    match kind {
        data_type::UINT8 | data_type::INT8 | data_type::BOOL => Some(1),
        data_type::FLOAT16 | data_type::BFLOAT16 | data_type::INT16 | data_type::UINT16 => Some(2),
        data_type::FLOAT | data_type::INT32 | data_type::UINT32 => Some(4),
        data_type::DOUBLE | data_type::INT64 | data_type::UINT64 => Some(8),
        _ => None,
    }
}

/// The constant that a tensor holds; `dir` is the folder of its external data.
pub(super) fn decode(tensor: &TensorProto, dir: Option<&Path>) -> Result<Constant, String> {
    let kind = tensor.data_type.unwrap_or(0);
    let Some(width) = element_bytes(kind) else {
        return Err(format!("has elements of type {}, which are not read", data_type::name(kind)));
    };
    let dims: Vec<usize> = tensor
        .dims
        .iter()
        .map(|d| usize::try_from(*d).map_err(|_| format!("has the dimension {d}")))
        .collect::<Result<_, _>>()?;
    let count = elements(&dims).ok_or_else(|| format!("has the absurd dimensions {:?}", short(&dims)))?;
    let expect = |found: usize| {
        if found == count {
            Ok(())
        } else {
            Err(format!("has {found} elements, but dimensions {:?} need {count}", short(&dims)))
        }
    };
    let data = if tensor.data_location == Some(EXTERNAL_LOCATION) {
        let bytes = external(tensor, dir, count.saturating_mul(width))?;
        raw(kind, width, &bytes)
    } else if let Some(bytes) = &tensor.raw_data {
        if bytes.len() != count.saturating_mul(width) {
            let (found, expected) = (bytes.len(), count.saturating_mul(width));
            return Err(format!(
                "has {found} bytes, but dimensions {:?} of type {} need {expected}",
                short(&dims),
                data_type::name(kind)
            ));
        }
        raw(kind, width, bytes)
    } else {
        typed(tensor, kind)
    };
    let data = data?;
    let constant = Constant { dims: dims.clone(), data, name: tensor.name.as_deref().map(Rc::from) };
    expect(constant.len())?;
    Ok(constant)
}

fn short(dims: &[usize]) -> &[usize] {
    &dims[..dims.len().min(8)]
}

/// Elements of `raw_data`.
fn raw(kind: i32, width: usize, bytes: &[u8]) -> Result<Data, String> {
    fn all<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Rc<Vec<T>> {
        Rc::new(bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)).collect())
    }
    debug_assert_eq!(Some(width), element_bytes(kind));
    Ok(match kind {
        data_type::FLOAT => Data::Floats(all(bytes, f32::from_le_bytes)),
        data_type::DOUBLE => Data::Floats(all(bytes, |b| f64::from_le_bytes(b) as f32)),
        data_type::FLOAT16 => Data::Floats(all(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
        data_type::BFLOAT16 => Data::Floats(all(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
        data_type::INT64 => Data::Ints(all(bytes, i64::from_le_bytes)),
        data_type::UINT64 => Data::Ints(all(bytes, |b| u64::from_le_bytes(b) as i64)),
        data_type::INT32 => Data::Ints(all(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        data_type::UINT32 => Data::Ints(all(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        data_type::INT16 => Data::Ints(all(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        data_type::UINT16 => Data::Ints(all(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        data_type::INT8 => Data::Ints(all(bytes, |[b]| i64::from(b as i8))),
        data_type::UINT8 | data_type::BOOL => Data::Ints(all(bytes, |[b]| i64::from(b))),
        _ => return Err(format!("has elements of type {}", data_type::name(kind))),
    })
}

/// Elements of the typed fields.
fn typed(tensor: &TensorProto, kind: i32) -> Result<Data, String> {
    let halves =
        |convert: fn(u16) -> f32| Data::Floats(Rc::new(tensor.int32_data.iter().map(|v| convert(*v as u16)).collect()));
    Ok(match kind {
        data_type::FLOAT => Data::Floats(Rc::new(tensor.float_data.clone())),
        data_type::DOUBLE => Data::Floats(Rc::new(tensor.double_data.iter().map(|v| *v as f32).collect())),
        data_type::FLOAT16 => halves(|v| half::f16::from_bits(v).to_f32()),
        data_type::BFLOAT16 => halves(|v| half::bf16::from_bits(v).to_f32()),
        data_type::INT64 => Data::Ints(Rc::new(tensor.int64_data.clone())),
        data_type::UINT32 | data_type::UINT64 => {
            Data::Ints(Rc::new(tensor.uint64_data.iter().map(|v| *v as i64).collect()))
        }
        _ => Data::Ints(Rc::new(tensor.int32_data.iter().map(|v| i64::from(*v)).collect())),
    })
}

/// The bytes of a tensor outside the file: exactly `expected` of them, from a file inside `dir`.
fn external(tensor: &TensorProto, dir: Option<&Path>, expected: usize) -> Result<Vec<u8>, String> {
    let Some(dir) = dir else {
        return Err("lies in another file, but the folder of the model is not known".into());
    };
    let entry = |key: &str| {
        tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key)).map(|e| e.value.as_deref().unwrap_or(""))
    };
    let Some(location) = entry("location") else {
        return Err("lies in another file, which is not named".into());
    };
    let shown = short_name(location);
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("lies in `{shown}` at the {key} `{}`, which is not a number", short_name(text))),
        },
    };
    let path = inside(dir, location)
        .ok_or_else(|| format!("lies in `{shown}`; external data must lie in the folder of the model"))?;
    let io = |e: std::io::Error| format!("lies in `{shown}`, which cannot be read: {e}");
    let mut file = File::open(&path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(format!("lies in `{shown}`, which is not a file"));
    }
    let (offset, size) = (number("offset")?.unwrap_or(0), metadata.len());
    let length = number("length")?.unwrap_or(size.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(format!("lies at {offset}, {length} bytes long, in `{shown}`, which has {size} bytes"));
    }
    if length != expected as u64 {
        return Err(format!("has {length} bytes in `{shown}`, but its dimensions need {expected}"));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut bytes = vec![0; expected];
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The path of a file inside `dir`, links resolved; `None` if it would lie outside.
fn inside(dir: &Path, location: &str) -> Option<PathBuf> {
    let relative = Path::new(location);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if location.is_empty() || !plain || location.contains(['\\', '\0']) {
        return None;
    }
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let path = dir.join(relative);
    match (dir.canonicalize(), path.canonicalize()) {
        (Ok(dir), Ok(found)) => found.starts_with(dir).then_some(found),
        // A file that is missing is reported when it is opened.
        _ => Some(path),
    }
}
