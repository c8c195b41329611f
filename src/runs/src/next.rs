//! What the next run is begun with, where that is not what the configuration says: written by who orders a run, read and taken
//! away by the trainer that begins it.

use crate::{
    Error,
    folder::{NEXT, RUNS},
    record::Kind,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

const KIND: Kind = Kind {
    version: 1,
    name: "order of a run",
    remedy: "remove it, and order anew",
};

/// An order of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    version: u32,
    /// What the run starts from: a model file, relative to the folder of runs.
    pub model: String,
    /// Why it was ordered.
    pub why: String,
}

impl Next {
    /// An order.
    #[must_use]
    pub fn new(model: String, why: String) -> Self {
        Self {
            version: KIND.version,
            model,
            why,
        }
    }

    /// Where it lies in the tree.
    #[must_use]
    pub fn path(root: &Path) -> PathBuf {
        root.join(RUNS).join(NEXT)
    }

    /// The order that waits, if one does.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or of a version that is not known.
    pub fn waiting(root: &Path) -> Result<Option<Self>, Error> {
        Ok(KIND.read(Self::path(root))?)
    }

    /// Has it wait for the next run, in the place of one that waits already.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn order(&self, root: &Path) -> Result<(), Error> {
        let path = Self::path(root);
        Ok(store::atomic::replace(&path, &KIND.text(self, &path)?)?)
    }

    /// The run was begun, or there is nothing to begin it with: no order waits any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn done(root: &Path) -> Result<(), Error> {
        let path = Self::path(root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| Error::Release { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_waits_until_it_is_done_and_a_later_one_takes_its_place() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        assert_eq!(Next::waiting(root.path()).unwrap(), None);
        for why in ["12 new annotations", "13 new annotations"] {
            let order = Next::new("azaion-2026-03-28/best.pt".into(), why.into());
            order.order(root.path()).unwrap();
            assert_eq!(Next::waiting(root.path()).unwrap(), Some(order));
        }
        Next::done(root.path()).unwrap();
        Next::done(root.path()).unwrap();
        assert_eq!(Next::waiting(root.path()).unwrap(), None);
    }

    #[test]
    fn a_damaged_order_is_refused_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        for (text, says) in [
            ("", "remove it, and order anew"),
            ("{\"version\": 2}", "has version 2"),
        ] {
            fs::write(Next::path(root.path()), text).unwrap();
            let error = Next::waiting(root.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
