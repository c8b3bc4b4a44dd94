//! NAME|FILE arguments: an architecture with fresh weights, or a model file.

use std::path::{Path, PathBuf};

use dyconv_models::ModelName;

/// A network that the user named.
pub enum NameOrFile {
    /// An existing architecture.
    Name(String),
    /// A file, which may not exist.
    File(PathBuf),
}

impl NameOrFile {
    /// The name of an architecture takes precedence (use `./name` for a file with such a name); otherwise anything that
    /// exists or looks like a path is a file.
    ///
    /// # Errors
    /// If the name is unknown; suggests the nearest existing one.
    pub fn new(what: &str) -> anyhow::Result<Self> {
        let path = Path::new(what);
        match what.parse::<ModelName>() {
            Ok(_) => Ok(NameOrFile::Name(what.to_owned())),
            Err(_)
                if what.contains(['/', '\\'])
                    || path.exists()
                    || path.extension().is_some_and(|e| e == "safetensors") =>
            {
                Ok(NameOrFile::File(path.to_owned()))
            }
            Err(unknown) => Err(unknown.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_and_near_misses() {
        let is_name = |what: &str| matches!(NameOrFile::new(what), Ok(NameOrFile::Name(_)));
        let is_file = |what: &str| matches!(NameOrFile::new(what), Ok(NameOrFile::File(_)));
        assert!(is_name("dy_resnet18") && is_name("mobilenet_v2_x0.35"));
        assert!(is_file("./dy_resnet18") && is_file("absent.safetensors") && is_file("Cargo.toml"));
        let error = NameOrFile::new("dy_resnet.18").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("did you mean `dy_resnet18`"), "{error}");
    }
}
