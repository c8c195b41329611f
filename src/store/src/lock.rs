//! The lock that keeps a second writer out of the tree, and a second process out of whatever else has a lock file.
//!
//! An advisory lock (flock) on `azaion.lock` in the root; the file holds the holder's process id for the message the
//! second one prints. The kernel drops the lock with the process, however it ends, so a lock never has to be cleared by
//! hand; the file itself stays, for removing it would let two processes lock two files of the same name.
//!
//! Who holds it is asked of the kernel's own list, proc(5): a look that took the lock, if only for a moment, could turn a
//! writer away that starts at that moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs2::FileExt;

use crate::error::{Error, Result};
use crate::paths::Paths;

/// A lock file's lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Keeps writers out of the tree, which must exist, without opening it.
    pub fn of_tree(paths: &Paths) -> Result<Self> {
        Self::take(&paths.lock_file())
    }

    /// Takes the lock of the file at `path`, which is made if it is missing; whoever comes second is told who has it.
    pub fn take(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io("open", path))?;
        match FileExt::try_lock_exclusive(&file) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                return Err(Error::Locked {
                    path: path.parent().unwrap_or(path).to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(error) => return Err(Error::io("lock", path)(error)),
        }
        sign(&mut file, path)?;
        Ok(Self { _file: file })
    }
}

/// The kernel's list of locks.
const LOCKS: &str = "/proc/locks";

/// The process that has the tree open for writing, if one has. Nothing is locked or made.
pub fn writer(paths: &Paths) -> Result<Option<u32>> {
    locked_by(&paths.lock_file())
}

/// The process that holds the lock of the file at `path`, if one does. Nothing is locked or made.
pub fn locked_by(path: &Path) -> Result<Option<u32>> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file)));
    let (inode, mut file) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let Some(signed) = holder(&mut file) else {
        return Ok(None);
    };
    let locks = std::fs::read_to_string(LOCKS).map_err(Error::io("read", Path::new(LOCKS)))?;
    Ok(locks
        .lines()
        .any(|line| is_held(line, signed, inode))
        .then_some(signed))
}

/// Whether a line of the list says that this process holds the file of this inode. The device in it is not compared: some
/// file systems give another one to stat(2).
///
/// ```text
/// 1: FLOCK  ADVISORY  WRITE 708 00:16:11045 0 EOF
/// ```
fn is_held(line: &str, pid: u32, inode: u64) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let mut next = || fields.next().unwrap_or_default();
    let (kind, _, access, holder, file) = (next(), next(), next(), next(), next());
    kind == "FLOCK"
        && access == "WRITE"
        && holder.parse() == Ok(pid)
        && file
            .rsplit(':')
            .next()
            .is_some_and(|number| number.parse() == Ok(inode))
}

fn sign(file: &mut File, path: &Path) -> Result<()> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write", path))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_who_writes_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        assert_eq!(writer(&paths).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

        let lock = Lock::take(&paths.lock_file()).unwrap();
        assert_eq!(writer(&paths).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(
            writer(&paths).unwrap(),
            None,
            "the file is there, the lock is not"
        );
    }

    #[test]
    fn a_line_counts_for_its_process_and_its_file_alone() {
        let line = "1: FLOCK  ADVISORY  WRITE 708 00:16:11045 0 EOF";
        assert!(is_held(line, 708, 11045));
        assert!(!is_held(line, 709, 11045) && !is_held(line, 708, 1104));
        for other in [
            "",
            "2: POSIX  ADVISORY  WRITE 708 00:16:11045 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 708 00:16:11045 0 EOF",
        ] {
            assert!(!is_held(other, 708, 11045), "{other}");
        }
    }
}
