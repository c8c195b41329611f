//! A view of the tree as the library reads it: entry by entry, each opened when its turn comes.
//!
//! Size, time and bytes of a file are of one open file, so they fit together whatever happens to its name meanwhile. What
//! cannot be read is remembered and shuts the gate, for the library goes on without it; and so does a signal.

use crate::{
    progress::{Step, Tell},
    view::{Origin, View, is_gone, whereabouts},
};
use annotation::Name;
use bytes::{Buf, Bytes};
use nix::fcntl::OFlag;
use rustic_core::{
    ReadSource, ReadSourceEntry, RusticResult,
    jiff::Timestamp,
    repofile::{Metadata, Node, NodeType},
};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Permissions of what has none of its own in the tree.
const MODE: u32 = 0o640;

/// What became of the reading; shared with all who read.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Files that were not found any more.
    pub(crate) gone: Mutex<Vec<PathBuf>>,
    /// Files that could not be read, and why.
    pub(crate) unreadable: Mutex<Vec<(PathBuf, String)>>,
}

/// The tree as the library's source.
pub(crate) struct Source {
    view: Arc<View>,
    /// Set once something is missing: the gate's.
    shut: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    outcome: Arc<Outcome>,
    tell: Tell,
}

impl Source {
    pub(crate) fn new(
        view: Arc<View>,
        shut: Arc<AtomicBool>,
        stop: Arc<AtomicBool>,
        outcome: Arc<Outcome>,
        tell: Tell,
    ) -> Self {
        Self {
            view,
            shut,
            stop,
            outcome,
            tell,
        }
    }
}

impl ReadSource for Source {
    type Open = Content;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries {
            view: Arc::clone(&self.view),
            next: 0,
            shut: Arc::clone(&self.shut),
            stop: Arc::clone(&self.stop),
            outcome: Arc::clone(&self.outcome),
            tell: Arc::clone(&self.tell),
        }
    }
}

/// The entries in their order.
pub(crate) struct Entries {
    view: Arc<View>,
    next: usize,
    shut: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    outcome: Arc<Outcome>,
    tell: Tell,
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Content>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.stop.load(Ordering::SeqCst) {
                self.shut.store(true, Ordering::SeqCst);
                return None;
            }
            let view = Arc::clone(&self.view);
            let (path, origin) = view.entries.get(self.next)?;
            self.next += 1;
            (self.tell)(Step::Saving, self.next as u64, view.entries.len() as u64);
            match self.open(path, origin) {
                Ok((node, content)) => {
                    return Some(Ok(ReadSourceEntry {
                        path: path.clone(),
                        node,
                        open: content,
                    }));
                }
                Err(error) => self.miss(path, &error),
            }
        }
    }
}

impl Entries {
    fn miss(&self, path: &Path, error: &io::Error) {
        self.shut.store(true, Ordering::SeqCst);
        match is_gone(error) {
            true => locked(&self.outcome.gone).push(path.to_owned()),
            false => locked(&self.outcome.unreadable).push((path.to_owned(), error.to_string())),
        }
    }

    fn open(&self, path: &Path, origin: &Origin) -> io::Result<(Node, Option<Content>)> {
        let whole = self.view.paths.root().join(path);
        let name = path.file_name().unwrap_or_default();
        Ok(match origin {
            Origin::Folder => (node(name, NodeType::Dir, &fs::metadata(&whole)?), None),
            Origin::Link => {
                let target = fs::read_link(&whole)?;
                let meta = fs::symlink_metadata(&whole)?;
                (node(name, NodeType::from_link(&target), &meta), None)
            }
            Origin::File => self.reading(path, open(&whole)?, None)?,
            Origin::Annotation(home, half) => {
                let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
                let annotation = Name::new(stem).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
                for home in whereabouts(*home) {
                    found = open(&half.path(&self.view.paths, home, &annotation));
                    if !found.as_ref().is_err_and(is_gone) {
                        break;
                    }
                }
                self.reading(path, found?, None)?
            }
            Origin::Bytes(bytes) => {
                // The library takes a file of the same size and time for the same file.
                let meta = Metadata {
                    mode: Some(MODE),
                    mtime: Some(Timestamp::now()),
                    size: bytes.len() as u64,
                    ..Metadata::default()
                };
                (
                    Node::new_node(name, NodeType::File, meta),
                    Some(Content::Bytes(bytes.clone())),
                )
            }
            Origin::Log(file, length) => self.reading(path, Arc::clone(file), Some(*length))?,
        })
    }

    /// A file that is open, from its beginning: whole, or as long as it was.
    fn reading(
        &self,
        path: &Path,
        file: Arc<File>,
        length: Option<u64>,
    ) -> io::Result<(Node, Option<Content>)> {
        let meta = file.metadata()?;
        let mut node = node(path.file_name().unwrap_or_default(), NodeType::File, &meta);
        node.meta.size = length.unwrap_or(meta.len());
        let content = Content::File {
            left: node.meta.size,
            file,
            at: 0,
            path: path.to_owned(),
            shut: Arc::clone(&self.shut),
            outcome: Arc::clone(&self.outcome),
        };
        Ok((node, Some(content)))
    }
}

/// Opens a regular file; what is neither that nor gone cannot be read.
fn open(path: &Path) -> io::Result<Arc<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Arc::new(file))
}

/// An entry as the repository keeps it. It has no time of change, which a move alone sets anew.
fn node(name: &OsStr, kind: NodeType, meta: &fs::Metadata) -> Node {
    let nanoseconds = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
    let size = match kind {
        NodeType::File => meta.len(),
        _ => 0,
    };
    let meta = Metadata {
        mode: Some(meta.mode()),
        mtime: Timestamp::new(meta.mtime(), nanoseconds).ok(),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
        inode: meta.ino(),
        size,
        ..Metadata::default()
    };
    Node::new_node(name, kind, meta)
}

/// The bytes of an entry.
#[derive(Debug)]
pub(crate) enum Content {
    /// Known already.
    Bytes(Bytes),
    /// So many of an open file.
    File {
        file: Arc<File>,
        at: u64,
        left: u64,
        path: PathBuf,
        shut: Arc<AtomicBool>,
        outcome: Arc<Outcome>,
    },
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let most = buffer.len().min(bytes.len());
                bytes.copy_to_slice(&mut buffer[..most]);
                Ok(most)
            }
            Self::File {
                file,
                at,
                left,
                path,
                shut,
                outcome,
            } => {
                let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                if most == 0 {
                    return Ok(0);
                }
                let read = file
                    .read_at(&mut buffer[..most], *at)
                    .and_then(|read| match read {
                        0 => Err(io::Error::other("it became shorter while it was read")),
                        read => Ok(read),
                    });
                match read {
                    Ok(read) => {
                        *at += read as u64;
                        *left -= read as u64;
                    }
                    Err(ref error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(ref error) => {
                        shut.store(true, Ordering::SeqCst);
                        locked(&outcome.unreadable).push((path.clone(), error.to_string()));
                    }
                }
                read
            }
        }
    }
}

/// What another reader left when it panicked is still a list.
pub(crate) fn locked<T>(list: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
