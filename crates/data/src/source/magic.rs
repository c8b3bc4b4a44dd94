//! Detects file formats by the first bytes.

/// The compression or archive format of a file, from its first bytes.
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
