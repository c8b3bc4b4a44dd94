//! The numbers and names of the format.

/// Version of the format that is written. All from 1 on are read.
pub const VERSION: u64 = 2;

/// Metadata key of the header.
pub(crate) const KEY: &str = "dyconv";

/// Largest header of a file, in bytes: what is read of it takes about twenty times as much memory.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
