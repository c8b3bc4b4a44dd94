//! Memory-mapped model files: the system loads pages on access and drops them on request.
//!
//! While a file is mapped, its bytes may change if another process writes into it, and access to a page beyond a
//! truncation ends the program with a signal (SIGBUS on Unix). dyconv never writes into an existing model file: it
//! renames a whole new one over it ([`write_atomically`](crate::write_atomically)), which leaves the mapping intact.
//! Copy a file to another name before you edit it in place.
#![allow(unsafe_code, reason = "maps a file, and gives pages back")]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

use crate::error::ModelFileErrorKind;

/// Files above this size are refused.
pub const MAX_FILE_BYTES: u64 = 8 << 30;

/// A file, mapped for reading.
#[derive(Debug)]
pub(crate) struct Map(Mmap);

impl Map {
    pub(crate) fn open(path: &Path) -> Result<Self, ModelFileErrorKind> {
        let io = |source| ModelFileErrorKind::Io { what: "read", source };
        // Before the file is opened: opening a pipe would block until somebody writes into it.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            let message = "it is a folder, a pipe or a device, expected a file";
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, message)));
        }
        let file = File::open(path).map_err(io)?;
        match file.metadata().map_err(io)?.len() {
            0 => return Err(ModelFileErrorKind::Container("it is empty".into())),
            size if size > MAX_FILE_BYTES => {
                return Err(ModelFileErrorKind::Container(format!("{size} bytes, more than {MAX_FILE_BYTES}")));
            }
            _ => {}
        }
        // SAFETY: the bytes are only ever read as bytes, which are valid in every pattern, and each tensor is checked
        // after it was copied out; the documentation above requires that nobody truncates the file meanwhile.
        unsafe { Mmap::map(&file) }.map(Self).map_err(io)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Releases all pages, including those the system mapped around the ones that were read; they are read from the
    /// file again on the next access.
    pub(crate) fn release(&self) {
        // SAFETY: the mapping is of a file and never written, so its pages hold nothing that the file does not.
        #[cfg(unix)]
        let _refused = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}
