//! `run.json`, which marks a folder as the folder of a run.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::data::Data;
use crate::error::TrainError;
use crate::files::RUN;

pub(super) const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
pub(super) struct Contents {
    pub version: u32,
    pub data: Data,
    /// The model that the run was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Reads the content of `run.json`.
pub(super) fn read_contents(path: &Path) -> Result<Contents, TrainError> {
    let file = path.join(RUN);
    let text = match fs::read_to_string(&file) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(TrainError::NoRun(path.to_owned()));
        }
        text => text.map_err(|e| TrainError::read(&file, e))?,
    };
    let contents: Contents = serde_json::from_str(&text)
        .map_err(|e| TrainError::damaged(&file, format!("does not describe a run ({e}); restore the file")))?;
    if contents.version != VERSION {
        let reason = format!("is of version {}, this program resumes version {VERSION}", contents.version);
        return Err(TrainError::damaged(&file, reason));
    }
    Ok(contents)
}
