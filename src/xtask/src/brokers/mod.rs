//! RabbitMQ for the tests: the brokers of Debian 12 and 13 with all that they run on, each in a folder of the user's cache
//! that is later the root of its processes. Nothing is installed on the machine but debootstrap, where it is missing.
//!
//! debootstrap resolves, fetches and verifies the packages against the archive's keys; they are unpacked, not configured,
//! and only those that a broker needs. Guarantees: a tree is complete or absent (built aside, renamed, with a marker
//! inside); with a good tree in place [`bring`] reads one small file. The mirror is the one that apt is configured for.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use thiserror::Error;

use crate::apt::Missing;
use crate::libtorch::SetupError;
use crate::libtorch::setup::{lock, replace, suffixed};
use crate::libtorch::{fetch, tree};
use crate::workspace::Env;

mod debian;
mod unpack;

/// Inside a tree, written last: [`Version::marker`].
const MARKER: &str = ".complete";

/// A RabbitMQ that the queue is tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.10.8, of Debian 12: what the suite's users run. No ExchangeCommandVersions, no StreamStats.
    V3_10,
    /// 4.0.5, of Debian 13.
    V4_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 2] = [Self::V3_10, Self::V4_0];

    /// The number of the release.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_10 => "3.10.8",
            Self::V4_0 => "4.0.5",
        }
    }

    /// The release of Debian that holds it.
    fn suite(self) -> &'static str {
        match self {
            Self::V3_10 => "bookworm",
            Self::V4_0 => "trixie",
        }
    }

    /// Where its tree is to be.
    #[must_use]
    pub fn tree(self, cache: &Path) -> PathBuf {
        cache.join("brokers").join(self.number())
    }

    /// Whether its tree is there. A matter of microseconds.
    #[must_use]
    pub fn is_here(self, cache: &Path) -> bool {
        fs::read_to_string(self.tree(cache).join(MARKER)).is_ok_and(|text| text == self.marker())
    }

    /// What the marker of a complete tree says; the number at its end changes with what is unpacked.
    fn marker(self) -> String {
        format!("{self} of {}, 1\n", self.suite())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RabbitMQ {}", self.number())
    }
}

/// Why a broker is not there: what happened, and what to do next.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The disk, or a program of the system.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Neither there nor installable.
    #[error(transparent)]
    Program(#[from] Missing),
    /// apt names no mirror of Debian.
    #[error(
        "apt's configuration names no mirror of Debian's main archive (apt-get indextargets): run apt-get update, or set \
         AZAION_DEBIAN_MIRROR to the address of one"
    )]
    NoMirror,
    /// debootstrap failed.
    #[error("debootstrap could not fetch {version} of Debian {}: {said}; it needs a network; try again", version.suite())]
    Fetch {
        /// What was to be fetched.
        version: Version,
        /// Its last line.
        said: String,
    },
    /// Debian's release has moved on.
    #[error(
        "Debian {} has {found} now, {version} is needed: correct src/xtask/src/brokers/mod.rs", version.suite()
    )]
    OtherVersion {
        /// What was wanted.
        version: Version,
        /// The package that was found.
        found: String,
    },
    /// A package could not be unpacked.
    #[error("cannot unpack {}: {why}", package.display())]
    Unpack {
        /// The package.
        package: PathBuf,
        /// What was said.
        why: String,
    },
}

impl BrokerError {
    /// Whether the machine lacks something that only its owner can change: a reason to go on without.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Program(_)
                | Self::NoMirror
                | Self::Fetch { .. }
                | Self::Setup(SetupError::MissingProgram { .. })
        )
    }

    /// Whether the same command can succeed later without anything being changed here.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Fetch { .. })
    }
}

/// Makes the tree of `version`, where it is not there, with lines of progress on stderr.
///
/// # Errors
/// [`BrokerError`]; the tree is then as before.
pub fn bring(version: Version, cache: &Path, env: Env<'_>) -> Result<PathBuf, BrokerError> {
    let place = version.tree(cache);
    if version.is_here(cache) {
        return Ok(place);
    }
    let folder = cache.join("brokers");
    // What is missing is said before anything is made.
    let tools = debian::Tools::find(env)?;
    fs::create_dir_all(&folder).map_err(SetupError::io("create", &folder))?;
    let _lock = lock(&folder.join("setup.lock"))?;
    if version.is_here(cache) {
        return Ok(place); // another set-up did it while we waited
    }
    let fetched = suffixed(&place, ".fetched");
    let aside = suffixed(&place, ".partial");
    fetch::empty(&aside)?;
    let packages = tools.fetch(version, &fetched)?;
    unpack::unpack(version, &packages, &aside)?;
    let marker = aside.join(MARKER);
    fs::write(&marker, version.marker()).map_err(SetupError::io("write", &marker))?;
    tree::sync(&aside)?;
    replace(&place, &aside)?;
    fetch::empty(&fetched)?;
    eprintln!("{version} is in {}", place.display());
    Ok(place)
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>, SetupError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut packages = Vec::new();
        for entry in fs::read_dir(folder)? {
            packages.push(entry?.path());
        }
        packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        packages.sort();
        Ok(packages)
    };
    read().map_err(SetupError::io("read", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_its_marker_or_with_an_older_one_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let tree = Version::V3_10.tree(cache.path());
        fs::create_dir_all(&tree).unwrap();
        assert!(!Version::V3_10.is_here(cache.path()));
        fs::write(tree.join(MARKER), "RabbitMQ 3.10.8 of bookworm, 0\n").unwrap();
        assert!(!Version::V3_10.is_here(cache.path()));
        fs::write(tree.join(MARKER), Version::V3_10.marker()).unwrap();
        assert!(Version::V3_10.is_here(cache.path()));
        assert!(!Version::V4_0.is_here(cache.path()));
    }

    #[test]
    fn a_machine_without_debians_tools_is_told_what_to_install() {
        let cache = tempfile::tempdir().unwrap();
        let error = bring(Version::V4_0, cache.path(), &|_| None).unwrap_err();
        assert!(error.is_missing());
        let text = error.to_string();
        assert!(text.contains("apt-get install"), "{text}");
        assert!(!cache.path().join("brokers").exists(), "nothing is made");
    }

    #[test]
    fn a_tree_that_is_there_costs_nothing_and_needs_no_tools() {
        let cache = tempfile::tempdir().unwrap();
        let tree = Version::V4_0.tree(cache.path());
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join(MARKER), Version::V4_0.marker()).unwrap();
        assert_eq!(bring(Version::V4_0, cache.path(), &|_| None).unwrap(), tree);
    }
}
