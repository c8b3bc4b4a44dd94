//! Files: read whole, and written beside their place before they get it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dyconv_engine::available_memory;
use dyconv_file::{file_to_write, folder_of};
use tempfile::TempDir;

use crate::error::ConvertError;

/// Reads a file whose contents are needed twice: as bytes, and as what is made of them.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConvertError> {
    let cannot = |source| ConvertError::Io { path: path.to_owned(), what: "read", source };
    let bytes = fs::metadata(path).map_err(cannot)?.len().saturating_mul(2);
    match available_memory() {
        Some(available) if bytes > available => Err(ConvertError::Memory { path: path.to_owned(), bytes, available }),
        _ => fs::read(path).map_err(cannot),
    }
}

/// A folder on the same file system as the place of files that are written; it vanishes with what is in it unless the files are
/// placed.
pub(crate) struct Staging {
    folder: TempDir,
}

impl Staging {
    /// A hidden folder in `folder`, for what will be `target`.
    pub(crate) fn new(folder: &Path, target: &Path) -> Result<Self, ConvertError> {
        let made = tempfile::Builder::new().prefix(".dyconv-").tempdir_in(folder);
        Ok(Self { folder: made.map_err(cannot_write(target))? })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Moves all files to the folder `into`, which may be empty for the current one, replacing those of the same names, and returns
    /// their new paths, sorted. As for [`write_atomically`](dyconv_file::write_atomically), links are followed and permissions kept.
    pub(crate) fn place(self, into: &Path) -> Result<Vec<PathBuf>, ConvertError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder()).map_err(cannot_write(into))? {
            names.push(entry.map_err(cannot_write(into))?.file_name());
        }
        names.sort();
        let mut placed: Vec<PathBuf> = Vec::new();
        for name in names {
            let path = into.join(&name);
            let staged = self.folder().join(&name);
            let (real, permissions) = file_to_write(&path).map_err(cannot_write(&path))?;
            let permitted = permissions.map_or(Ok(()), |permissions| fs::set_permissions(&staged, permissions));
            permitted.and_then(|()| fs::rename(&staged, real)).map_err(cannot_write(&path))?;
            placed.push(path);
        }
        if let Some(path) = placed.first() {
            // The renames must survive a power failure; not every file system can sync a folder.
            let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
        }
        Ok(placed)
    }
}

/// An error of the operating system about a file that is to be written.
pub(crate) fn cannot_write(path: &Path) -> impl Fn(std::io::Error) -> ConvertError {
    move |source| ConvertError::Io { path: path.to_owned(), what: "written", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_only_when_they_are_placed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("net.onnx");
        fs::write(&target, b"old").unwrap();
        let names = || -> Vec<_> { fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect() };
        let staging = Staging::new(home.path(), &target).unwrap();
        fs::write(staging.folder().join("net.onnx"), b"new").unwrap();
        assert_eq!((fs::read(&target).unwrap(), names().len()), (b"old".to_vec(), 2));
        drop(staging);
        assert_eq!((fs::read(&target).unwrap(), names().len()), (b"old".to_vec(), 1));

        let staging = Staging::new(home.path(), &target).unwrap();
        for name in ["net.onnx.data", "net.onnx"] {
            fs::write(staging.folder().join(name), b"new").unwrap();
        }
        let placed = staging.place(home.path()).unwrap();
        assert_eq!(placed, [target.clone(), home.path().join("net.onnx.data")]);
        assert_eq!((fs::read(&target).unwrap(), names().len()), (b"new".to_vec(), 2));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let home = tempfile::tempdir().unwrap();
        let absent = home.path().join("absent");
        let error = read(&absent).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot be read: ", absent.display())), "{error}");
        let target = absent.join("net.onnx");
        let error = Staging::new(&absent, &target).err().unwrap().to_string();
        assert!(error.starts_with(&format!("{}: cannot be written: ", target.display())), "{error}");
    }
}
