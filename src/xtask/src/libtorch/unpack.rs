//! Takes what is kept out of the wheels (zip files) and hashes it on the way. The wheels' own SHA-256 has been checked
//! before, so what is looked for here are wrong pins and failing disks; a path that would leave the tree is refused all
//! the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Component, Path};

use zip::ZipArchive;

use super::SetupError;
use super::pins::{Keep, Wheel};
use super::tree::Listing;
use crate::digest;
use crate::progress::Progress;

/// Writes what is kept of the wheel at `path` below `into`, and adds it to `listing`.
///
/// # Errors
/// [`SetupError::Unpack`] when the wheel is not a readable zip file, or lacks something a rule names;
/// [`SetupError::Io`] when writing fails.
pub fn unpack(
    path: &Path,
    wheel: &Wheel,
    into: &Path,
    listing: &mut Listing,
    progress: &mut Progress,
) -> Result<(), SetupError> {
    let bad = |why: String| SetupError::Unpack {
        wheel: path.to_path_buf(),
        why,
    };
    let file = File::open(path).map_err(SetupError::io("open", path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| bad(e.to_string()))?;
    let mut taken = BTreeSet::new();
    for index in 0..archive.len() {
        let Some(name) = archive.name_for_index(index) else {
            break;
        };
        let name = name.map_err(|e| bad(e.to_string()))?.into_owned();
        let Some(target) = wheel.kept_as(&name).filter(|target| !target.ends_with('/')) else {
            continue;
        };
        if !stays_inside(&target) {
            return Err(bad(format!("it holds {name}, which would leave the tree")));
        }
        let mut entry = archive.by_index(index).map_err(|e| bad(format!("{name}: {e}")))?;
        let written = write(&mut entry, &into.join(&target), progress)?;
        listing.insert(target, written.sha256, written.bytes);
        taken.insert(name);
    }
    match wheel.keep.iter().find(|keep| !was_met(keep, &taken)) {
        None => Ok(()),
        Some(Keep::Folder { from, .. } | Keep::File { from, .. }) => Err(bad(format!("it holds no {from}"))),
    }
}

fn was_met(keep: &Keep, taken: &BTreeSet<String>) -> bool {
    match keep {
        Keep::File { from, .. } => taken.contains(*from),
        Keep::Folder { from, .. } => taken.iter().any(|name| name.starts_with(from)),
    }
}

fn write(
    entry: &mut impl std::io::Read,
    target: &Path,
    progress: &mut Progress,
) -> Result<digest::Copied, SetupError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(SetupError::io("create", folder))?;
    }
    let mut file = File::create_new(target).map_err(SetupError::io("create", target))?;
    // Reading to the end makes the zip reader compare the entry's CRC.
    digest::copy(entry, &mut file, |n| progress.advance(n)).map_err(SetupError::io("unpack", target))
}

fn stays_inside(path: &str) -> bool {
    Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn paths_that_leave_the_tree_are_seen() {
        assert!(stays_inside("include/ATen/ATen.h"));
        assert!(!stays_inside("include/../../x"));
        assert!(!stays_inside("/etc/passwd"));
    }
}
