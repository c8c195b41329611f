//! [`LossyDisk`]: a disk under a real file system that loses what was not flushed.
//!
//! The disk is one file on a FUSE file system of ours, a loop device on top of it, and ext4 or xfs on that. The kernel's loop
//! device passes a write on before it calls it done, and a flush as a sync of the file, so that the order in which both
//! arrive here is the order the file system asked for. A cut keeps every write before the last flush and any part of those
//! after it, in blocks that may be torn between sectors; the next mount replays the journal as after a real one. This is
//! the proof for syncfs(2) and for whatever else a file system does by itself.

mod image;
mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use fuser::{BackgroundSession, Config, MountOption, Session};
use nix::mount::{MntFlags, umount2};
use rand::{Rng, RngExt};

use crate::forgetful::{Cut, join, unmount};
pub use image::Image;

/// The disk's name in the FUSE file system.
const FILE: &str = "disk.img";
/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// The file system on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 with its defaults: a journal of metadata, data in order.
    Ext4,
    /// xfs with its defaults.
    Xfs,
}

impl FileSystem {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Why it cannot be used here; `None` where it can.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.trim() == self.name()) {
            return Some(format!("the kernel has no {}", self.name()));
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("there are no loop devices here".to_owned());
        }
        let mkfs = Command::new(self.mkfs())
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        mkfs.is_err().then(|| format!("{} is not installed", self.mkfs()))
    }

    fn mkfs(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// A disk with an empty file system.
    pub fn format(self) -> Result<Image> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(FILE);
        let (size, arguments): (u64, &[&str]) = match self {
            Self::Ext4 => (
                24 << 20,
                &[
                    "-q",
                    "-F",
                    "-b",
                    "4096",
                    "-m",
                    "0",
                    "-E",
                    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                ],
            ),
            Self::Xfs => (300 << 20, &["-q", "-f", "-K"]),
        };
        std::fs::File::create(&path)?.set_len(size)?;
        run(Command::new(self.mkfs()).args(arguments).arg(&path))?;
        Ok(Image::of(&std::fs::read(&path)?))
    }

    /// Whether the file system can be mounted when the block at `at` was torn between sectors. ext4 writes whole blocks again from
    /// its journal, but checks the sum of its superblock before. xfs reads a block, and checks its sum, before it
    /// repairs it from its log.
    fn bears_torn(self, at: u64) -> bool {
        self == Self::Ext4 && at > 0
    }

    fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "loop,noatime,nodiscard",
            Self::Xfs => "loop,noatime,nodiscard,nouuid",
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// What reached the disk.
#[derive(Debug, Clone)]
enum Event {
    Write {
        at: u64,
        bytes: Arc<[u8]>,
    },
    Flush,
    /// A flush that was acknowledged and not done.
    IgnoredFlush,
}

#[derive(Debug)]
struct Shared {
    now: Image,
    events: Vec<Event>,
    ignore_flushes: bool,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk, not mounted.
#[derive(Debug)]
pub struct LossyDisk;

impl LossyDisk {
    /// Mounts the file system on `image`, in a folder of its own; unmounted when dropped. With `ignore_flushes` the disk
    /// acknowledges flushes and does none.
    pub fn mount(image: &Image, file_system: FileSystem, ignore_flushes: bool) -> Result<Mounted> {
        let (below, above) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let shared = Arc::new(Mutex::new(Shared {
            now: image.clone(),
            events: Vec::new(),
            ignore_flushes,
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lossy".to_owned()), MountOption::NoAtime];
        let session = Session::new(server::Server(Arc::clone(&shared)), below.path(), &config)
            .and_then(Session::spawn)
            .context("cannot mount a FUSE file system")?;
        let mut mounted = Mounted {
            file_system,
            base: image.clone(),
            shared,
            session: Some(session),
            mounted: false,
            below,
            above,
        };
        run(Command::new("mount")
            .args(["-t", file_system.name(), "-o", file_system.options()])
            .arg(mounted.below.path().join(FILE))
            .arg(mounted.above.path()))?;
        mounted.mounted = true;
        Ok(mounted)
    }
}

/// The file system on its disk, mounted.
#[derive(Debug)]
pub struct Mounted {
    file_system: FileSystem,
    base: Image,
    shared: Arc<Mutex<Shared>>,
    session: Option<BackgroundSession>,
    mounted: bool,
    below: tempfile::TempDir,
    above: tempfile::TempDir,
}

impl Mounted {
    /// Where the file system is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.above.path()
    }

    /// What reached the disk so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        Recording {
            file_system: self.file_system,
            base: self.base.clone(),
            events: lock(&self.shared).events.clone(),
        }
    }

