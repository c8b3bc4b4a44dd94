//! Reads the parts of a tar file that hold data.
//!
//! Tar files may be concatenated, padded, or have holes between their parts. A segment extends from a nonzero block to
//! the next zero block; everything between segments is skipped in large steps.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Size of a block of a tar file in bytes.
pub(super) const BLOCK: u64 = 512;
/// Number of bytes that are read at once where only zeros are expected.
const STEP: usize = 1 << 20;
/// Largest size of an extended header in bytes: longer names and attributes are a mistake.
const MAX_EXTENSION: usize = 1 << 20;

/// A file from some offset on; positions are relative to it.
pub(super) struct Segment<'a> {
    file: &'a File,
    start: u64,
    position: u64,
    /// Bytes read since the last seek. Headers and labels are short.
    in_a_row: usize,
}

impl<'a> Segment<'a> {
    /// Seeks to `start`.
    pub fn at(mut file: &'a File, start: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file, start, position: 0, in_a_row: 0 })
    }
}

impl Read for Segment<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position += n as u64;
        self.in_a_row += n;
        if self.in_a_row > MAX_EXTENSION {
            let message = format!("an extended header of more than {} KiB", MAX_EXTENSION >> 10);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(n)
    }
}

impl Seek for Segment<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => (self.file.metadata()?.len() - self.start).checked_add_signed(by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a position outside of the file");
        let to = to.ok_or_else(outside)?;
        let absolute = self.start.checked_add(to).ok_or_else(outside)?;
        self.file.seek(SeekFrom::Start(absolute))?;
        self.position = to;
        self.in_a_row = 0;
        Ok(to)
    }
}

/// The offset of the first nonzero block from `from` on.
pub(super) fn next_block(mut file: &File, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    let mut buffer = vec![0; BLOCK as usize];
    loop {
        let Some(data) = after_hole(file, at) else { return Ok(None) };
        at = data.max(from) / BLOCK * BLOCK;
        file.seek(SeekFrom::Start(at))?;
        let mut filled = 0;
        // A short read is not the end.
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let blocks = buffer[..filled].chunks(BLOCK as usize);
        if let Some(i) = blocks.enumerate().find_map(|(i, block)| block.iter().any(|b| *b != 0).then_some(i)) {
            return Ok(Some(at + i as u64 * BLOCK));
        }
        if filled < buffer.len() {
            return Ok(None);
        }
        at += filled as u64;
        buffer.resize((buffer.len() * 4).min(STEP), 0);
    }
}

/// The offset of the next bytes on disk, from `at` on; `None` if there are no more.
#[cfg(target_os = "linux")]
fn after_hole(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(data) => Some(data),
        Err(rustix::io::Errno::NXIO) => None,
        // Not every file system reports its holes.
        Err(_) => Some(at),
    }
}

#[cfg(not(target_os = "linux"))]
fn after_hole(_: &File, at: u64) -> Option<u64> {
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_next_block_is_the_first_that_is_not_zero(
            len in 0usize..40_000, marks in prop::collection::vec(any::<prop::sample::Index>(), 0..3), from in 0u64..60,
        ) {
            let mut bytes = vec![0u8; len];
            for mark in marks.iter().filter(|_| len > 0) {
                bytes[mark.index(len)] = 1;
            }
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let blocks: Vec<&[u8]> = bytes.chunks(512).collect();
            let expected = (from as usize..blocks.len()).find(|i| blocks[*i].iter().any(|b| *b != 0));
            let found = next_block(&File::open(&path).unwrap(), from * BLOCK).unwrap();
            prop_assert_eq!(found, expected.map(|i| i as u64 * BLOCK));
        }
    }
}
