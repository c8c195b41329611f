//! The datasets of a tree: `datasets/*/`, oldest first.
//!
//! What forming leaves aside (`.building-PID`, `.lock`) is none. A folder whose manifest cannot be used is one too, with its
//! fault: what is in which of its splits can still be read off its folders.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use annotation::Name;
use rayon::prelude::*;

use crate::manifest::{Manifest, ManifestError, Split};

/// A dataset on disk.
#[derive(Debug)]
pub struct Catalogued {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub manifest: Result<Manifest, ManifestError>,
}

impl Catalogued {
    /// The name of its folder.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// When it was formed, and what tells two of one moment apart.
    fn age(&self) -> (jiff::Timestamp, usize, String) {
        let created = match &self.manifest {
            Ok(manifest) => manifest.created,
            Err(_) => changed(&self.folder),
        };
        let name = self.name();
        (created, name.len(), name)
    }
}

/// When a folder was changed last; long ago where nobody can tell.
fn changed(folder: &Path) -> jiff::Timestamp {
    let modified = folder.metadata().and_then(|meta| meta.modified()).ok();
    modified
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| jiff::Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok())
        .unwrap_or_default()
}

/// The datasets below this folder, the oldest first; none where the folder is absent.
pub fn list(datasets: &Path) -> io::Result<Vec<Catalogued>> {
    let entries = match fs::read_dir(datasets) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_aside = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_aside && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    let mut found: Vec<Catalogued> = folders
        .into_par_iter()
        .map(|folder| Catalogued {
            manifest: Manifest::read(&folder),
            folder,
        })
        .collect();
    found.sort_by_cached_key(Catalogued::age);
    Ok(found)
}

/// Which annotation is in which split, read off a dataset's folders.
#[must_use]
pub fn splits_by_folder(dataset: &Path) -> BTreeMap<Name, Split> {
    let mut splits = BTreeMap::new();
    for split in Split::ALL {
        let Ok(entries) = fs::read_dir(dataset.join(split.folder()).join("images")) else {
            continue;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let stem = file.to_str().and_then(|file| file.strip_suffix(".jpg"));
            if let Some(name) = stem.and_then(|stem| Name::new(stem).ok()) {
                splits.insert(name, split);
            }
        }
    }
    splits
}
