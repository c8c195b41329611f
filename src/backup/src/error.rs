//! What can go wrong with backups, in words for the person who has to put it right.

use rustic_core::RusticError;
use service::SecretError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure: what was being done, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody said where backups go.
    #[error("no backups are made: set `backup.repository` in config.yaml")]
    NotConfigured,
    /// The repository's address cannot be used.
    #[error("backup.repository: {reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// A password or key cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The tree, its lock or the result file.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A run's folder.
    #[error(transparent)]
    Run(#[from] runs::Error),
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing was ever backed up there.
    #[error("there is no repository in {location}: `azaion backup run` makes it with the first backup")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// Something was backed up there once.
    #[error(
        "the repository in {location} is gone, and this tree was backed up into it: mount or reach what it is on; \
         to begin a new one on purpose, move {} away first", .record.display()
    )]
    RepositoryGone {
        /// Where it was.
        location: String,
        /// What tells of earlier backups.
        record: PathBuf,
    },
    /// The key does not fit.
    #[error("the password does not open the repository in {location}: give it the one that it was made with")]
    WrongPassword {
        /// Where it is.
        location: String,
    },
    /// The repository, or the way to it.
    #[error("cannot {action} in the repository {location}: {reason}")]
    Repository {
        /// What was attempted, as a verb.
        action: &'static str,
        /// Where it is.
        location: String,
        /// What was said.
        reason: String,
    },
    /// restic works on the repository and wants to be alone.
    #[error(
        "the repository {location} is locked by restic ({holder}): wait until that ends, or `restic unlock` if it has ended"
    )]
    LockedByRestic {
        /// Where it is.
        location: String,
        /// Who holds the lock.
        holder: String,
    },
    /// Files of the tree could not be read: no snapshot was made of the others.
    #[error("{count} files could not be read, so there is no new backup; the first: {}: {reason}", .path.display())]
    Unreadable {
        /// How many.
        count: usize,
        /// The first of them, relative to the root.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Files went away under each of several attempts.
    #[error("files went away while they were read, {tries} times over, so there is no new backup; the first: {}", .path.display())]
    Restless {
        /// How often it was tried.
        tries: u32,
        /// The first of them, relative to the root.
        path: PathBuf,
    },
    /// What came into the repository is not what was read.
    #[error("of {expected} files {found} came into the repository, so there is no new backup: {reason}")]
    Incomplete {
        /// How many were read.
        expected: u64,
        /// How many came.
        found: u64,
        /// What to look at.
        reason: &'static str,
    },
    /// A signal came.
    #[error("interrupted: run it again to go on, what is there already is not sent again")]
    Interrupted,
    /// There is no such snapshot.
    #[error("no backup {asked} in {location}: `azaion backup list` shows those that there are")]
    NoSnapshot {
        /// What was asked for.
        asked: String,
        /// Where it was looked for.
        location: String,
    },
    /// The target of a restore holds something.
    #[error(
        "{} is not empty (it holds {}): name an empty folder with --to, or move what is there away", .path.display(), .found.display()
    )]
    NotEmpty {
        /// The target.
        path: PathBuf,
        /// The first thing found in it.
        found: PathBuf,
    },
    /// The target of a restore is a restore of something else.
    #[error("{} holds half a restore of backup {begun}: go on with `--snapshot {begun}`, or empty it", .path.display())]
    HalfRestored {
        /// The target.
        path: PathBuf,
        /// The snapshot that it is of.
        begun: String,
    },
    /// A name in a snapshot leads out of the target.
    #[error("backup {snapshot} holds the name {}, which leads out of a tree: nothing of azaion's wrote that", .name.display())]
    Foreign {
        /// The snapshot.
        snapshot: String,
        /// The name.
        name: PathBuf,
    },
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Of the operating system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Of the library that reads and writes the repository.
    pub(crate) fn of(action: &'static str, location: &str) -> impl FnOnce(Box<RusticError>) -> Self {
        move |error| match error.is_incorrect_password() {
            true => Self::WrongPassword {
                location: location.to_owned(),
            },
            false => Self::Repository {
                action,
                location: location.to_owned(),
                reason: one_line(&error.display_log()),
            },
        }
    }
}

/// Longest message of the library that is passed on.
const LONGEST: usize = 400;

/// A message of several lines as one, and not endless.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}
