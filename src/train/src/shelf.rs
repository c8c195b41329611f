//! The checkpoints of a run's folder: the latest, and those of the last epochs' ends.
//!
//! `last.safetensors` is replaced whenever the run is saved. What is saved at an epoch's end stays beside it as
//! `epoch-0007.safetensors`, a hard link to the same bytes, until a number of later ones are there: for going back to, and
//! for the case that the latest one is damaged. A damaged file is never overwritten: it is renamed, and told of.

use crate::{
    Error,
    checkpoint::{Checkpoint, CheckpointError},
};
use runs::CHECKPOINT;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How the names of the checkpoints of epochs' ends begin and end.
const EPOCH: (&str, &str) = ("epoch-", ".safetensors");
/// What the name of a damaged checkpoint begins with.
const DAMAGED: &str = "damaged-";

/// The checkpoints of a run's folder.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    /// How many epochs' ends are kept, at least one.
    keep: usize,
}

/// The latest checkpoint that is whole.
pub(crate) struct Latest {
    pub(crate) checkpoint: Checkpoint,
    /// What was wrong with later ones.
    pub(crate) damaged: Vec<CheckpointError>,
}

impl Shelf {
    pub(crate) fn new(folder: &Path, keep: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            keep: keep.max(1),
        }
    }

    /// The latest checkpoint that is whole; none if there is none at all. Damaged ones on the way are set aside.
    pub(crate) fn latest(&self) -> Result<Option<Latest>, Error> {
        let last = self.folder.join(CHECKPOINT);
        let epochs = self.epochs()?.into_iter().rev().map(|epoch| self.of(epoch));
        let mut damaged: Vec<(PathBuf, CheckpointError)> = Vec::new();
        for path in std::iter::once(last).chain(epochs) {
            match Checkpoint::read(&path) {
                Ok(None) => {}
                Ok(Some(checkpoint)) => {
                    for (path, _) in &damaged {
                        self.set_aside(path)?;
                    }
                    let damaged = damaged.into_iter().map(|(_, error)| error).collect();
                    return Ok(Some(Latest { checkpoint, damaged }));
                }
                Err(error @ CheckpointError::Damaged { .. }) => damaged.push((path, error)),
                Err(error) => return Err(error.into()),
            }
        }
        match damaged.into_iter().next() {
            Some((_, error)) => Err(Error::NothingWhole {
                folder: self.folder.clone(),
                source: error,
            }),
            None => Ok(None),
        }
    }

    fn set_aside(&self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.folder.join(format!("{DAMAGED}{name}"));
        fs::rename(path, aside).map_err(self.failed())
    }

    /// Makes `checkpoint` the latest one, and keeps it if it is of an epoch's end.
    pub(crate) fn put(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let last = self.folder.join(CHECKPOINT);
        checkpoint.write(&last)?;
        if checkpoint.position.batch == 0 {
            self.keep_last(&last, checkpoint.position.epoch)
                .map_err(|source| CheckpointError::Keep { path: last, source })?;
        }
        Ok(())
    }

    /// The link is not synced by itself: the next checkpoint's folder sync covers it, and where it is missing an earlier
    /// epoch's end is gone back to.
    fn keep_last(&self, last: &Path, epoch: u32) -> io::Result<()> {
        let kept = self.of(epoch);
        match fs::remove_file(&kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::hard_link(last, kept)?,
        }
        let epochs = self.listed()?;
        let many = epochs.len().saturating_sub(self.keep);
        epochs
            .into_iter()
            .take(many)
            .try_for_each(|epoch| fs::remove_file(self.of(epoch)))
    }

    /// The checkpoint of the end of the epoch that is `back` kept ends before the last; the first one there is if there
    /// are not so many.
    pub(crate) fn earlier(&self, back: u32) -> Result<Option<Checkpoint>, Error> {
        let epochs = self.epochs()?;
        let at = epochs.len().saturating_sub(1 + back as usize);
        match epochs.get(at) {
            Some(&epoch) => Ok(Checkpoint::read(&self.of(epoch))?),
            None => Ok(None),
        }
    }

    /// Removes the ends of epochs after this many: they are of a way that is not gone on with.
    pub(crate) fn forget_after(&self, epoch: u32) -> Result<(), Error> {
        let mut later = self.epochs()?;
        later.retain(|&kept| kept > epoch);
        later
            .into_iter()
            .try_for_each(|kept| fs::remove_file(self.of(kept)))
            .map_err(self.failed())
    }

    /// Bytes of the checkpoints that are there.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
        let epochs = self.listed().unwrap_or_default();
        // The latest may be one of these under another name.
        size(self.folder.join(CHECKPOINT)).max(epochs.into_iter().map(|epoch| size(self.of(epoch))).sum())
    }

    /// Files that will lie here at most, the one being written included.
    pub(crate) fn places(&self) -> u64 {
        self.keep as u64 + 2
    }

    fn of(&self, epoch: u32) -> PathBuf {
        let (begin, end) = EPOCH;
        self.folder.join(format!("{begin}{epoch:04}{end}"))
    }

    fn epochs(&self) -> Result<Vec<u32>, Error> {
        self.listed().map_err(self.failed())
    }

    /// The epochs whose ends are kept, in their order.
    fn listed(&self) -> io::Result<Vec<u32>> {
        let (begin, end) = EPOCH;
        let mut epochs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(begin)?.strip_suffix(end));
            epochs.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        epochs.sort_unstable();
        Ok(epochs)
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error {
        |source| Error::Read {
            path: self.folder.clone(),
            source,
        }
    }
}
