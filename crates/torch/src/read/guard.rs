//! What a file may make the pickle reader do is bounded before it runs: what it describes against what it has.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use dyconv_graph::short_name;

use super::costs::{Costs, Refusal, number};
use crate::error::FileProblem;

/// Bytes of memory for each byte of the file.
pub(super) const FACTOR: u64 = 4;

/// Bytes of memory for the descriptions in any file, however small.
const FLOOR: u64 = 32 << 20;

/// The number with which files of PyTorch before 1.6 begin, in binary and in text.
const LEGACY: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];

/// Modules that run code or touch the system. A checkpoint has no use for them.
const DANGEROUS: [&str; 22] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "runpy",
    "importlib",
    "socket",
    "shutil",
    "ctypes",
    "commands",
    "webbrowser",
    "pty",
    "platform",
    "asyncio",
    "code",
    "pip",
    "bdb",
    "pdb",
    "timeit",
    "operator",
    "multiprocessing",
];

/// What a checkpoint may use of Python's builtins.
const BUILTINS: [&str; 14] = [
    "set",
    "frozenset",
    "list",
    "dict",
    "tuple",
    "object",
    "int",
    "float",
    "str",
    "bytes",
    "bytearray",
    "bool",
    "complex",
    "slice",
];

/// Checks a file, and returns the classes that a state dict does not need.
pub(super) fn check(path: &Path, size: u64) -> Result<Vec<String>, FileProblem> {
    let io = |source| FileProblem::Io { what: "read", source };
    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(262).read_to_end(&mut start).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut costs = Costs::new(FACTOR.saturating_mul(size).saturating_add(FLOOR));
    let head = &start[..start.len().min(64)];
    let result = if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        zip(file, size, &mut costs)
    } else if start.get(257..262) == Some(b"ustar") {
        tar(file, size, &mut costs)
    } else if LEGACY.iter().any(|magic| head.windows(magic.len()).any(|w| w == *magic)) {
        // The magic number, the version, the system, the object, the keys of the storages.
        let mut from = BufReader::new(file);
        (0..5).try_for_each(|_| costs.pickle(&mut from).map_err(|e| refused(e, &costs, size)))
    } else {
        Err(FileProblem::Container(
            "it is neither safetensors nor a zip, tar or stream of torch.save; it may be cut short or something else"
                .into(),
        ))
    };
    result?;
    if let Some(name) = costs.twice {
        return Err(FileProblem::Duplicate(name));
    }
    if let Some((name, kind)) = costs.odd {
        return Err(FileProblem::Dtype { name, dtype: kind.to_owned() });
    }
    globals(&costs)
}

fn refused(refusal: Refusal, costs: &Costs, size: u64) -> FileProblem {
    match refusal {
        Refusal::Damaged(message) => FileProblem::Container(message),
        Refusal::TooMuch => FileProblem::Bomb { what: "objects", claimed: costs.bytes, file: size },
        Refusal::Io(source) => FileProblem::Io { what: "read", source },
    }
}

fn zip(file: File, size: u64, costs: &mut Costs) -> Result<(), FileProblem> {
    let container = |e: zip::result::ZipError| FileProblem::Container(e.to_string());
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(container)?;
    let (mut claimed, mut pickle) = (0u64, None::<(usize, usize)>);
    let mut names = std::collections::BTreeSet::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(container)?;
        claimed = claimed.saturating_add(entry.size());
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if let Some(root) = name.strip_suffix("data.pkl")
            && (root.is_empty() || root.ends_with('/'))
            && pickle.is_none_or(|(_, shortest)| root.len() < shortest)
        {
            pickle = Some((index, root.len()));
        }
        if !names.insert(name.clone()) {
            return Err(FileProblem::Container(format!("the archive has two entries `{}`", short_name(&name))));
        }
    }
    if claimed > FACTOR.saturating_mul(size) {
        return Err(FileProblem::Bomb { what: "archive entries", claimed, file: size });
    }
    let missing = || FileProblem::Container("a zip archive without a `data.pkl`; it is no file of torch.save".into());
    let (index, _) = pickle.ok_or_else(missing)?;
    let entry = archive.by_index(index).map_err(container)?;
    let limit = entry.size();
    costs.pickle(&mut BufReader::new(entry.take(limit))).map_err(|e| match e {
        Refusal::Io(e) => FileProblem::Container(e.to_string()),
        e => refused(e, costs, size),
    })
}

