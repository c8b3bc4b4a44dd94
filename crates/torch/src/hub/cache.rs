//! The local cache of the Hugging Face hub: `models--owner--name/refs/main` holds a commit, `snapshots/<commit>` its files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dyconv_graph::short_name;

use crate::error::TorchError;

/// The folder of the cache.
pub(super) fn root(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, TorchError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").or_else(|| set("USERPROFILE"));
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|p| p.join("hub")))
        .or_else(|| home().map(|p| p.join(".cache").join("huggingface").join("hub")))
        .ok_or_else(|| {
            TorchError::Source("there is no home folder, and so no cache of the hub; set HF_HUB_CACHE".into())
        })
}

/// The folder of a model's files.
pub(super) fn folder(id: &str, root: &Path) -> Result<PathBuf, TorchError> {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty()
            && part.len() <= 96
            && part.chars().all(allowed)
            && !part.starts_with('.')
            && !part.contains("..")
    };
    let parts: Vec<&str> = id.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| plain(part)) {
        let id = short_name(id);
        return Err(TorchError::Source(format!("`hub:{id}` names no model; expected `hub:owner/name`")));
    }
    let model = root.join(format!("models--{}", parts.join("--")));
    let absent = |what: &str| {
        TorchError::Source(format!(
            "`hub:{id}` is not in the local cache {} ({what}); nothing is downloaded: fetch it with a client of the hub, or name \
             a folder with its files",
            root.display()
        ))
    };
    let commit =
        std::fs::read_to_string(model.join("refs").join("main")).map_err(|_| absent("it has no `refs/main`"))?;
    let commit = commit.trim();
    if !plain(commit) {
        return Err(absent("its `refs/main` holds no commit"));
    }
    let snapshot = model.join("snapshots").join(commit);
    if snapshot.is_dir() { Ok(snapshot) } else { Err(absent("the snapshot of its main branch is missing")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
            root(move |name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())).ok()
        };
        let home = ("HOME", "/h");
        assert_eq!(with(&[home, ("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")]), Some("/c".into()));
        assert_eq!(with(&[home, ("HF_HUB_CACHE", ""), ("HF_HOME", "/f")]), Some("/f/hub".into()));
        assert_eq!(with(&[home]), Some("/h/.cache/huggingface/hub".into()));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn the_main_branch_is_followed_and_nothing_outside() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("models--timm--resnet18.a1_in1k");
        let missing = folder("timm/resnet18.a1_in1k", root.path()).unwrap_err().to_string();
        assert!(missing.contains("nothing is downloaded") && missing.contains("refs/main"), "{missing}");
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), "abc123\n").unwrap();
        assert!(folder("timm/resnet18.a1_in1k", root.path()).unwrap_err().to_string().contains("snapshot"));
        std::fs::create_dir_all(model.join("snapshots/abc123")).unwrap();
        assert_eq!(folder("timm/resnet18.a1_in1k", root.path()).unwrap(), model.join("snapshots/abc123"));
        std::fs::write(model.join("refs/main"), "../../..").unwrap();
        assert!(folder("timm/resnet18.a1_in1k", root.path()).is_err());
        for id in ["", "a/b/c", "../x", "a/..", "a b", "/etc"] {
            let error = folder(id, root.path()).unwrap_err().to_string();
            assert!(error.contains("expected `hub:owner/name`"), "{error}");
        }
    }
}
