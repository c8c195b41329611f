//! The open tree: the lock, the offset, the remembered misses, and where an annotation lives.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use annotation::Name;

use crate::batch::Batch;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};
use crate::ledger::Turn;
use crate::lock::Lock;
use crate::names::Names;
use crate::paths::{Home, Paths};
use crate::spool::Spool;
use crate::{atomic, ledger, offset, quarantine, unmatched};

/// How many threads write and sync at once where each file is synced by itself: the time goes into waiting for the disk,
/// which takes many requests together.
const WRITERS: usize = 8;

/// The tree, open for its one writer.
///
/// Opening it takes the lock, makes what folders are missing, removes what a killed writer left, and syncs every folder: a
/// predecessor that was killed may have left renames that are visible but not durable, and the next batch will rely on them.
#[derive(Debug)]
pub struct Tree {
    pub(crate) paths: Paths,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) offset: u64,
    pub(crate) unmatched: unmatched::Log,
    pub(crate) ledger: ledger::Log,
    /// A commit failed half-way: what it renamed must be synced before anything relies on it.
    pub(crate) unsettled: bool,
    /// The last offset has its name, but that name is not synced.
    pub(crate) offset_unsynced: bool,
    pub(crate) writers: usize,
    /// What need not be looked for; none where not everything can be heard of.
    pub(crate) names: Option<Names>,
    _lock: Option<Lock>,
}

impl Tree {
    /// Opens the tree with the default layout under `root`, which must exist.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_at(Paths::under(root))
    }

    /// Opens the tree with the given layout, whose root must exist.
    pub fn open_at(paths: Paths) -> Result<Self> {
        if !Real::new()
            .exists(paths.root())
            .map_err(Error::io("look for", paths.root()))?
        {
            return Err(Error::NoRoot {
                path: paths.root().to_owned(),
            });
        }
        let lock = Lock::take(&paths.lock_file())?;
        make_folders(&Real::new(), &paths)?;
        check_one_file_system(&paths)?;
        let disk = Real::of(paths.root()).map_err(Error::io("open", paths.root()))?;
        // Of other file systems (network, FUSE, overlays) other machines may change something without a notice.
        let names = disk.sync_all_from().map(|_| Names::new(&paths));
        let tree = Self::prepare(paths, Arc::new(disk), Some(lock), WRITERS)?;
        Ok(Self { names, ..tree })
    }

    /// Opens the tree on a disk that misbehaves: without a lock, and with one thread, so that the order of operations is fixed.
    #[cfg(any(test, feature = "fault"))]
    pub fn open_on(paths: Paths, disk: Arc<dyn Disk>) -> Result<Self> {
        make_folders(&*disk, &paths)?;
        Self::prepare(paths, disk, None, 1)
    }

    fn prepare(paths: Paths, disk: Arc<dyn Disk>, lock: Option<Lock>, writers: usize) -> Result<Self> {
        let left = remove_leftovers(&*disk, &paths)?;
        if left > 0 {
            tracing::info!(files = left, "removed what an unfinished write left");
        }
        let offset = offset::read_on(&*disk, &paths.offset_file())?;
        let unmatched = unmatched::Log::open(&*disk, paths.unmatched_file(), offset)?;
        let ledger = ledger::Log::open(&*disk, paths.ledger_file(), offset)?;
        let mut tree = Self {
            paths,
            disk,
            offset,
            unmatched,
            ledger,
            unsettled: true,
            offset_unsynced: false,
            writers,
            names: None,
            _lock: lock,
        };
        tree.settle()?;
        Ok(tree)
    }

    /// Where everything lies.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The offset of the next message to read (QUE-6).
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where `name` lives; `None` if it is unknown. Should it have a label in two homes, which nothing here does, the more
    /// final one counts.
    pub fn locate(&self, name: &Name) -> Result<Option<Home>> {
        for home in Home::ALL {
            let path = self.paths.label(home, name);
            if self.disk.exists(&path).map_err(Error::io("look for", &path))? {
                return Ok(Some(home));
            }
        }
        Ok(None)
    }

    /// Writes files ahead of their batch; none where that would gain nothing.
    #[must_use]
    pub fn spool(&self) -> Option<Spool> {
        Spool::new(&self.disk, self.paths.aside(), self.writers)
    }

    /// Messages before this offset were read before, and are found done, at least in part.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.ledger.next()
    }

    /// Makes the last offset durable, where that was left to the next batch and none comes: without it, a power cut would
    /// only make the last batch be read again.
    pub fn settle_offset(&mut self) -> Result<()> {
        if self.offset_unsynced {
            let root = self.paths.root();
            self.disk.sync_dir(root).map_err(Error::io("sync", root))?;
            self.offset_unsynced = false;
        }
        Ok(())
    }

    /// Where `name` lives, as it was when the batch began or is now.
    pub(crate) fn find(&self, name: &Name) -> Result<Option<Home>> {
        match &self.names {
            Some(names) if !names.may_hold(name) => Ok(None),
            _ => self.locate(name),
        }
    }

    /// Begins a batch of actions; nothing happens until [`Batch::commit`].
    pub fn batch(&mut self) -> Batch<'_> {
        self.begin(Turn::Stream)
    }

    /// Begins a batch for messages that were read before and are processed again, as if they came now: a name that was
    /// unknown to them then is looked for again, and the ledger gets lines about them although their offsets have some.
    ///
    /// Commit it with [`Tree::offset`], which it does not move. Cut off anywhere it can be done again, and must be: nothing
    /// else finishes it.
    pub fn batch_again(&mut self) -> Batch<'_> {
        self.begin(Turn::Again)
    }

    fn begin(&mut self, turn: Turn) -> Batch<'_> {
        if let Some(names) = &mut self.names {
            names.hear();
        }
        Batch::new(self, turn)
    }

    /// Takes messages out of quarantine for good. Cut off anywhere, what is left of one is no entry of the quarantine, or
    /// still a whole one.
    pub fn release(&mut self, refused: &[quarantine::Refused]) -> Result<()> {
        let dir = self.paths.quarantine();
        for extension in ["json", "msg"] {
            for entry in refused {
                let path = entry.message.with_extension(extension);
                self.disk.remove(&path).map_err(Error::io("remove", &path))?;
            }
            self.disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        }
        Ok(())
    }

    /// Lets a new tree begin at an offset other than 0: whatever comes before is not part of it.
    pub fn begin_at(&mut self, offset: u64) -> Result<()> {
        let is_new =
            self.offset == 0 && self.ledger.is_empty() && Counts::of(&self.paths)? == Counts::default();
        if !is_new {
            return Err(Error::NotNew {
                path: self.paths.root().to_owned(),
                offset,
            });
        }
        self.set_offset(offset)
    }

    /// Sets the offset back, so that everything from there is read again; the tree stays as it is and will end the same.
    pub fn rewind(&mut self, offset: u64) -> Result<()> {
        if offset > self.offset {
            return Err(Error::NotBack {
                offset,
                current: self.offset,
            });
        }
        self.set_offset(offset)
    }

    fn set_offset(&mut self, offset: u64) -> Result<()> {
        offset::write_on(&*self.disk, &self.paths.offset_file(), offset)?;
        self.offset_unsynced = false;
        self.offset = offset;
        Ok(())
    }

    /// Makes every line and rename of earlier writers durable, if one of them may not be.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.unsettled {
            self.ledger.settle(&*self.disk)?;
            for dir in self.paths.synced().chain([self.paths.root().to_owned()]) {
                self.disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
            }
            self.unsettled = false;
        }
        Ok(())
    }
}

