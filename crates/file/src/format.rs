//! Constants of the format.

/// Version of the format that is written. All versions from 1 on can be read.
pub const VERSION: u64 = 2;

/// Metadata key of the header.
pub(crate) const KEY: &str = "dyconv";

/// Largest header of a file, in bytes: parsing it takes about twenty times as much memory.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
