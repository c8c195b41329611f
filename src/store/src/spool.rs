//! Files of the next batch, written while this one waits for the disk.
//!
//! A spooled file has no name until its batch is committed, and is gone if that never happens: spooling promises nothing and
//! changes nothing. What could not be spooled, for whatever reason, is written by the commit, which also finds the words.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::resource::{Resource, getrlimit};

use crate::commit;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::nameless::{self, Nameless};

/// How many files may be open beside the spooled ones.
const OTHERS: usize = 256;

/// Writes files ahead of their batch, from any thread.
#[derive(Debug, Clone)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    writers: usize,
    /// From so many files on it pays.
    least: usize,
    /// So many may be open at once.
    most: usize,
    /// Each spooled file holds one more of it.
    open: Arc<()>,
}

impl Spool {
    /// None where files are not synced all at once, or have to have names.
    pub(crate) fn new(disk: &Arc<dyn Disk>, dir: PathBuf, writers: usize) -> Option<Self> {
        let least = disk.sync_all_from()?;
        let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        Some(Self {
            disk: Arc::clone(disk),
            dir,
            writers,
            least,
            most: usize::try_from(files)
                .unwrap_or(usize::MAX)
                .saturating_sub(OTHERS),
            open: Arc::new(()),
        })
    }

    /// Whether so many files are worth it: spooled files are synced all at once, and a few are faster synced alone.
    #[must_use]
    pub fn pays_for(&self, files: usize) -> bool {
        files >= self.least
    }

    /// How many threads should spool images of about this many bytes.
    #[must_use]
    pub fn threads(&self, bytes: usize) -> usize {
        if bytes < nameless::DIRECT_FROM {
            self.writers.min(commit::cores())
        } else {
            self.writers
        }
    }

    /// Writes image and label of what may become a new annotation.
    #[must_use]
    pub fn annotation(&self, image: &Bytes, label: &str) -> Option<Spooled> {
        Some(Spooled {
            label: self.file(Bytes::copy_from_slice(label.as_bytes()))?,
            image: self.file(image.clone())?,
        })
    }

    fn file(&self, bytes: Bytes) -> Option<File> {
        let open = Arc::clone(&self.open);
        if Arc::strong_count(&open) > self.most {
            return None;
        }
        let file = self.disk.write_nameless(&self.dir, &bytes).ok()??;
        Some(File {
            digest: Digest::of(&bytes),
            bytes,
            file,
            _open: open,
        })
    }
}

/// Image and label of what may become a new annotation, without names.
#[derive(Debug)]
pub struct Spooled {
    pub(crate) image: File,
    pub(crate) label: File,
}

/// A file that was spooled.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) file: Nameless,
    _open: Arc<()>,
}

impl File {
    /// Whether it holds these bytes. The very same memory is not looked at.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        std::ptr::eq(&*self.bytes, bytes) || self.bytes == bytes
    }
}
