//! What can go wrong with the tree, in words for the person who has to put it right.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store: what was being done, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}; {}", .path.display(), next_step(.source))]
    Io {
        /// What was attempted, as a verb: `write`, `rename`, ...
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The root folder does not exist. It is never made here: an absent root is a disk that is not mounted.
    #[error("{} does not exist; mount the disk it belongs on, or create the folder", .path.display())]
    NoRoot {
        /// The root that was asked for.
        path: PathBuf,
    },
    /// Another process has the tree open for writing.
    #[error("{} is in use by {}; stop that process, or wait until it ends", .path.display(), holder(*.pid))]
    Locked {
        /// The root of the tree.
        path: PathBuf,
        /// The holder's process id, where the lock file tells it.
        pid: Option<u32>,
    },
    /// Two folders of the tree lie on different file systems, between which nothing can be renamed.
    #[error("{} and {} are on different file systems; put both on one, or an annotation could not move between them at once", .one.display(), .other.display())]
    FileSystems {
        /// The first folder.
        one: PathBuf,
        /// The folder that is elsewhere.
        other: PathBuf,
    },
    /// A rewind that would go forward, past messages that were never read.
    #[error("cannot set the offset back to {offset}: it is {current}; give a smaller one")]
    NotBack {
        /// The offset asked for.
        offset: u64,
        /// The offset as it is.
        current: u64,
    },
    /// A tree that has read messages was to begin at another offset.
    #[error("{} has read messages already and cannot begin at offset {offset}; name a new folder", .path.display())]
    NotNew {
        /// The root of the tree.
        path: PathBuf,
        /// Where it was to begin.
        offset: u64,
    },
    /// A file of ours holds something this program does not know. It is never reset silently.
    #[error("{} is not usable: {reason}; {next}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line where there is one.
        reason: String,
        /// What to do about it.
        next: &'static str,
    },
}

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk takes nothing at the moment, because it, or a quota on it, is full, or because it is read-only:
    /// what goes away once somebody sees to it.
    #[must_use]
    pub fn is_disk_closed(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        ))
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "free space on that disk: nothing is lost, the offset has not moved",
        io::ErrorKind::QuotaExceeded => {
            "raise the quota or free space: nothing is lost, the offset has not moved"
        }
        io::ErrorKind::PermissionDenied => "give the service's user the right to write there",
        io::ErrorKind::ReadOnlyFilesystem => {
            "look in the kernel's log for a failing disk, then mount it read-write"
        }
        io::ErrorKind::NotFound => "something else removed it: see that only this program writes to the tree",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            "something else put it there: move it away"
        }
        _ => "look in the kernel's log for a failing disk, then start again: the work resumes at the offset",
    }
}
