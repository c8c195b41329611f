//! A snapshot becomes files again.
//!
//! Every piece of a file is held against its hash before it is written. A tree gets its offset last, after everything else
//! is durable: broken off anywhere there is no tree that a queue would go on with, and the same command goes on where it
//! stopped, which `restore.yaml` in the root tells.

use crate::{
    error::{Error, Result},
    progress::{Step, Tell},
    vault::{Vault, name},
    view::OFFSET,
};
use bytes::Bytes;
use rustic_core::{
    BlobId, IndexedFullStatus, LsOptions, Repository,
    repofile::{BlobType, Metadata, Node, NodeType, SnapshotFile},
};
use std::{
    fs::{self, File, FileTimes, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::SystemTime,
};
use store::{Digest, Lock, Paths, atomic};

/// Says which snapshot a tree is being restored of.
const MARK: &str = "restore.yaml";
/// What may be in the target of a restore: of programs that were started on an empty tree, and of a restore that goes on.
const NO_CONTENT: [&str; 4] = ["azaion.lock", "status", ".azaion-tmp", MARK];
/// Files that are fetched at once.
const FETCHERS: usize = 8;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// The backup.
    pub snapshot: String,
    /// Where it is now.
    pub to: PathBuf,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The offset that the queue goes on at.
    pub offset: u64,
}

/// What a snapshot holds.
pub(crate) struct Opened {
    pub(crate) repository: Repository<IndexedFullStatus>,
    /// By path relative to the root of the tree, folders first.
    pub(crate) nodes: Vec<(PathBuf, Node)>,
    location: String,
}

impl Opened {
    /// Lists a snapshot.
    pub(crate) fn of(vault: &Vault, snapshot: &SnapshotFile) -> Result<Self> {
        let failed = || Error::of("read a backup", &vault.location);
        let repository = vault.now()?.to_indexed().map_err(failed())?;
        let root = repository
            .node_from_snapshot_and_path(snapshot, "")
            .map_err(failed())?;
        let mut nodes = Vec::new();
        for found in repository.ls(&root, &LsOptions::default()).map_err(failed())? {
            let (path, node) = found.map_err(failed())?;
            let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !inside || path.as_os_str().is_empty() {
                return Err(Error::Foreign {
                    snapshot: name(snapshot),
                    name: path,
                });
            }
            nodes.push((path, node));
        }
        Ok(Self {
            repository,
            nodes,
            location: vault.location.clone(),
        })
    }

    /// The pieces of a file in their order, each held against its hash.
    pub(crate) fn pieces<'n>(&'n self, node: &'n Node) -> impl Iterator<Item = Result<Bytes>> + 'n {
        node.content.iter().flatten().map(|id| {
            let piece = self
                .repository
                .get_blob_cached(&BlobId::from(*id), BlobType::Data)
                .map_err(Error::of("read a file", &self.location))?;
            let hash = Digest::of(&piece).to_string();
            match hash == *id.to_hex() {
                true => Ok(piece),
                false => Err(Error::Repository {
                    action: "read a file",
                    location: self.location.clone(),
                    reason: format!("piece {} has the hash {hash}", &*id.to_hex()),
                }),
            }
        })
    }

    /// A small file whole.
    pub(crate) fn bytes(&self, node: &Node) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for piece in self.pieces(node) {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    /// Writes a file. Its time is set last: a file that has it is whole.
    pub(crate) fn write(&self, node: &Node, to: &Path) -> Result<u64> {
        let mut file = File::create(to).map_err(Error::io("make", to))?;
        let mut written = 0;
        for piece in self.pieces(node) {
            let piece = piece?;
            file.write_all(&piece).map_err(Error::io("write", to))?;
            written += piece.len() as u64;
        }
        let mode = Permissions::from_mode(node.meta.mode.unwrap_or(0o640) & 0o7777);
        file.set_permissions(mode)
            .map_err(Error::io("set the mode of", to))?;
        if let Some(time) = modified(&node.meta) {
            file.set_times(FileTimes::new().set_modified(time))
                .map_err(Error::io("set the time of", to))?;
        }
        Ok(written)
    }
}

fn modified(meta: &Metadata) -> Option<SystemTime> {
    meta.mtime.map(SystemTime::from)
}

/// Restores a tree into `to`, which must be empty, or hold half a restore of the same snapshot. The lock of the tree is held
/// meanwhile, so no queue begins to work in it.
///
/// # Errors
/// A program works in the target, something is in it, a piece is damaged, the disk is full, or `stop` was set. There is no
/// offset in the target then, and the same call goes on.
pub fn tree(
    vault: &Vault,
    snapshot: &SnapshotFile,
    to: &Path,
    stop: &AtomicBool,
    tell: &Tell,
) -> Result<Restored> {
    fs::create_dir_all(to).map_err(Error::io("make", to))?;
    let _lock = Lock::of_tree(&Paths::under(to))?;
    let snapshot_name = name(snapshot);
    mark(to, &snapshot_name)?;
    let opened = Opened::of(vault, snapshot)?;
    make_folders(&opened.nodes, to)?;
    let (files, bytes) = files(&opened, to, stop, tell)?;
    links(&opened.nodes, to)?;
    give_away(&opened.nodes, to)?;
    sync(to)?;
    let offset = put_offset(&opened, to)?;
    let mark = to.join(MARK);
    fs::remove_file(&mark).map_err(Error::io("remove", &mark))?;
    Ok(Restored {
        snapshot: snapshot_name,
        to: to.to_owned(),
        files,
        bytes,
        offset,
    })
}

/// Begins a restore in a folder, or goes on with the one that was begun there.
fn mark(to: &Path, snapshot: &str) -> Result<()> {
    let path = to.join(MARK);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let begun = text.trim().strip_prefix("snapshot: ").unwrap_or_default();
            if begun != snapshot {
                return Err(Error::HalfRestored {
                    path: to.to_owned(),
                    begun: begun.to_owned(),
                });
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(found) = content(to)? {
                return Err(Error::NotEmpty {
                    path: to.to_owned(),
                    found,
                });
            }
            Ok(atomic::replace(
                &path,
                format!("snapshot: {snapshot}\n").as_bytes(),
            )?)
        }
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// The first thing in a folder that is content: folders that hold none are none.
fn content(folder: &Path) -> Result<Option<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(Error::io("list", &inner))? {
            let entry = entry.map_err(Error::io("list", &inner))?;
            let ours = NO_CONTENT.iter().any(|ours| entry.file_name() == **ours);
            if ours && inner == folder {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => return Ok(entry.path().strip_prefix(folder).ok().map(Path::to_owned)),
            }
        }
    }
    Ok(None)
}

