//! How the names of image files end.

use std::path::Path;

/// Names of image files end so, after a dot and in letters of either case.
pub(crate) const EXTENSIONS: [&str; 10] = ["jpg", "jpeg", "jfif", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether a file is called as images are.
pub(crate) fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}
