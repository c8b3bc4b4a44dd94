//! Writes a file so that no reader ever sees half of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes to a temporary file in the same folder, syncs it, and renames it over `path`.
///
/// # Errors
/// I/O errors; the old file, if any, is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dyconv-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The rename itself must survive a power failure; not every file system can sync a folder.
    File::open(folder).and_then(|f| f.sync_all()).or(Ok(()))
}
