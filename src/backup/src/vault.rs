//! The repository, opened: which snapshots there are, and the way to each.
//!
//! It is restic's format, version 2: encrypted and authenticated, cut into pieces that are stored once. Nothing of it is
//! cached on this machine.

use crate::{
    error::{Error, Result},
    gate::Gate,
    locks,
    progress::{Bars, Tell},
    target::{Keys, Target},
};
use rustic_core::{
    ConfigOptions, Credentials, KeyOptions, OpenStatus, Repository, RepositoryBackends, RepositoryOptions,
    WriteBackend,
    repofile::{MasterKey, SnapshotFile},
};
use service::Secret;
use std::sync::{Arc, atomic::AtomicBool};

/// What every snapshot of ours is labelled with, so that others in the same repository are left alone.
pub const LABEL: &str = "azaion";

/// Where a repository is, and what opens it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where it is.
    pub target: Target,
    /// What the target asks for.
    pub keys: Keys,
    /// What its content is encrypted with.
    pub password: Secret,
}

/// An open repository.
pub struct Vault {
    pub(crate) location: String,
    pub(crate) target: Target,
    pub(crate) keys: Keys,
    backend: Arc<dyn WriteBackend>,
    /// While it is set no snapshot is written.
    pub(crate) shut: Arc<AtomicBool>,
    key: MasterKey,
    tell: Tell,
}

impl Vault {
    /// Opens the repository that is there.
    ///
    /// # Errors
    /// There is none, the password is another, or it cannot be reached.
    pub fn open(place: &Place, tell: &Tell) -> Result<Self> {
        let (backend, location) = reach(place)?;
        let (found, repository) = look(&backend, &location, tell)?;
        if !found {
            return Err(Error::NoRepository { location });
        }
        let password = Credentials::password(place.password.expose());
        let opened = repository
            .open(&password)
            .map_err(Error::of("open anything", &location))?;
        Ok(Self::new(place, backend, location, &opened, tell))
    }

    /// Opens the repository, or makes it where there is none.
    ///
    /// # Errors
    /// As [`Vault::open`], or it cannot be made.
    pub fn open_or_make(place: &Place, tell: &Tell) -> Result<Self> {
        let (backend, location) = reach(place)?;
        let (found, repository) = look(&backend, &location, tell)?;
        if found {
            return Self::open(place, tell);
        }
        let password = Credentials::password(place.password.expose());
        let made = repository
            .init(&password, &KeyOptions::default(), &ConfigOptions::default())
            .map_err(Error::of("begin one", &location))?;
        tracing::info!(repository = location, "repository made");
        Ok(Self::new(place, backend, location, &made, tell))
    }

    fn new(
        place: &Place,
        backend: Arc<dyn WriteBackend>,
        location: String,
        opened: &Repository<OpenStatus>,
        tell: &Tell,
    ) -> Self {
        Self {
            location,
            target: place.target.clone(),
            keys: place.keys.clone(),
            backend,
            shut: Arc::new(AtomicBool::new(false)),
            key: opened.key(),
            tell: Arc::clone(tell),
        }
    }

    /// The repository as it is now: what was written since is seen.
    pub(crate) fn now(&self) -> Result<Repository<OpenStatus>> {
        let gate = Gate::before(Arc::clone(&self.backend), Arc::clone(&self.shut));
        repository(Arc::new(gate), &self.location, &self.tell)?
            .open(&Credentials::Masterkey(self.key.clone()))
            .map_err(Error::of("open anything", &self.location))
    }

    /// Makes sure that restic does not work on it alone at the moment; locks of its processes that are gone are removed.
    pub(crate) fn clear_locks(&self) -> Result<()> {
        locks::clear(self, &self.key)
    }

    /// The snapshots of trees, the earliest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>> {
        let mut found = self
            .now()?
            .get_matching_snapshots(|snapshot| snapshot.label == LABEL)
            .map_err(Error::of("list backups", &self.location))?;
        found.sort_by_key(|snapshot| snapshot.time.timestamp());
        Ok(found)
    }

    /// A snapshot by its name or how that begins; `latest` is the last one.
    ///
    /// # Errors
    /// There is none of that name, or more than one that begins so.
    pub fn snapshot(&self, asked: &str) -> Result<SnapshotFile> {
        let mut found = self.snapshots()?;
        if asked != LATEST {
            found.retain(|snapshot| name(snapshot).starts_with(asked));
            if found.len() > 1 {
                found.clear();
            }
        }
        found.pop().ok_or_else(|| Error::NoSnapshot {
            asked: asked.to_owned(),
            location: self.location.clone(),
        })
    }
}

/// What the last snapshot is called.
pub const LATEST: &str = "latest";

/// A snapshot's whole name.
#[must_use]
pub fn name(snapshot: &SnapshotFile) -> String {
    snapshot.id.to_hex().to_string()
}

fn reach(place: &Place) -> Result<(Arc<dyn WriteBackend>, String)> {
    Ok((place.target.backend(&place.keys)?, place.target.to_string()))
}

fn repository(backend: Arc<dyn WriteBackend>, location: &str, tell: &Tell) -> Result<Repository<()>> {
    let mut options = RepositoryOptions::default();
    options.no_cache = true;
    Repository::new_with_progress(
        &options,
        &RepositoryBackends::new(backend, None),
        Bars(Arc::clone(tell)),
    )
    .map_err(Error::of("begin to work", location))
}

/// Whether there is a repository, and the way to it.
fn look(backend: &Arc<dyn WriteBackend>, location: &str, tell: &Tell) -> Result<(bool, Repository<()>)> {
    let repository = repository(Arc::clone(backend), location, tell)?;
    let found = repository
        .config_id()
        .map_err(Error::of("look for one", location))?;
    Ok((found.is_some(), repository))
}
