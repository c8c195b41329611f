//! Small JSON files that say their version, which is looked at before anything else in them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fs, io::ErrorKind, path::PathBuf};

/// A kind of such files.
pub(crate) struct Kind {
    /// The version that is written, and the only one that is read.
    pub(crate) version: u32,
    /// What a damaged one is not.
    pub(crate) name: &'static str,
    /// What to do about a damaged one.
    pub(crate) remedy: &'static str,
}

impl Kind {
    /// Reads one; none where there is no such file.
    pub(crate) fn read<T: DeserializeOwned>(&self, path: PathBuf) -> Result<Option<T>, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // No folder, or a file in a folder's place.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        let head: Head =
            serde_json::from_slice(&bytes).map_err(|source| self.damaged(path.clone(), source))?;
        if head.version != self.version {
            return Err(RecordError::Version {
                path,
                got: head.version,
                known: self.version,
            });
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| self.damaged(path, source))
    }

    /// Its text.
    pub(crate) fn text(
        &self,
        record: &impl Serialize,
        path: &std::path::Path,
    ) -> Result<Vec<u8>, RecordError> {
        serde_json::to_vec_pretty(record).map_err(|source| self.damaged(path.to_owned(), source))
    }

    fn damaged(&self, path: PathBuf, source: serde_json::Error) -> RecordError {
        RecordError::Damaged {
            path,
            name: self.name,
            source,
            remedy: self.remedy,
        }
    }
}

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged.
    #[error("{path} is no {name} ({source}): {remedy}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What it is not.
        name: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It is of another version.
    #[error("{path} has version {got}, this program reads {known}: use the program that wrote it")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        got: u32,
        /// The version that is known.
        known: u32,
    },
}
