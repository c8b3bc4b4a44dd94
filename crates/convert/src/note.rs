//! Notes in reports.

use std::fmt;

use serde::{Serialize, Serializer};

/// A sentence about what was assumed, left out or found. As text and in JSON it is the sentence alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The sentence.
    pub text: String,
    /// What says otherwise, if the caller can say it.
    pub remedy: Option<Remedy>,
}

/// The option of an import that changes what a [`Note`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The names of the classes.
    Classes,
    /// The keypoints of the heat maps.
    Skeleton,
    /// Keys of the preprocessing.
    Preprocessing,
    /// The temperature of the routers.
    Temperature,
}

impl Note {
    pub(crate) fn with(text: impl Into<String>, remedy: Remedy) -> Self {
        Self { text: text.into(), remedy: Some(remedy) }
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self { text, remedy: None }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}
