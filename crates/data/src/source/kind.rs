//! What a file is, by its name or its first bytes.

use std::path::Path;

use crate::decode::EXTENSIONS;

/// Whether a file is called as images are.
pub(super) fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}

/// What the first bytes say a file is packed with.
pub(super) fn packed(start: &[u8]) -> Option<&'static str> {
    let magic: [(&[u8], &str); 5] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
    ];
    magic.iter().find(|(bytes, _)| start.starts_with(bytes)).map(|(_, kind)| *kind)
}
