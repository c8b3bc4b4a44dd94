//! Extensions of image files.

use std::path::Path;

/// Extensions of image files, in lower case; matched case-insensitively.
pub(crate) const EXTENSIONS: [&str; 10] = ["jpg", "jpeg", "jfif", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether a file has the extension of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}
