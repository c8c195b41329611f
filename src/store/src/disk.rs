//! The few file operations the tree is made of, behind a trait, so that tests can let any one of them fail.
//!
//! Each operation says what it guarantees once it has returned. Whoever calls it relies on nothing else: what is not
//! promised here may be lost with the power. The trait is open to tests only (`fault`); the product has one disk, [`Real`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statfs;

use crate::nameless::{Maker, Nameless};

/// The file operations of the tree.
pub trait Disk: std::fmt::Debug + Send + Sync {
    /// Whether something has this path.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The whole file, or `None` where there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// A file's length and its last bytes, at most `most` of them, or `None` where there is none.
    fn read_end(&self, path: &Path, most: usize) -> io::Result<Option<(u64, Vec<u8>)>>;

    /// The names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Makes a folder and its parents; one that exists is fine. Durable once the parent is synced.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a file whole (a file in its place is overwritten) and syncs its bytes. Its name is durable once the folder is synced.
    /// On an error the file may exist with any part of the bytes.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Cuts an existing file to `at` bytes, adds `bytes` there and syncs them. On an error everything from `at` on is undefined.
    fn append(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// From how many files on [`Disk::sync_all`] is the way to make them durable; none where it keeps no promise.
    fn sync_all_from(&self) -> Option<usize>;

    /// [`Disk::write`] whose bytes are durable only after [`Disk::sync_all`].
    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// [`Disk::append`] whose bytes are durable only after [`Disk::sync_all`].
    fn append_unsynced(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything that was written before durable, on the whole file system at once.
    fn sync_all(&self) -> io::Result<()>;

    /// Writes a file that has no name yet, on the file system of `dir`; its bytes are durable only after
    /// [`Disk::sync_nameless`] or [`Disk::sync_all`]. None where there are no such files.
    fn write_nameless(&self, dir: &Path, bytes: &[u8]) -> io::Result<Option<Nameless>>;

    /// [`Disk::sync_all`] for those who write files without a name. Each of the two hears of every write that failed, whatever
    /// the other was told; who hears of one cannot tell which file it was.
    fn sync_nameless(&self) -> io::Result<()>;

    /// Gives it its first name, in one step; fails with `AlreadyExists` where something has that name. Durable once the
    /// folder is synced.
    fn name(&self, file: &Nameless, path: &Path) -> io::Result<()>;

    /// Renames, replacing what is there, in one step: a reader sees the old or the new, never neither. Durable once both
    /// folders are synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; one that is absent is fine. Durable once the folder is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes everything that happened to the folder's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The operating system's file systems.
#[derive(Debug, Default, Clone)]
pub struct Real {
    /// The one file system that can be synced as a whole; none where it could not.
    whole: Option<Arc<Whole>>,
    maker: Arc<Maker>,
}

/// A folder of a file system, open for [`Disk::sync_all`] and once more for [`Disk::sync_nameless`].
///
/// It stays open: the kernel tells each open file once of a write that failed later, so a folder that is opened only for
/// syncing would never hear of those before, and one that is shared would tell only the first who asks.
#[derive(Debug)]
struct Whole {
    all: File,
    nameless: File,
}

impl Real {
    /// File systems in general: everything is synced by itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file system that `dir` is on. Hundreds of files are synced together there, for the price of one, if it is a file
    /// system whose syncfs(2) writes everything and reports errors: on those that only pass requests on (network, FUSE,
    /// overlays) it may do nothing.
    pub fn of(dir: &Path) -> io::Result<Self> {
        const WHOLE: [statfs::FsType; 5] = [
            statfs::EXT4_SUPER_MAGIC,
            statfs::XFS_SUPER_MAGIC,
            statfs::BTRFS_SUPER_MAGIC,
            statfs::F2FS_SUPER_MAGIC,
            statfs::TMPFS_MAGIC,
        ];
        let (all, nameless) = (File::open(dir)?, File::open(dir)?);
        let whole = WHOLE.contains(&statfs::fstatfs(&all)?.filesystem_type());
        Ok(Self {
            whole: whole.then(|| Arc::new(Whole { all, nameless })),
            maker: Arc::default(),
        })
    }
}

/// Opens an existing file, cuts it to `at` bytes and adds `bytes` there.
fn append(path: &Path, at: u64, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() != at {
        file.set_len(at)?;
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    Ok(file)
}

fn none_if_absent<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Disk for Real {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        none_if_absent(fs::read(path))
    }

    fn read_end(&self, path: &Path, most: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(file) = none_if_absent(File::open(path))? else {
            return Ok(None);
        };
        let len = file.metadata()?.len();
        let from = len.saturating_sub(most as u64);
        let mut end = vec![0; (len - from) as usize];
        file.read_exact_at(&mut end, from)?;
        Ok(Some((len, end)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        // fdatasync: the length and the blocks are part of what it makes durable; only the time stamps are not.
        file.sync_data()
    }

    fn append(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        append(path, at, bytes)?.sync_all()
    }

    fn sync_all_from(&self) -> Option<usize> {
        // A handful of files is synced faster alone, and does not have to wait for what others wrote there.
        self.whole.as_ref().map(|_| 8)
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn append_unsynced(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        append(path, at, bytes).map(drop)
    }

    fn sync_all(&self) -> io::Result<()> {
        match &self.whole {
            Some(whole) => Ok(nix::unistd::syncfs(&whole.all)?),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn write_nameless(&self, dir: &Path, bytes: &[u8]) -> io::Result<Option<Nameless>> {
        match self.whole {
            Some(_) => self.maker.write(dir, bytes),
            None => Ok(None),
        }
    }

    fn sync_nameless(&self) -> io::Result<()> {
        match &self.whole {
            Some(whole) => Ok(nix::unistd::syncfs(&whole.nameless)?),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn name(&self, file: &Nameless, path: &Path) -> io::Result<()> {
        self.maker.name(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