/// How many annotations and refused messages there are. Counted without the lock, so it can be a moment behind a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Validated annotations.
    pub data: usize,
    /// Annotations that are not validated.
    pub seed: usize,
    /// Deleted annotations.
    pub deleted: usize,
    /// Annotations that dataset forming refused.
    pub corrupted: usize,
    /// Messages in quarantine.
    pub quarantined: usize,
}

impl Counts {
    /// Counts the files of the tree; a folder that is absent counts as empty.
    pub fn of(paths: &Paths) -> Result<Self> {
        Ok(Self {
            data: count(&paths.labels(Home::Data), ".txt")?,
            seed: count(&paths.labels(Home::Seed), ".txt")?,
            deleted: count(&paths.labels(Home::Deleted), ".txt")?,
            corrupted: count(&paths.labels(Home::Corrupted), ".txt")?,
            quarantined: count(&paths.quarantine(), ".json")?,
        })
    }
}

/// How many bytes the disk under the root has left for this user.
pub fn free_bytes(paths: &Paths) -> Result<u64> {
    fs2::available_space(paths.root()).map_err(Error::io("look at", paths.root()))
}

fn count(dir: &Path, suffix: &str) -> Result<usize> {
    if !Real::new().exists(dir).map_err(Error::io("look for", dir))? {
        return Ok(0);
    }
    let names = Real::new().list(dir).map_err(Error::io("list", dir))?;
    Ok(names
        .iter()
        .filter(|name| name.as_encoded_bytes().ends_with(suffix.as_bytes()))
        .count())
}

/// Makes the folders that are missing, and makes all of them durable: one that exists may have been made by a predecessor that
/// was killed before it could sync it.
fn make_folders(disk: &dyn Disk, paths: &Paths) -> Result<()> {
    let homes = Home::ALL.map(|home| [paths.home(home), paths.images(home), paths.labels(home)]);
    let single = [
        paths.quarantine(),
        paths.datasets(),
        paths.models(),
        paths.aside(),
    ];
    let mut parents = BTreeSet::new();
    for dir in homes.into_iter().flatten().chain(single).chain(paths.asides()) {
        if !disk.exists(&dir).map_err(Error::io("look for", &dir))? {
            disk.make_dir(&dir).map_err(Error::io("make", &dir))?;
        }
        parents.extend(
            dir.parent()
                .filter(|parent| *parent != Path::new(""))
                .map(Path::to_owned),
        );
    }
    parents
        .iter()
        .try_for_each(|dir| disk.sync_dir(dir).map_err(Error::io("sync", dir)))
}

fn check_one_file_system(paths: &Paths) -> Result<()> {
    let device = |dir: &Path| {
        dir.metadata()
            .map(|meta| meta.dev())
            .map_err(Error::io("look at", dir))
    };
    let one = paths.aside();
    let expected = device(&one)?;
    for other in paths.synced() {
        if device(&other)? != expected {
            return Err(Error::FileSystems { one, other });
        }
    }
    Ok(())
}

fn remove_leftovers(disk: &dyn Disk, paths: &Paths) -> Result<usize> {
    let mut removed = 0;
    for aside in paths.asides() {
        for name in disk.list(&aside).map_err(Error::io("list", &aside))? {
            let path = aside.join(name);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed + atomic::remove_leftovers_on(disk, paths.root())?)
}
