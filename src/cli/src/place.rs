//! Files that are not everybody's to read, put in place whole.
//!
//! The bytes are written to a file of their own beside the target, which nobody else can read at any moment; that gets the
//! owner, the group and the mode, is synced, and then the target's name. A reader finds the old file or the new one. Any
//! error before that leaves the old one, and nothing beside it.

use anyhow::{Context, Result};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// Who a new file is for where the suite is installed.
const GROUP: &str = "azaion";

/// Replaces (or creates) `path`, with this mode. It keeps the owner and group of the file that is there; a new one of root's is
/// for the group `azaion`, if there is one.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path
        .file_name()
        .with_context(|| format!("{} is no file's name", path.display()))?;
    let aside = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let placed = write(&aside, path, bytes, mode).and_then(|()| fs::rename(&aside, path));
    if placed.is_err() {
        // Best effort: the error that counts is the first one.
        let _ = fs::remove_file(&aside);
    }
    placed.with_context(|| format!("cannot write {}", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("cannot sync {}", folder.display()))
}

fn write(aside: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(bytes)?;
    match fs::metadata(path) {
        Ok(old) => {
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        Err(_) if nix::unistd::geteuid().is_root() => {
            if let Ok(Some(group)) = nix::unistd::Group::from_name(GROUP) {
                fchown(&file, None, Some(group.gid.as_raw()))?;
            }
        }
        Err(_) => {}
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}
