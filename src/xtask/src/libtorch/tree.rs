//! The tree on disk and how it is recognised.
//!
//! ```text
//! libtorch-2.13.0-cpu/
//!   include/        torch's headers
//!   lib/            libtorch.so libtorch_cpu.so libc10.so libgomp.so.1 libcudart.so.13 libcupti.so.13
//!   build-version   2.13.0
//!   .complete       the marker: Recipe::marker(), written last
//! ```
//!
//! The digest can be checked without this program, from inside the tree:
//! `find * -type f | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum`

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{Recipe, SetupError};
use crate::digest;

/// The marker's name; hidden, so that it is no part of the digest.
pub const MARKER: &str = ".complete";
/// The file whose content torch-sys compares with the version it was made for.
pub const BUILD_VERSION: &str = "build-version";

/// The files of a tree: path within it (with slashes) and SHA-256.
#[derive(Debug, Default)]
pub struct Listing {
    files: BTreeMap<String, String>,
    bytes: u64,
}

impl Listing {
    /// Adds one file.
    pub fn insert(&mut self, path: String, sha256: String, bytes: u64) {
        self.files.insert(path, sha256);
        self.bytes += bytes;
    }

    /// How many files.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Their size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of what `sha256sum` prints for all files, sorted by path as bytes.
    #[must_use]
    pub fn digest(&self) -> String {
        let lines: String = self
            .files
            .iter()
            .map(|(path, sha256)| format!("{sha256}  {path}\n"))
            .collect();
        digest::of_bytes(lines.as_bytes())
    }

    /// Reads and hashes everything below `root` but hidden files at its top; `seen` is told of bytes as they are read.
    ///
    /// # Errors
    /// What walking and reading give. A symbolic link counts as an error: a tree of ours has none.
    pub fn read(root: &Path, mut seen: impl FnMut(u64)) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry
                    .file_name()
                    .into_string()
                    .map_err(|_| foreign(&entry.path(), "name"))?;
                if folder.is_empty() && name.starts_with('.') {
                    continue;
                }
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    let bytes = entry.metadata()?.len();
                    let sha256 = digest::of_file(&entry.path(), &mut seen)?;
                    listing.insert(path, sha256, bytes);
                } else {
                    return Err(foreign(&entry.path(), "kind of file"));
                }
            }
        }
        Ok(listing)
    }
}

fn foreign(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!(
        "{} has a {what} that no libtorch tree of ours has",
        path.display()
    ))
}

/// Whether the tree at `root` says that it is complete and is of `recipe`: the marker is right and no library is missing
/// or empty. A matter of microseconds; [`Listing::read`] is the thorough way.
#[must_use]
pub fn is_complete(root: &Path, recipe: &Recipe) -> bool {
    fs::read_to_string(root.join(MARKER)).is_ok_and(|text| text == recipe.marker())
        && recipe.named_files().chain([BUILD_VERSION]).all(|file| {
            root.join(file)
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.len() > 0)
        })
}

/// Writes the marker: from here on [`is_complete`] holds. Replaced whole, so that nobody reads half of it.
///
/// # Errors
/// [`SetupError::Io`].
pub fn mark(root: &Path, recipe: &Recipe) -> Result<(), SetupError> {
    let aside = root.join(".complete.partial");
    fs::write(&aside, recipe.marker()).map_err(SetupError::io("write", &aside))?;
    fs::rename(&aside, root.join(MARKER)).map_err(SetupError::io("rename", &aside))
}

/// Flushes the file system that `root` is on, so that after a power cut a marker never stands beside empty files. One
/// call instead of ten thousand: the tree has that many headers.
///
/// # Errors
/// [`SetupError::Io`].
pub fn sync(root: &Path) -> Result<(), SetupError> {
    let folder = fs::File::open(root).map_err(SetupError::io("open", root))?;
    nix::unistd::syncfs(&folder).map_err(|errno| SetupError::io("sync", root)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_what_sha256sum_gives() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("include/b")).unwrap();
        fs::write(dir.path().join("include/b/c.h"), "c\n").unwrap();
        fs::write(dir.path().join("include/b.h"), "b\n").unwrap();
        fs::write(dir.path().join("build-version"), "2.13.0\n").unwrap();
        fs::write(dir.path().join(MARKER), "not counted").unwrap();

        let listing = Listing::read(dir.path(), |_| {}).unwrap();

        assert_eq!((listing.files(), listing.bytes()), (3, 11));
        // Made with the command in the module's head. In byte order "include/b.h" comes before "include/b/c.h".
        assert_eq!(
            listing.digest(),
            "6d3734c8d85b41cef0f53b434a770b46eee0af5b29ce2aa65147d817d94dd114"
        );
    }

    #[test]
    fn a_symbolic_link_is_not_taken_for_a_file() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("libtorch.so")).unwrap();
        let error = Listing::read(dir.path(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("libtorch.so"), "{error}");
    }
}
