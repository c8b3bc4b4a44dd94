//! Writes a file so that no reader ever sees half of it.

use std::borrow::Cow;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::Path;

/// Writes to a temporary file in the same folder, syncs it, and renames it over `path`. A file that is replaced keeps its
/// permissions. If `path` is a link, the file that it names is written.
///
/// # Errors
/// I/O errors, or if `path` is something else than a file; what is there, if anything, is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, permissions) = file_to_write(path)?;
    let folder = folder_of(&path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dyconv-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|e| e.error)?;
    // The rename itself must survive a power failure; not every file system can sync a folder.
    File::open(folder).and_then(|f| f.sync_all()).or(Ok(()))
}

/// The folder in which a file lies or will lie.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The file that `path` names, which may be a link, and its permissions; `None` if there is none yet.
///
/// # Errors
/// If it is something else than a file: a rename would replace a pipe or a device.
pub fn file_to_write(path: &Path) -> io::Result<(Cow<'_, Path>, Option<Permissions>)> {
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to what does not exist yet.
            let to = fs::read_link(path).ok().map(|to| path.parent().unwrap_or(Path::new("")).join(to));
            return Ok((to.map_or(Cow::Borrowed(path), Cow::Owned), None));
        }
        about => about?,
    };
    if !about.is_file() {
        let what = if about.is_dir() { "is a folder" } else { "is a pipe or a device" };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it {what}, expected a file")));
    }
    let is_link = fs::symlink_metadata(path)?.is_symlink();
    let real = if is_link { Cow::Owned(fs::canonicalize(path)?) } else { Cow::Borrowed(path) };
    Ok((real, Some(about.permissions())))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_permissions_and_other_things_stay_what_they_are() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("old"), b"old").unwrap();
        fs::set_permissions(at("old"), Permissions::from_mode(0o600)).unwrap();
        symlink("old", at("link")).unwrap();
        write_atomically(&at("link"), b"new").unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read(at("old")).unwrap(), b"new");
        assert_eq!(fs::metadata(at("old")).unwrap().permissions().mode() & 0o777, 0o600);

        symlink("later", at("early")).unwrap();
        write_atomically(&at("early"), b"first").unwrap();
        assert_eq!(fs::read(at("later")).unwrap(), b"first");

        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let error = write_atomically(&at("socket"), b"new").unwrap_err().to_string();
        assert_eq!(error, "it is a pipe or a device, expected a file");
        let error = write_atomically(home.path(), b"new").unwrap_err().to_string();
        assert_eq!(error, "it is a folder, expected a file");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 5, "nothing is left over");
    }
}
