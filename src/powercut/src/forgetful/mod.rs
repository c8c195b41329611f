//! [`ForgetfulFs`]: a file system in memory, mounted through FUSE, that forgets what was not synced.
//!
//! The kernel passes every operation on: there is no write-back cache, names and attributes are asked for each time. Each
//! operation that changes something, a sync included, is numbered, and the state behind it is kept: one recorded run can be cut at
//! every operation. The rules of what survives are those of [`State`]; syncfs(2) does not reach a FUSE server and is not
//! part of the model ([`crate::lossy`] has it). The disk can also be full ([`Mounted::set_room`]) or read-only.

mod server;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption, Session};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use rand::Rng;

pub use state::{Cut, Renames, State};

/// How long the last user of a mount may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sync that a process asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// What the process was about, as last told by [`Mounted::enter`].
    pub phase: &'static str,
    /// The path from the root of the file system; empty for the root itself.
    pub path: PathBuf,
    /// The file's bytes; `None` for a folder.
    pub bytes: Option<Arc<Vec<u8>>>,
}

/// Which syncs are acknowledged and not done.
pub type Ignored = Arc<dyn Fn(&Sync) -> bool + Send + std::marker::Sync>;

/// How the file system behaves.
#[derive(Clone)]
pub struct Options {
    /// What a rename between two folders is.
    pub renames: Renames,
    /// The syncs that are acknowledged and not done.
    pub ignored: Ignored,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            renames: Renames::Whole,
            ignored: Arc::new(|_| false),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("renames", &self.renames)
            .finish_non_exhaustive()
    }
}

/// The file system, not mounted.
#[derive(Debug)]
pub struct ForgetfulFs;

impl ForgetfulFs {
    /// Mounts what `state` holds, in a folder of its own; unmounted when dropped.
    pub fn mount(state: State, options: Options) -> Result<Mounted> {
        let dir = tempfile::tempdir().context("no folder to mount in")?;
        let shared = Arc::new(Mutex::new(Shared {
            states: vec![state.clone()],
            syncs: Vec::new(),
            operations: Vec::new(),
            state,
            options,
            phase: "",
            room: None,
            read_only: false,
            history: true,
            done: 0,
            lost_power_after: None,
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned()), MountOption::NoAtime];
        let session = Session::new(server::Server(Arc::clone(&shared)), dir.path(), &config)
            .and_then(Session::spawn)
            .context("cannot mount a FUSE file system")?;
        Ok(Mounted {
            shared,
            session: Some(session),
            dir,
        })
    }
}

/// What the server and whoever mounted it share.
#[derive(Debug)]
struct Shared {
    state: State,
    options: Options,
    /// The state before the first operation and behind each.
    states: Vec<State>,
    operations: Vec<String>,
    syncs: Vec<Sync>,
    phase: &'static str,
    room: Option<u64>,
    read_only: bool,
    /// Whether the state behind every operation is kept.
    history: bool,
    /// Operations done.
    done: usize,
    /// How many operations are done before everything fails.
    lost_power_after: Option<usize>,
}

/// The file system, mounted.
#[derive(Debug)]
pub struct Mounted {
    shared: Arc<Mutex<Shared>>,
    session: Option<BackgroundSession>,
    dir: tempfile::TempDir,
}

impl Mounted {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Says what the process is about from now on, for [`Sync::phase`].
    pub fn enter(&self, phase: &'static str) {
        lock(&self.shared).phase = phase;
    }

    /// How many bytes all files may hold together; beyond it the disk is full. `None` for no limit.
    pub fn set_room(&self, bytes: Option<u64>) {
        lock(&self.shared).room = bytes;
    }

    /// How many bytes the files hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.shared).state.used()
    }

    /// Lets every change fail as on a disk that the kernel has made read-only, or ends that.
    pub fn set_read_only(&self, read_only: bool) {
        lock(&self.shared).read_only = read_only;
    }

    /// Keeps no history from now on, for a run that writes more than memory holds several times, and loses power for good
    /// behind that many operations: from then on every change fails.
    pub fn lose_power_after(&self, operations: usize) {
        let mut shared = lock(&self.shared);
        shared.history = false;
        shared.states.clear();
        shared.lost_power_after = Some(operations);
    }

    /// Whether power is lost.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        let shared = lock(&self.shared);
        shared.lost_power_after.is_some_and(|after| shared.done >= after)
    }

    /// Unmounts and returns what the files are, not all of it durable.
    pub fn end_state(mut self) -> Result<State> {
        if let Some(session) = self.session.take() {
            unmount(self.dir.path())?;
            join(session);
        }
        Ok(lock(&self.shared).state.clone())
    }

    /// What happened so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        let shared = lock(&self.shared);
        Recording {
            states: shared.states.clone(),
            operations: shared.operations.clone(),
            syncs: shared.syncs.clone(),
        }
    }

    /// Unmounts and returns what happened.
    pub fn end(mut self) -> Result<Recording> {
        if let Some(session) = self.session.take() {
            unmount(self.dir.path())?;
            join(session);
        }
        Ok(self.recording())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Lazily, for a file may still be open where a test has failed.
            let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
            drop(session);
        }
    }
}

/// Unmounts; where the last user of a mount lets go of it a moment later (a loop device does), with patience.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match umount2(path, MntFlags::empty()) {
            Err(Errno::EBUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
            done => return done.with_context(|| format!("cannot unmount {}", path.display())),
        }
    }
}

/// Waits for the server of a file system that was unmounted. How it learns of that depends on what it was waiting for: an
/// end and an aborted connection are the same here.
pub(crate) fn join(session: BackgroundSession) {
    let _ = session.join();
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run, operation by operation.
#[derive(Debug, Clone)]
pub struct Recording {
    states: Vec<State>,
    operations: Vec<String>,
    /// The syncs, in order.
    pub syncs: Vec<Sync>,
}

impl Recording {
    /// How many operations changed something.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    /// Operation `at` (from 1) in words.
    #[must_use]
    pub fn operation(&self, at: usize) -> &str {
        at.checked_sub(1)
            .and_then(|at| self.operations.get(at))
            .map_or("the start", String::as_str)
    }

    /// What the process left when it was killed behind operation `at`: visible, and not all of it durable.
    #[must_use]
    pub fn killed(&self, at: usize) -> State {
        self.states
            .get(at)
            .or(self.states.last())
            .cloned()
            .unwrap_or_default()
    }

    /// What the next boot finds when the power was cut behind operation `at`.
    #[must_use]
    pub fn cut(&self, at: usize, cut: Cut, chance: &mut impl Rng) -> State {
        self.killed(at).cut(cut, chance)
    }
}
