//! One libtorch for everybody: the CPU part of the `torch` wheel that tch 0.26 was made for, unpacked once into the
//! user's cache and reached through the link `.libtorch` in the workspace.
//!
//! Guarantees: nothing is used whose SHA-256 is not the one in [`pins`]; a tree is complete or absent (built aside, synced,
//! renamed, with a marker inside); two set-ups at once wait for each other; a killed one leaves nothing that the next
//! one trips over, and wheels that had arrived are not fetched again. With a good tree in place [`setup::Setup::run`]
//! reads one small file and a few inodes, so every verb of xtask can call it first.
//!
//! The wheels and what is kept of them are facts measured against tch 0.26.0 (docs/ARCHITECTURE.md).

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub mod fetch;
pub mod link;
pub mod pins;
pub mod rehearsal;
pub mod setup;
pub mod tools;
pub mod tree;
pub mod unpack;

pub use pins::{Recipe, Wheel};
pub use setup::{Ready, Setup};

/// Why libtorch could not be set up: what happened, where, and what to do next.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The wheels are for another kind of machine.
    #[error(
        "the pinned libtorch is for linux on x86_64, this is {os} on {arch}: install libtorch {version} yourself and set \
         LIBTORCH to its folder"
    )]
    Platform {
        /// Operating system as Rust calls it.
        os: &'static str,
        /// Architecture as Rust calls it.
        arch: &'static str,
        /// The libtorch version that is needed.
        version: String,
    },
    /// A program of the system is needed.
    #[error("{program} is missing, {why}: install {package}")]
    MissingProgram {
        /// What was looked for.
        program: &'static str,
        /// What it is needed for.
        why: &'static str,
        /// How to get it.
        package: &'static str,
    },
    /// A wheel on disk is not the pinned one.
    #[error(
        "{} is not the pinned wheel:\n  expected SHA-256 {expected}\n  found            {found}\nDelete that file, then run `cargo xtask setup` again",
        path.display()
    )]
    WrongWheel {
        /// The wheel.
        path: PathBuf,
        /// Pinned SHA-256.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// pip fetched something else than the pinned wheel; it was thrown away.
    #[error(
        "pip fetched a {file} that is not the pinned one, and it was thrown away:\n  expected SHA-256 {expected}\n  found            {found}\n\
         The package index that pip is configured for serves another file: correct pip's configuration, then run \
         `cargo xtask setup` again"
    )]
    WrongDownload {
        /// The wheel's file name.
        file: String,
        /// Pinned SHA-256.
        expected: String,
        /// What was fetched.
        found: String,
    },
    /// pip could not fetch a wheel.
    #[error(
        "pip could not fetch {what}:\n{said}\nWithout a network: {}",
        place_them(folder, missing)
    )]
    Fetch {
        /// `project==version`.
        what: String,
        /// The end of what pip said.
        said: String,
        /// Where wheels are looked for.
        folder: PathBuf,
        /// Wheels that are still missing: file name and SHA-256.
        missing: Vec<(String, String)>,
    },
    /// A folder of wheels was named, and it does not hold them all.
    #[error("wheels are missing: {}", place_them(folder, missing))]
    MissingWheels {
        /// The folder that was named.
        folder: PathBuf,
        /// Missing wheels: file name and SHA-256.
        missing: Vec<(String, String)>,
    },
    /// A wheel with the right SHA-256 could not be unpacked: the disk or the pins are at fault.
    #[error("cannot unpack {}: {why}", wheel.display())]
    Unpack {
        /// The wheel.
        wheel: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A tree, just unpacked or in use, is not the pinned one.
    #[error(
        "the libtorch in {} is not the pinned one:\n  expected digest {expected}\n  found           {found}\nDelete that folder, \
         then run `cargo xtask setup` again; if it comes out the same, the pins in src/xtask/src/libtorch/pins.rs are wrong",
        path.display()
    )]
    WrongTree {
        /// The tree.
        path: PathBuf,
        /// Pinned digest.
        expected: String,
        /// Digest of what is there.
        found: String,
    },
    /// LIBTORCH names something that cannot be used.
    #[error("LIBTORCH={} cannot be used: {why}; unset LIBTORCH to get the pinned libtorch {version}", path.display())]
    UserTree {
        /// What LIBTORCH names.
        path: PathBuf,
        /// Why not.
        why: String,
        /// The version that is needed.
        version: String,
    },
    /// Something that is not a link is where the link belongs.
    #[error("{} is not a symbolic link: move it away, or set LIBTORCH to use it", .0.display())]
    LinkTaken(PathBuf),
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SetupError {
    /// Whether the same command can succeed later without anything being changed here.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Fetch { .. })
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

fn place_them(folder: &Path, missing: &[(String, String)]) -> String {
    let mut text = format!(
        "place these files in {}, then run `cargo xtask setup` again:",
        folder.display()
    );
    for (file, sha256) in missing {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {file}\n    SHA-256 {sha256}");
    }
    text
}
