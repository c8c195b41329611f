//! The one way a file is replaced.
//!
//! # Contract
//! The new bytes are written to a file of their own beside the target (`.azaion-tmp-{pid}-{n}`), synced, renamed over the
//! target, and the folder is synced. Once [`replace`] has returned `Ok`, the new bytes survive a power cut.
//!
//! | what happens | what a reader finds afterwards | what is left behind |
//! |---|---|---|
//! | the process is killed | the old file or the new one, whole | perhaps one `.azaion-tmp-*` |
//! | the power is cut | the old file or the new one, whole: the bytes were synced before they got the name | perhaps one `.azaion-tmp-*` |
//! | the disk is full, or any other error before the rename | the old file | nothing: the aside file is removed |
//! | the folder's sync fails | the new file; whether it survives a power cut is not known | nothing |
//!
//! Not promised: the old file's owner, mode and hard links (the new file is a new inode, which is also what keeps a dataset's
//! hard links as they were), and an order between two replaced files (call twice: the first is durable before the second begins).
//! What a killed writer left is removed by [`remove_leftovers`], which [`crate::Tree::open`] calls.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, Real};
use crate::error::{Error, Result};

/// How the name of every aside file begins.
pub const ASIDE: &str = ".azaion-tmp-";

/// Replaces (or creates) `path` with `bytes`; see the module's contract.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_on(&Real::new(), path, bytes)
}

/// [`replace`] without any sync, for what tells of a moment and is written anew in the next one. A reader finds the old file or
/// the new one, whole, also where the writer was killed; after a power cut it may find an empty one, or none.
pub fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = aside(path);
    let written = std::fs::write(&aside, bytes).map_err(Error::io("write", &aside));
    let renamed = written.and_then(|()| std::fs::rename(&aside, path).map_err(Error::io("replace", path)));
    if renamed.is_err() {
        // Best effort: the error that counts is the first one.
        let _ = std::fs::remove_file(&aside);
    }
    renamed
}

/// [`replace`] for content that is produced as it is written. If `write` fails, the target is untouched.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let aside = aside(path);
    let written = File::create(&aside).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush()?;
        out.get_ref().sync_data()
    });
    put(
        &Real::new(),
        written.map_err(Error::io("write", &aside)),
        &aside,
        path,
    )
}

/// Makes the symbolic link `path` point at `target` (relative to the link's folder), in one step: a reader finds the old
/// target or the new one. The contract of [`replace`] holds.
pub fn repoint(path: &Path, target: &Path) -> Result<()> {
    let aside = aside(path);
    let linked = std::os::unix::fs::symlink(target, &aside).map_err(Error::io("link", &aside));
    put(&Real::new(), linked, &aside, path)
}

pub(crate) fn replace_on(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = aside(path);
    put(
        disk,
        disk.write(&aside, bytes).map_err(Error::io("write", &aside)),
        &aside,
        path,
    )
}

/// The second half: the aside file gets the target's name, or goes.
fn put(disk: &dyn Disk, written: Result<()>, aside: &Path, path: &Path) -> Result<()> {
    let renamed = written.and_then(|()| disk.rename(aside, path).map_err(Error::io("replace", path)));
    if let Err(error) = renamed {
        // Best effort: the error that counts is the first one, and a leftover is removed on the next open.
        let _ = disk.remove(aside);
        return Err(error);
    }
    let dir = folder(path);
    disk.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// Removes the aside files that writers which no longer run left in `dir`, and returns how many there were. Another live
/// process may be replacing a file in the same folder: its aside file stays.
pub fn remove_leftovers(dir: &Path) -> Result<usize> {
    remove_leftovers_on(&Real::new(), dir)
}

pub(crate) fn remove_leftovers_on(disk: &dyn Disk, dir: &Path) -> Result<usize> {
    let mut removed = 0;
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        let Some(pid) = writer(&name) else { continue };
        if pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists() {
            continue;
        }
        let path = dir.join(name);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        removed += 1;
    }
    Ok(removed)
}

/// The process that wrote the aside file of this name; `None` if it is not an aside file.
fn writer(name: &OsStr) -> Option<u32> {
    name.to_str()?
        .strip_prefix(ASIDE)?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

fn aside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{ASIDE}{}-{n}", std::process::id()))
}

/// The folder a path is in; `.` for a bare file name.
fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("classes.json");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(Real::new().list(dir.path()).unwrap(), ["classes.json"]);
    }

    #[test]
    fn what_is_replaced_without_a_sync_is_whole_and_a_failure_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        replace_unsynced(&path, b"old").unwrap();
        replace_unsynced(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace_unsynced(&dir.path().join("folder"), b"x").is_err());
        let mut left = Real::new().list(dir.path()).unwrap();
        left.sort();
        assert_eq!(left, ["folder", "status.json"]);
    }

    #[test]
    fn a_writer_that_fails_leaves_the_old_file_and_no_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("best.pt");
        replace(&path, b"old").unwrap();
        let failed = replace_with(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().is_disk_closed());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(Real::new().list(dir.path()).unwrap(), ["best.pt"]);
    }

    #[test]
    fn streamed_content_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("best.pt");
        replace_with(&path, |out| {
            (0..100_000_u32).try_for_each(|n| out.write_all(&n.to_le_bytes()))
        })
        .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 400_000);
    }

    #[test]
    fn a_hard_link_made_before_the_replace_keeps_the_old_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("label.txt"), dir.path().join("dataset.txt"));
        replace(&path, b"old").unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read(link).unwrap(), b"old");
    }

    #[test]
    fn leftovers_of_dead_writers_go_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        // No process has this id: it is above the kernel's largest.
        for name in [
            ".azaion-tmp-4194305-0",
            ".azaion-tmp-notes",
            "1.jpg",
            ".azaion-tmp-1-0",
        ] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers(dir.path()).unwrap(), 1);
        let mut left = Real::new().list(dir.path()).unwrap();
        left.sort();
        assert_eq!(left, [".azaion-tmp-1-0", ".azaion-tmp-notes", "1.jpg"]);
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_file_or_the_new_one_and_a_success_is_durable() {
        use crate::fault::{Fault, Faulty, MemDisk};
        let root = Path::new("/azaion");
        let path = root.join("offset.yaml");
        let disk = MemDisk::with_root(root);
        replace_on(&disk, &path, b"old").unwrap();
        for at in 0..4 {
            for kept in [true, false] {
                let (disk, fault) = (disk.fork(), Fault::Kill);
                let faulty = Faulty::new(std::sync::Arc::new(disk.clone()), at, fault);
                let replaced = replace_on(&faulty, &path, b"the new one");
                let found = disk.power_cut(|| kept).read(&path).unwrap().unwrap();
                assert!(
                    found == b"the new one" || (found == b"old" && replaced.is_err()),
                    "{found:?}"
                );
                assert_eq!(replaced.is_ok(), !faulty.struck());
            }
        }
    }

    #[test]
    fn repointing_a_link_leaves_both_targets_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("azaion.pt");
        for name in ["first.pt", "second.pt"] {
            std::fs::write(dir.path().join(name), name).unwrap();
            repoint(&link, Path::new(name)).unwrap();
            assert_eq!(std::fs::read_to_string(&link).unwrap(), name);
        }
        assert_eq!(
            std::fs::read_to_string(dir.path().join("first.pt")).unwrap(),
            "first.pt"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_bare_file_name_is_in_the_current_folder() {
        assert_eq!(folder(Path::new("offset.yaml")), Path::new("."));
    }
}
