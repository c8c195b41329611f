//! A Nix profile: a link to a numbered link to what is installed.
//!
//! ```text
//! azaion -> azaion-7-link    azaion-7-link -> /nix/store/...-azaion-suite
//! ```
//! The numbered links are the generations; nix-env(1) makes and lists the same, and as long as one is there, what it names is
//! not collected. Here a generation is only ever added, and the profile's own link replaced in one step.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// The queue's unit in a generation.
const QUEUE_UNIT: &str = "lib/systemd/system/azaion-queue.service";
/// What activates a whole NixOS.
pub(super) const SYSTEM_SWITCH: &str = "bin/switch-to-configuration";

/// A profile, by its link.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    link: PathBuf,
    name: String,
}

/// One of a profile's generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub number: u64,
    /// What it installs.
    pub path: PathBuf,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, {}", self.number, self.path.display())
    }
}

/// What a generation is, and so, how it is activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Programs and units of the suite, on any systemd.
    Suite,
    /// A whole NixOS, which activates itself.
    System,
}

impl Kind {
    /// Looks what is there.
    pub fn of(path: &Path) -> Result<Self, String> {
        let is_program = |name: &str| {
            let meta = path.join(name).metadata();
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        if is_program(SYSTEM_SWITCH) {
            return Ok(Self::System);
        }
        for program in ["bin/azaion", "bin/azaion-queue"] {
            if !is_program(program) {
                return Err(format!("has no program {program}"));
            }
        }
        match path.join(QUEUE_UNIT).is_file() {
            true => Ok(Self::Suite),
            false => Err(format!("has no {QUEUE_UNIT}")),
        }
    }
}

impl Profile {
    pub fn new(link: &Path) -> Result<Self> {
        let link =
            std::path::absolute(link).with_context(|| format!("cannot tell where {} is", link.display()))?;
        let name = link.file_name().and_then(|name| name.to_str());
        let name = name
            .with_context(|| format!("{} is no profile's name", link.display()))?
            .to_owned();
        Ok(Self { link, name })
    }

    pub fn link(&self) -> &Path {
        &self.link
    }

    fn folder(&self) -> &Path {
        self.link.parent().unwrap_or(Path::new("/"))
    }

    fn numbered(&self, number: u64) -> String {
        format!("{}-{number}-link", self.name)
    }

    /// The number in the name of a generation's link.
    fn number(&self, link: &str) -> Option<u64> {
        let rest = link.strip_prefix(&self.name)?.strip_prefix('-')?;
        let digits = rest.strip_suffix("-link")?;
        digits
            .parse()
            .ok()
            .filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// All generations, the oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let folder = self.folder();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| self.number(name)) {
                let path = fs::read_link(entry.path())
                    .with_context(|| format!("cannot read {}", entry.path().display()))?;
                found.push(Generation { number, path });
            }
        }
        found.sort_by_key(|generation| generation.number);
        Ok(found)
    }

    /// The generation that the profile points at; none where there is no profile yet.
    pub fn current(&self) -> Result<Option<Generation>> {
        let target = match fs::read_link(&self.link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} is no profile", self.link.display()));
            }
        };
        let name = target
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(number) = self.number(name) else {
            bail!(
                "{} points at {}, which is no generation of it: it is no Nix profile",
                self.link.display(),
                target.display()
            );
        };
        let link = self.folder().join(name);
        let path = fs::read_link(&link).with_context(|| format!("cannot read {}", link.display()))?;
        Ok(Some(Generation { number, path }))
    }

    /// Adds a generation, and does not point at it yet. What is the newest one already, is not added again.
    pub fn add(&self, path: &Path) -> Result<Generation> {
        let newest = self.generations()?.pop();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.path == path) {
            return Ok(newest.clone());
        }
        let number = newest.map_or(1, |newest| newest.number + 1);
        let link = self.folder().join(self.numbered(number));
        fs::create_dir_all(self.folder())
            .with_context(|| format!("cannot create {}", self.folder().display()))?;
        symlink(path, &link).with_context(|| format!("cannot create {}", link.display()))?;
        Ok(Generation {
            number,
            path: path.to_owned(),
        })
    }

    /// Points the profile at one of its generations.
    pub fn point(&self, generation: &Generation) -> Result<()> {
        store::atomic::repoint(&self.link, Path::new(&self.numbered(generation.number)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> (tempfile::TempDir, Profile) {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::new(&folder.path().join("profiles/azaion")).unwrap();
        (folder, profile)
    }

    #[test]
    fn generations_are_numbered_and_the_profile_points_at_one() {
        let (_folder, profile) = profile();
        assert_eq!(
            (profile.current().unwrap(), profile.generations().unwrap()),
            (None, Vec::new())
        );
        let one = profile.add(Path::new("/store/one")).unwrap();
        profile.point(&one).unwrap();
        let two = profile.add(Path::new("/store/two")).unwrap();
        assert_eq!(
            profile.current().unwrap(),
            Some(one.clone()),
            "adding one does not point at it"
        );
        profile.point(&two).unwrap();
        assert_eq!(profile.current().unwrap(), Some(two.clone()));
        assert_eq!(
            profile.add(Path::new("/store/two")).unwrap(),
            two,
            "the newest is not added again"
        );
        assert_eq!(fs::read_link(profile.link()).unwrap(), Path::new("azaion-2-link"));
        profile.point(&one).unwrap();
        assert_eq!(profile.add(Path::new("/store/three")).unwrap().number, 3);
        assert_eq!(profile.generations().unwrap().len(), 3);
    }

    #[test]
    fn names_of_other_profiles_are_none_of_this_one() {
        let (_folder, profile) = profile();
        for name in [
            "azaion-next-3-link",
            "azaion-link",
            "azaion-+3-link",
            "azaion-3",
            "system-3-link",
        ] {
            assert_eq!(profile.number(name), None, "{name}");
        }
        assert_eq!(profile.number("azaion-12-link"), Some(12));
    }

    #[test]
    fn what_is_no_profile_is_said_to_be_none() {
        let (_folder, profile) = profile();
        fs::create_dir_all(profile.folder()).unwrap();
        symlink("/store/one", profile.link()).unwrap();
        assert!(
            profile
                .current()
                .unwrap_err()
                .to_string()
                .contains("no Nix profile")
        );
        fs::remove_file(profile.link()).unwrap();
        fs::create_dir(profile.link()).unwrap();
        assert!(profile.current().is_err());
    }

    #[test]
    fn a_generation_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Kind::of(folder.path()).unwrap_err().contains("bin/azaion"));
        let program = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("bin/azaion");
        program("bin/azaion-queue");
        assert!(Kind::of(folder.path()).unwrap_err().contains(QUEUE_UNIT));
        program(QUEUE_UNIT);
        assert_eq!(Kind::of(folder.path()), Ok(Kind::Suite));
        program(SYSTEM_SWITCH);
        assert_eq!(Kind::of(folder.path()), Ok(Kind::System));
    }
}