    /// Unmounts and returns what reached the disk until then; the unmounting itself, which makes everything durable, is not part of it.
    pub fn end(mut self) -> Result<Recording> {
        let recording = self.recording();
        self.unmount()?;
        Ok(recording)
    }

    /// Unmounts in order and returns the disk as it is then.
    pub fn into_image(mut self) -> Result<Image> {
        self.unmount()?;
        Ok(lock(&self.shared).now.clone())
    }

    fn unmount(&mut self) -> Result<()> {
        if std::mem::take(&mut self.mounted) {
            unmount(self.above.path())?;
        }
        if let Some(session) = self.session.take() {
            // The loop device detaches itself with the last user of it, a moment after.
            unmount(self.below.path())?;
            join(session);
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // A file may still be open where a test has failed: what is left goes with it.
            for path in [self.above.path(), self.below.path()] {
                let _ = umount2(path, MntFlags::MNT_DETACH);
            }
        }
    }
}

/// A run, as the disk saw it.
#[derive(Debug, Clone)]
pub struct Recording {
    file_system: FileSystem,
    base: Image,
    events: Vec<Event>,
}

impl Recording {
    /// How many writes and flushes there were.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.events.len()
    }

    /// How many flushes there were, whether done or only acknowledged.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.events
            .iter()
            .filter(|event| !matches!(event, Event::Write { .. }))
            .count()
    }

    /// Event `at` (from 1) in words.
    #[must_use]
    pub fn operation(&self, at: usize) -> String {
        match at.checked_sub(1).and_then(|at| self.events.get(at)) {
            None => "the start".to_owned(),
            Some(Event::Write { at, bytes }) => format!("write {at}+{}", bytes.len()),
            Some(Event::Flush) => "flush".to_owned(),
            Some(Event::IgnoredFlush) => "ignored flush".to_owned(),
        }
    }

    /// The disk after the first `at` events, nothing lost.
    #[must_use]
    pub fn whole(&self, at: usize) -> Image {
        let mut image = self.base.clone();
        for event in self.events.iter().take(at) {
            if let Event::Write { at, bytes } = event {
                image.write(*at, bytes);
            }
        }
        image
    }

    /// What the next boot finds on the disk when the power was cut behind event `at`: of the writes since the last flush any part,
    /// by blocks of which some are torn between sectors.
    #[must_use]
    pub fn cut(&self, at: usize, cut: Cut, chance: &mut impl Rng) -> Image {
        let seen = self.events.get(..at).unwrap_or(&self.events);
        let safe = seen
            .iter()
            .rposition(|event| matches!(event, Event::Flush))
            .unwrap_or(0);
        let mut image = self.whole(safe);
        let Cut::Random(kept) = cut else { return image };
        for event in seen.iter().skip(safe) {
            if let Event::Write { at, bytes } = event {
                for (at, block) in (*at..).step_by(4096).zip(bytes.chunks(4096)) {
                    if !chance.random_bool(kept) {
                        continue;
                    }
                    let torn = self.file_system.bears_torn(at) && chance.random_bool(0.1);
                    for (at, sector) in (at..).step_by(SECTOR).zip(block.chunks(SECTOR)) {
                        if !torn || chance.random_bool(0.5) {
                            image.write(at, sector);
                        }
                    }
                }
            }
        }
        image
    }
}
