//! A model file as memory: the system reads pages when they are looked at, and forgets them when told to.
//!
//! While a file is mapped its bytes may change under the program if somebody writes into it, and looking at a page that was
//! cut off ends the program with a signal (SIGBUS on Unix). dyconv never writes into a model file that exists, it renames a
//! whole new one over it ([`write_atomically`](crate::write_atomically)), which leaves a mapping as it was; copy a file to
//! another name before you edit it in place.
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
        // Before it is opened: to open a pipe is to wait for who writes into it.
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
        // SAFETY: the bytes are only ever read as bytes, whose every pattern is valid, and each tensor is checked after it was
        // copied out; that nobody may cut the file short meanwhile is documented above.
        unsafe { Mmap::map(&file) }.map(Self).map_err(io)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives all pages back to the system, also those that it mapped around what was asked for; they are read from the file
    /// again when they are looked at again.
    pub(crate) fn release(&self) {
        // SAFETY: the mapping is of a file and never written, so its pages hold nothing that the file does not.
        #[cfg(unix)]
        let _refused = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}
