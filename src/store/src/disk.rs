//! The few file operations the tree is made of, behind a trait, so that tests can let any one of them fail.
//!
//! Each operation says what it guarantees once it has returned. Whoever calls it relies on nothing else: what is not
//! promised here may be lost with the power. The trait is open to tests only (`fault`); the product has one disk, [`Real`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// The file operations of the tree.
pub trait Disk: std::fmt::Debug + Send + Sync {
    /// Whether something has this path.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The whole file, or `None` where there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// The names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Makes a folder and its parents; one that exists is fine. Durable once the parent is synced.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a file whole (a file in its place is overwritten) and syncs its bytes. Its name is durable once the folder is synced.
    /// On an error the file may exist with any part of the bytes.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Cuts an existing file to `at` bytes, adds `bytes` there and syncs them. On an error everything from `at` on is undefined.
    fn append(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Renames, replacing what is there, in one step: a reader sees the old or the new, never neither. Durable once both
    /// folders are synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; one that is absent is fine. Durable once the folder is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes everything that happened to the folder's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The operating system's file systems.
#[derive(Debug, Default, Clone, Copy)]
pub struct Real;

impl Disk for Real {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() != at {
            file.set_len(at)?;
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)?;
        file.sync_all()
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
