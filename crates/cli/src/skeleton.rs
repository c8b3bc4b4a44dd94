//! `--skeleton`: keypoints from a TOML file.

use std::path::Path;

use anyhow::Context;
use dyconv_task::Skeleton;

/// Reads and checks a skeleton.
pub fn read(path: &Path) -> anyhow::Result<Skeleton> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let skeleton: Skeleton = toml::from_str(&text).with_context(|| path.display().to_string())?;
    skeleton.check().map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    Ok(skeleton)
}
