//! The lock that keeps a second writer out of the tree.
//!
//! An advisory lock (flock) on `azaion.lock` in the root; the file holds the holder's process id for the message the
//! second one prints. The kernel drops the lock with the process, however it ends, so a lock never has to be cleared by
//! hand; the file itself stays, for removing it would let two processes lock two files of the same name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use fs2::FileExt;

use crate::error::{Error, Result};
use crate::paths::Paths;

/// The tree's lock, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(paths: &Paths) -> Result<Self> {
        let path = paths.lock_file();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match FileExt::try_lock_exclusive(&file) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                return Err(Error::Locked {
                    path: paths.root().to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
        sign(&mut file, &path)?;
        Ok(Self { _file: file })
    }
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