fn make_folders(nodes: &[(PathBuf, Node)], to: &Path) -> Result<()> {
    for (path, node) in nodes.iter().filter(|(_, node)| node.is_dir()) {
        let folder = to.join(path);
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        // Whoever restores has to get into it.
        let mode = node.meta.mode.unwrap_or(0o750) & 0o7777 | 0o700;
        fs::set_permissions(&folder, Permissions::from_mode(mode))
            .map_err(Error::io("set the mode of", &folder))?;
    }
    Ok(())
}

/// Writes all files but the offset, several at once; returns how many there are, and their bytes.
fn files(opened: &Opened, to: &Path, stop: &AtomicBool, tell: &Tell) -> Result<(u64, u64)> {
    let wanted: Vec<_> = opened
        .nodes
        .iter()
        .filter(|(path, node)| node.node_type == NodeType::File && path != Path::new(OFFSET))
        .collect();
    let (next, done, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let work = || -> Result<()> {
        while let Some((path, node)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if stop.load(Ordering::SeqCst) {
                return Err(Error::Interrupted);
            }
            let file = to.join(path);
            if !is_whole(&file, node) {
                opened.write(node, &file)?;
            }
            bytes.fetch_add(node.meta.size, Ordering::Relaxed);
            tell(
                Step::Restoring,
                done.fetch_add(1, Ordering::Relaxed) + 1,
                wanted.len() as u64,
            );
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let fetchers: Vec<_> = (0..FETCHERS)
            .map(|_| scope.spawn(|| work().inspect_err(|_| failed.store(true, Ordering::Relaxed))))
            .collect();
        fetchers
            .into_iter()
            .map(|fetcher| fetcher.join().unwrap_or(Err(Error::Interrupted)))
            .collect::<Result<Vec<()>>>()
    })?;
    Ok((wanted.len() as u64, bytes.into_inner()))
}

/// Whether a file was restored before: its time is set behind its last byte.
fn is_whole(path: &Path, node: &Node) -> bool {
    path.symlink_metadata().is_ok_and(|meta| {
        meta.is_file()
            && meta.len() == node.meta.size
            && modified(&node.meta).is_some_and(|time| meta.modified().is_ok_and(|other| other == time))
    })
}

fn links(nodes: &[(PathBuf, Node)], to: &Path) -> Result<()> {
    for (path, node) in nodes {
        if let NodeType::Symlink { .. } = node.node_type {
            let link = to.join(path);
            match symlink(node.node_type.to_link(), &link) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.map_err(Error::io("link", &link))?,
            }
        }
    }
    Ok(())
}

/// What root restores belongs to whom the root of the tree belongs to; a service's user can then work with it.
fn give_away(nodes: &[(PathBuf, Node)], to: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(to).map_err(Error::io("look at", to))?;
    for (path, _) in nodes {
        let path = to.join(path);
        match lchown(&path, Some(owner.uid()), Some(owner.gid())) {
            // The offset comes later.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            given => given.map_err(Error::io("give away", &path))?,
        }
    }
    Ok(())
}

/// Everything that was written is durable.
fn sync(to: &Path) -> Result<()> {
    let folder = File::open(to).map_err(Error::io("open", to))?;
    nix::unistd::syncfs(&folder).map_err(|error| Error::io("sync", to)(error.into()))
}

fn put_offset(opened: &Opened, to: &Path) -> Result<u64> {
    let path = to.join(OFFSET);
    if let Some((_, node)) = opened.nodes.iter().find(|(path, _)| path == Path::new(OFFSET)) {
        atomic::replace(&path, &opened.bytes(node)?)?;
        let owned = [(PathBuf::from(OFFSET), node.clone())];
        give_away(&owned, to)?;
    }
    Ok(store::offset::read(&path)?)
}
