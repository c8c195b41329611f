//! Disks that fail, die and lose power, for tests.
//!
//! [`Faulty`] counts the operations that change something and lets the k-th one go wrong. [`MemDisk`] is a file system in memory
//! that remembers what was synced, so that it can lose the power: what was synced stays, of the rest any part may be lost, in
//! any order. Together they reach every state that a crash can leave, without waiting for a real disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;
use crate::nameless::{Kind, Nameless};

/// How the chosen operation of a [`Faulty`] disk goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies in the middle of it: half of the bytes are written, and nothing happens afterwards.
    Kill,
    /// The disk is full for this operation and this many after it: half of the bytes are written, nothing is renamed.
    Full(usize),
}

/// A disk whose operation number `at` (from 0, of those that change something) goes wrong.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Disk>,
    at: usize,
    fault: Fault,
    done: AtomicUsize,
}

impl Faulty {
    /// Lets operation `at` of `inner` go wrong.
    pub fn new(inner: Arc<dyn Disk>, at: usize, fault: Fault) -> Self {
        Self {
            inner,
            at,
            fault,
            done: AtomicUsize::new(0),
        }
    }

    /// Whether the fault was reached.
    pub fn struck(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.at
    }

    fn reading(&self) -> io::Result<()> {
        if self.fault == Fault::Kill && self.struck() {
            Err(killed())
        } else {
            Ok(())
        }
    }

    /// Does a change, or what is left of it: `half` is what an interrupted one does.
    fn changing(
        &self,
        whole: impl FnOnce() -> io::Result<()>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let n = self.done.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            _ if n < self.at => whole(),
            Fault::Kill if n == self.at => half().and(Err(killed())),
            Fault::Kill => Err(killed()),
            Fault::Full(more) if n <= self.at + more => half().and(Err(io::ErrorKind::StorageFull.into())),
            Fault::Full(_) => whole(),
        }
    }
}

fn killed() -> io::Error {
    io::Error::other("the process was killed")
}

fn nothing() -> io::Result<()> {
    Ok(())
}

impl Disk for Faulty {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.reading()?;
        self.inner.exists(path)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.reading()?;
        self.inner.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.reading()?;
        self.inner.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.changing(|| self.inner.make_dir(dir), nothing)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.changing(|| self.inner.write(path, bytes), || self.inner.write(path, half))
    }

    fn append(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.changing(
            || self.inner.append(path, at, bytes),
            || self.inner.append(path, at, half),
        )
    }

    fn read_end(&self, path: &Path, most: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
        self.reading()?;
        self.inner.read_end(path, most)
    }

    fn sync_all_from(&self) -> Option<usize> {
        self.inner.sync_all_from()
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.changing(
            || self.inner.write_unsynced(path, bytes),
            || self.inner.write_unsynced(path, half),
        )
    }

    fn append_unsynced(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.changing(
            || self.inner.append_unsynced(path, at, bytes),
            || self.inner.append_unsynced(path, at, half),
        )
    }

    fn sync_all(&self) -> io::Result<()> {
        self.changing(|| self.inner.sync_all(), nothing)
    }

    fn write_nameless(&self, dir: &Path, bytes: &[u8]) -> io::Result<Option<Nameless>> {
        let mut written = None;
        // What it leaves when it is interrupted has no name, and nobody sees it.
        self.changing(
            || {
                written = self.inner.write_nameless(dir, bytes)?;
                Ok(())
            },
            nothing,
        )?;
        Ok(written)
    }

    fn sync_nameless(&self) -> io::Result<()> {
        self.changing(|| self.inner.sync_nameless(), nothing)
    }

    fn name(&self, file: &Nameless, path: &Path) -> io::Result<()> {
        self.changing(|| self.inner.name(file, path), nothing)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing(|| self.inner.rename(from, to), nothing)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // Removing needs no space: a full disk lets it happen.
        match self.fault {
            Fault::Full(_) => self.inner.remove(path),
            Fault::Kill => self.changing(|| self.inner.remove(path), nothing),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.changing(|| self.inner.sync_dir(dir), nothing)
    }
}

/// A file system in memory that can lose the power. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    /// Whether everything can be synced at once.
    whole: bool,
    /// The bytes of every file ever made.
    files: Vec<Vec<u8>>,
    /// Of the files whose bytes are not synced: those that are.
    unsynced: BTreeMap<usize, Vec<u8>>,
    now: Names,
    synced: Names,
    /// What happened to the names and is not synced, oldest first.
    pending: Vec<Event>,
}

/// Folders, and the names in them.
#[derive(Debug, Clone, Default)]
struct Names {
    dirs: BTreeSet<PathBuf>,
    entries: BTreeMap<PathBuf, usize>,
}

#[derive(Debug, Clone)]
enum Event {
    Dir(PathBuf),
    Link { path: PathBuf, file: usize },
    Rename { from: PathBuf, to: PathBuf, file: usize },
    Unlink(PathBuf),
}

impl Event {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Dir(path) | Self::Link { path, .. } | Self::Unlink(path) => path.parent() == Some(dir),
            Self::Rename { from, to, .. } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Dir(path) => drop(names.dirs.insert(path.clone())),
            Self::Link { path, file } => drop(names.entries.insert(path.clone(), *file)),
            Self::Unlink(path) => drop(names.entries.remove(path)),
            Self::Rename { from, to, file } => {
                names.entries.remove(from);
                names.entries.insert(to.clone(), *file);
            }
        }
    }
}

