//! How much there is to learn that a dataset does not have.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{FormError, earlier::Found, label_path, pairs};
use crate::manifest::{Manifest, ManifestItem, sha256};

/// Annotations that a dataset formed now would have otherwise than an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Annotations that it does not have.
    pub added: usize,
    /// Annotations that it has with another label.
    pub relabelled: usize,
}

impl News {
    /// Both together.
    #[must_use]
    pub fn all(self) -> usize {
        self.added + self.relabelled
    }
}

/// What `data` holds that the dataset of this manifest does not; all of it, where there is none.
///
/// Only labels whose file is another one than when the dataset was formed are read: a tree that was copied or restored has
/// nothing new by that.
pub fn news(data: &Path, manifest: Option<&Manifest>) -> Result<News, FormError> {
    let mut news = News::default();
    for name in pairs::find(data)?.names {
        match manifest.and_then(|manifest| manifest.item(name.as_str())) {
            None => news.added += 1,
            Some(item) => news.relabelled += usize::from(is_another(&label_path(data, &name), item)?),
        }
    }
    Ok(news)
}

fn is_another(label: &Path, item: &ManifestItem) -> Result<bool, FormError> {
    let is_known = |found: Found| found.stamp.is_some() && found.stamp == item.label_file;
    if Found::at(label).is_ok_and(is_known) {
        return Ok(false);
    }
    match fs::read(label) {
        Ok(bytes) => Ok(sha256(&bytes) != item.label_sha256),
        // Moved away meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FormError::io("read", label, error)),
    }
}
