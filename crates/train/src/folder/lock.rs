//! The lock of a folder: only one process at a time works in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::TrainError;

/// The lock file. It is empty, and never replaced, renamed or removed: a lock is held on a file, not on its name.
pub(crate) const LOCK: &str = "run.lock";

/// How often to recreate a lock file that is removed by someone else at the same time.
const TRIES: usize = 100;

/// Locks a folder until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    note: Option<String>,
}

impl FolderLock {
    /// Locks an existing folder.
    ///
    /// # Errors
    /// If another process, or another part of this one, holds the lock, or its file cannot be created.
    pub fn take(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(LOCK);
        for _ in 0..TRIES {
            if fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
                return Err(TrainError::damaged(&path, "is no file that could be locked; rename it"));
            }
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = opened.map_err(|e| TrainError::write(&path, e))?;
            let note = match file.try_lock() {
                Ok(()) => None,
                Err(TryLockError::WouldBlock) => return Err(TrainError::Busy(folder.to_owned())),
                Err(TryLockError::Error(e)) => Some(format!(
                    "{} cannot be locked ({e}); see to it that no other process trains in this folder",
                    path.display()
                )),
            };
            if is_at(&file, &path) {
                return Ok(Self { _file: file, note });
            }
        }
        Err(TrainError::Busy(folder.to_owned()))
    }

    /// A message for the user if the file system does not support locks.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// Whether the open file is still the one at `path`: it may have been removed meanwhile.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: fs::Metadata| (m.dev(), m.ino());
    file.metadata().and_then(|own| Ok(id(own) == id(fs::metadata(path)?))).unwrap_or(false)
}

/// An open file cannot be removed on these systems.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = FolderLock::take(dir.path()).unwrap();
        assert!(matches!(FolderLock::take(dir.path()), Err(TrainError::Busy(_))));
        drop(held);
        assert_eq!(FolderLock::take(dir.path()).unwrap().note(), None);
        assert!(matches!(FolderLock::take(&dir.path().join("absent")), Err(TrainError::Write { .. })));
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        fs::create_dir(dir.path().join(LOCK)).unwrap();
        let error = FolderLock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("run.lock: is no file that could be locked"), "{error}");
    }
}
