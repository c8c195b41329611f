//! Which annotations a folder holds: an image and a label of the same name.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use annotation::Name;
use store::atomic::ASIDE;

use super::{FormError, Skipped, failed, image_path, label_path};

/// Why a file was left alone (DST-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// An image without a label.
    NoLabel,
    /// A label without an image.
    NoImage,
    /// Not `{name}.jpg` among the images or `{name}.txt` among the labels.
    ForeignFile,
    /// Moved or deleted by someone else while the dataset was formed.
    Vanished,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoLabel => "an image without a label",
            Self::NoImage => "a label without an image",
            Self::ForeignFile => "not a file of an annotation",
            Self::Vanished => "moved away while the dataset was formed",
        })
    }
}

/// What a folder holds.
pub(crate) struct Found {
    /// Annotations with both files, sorted.
    pub names: Vec<Name>,
    /// Files that are part of none.
    pub skipped: Vec<Skipped>,
}

/// Looks through `data/images` and `data/labels`.
pub(crate) fn find(data: &Path) -> Result<Found, FormError> {
    let mut skipped = Vec::new();
    let images = list(&data.join("images"), ".jpg", &mut skipped)?;
    let labels = list(&data.join("labels"), ".txt", &mut skipped)?;
    let skip = |path: PathBuf, reason| Skipped { path, reason };
    skipped.extend(
        images
            .difference(&labels)
            .map(|name| skip(image_path(data, name), SkipReason::NoLabel)),
    );
    skipped.extend(
        labels
            .difference(&images)
            .map(|name| skip(label_path(data, name), SkipReason::NoImage)),
    );
    Ok(Found {
        names: images.intersection(&labels).cloned().collect(),
        skipped,
    })
}

/// The names of the files with that extension; whatever else lies there is skipped.
fn list(folder: &Path, extension: &str, skipped: &mut Vec<Skipped>) -> Result<BTreeSet<Name>, FormError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FormError::NoData {
                path: folder.to_owned(),
            });
        }
        Err(error) => return Err(FormError::io("list", folder, error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", folder))?;
        let file_name = entry.file_name();
        let text = file_name.to_str();
        // A writer that is at work right now, or that was killed.
        if text.is_some_and(|text| text.starts_with(ASIDE)) {
            continue;
        }
        let is_file = entry
            .file_type()
            .map_err(failed("look at", &entry.path()))?
            .is_file();
        let name = text.and_then(|text| Name::new(text.strip_suffix(extension)?).ok());
        match name {
            Some(name) if is_file => drop(names.insert(name)),
            _ => skipped.push(Skipped {
                path: entry.path(),
                reason: SkipReason::ForeignFile,
            }),
        }
    }
    Ok(names)
}
