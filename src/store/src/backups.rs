//! `status/backup.json`: how the backups of a tree stand. `azaion-backup` writes it after everything that it does, whether it
//! came to an end or not; health and status pages read it, and need nothing of what makes backups.
//!
//! # Layout
//! JSON, `version` 1. Every part is there once it has happened; times are seconds since 1970. A reader refuses a version that
//! it does not know.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};

/// The file, relative to the root.
pub const BACKUPS: &str = "status/backup.json";
const VERSION: u32 = 1;
const NEXT: &str = "move it away: the next backup writes it anew";

/// How the backups of a tree stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backups {
    version: u32,
    /// Where they are; never with a password in it.
    pub repository: String,
    /// The last whole one.
    pub backup: Option<Taken>,
    /// The last look at the repository.
    pub check: Option<Checked>,
    /// The last drill.
    pub drill: Option<Drilled>,
    /// What failed since, if the last of these did not come to an end.
    pub error: Option<Failed>,
}

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// When it was whole.
    pub at: u64,
    /// Its name in the repository.
    pub snapshot: String,
    /// The offset that it begins at again: of the next message to read, when it was begun.
    pub offset: u64,
    /// How many files it holds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What it added to the repository, in bytes.
    pub added_bytes: u64,
    /// How long it took.
    pub duration_s: f64,
}

/// A look at the repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// When it ended.
    pub at: u64,
    /// Which part of the data was read back, from 0; the next look reads the next one.
    pub part: u32,
    /// Of how many.
    pub parts: u32,
    /// What is wrong; empty if nothing is.
    pub problems: Vec<String>,
}

/// A restore for practice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drilled {
    /// When it ended.
    pub at: u64,
    /// Which backup was restored from.
    pub snapshot: String,
    /// How many files were restored and held against their hashes.
    pub files: u64,
    /// How many of them are in the tree as they were, and were held against it.
    pub same_in_tree: u64,
    /// What the restored model answered to an image, or why it was not asked.
    pub model: String,
    /// What is wrong; empty if nothing is.
    pub problems: Vec<String>,
}

/// What did not come to an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// When.
    pub at: u64,
    /// What: `run`, `check` or `drill`.
    pub what: String,
    /// Why, for people.
    pub reason: String,
}

impl Backups {
    /// Nothing was done yet.
    #[must_use]
    pub fn none(repository: String) -> Self {
        Self {
            version: VERSION,
            repository,
            backup: None,
            check: None,
            drill: None,
            error: None,
        }
    }

    /// Reads what is known of the tree under `root`; none where nothing was ever done.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let path = file(root);
        let Some(bytes) = Real::new().read(&path).map_err(Error::io("read", &path))? else {
            return Ok(None);
        };
        let unusable = |reason: String| Error::Format {
            path: path.clone(),
            reason,
            next: NEXT,
        };
        let tree: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        if tree["version"] != VERSION {
            return Err(unusable(format!(
                "version {} is not known here, only {VERSION} is",
                tree["version"]
            )));
        }
        let known = serde_json::from_value(tree).map_err(|error| unusable(error.to_string()))?;
        Ok(Some(known))
    }

    /// Replaces the file; its folder is made where it is missing.
    pub fn write(&self, root: &Path) -> Result<()> {
        let path = file(root);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        // Plain structs always become text.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        atomic::replace(&path, &text)
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(BACKUPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_a_tree_without_backups_has_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Backups::read(root.path()).unwrap(), None);
        let mut backups = Backups::none("/srv/backup".into());
        backups.backup = Some(Taken {
            at: 1_795_724_232,
            snapshot: "0123abcd".into(),
            offset: u64::MAX,
            files: 3,
            bytes: 4,
            added_bytes: 5,
            duration_s: 0.5,
        });
        backups.error = Some(Failed {
            at: 1,
            what: "check".into(),
            reason: "pack 0123 is gone".into(),
        });
        backups.write(root.path()).unwrap();
        assert_eq!(Backups::read(root.path()).unwrap(), Some(backups));
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("status")).unwrap();
        for text in ["", "{}", "[1]", r#"{"version": 2}"#, r#"{"version": 1}"#] {
            std::fs::write(root.path().join(BACKUPS), text).unwrap();
            let error = Backups::read(root.path()).expect_err(text).to_string();
            assert!(error.contains("backup.json is not usable"), "{error}");
        }
    }
}
