//! What the first bytes of a file say.

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
