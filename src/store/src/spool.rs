//! Files of the next batch, written while this one waits for the disk.
//!
//! A spooled file has no name until its batch is committed, and is gone if that never happens: spooling promises nothing and
//! changes nothing. It is made durable before its turn, too, so that the commit has little to wait for. What could not be
//! spooled or synced, for whatever reason, is written by the commit, which also finds the words.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// How often a sync has failed. Any file that was written by then may be the one.
    failures: Arc<AtomicU64>,
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
            failures: Arc::default(),
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

    /// Makes the bytes of these durable. None is left of what may not be.
    pub fn sync<'s>(&self, spooled: impl Iterator<Item = &'s mut Option<Spooled>>) {
        let synced = self.disk.sync_nameless();
        if let Err(error) = &synced {
            tracing::debug!(%error, "files written ahead may be lost, and are written again");
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
        let failures = self.failures.load(Ordering::SeqCst);
        for slot in spooled {
            *slot = slot.take().and_then(|Spooled { image, label }| {
                Some(Spooled {
                    image: image.synced(failures)?,
                    label: label.synced(failures)?,
                })
            });
        }
    }

    fn file(&self, bytes: Bytes) -> Option<File> {
        let open = Arc::clone(&self.open);
        if Arc::strong_count(&open) > self.most {
            return None;
        }
        let failures = self.failures.load(Ordering::SeqCst);
        let file = self.disk.write_nameless(&self.dir, &bytes).ok()??;
        Some(File {
            digest: Digest::of(&bytes),
            bytes,
            file,
            failures,
            durable: false,
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

impl Spooled {
    /// Whether it was synced, so that it can be given names.
    pub(crate) fn is_durable(&self) -> bool {
        self.image.durable && self.label.durable
    }
}

/// A file that was spooled.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) file: Nameless,
    /// Whether the bytes were synced.
    durable: bool,
    /// How often a sync had failed before it was written.
    failures: u64,
    _open: Arc<()>,
}

impl File {
    /// The file once everything was synced; none if a sync has failed since it was written.
    fn synced(self, failures: u64) -> Option<Self> {
        let durable = true;
        (self.failures == failures).then_some(Self { durable, ..self })
    }

    /// Whether it holds these bytes. The very same memory is not looked at.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        std::ptr::eq(&*self.bytes, bytes) || self.bytes == bytes
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fault::{Fault, Faulty, MemDisk};

    /// A spool on a disk whose operation number `full` finds it full.
    fn spool(full: usize) -> Spool {
        let root = Path::new("/azaion");
        let disk: Arc<dyn Disk> = Arc::new(Faulty::new(
            Arc::new(MemDisk::synced_as_a_whole(root)),
            full,
            Fault::Full(0),
        ));
        Spool::new(&disk, root.join("aside"), 1).unwrap()
    }

    fn annotation(spool: &Spool) -> Option<Spooled> {
        spool.annotation(&Bytes::from_static(b"image"), "label")
    }

    #[test]
    fn a_file_is_durable_once_it_is_synced() {
        let spool = spool(usize::MAX);
        let mut files = [annotation(&spool), None];
        assert!(!files[0].as_ref().unwrap().is_durable());
        spool.sync(files.iter_mut());
        assert!(files[0].as_ref().unwrap().is_durable() && files[1].is_none());
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_left_of_what_was_written_before() {
        // Two annotations of two files each, and the sync.
        let spool = spool(4);
        let (mut synced, mut written_meanwhile) = ([annotation(&spool)], [annotation(&spool)]);
        spool.sync(synced.iter_mut());
        assert!(synced[0].is_none());
        let mut written_later = [annotation(&spool)];
        spool.sync(written_meanwhile.iter_mut());
        spool.sync(written_later.iter_mut());
        assert!(
            written_meanwhile[0].is_none(),
            "the one that failed may be one of these"
        );
        assert!(written_later[0].as_ref().unwrap().is_durable());
    }
}