/// The oldest files: `sys_info`, `storages`, `tensors` and `pickle` in a tar archive.
fn tar(file: File, size: u64, costs: &mut Costs) -> Result<(), FileProblem> {
    let container = |e: std::io::Error| FileProblem::Container(e.to_string());
    let mut archive = tar::Archive::new(BufReader::new(file));
    for entry in archive.entries().map_err(container)? {
        let mut entry = entry.map_err(container)?;
        if entry.size() > size || entry.header().entry_type().is_gnu_sparse() {
            return Err(FileProblem::Bomb { what: "archive entries", claimed: entry.size(), file: size });
        }
        let name = entry.path().map_err(container)?.to_string_lossy().trim_start_matches("./").to_owned();
        if !["sys_info", "storages", "tensors", "pickle"].contains(&name.as_str()) {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(container)?;
        let mut from = Cursor::new(bytes.as_slice());
        let result = match name.as_str() {
            "storages" => storages(&mut from, costs),
            "tensors" => tensors(&mut from, costs),
            _ => costs.pickle(&mut from),
        };
        result.map_err(|e| refused(e, costs, size))?;
    }
    Ok(())
}

/// A count, then a description, a number of elements and the elements for each storage, then the views.
fn storages(from: &mut Cursor<&[u8]>, costs: &mut Costs) -> Result<(), Refusal> {
    costs.pickle(from)?;
    loop {
        costs.last_global.clear();
        costs.pickle(from)?;
        let width = match costs.last_global.as_str() {
            "" => return Ok(()),
            "DoubleStorage" | "LongStorage" => 8,
            "FloatStorage" | "IntStorage" => 4,
            "HalfStorage" | "ShortStorage" | "BFloat16Storage" => 2,
            _ => 1,
        };
        let elements = number(from, 8)?;
        let end = elements.checked_mul(width).and_then(|n| n.checked_add(from.position()));
        let end = end.filter(|end| *end <= from.get_ref().len() as u64);
        from.set_position(end.ok_or_else(|| Refusal::Damaged("a storage reaches beyond its entry".into()))?);
    }
}

/// A count, then a description, a rank, sizes, strides and an offset for each tensor.
fn tensors(from: &mut Cursor<&[u8]>, costs: &mut Costs) -> Result<(), Refusal> {
    costs.pickle(from)?;
    while from.position() < from.get_ref().len() as u64 {
        costs.pickle(from)?;
        let rank = number(from, 4)?.min(64);
        from.set_position(from.position().saturating_add(4 + 16 * rank + 8));
    }
    Ok(())
}

/// Refuses globals that run code, and names the others that a state dict does not need.
fn globals(costs: &Costs) -> Result<Vec<String>, FileProblem> {
    let mut others = Vec::new();
    for (module, name) in &costs.globals {
        let root = module.split('.').next().unwrap_or(module);
        let full = short_name(&format!("{module}.{name}"));
        match root {
            "builtins" | "__builtin__" if BUILTINS.contains(&name.as_str()) => {}
            "builtins" | "__builtin__" => return Err(runs_code(&full)),
            root if DANGEROUS.contains(&root) => return Err(runs_code(&full)),
            "torch" | "collections" | "numpy" | "argparse" | "copyreg" | "copy_reg" | "_codecs" => {}
            _ => others.push(full),
        }
    }
    Ok(others)
}

fn runs_code(name: &str) -> FileProblem {
    FileProblem::Container(format!(
        "its pickle calls `{name}`, which no state dict needs and which could run code; nothing was run, and the file is refused"
    ))
}
