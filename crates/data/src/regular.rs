//! Opens files named by the user: only regular files, since a pipe or a device may block a reader forever.

use std::fs::{File, FileType};
use std::io;
use std::path::Path;

use crate::error::DataError;

/// Opens a regular file, or a link to one.
pub(crate) fn open(path: &Path) -> Result<File, DataError> {
    let unreadable = |e: io::Error| DataError::at(path, format!("cannot be read: {e}"));
    let kind = std::fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        return Err(DataError::at(path, format!("cannot be read: is {}, expected a plain file", describe(kind))));
    }
    File::open(path).map_err(unreadable)
}

/// Name of a kind of file that is not regular.
pub(crate) fn describe(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "no plain file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| open(path).unwrap_err().message;
        assert_eq!(error(dir.path()), "cannot be read: is a folder, expected a plain file");
        assert!(error(&dir.path().join("nothing")).starts_with("cannot be read: No such file"));
        #[cfg(unix)]
        {
            let (socket, link) = (dir.path().join("socket"), dir.path().join("link"));
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            assert_eq!(error(&socket), "cannot be read: is a socket, expected a plain file");
            assert_eq!(error(Path::new("/dev/zero")), "cannot be read: is a device, expected a plain file");
            std::fs::write(dir.path().join("file"), "x").unwrap();
            std::os::unix::fs::symlink(dir.path().join("file"), &link).unwrap();
            assert!(open(&link).is_ok(), "a link to a plain file is followed");
        }
    }
}
