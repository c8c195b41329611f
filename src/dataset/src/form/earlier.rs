//! What earlier datasets say: where an image was, so that it stays there, and what it is, so that it need not be read again.
//!
//! The newest dataset that has an image decides. One whose manifest cannot be used is not forgotten: its folders say what was
//! where.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotation::Name;

use super::{FormError, failed, image_path, label_path};
use crate::catalog;
use crate::manifest::{ManifestItem, Split, Stamp};

/// All earlier datasets together.
#[derive(Default)]
pub(crate) struct Earlier {
    /// By an annotation's name.
    known: HashMap<String, Known>,
    /// Their names, newest first.
    pub names: Vec<String>,
}

/// An annotation in the newest dataset that has it.
pub(crate) struct Known {
    pub split: Split,
    record: Option<Record>,
}

/// What its manifest says of it.
struct Record {
    item: ManifestItem,
    /// Where the dataset is, by its place in the list.
    folder: Arc<Path>,
}

impl Earlier {
    /// Reads all manifests.
    pub fn read(datasets: &Path) -> Result<Self, FormError> {
        let mut earlier = Self::default();
        for dataset in catalog::list(datasets).map_err(failed("list", datasets))? {
            let name = dataset.name();
            match dataset.manifest {
                Ok(manifest) => {
                    let folder: Arc<Path> = dataset.folder.into();
                    for item in manifest.items {
                        let split = item.split;
                        let name = item.name.clone();
                        let folder = folder.clone();
                        let record = Some(Record { item, folder });
                        earlier.known.insert(name, Known { split, record });
                    }
                }
                Err(error) => {
                    let splits = catalog::splits_by_folder(&dataset.folder);
                    if splits.is_empty() {
                        continue;
                    }
                    tracing::warn!(dataset = name, %error, images = splits.len(), "its division is read off its folders");
                    for (name, split) in splits {
                        // What an older one says of the image itself is as true as before.
                        let record = earlier.known.remove(name.as_str()).and_then(|known| known.record);
                        earlier
                            .known
                            .insert(name.as_str().to_owned(), Known { split, record });
                    }
                }
            }
            earlier.names.push(name);
        }
        earlier.names.reverse();
        Ok(earlier)
    }

    /// Datasets with these items, the oldest first.
    #[cfg(test)]
    pub fn of<'i>(datasets: impl IntoIterator<Item = &'i [ManifestItem]>) -> Self {
        let mut earlier = Self::default();
        for item in datasets.into_iter().flatten() {
            let (item, split, folder) = (item.clone(), item.split, Path::new("").into());
            let name = item.name.clone();
            let record = Some(Record { item, folder });
            earlier.known.insert(name, Known { split, record });
        }
        earlier
    }

    /// Where an annotation was.
    pub fn split(&self, name: &str) -> Option<Split> {
        Some(self.known.get(name)?.split)
    }

    /// What a manifest says of an annotation.
    pub fn item(&self, name: &str) -> Option<&ManifestItem> {
        Some(&self.known.get(name)?.record.as_ref()?.item)
    }

    /// What a manifest says of an annotation's image, if what was found is that very file, unchanged.
    pub fn image(&self, name: &Name, now: Found) -> Option<&ManifestItem> {
        self.vouched(name, now, |item| item.image_file, image_path)
    }

    /// What a manifest says of an annotation's label, if what was found is that very file, unchanged.
    pub fn label(&self, name: &Name, now: Found) -> Option<&ManifestItem> {
        self.vouched(name, now, |item| item.label_file, label_path)
    }

    fn vouched(
        &self,
        name: &Name,
        now: Found,
        recorded: fn(&ManifestItem) -> Option<Stamp>,
        path_of: fn(&Path, &Name) -> PathBuf,
    ) -> Option<&ManifestItem> {
        let Record { item, folder } = self.known.get(name.as_str())?.record.as_ref()?;
        let then = || path_of(&folder.join(item.split.folder()), name);
        (now.stamp.is_some() && now.stamp == recorded(item) && now.is(&then())).then_some(item)
    }

    /// Every annotation that earlier datasets had.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(name, known)| (name.as_str(), known))
    }
}

impl Known {
    /// What its manifest says of it.
    pub fn item(&self) -> Option<&ManifestItem> {
        self.record.as_ref().map(|record| &record.item)
    }
}

/// A file as it is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    inode: (u64, u64),
    /// None where the file's time is beyond all reason.
    pub stamp: Option<Stamp>,
}

impl Found {
    pub fn at(path: &Path) -> Result<Self, FormError> {
        let meta = path.metadata().map_err(failed("look at", path))?;
        let nanos = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
        let modified = jiff::Timestamp::new(meta.mtime(), nanos).ok();
        Ok(Self {
            inode: (meta.dev(), meta.ino()),
            stamp: modified.map(|modified| Stamp {
                bytes: meta.len(),
                modified,
            }),
        })
    }

    /// Whether it is the file at this path.
    fn is(self, path: &Path) -> bool {
        path.symlink_metadata()
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode)
    }
}