impl MemDisk {
    /// An empty file system with one folder, which is synced; every file is synced by itself.
    pub fn with_root(root: &Path) -> Self {
        Self::new(root, false)
    }

    /// The same, but two files and more are synced by syncing everything.
    pub fn synced_as_a_whole(root: &Path) -> Self {
        Self::new(root, true)
    }

    fn new(root: &Path, whole: bool) -> Self {
        let mut state = State {
            whole,
            ..State::default()
        };
        for names in [&mut state.now, &mut state.synced] {
            names.dirs.insert(root.to_owned());
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk as the next boot finds it: what was synced, and of the rest what `keep` says, asked once for each change.
    /// Bytes that were not synced are whole, half there, or those of before.
    #[must_use]
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) -> Self {
        let mut state = self.state().clone();
        for (file, synced) in std::mem::take(&mut state.unsynced) {
            let bytes = &mut state.files[file];
            match (keep(), keep()) {
                (true, true) => {}
                (true, false) => {
                    let same = bytes.iter().zip(&synced).take_while(|(now, was)| now == was);
                    let kept = same.count();
                    bytes.truncate(kept + (bytes.len() - kept) / 2);
                }
                (false, _) => *bytes = synced,
            }
        }
        for event in std::mem::take(&mut state.pending) {
            if keep() {
                event.apply(&mut state.synced);
            }
        }
        let Names { dirs, entries } = &mut state.synced;
        let reachable = |path: &Path| path.parent().is_some_and(|dir| dirs.contains(dir));
        entries.retain(|path, _| reachable(path));
        state.now = state.synced.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// A copy that shares nothing with this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Every file and its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state
            .now
            .entries
            .iter()
            .map(|(path, file)| (path.clone(), state.files[*file].clone()))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn happen(&mut self, event: Event) {
        event.apply(&mut self.now);
        self.pending.push(event);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.now
            .entries
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts `bytes` at `at` of a file, whatever was there and behind it, and gives the file.
    fn put(&mut self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let file = self.find(path)?;
        let was = self.files[file].clone();
        self.unsynced.entry(file).or_insert(was);
        self.files[file].resize(at as usize, 0);
        self.files[file].extend_from_slice(bytes);
        Ok(file)
    }

    /// [`State::put`] for a whole file, which may be new.
    fn put_whole(&mut self, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        self.folder_of(path)?;
        if self.find(path).is_err() {
            let file = self.files.len();
            self.files.push(Vec::new());
            self.happen(Event::Link {
                path: path.to_owned(),
                file,
            });
        }
        self.put(path, 0, bytes)
    }

    fn folder_of(&self, path: &Path) -> io::Result<()> {
        let known = path.parent().is_some_and(|dir| self.now.dirs.contains(dir));
        if known {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl Disk for MemDisk {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.now.dirs.contains(path) || state.now.entries.contains_key(path))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.state();
        Ok(state.now.entries.get(path).map(|file| state.files[*file].clone()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let paths = state.now.entries.keys().chain(&state.now.dirs);
        Ok(paths
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name().map(OsStr::to_owned))
            .collect())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let known = |dir: &&Path| state.now.dirs.contains(*dir);
        let missing: Vec<_> = dir
            .ancestors()
            .take_while(|dir| !known(dir))
            .map(Path::to_owned)
            .collect();
        missing
            .into_iter()
            .rev()
            .for_each(|dir| state.happen(Event::Dir(dir)));
        Ok(())
    }

    fn read_end(&self, path: &Path, most: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
        Ok(self.read(path)?.map(|bytes| {
            let from = bytes.len().saturating_sub(most);
            (bytes.len() as u64, bytes[from..].to_vec())
        }))
    }

    fn sync_all_from(&self) -> Option<usize> {
        self.state().whole.then_some(2)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let file = state.put_whole(path, bytes)?;
        state.unsynced.remove(&file);
        Ok(())
    }

    fn append(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let file = state.put(path, at, bytes)?;
        state.unsynced.remove(&file);
        Ok(())
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.state().put_whole(path, bytes).map(drop)
    }

    fn append_unsynced(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.state().put(path, at, bytes).map(drop)
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.state();
        state.unsynced.clear();
        state.pending.clear();
        state.synced = state.now.clone();
        Ok(())
    }

    fn write_nameless(&self, _: &Path, bytes: &[u8]) -> io::Result<Option<Nameless>> {
        let mut state = self.state();
        if !state.whole {
            return Ok(None);
        }
        let file = state.files.len();
        state.files.push(bytes.to_owned());
        state.unsynced.insert(file, Vec::new());
        Ok(Some(Nameless(Kind::Number(file))))
    }

    fn sync_nameless(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn name(&self, Nameless(kind): &Nameless, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.folder_of(path)?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match kind {
            Kind::Number(file) => {
                let (path, file) = (path.to_owned(), *file);
                state.happen(Event::Link { path, file });
                Ok(())
            }
            Kind::Open(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.folder_of(to)?;
        let file = state.find(from)?;
        state.happen(Event::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            file,
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.find(path).is_ok() {
            state.happen(Event::Unlink(path.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.now.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let State { pending, synced, .. } = &mut *state;
        pending.retain(|event| {
            let touched = event.touches(dir);
            if touched {
                event.apply(synced);
            }
            !touched
        });
        Ok(())
    }
}
