//! How systemd finds the units of a profile: in its own folder stands, for each unit of the generation, a link through the
//! profile's link, so that a switch changes all of them at once. Only such links are made or removed here.

use super::profile::Profile;
use anyhow::{Context, Result};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Where units are in a generation and in a profile.
const UNITS: &str = "lib/systemd/system";

/// What is to be done for a generation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Units without a link.
    pub missing: Vec<String>,
    /// Units in whose place something else stands, which systemd would take instead.
    pub in_the_way: Vec<PathBuf>,
}

/// Looks, and changes nothing.
pub(super) fn plan(folder: &Path, profile: &Profile, generation: &Path) -> Result<Plan> {
    let mut plan = Plan::default();
    for unit in units(generation)? {
        let link = folder.join(&unit);
        match fs::read_link(&link) {
            Ok(target) if target == through(profile, &unit) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => plan.missing.push(unit),
            // A link elsewhere, or no link at all.
            Ok(_) | Err(_) => plan.in_the_way.push(link),
        }
    }
    Ok(plan)
}

/// Makes what is missing, and removes links to units that the generation does not have.
pub(super) fn put(folder: &Path, profile: &Profile, generation: &Path) -> Result<()> {
    let plan = plan(folder, profile, generation)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for unit in plan.missing {
        let link = folder.join(&unit);
        symlink(through(profile, &unit), &link)
            .with_context(|| format!("cannot create {}", link.display()))?;
    }
    let has = units(generation)?;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_ours = fs::read_link(&path).is_ok_and(|target| target == through(profile, name));
        if is_ours && !has.iter().any(|unit| unit == name) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn through(profile: &Profile, unit: &str) -> PathBuf {
    profile.link().join(UNITS).join(unit)
}

fn units(generation: &Path) -> Result<Vec<String>> {
    let folder = generation.join(UNITS);
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.path().is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    };
    list().with_context(|| format!("cannot list {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(folder: &Path, name: &str, units: &[&str]) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.join(UNITS)).unwrap();
        for unit in units {
            fs::write(path.join(UNITS).join(unit), name).unwrap();
        }
        path
    }

    #[test]
    fn units_follow_the_profile_and_come_and_go_with_the_generation() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::new(&folder.path().join("azaion")).unwrap();
        let units = folder.path().join("system");
        let one = generation(folder.path(), "one", &["a.service", "b.service"]);
        let two = generation(folder.path(), "two", &["b.service", "c.timer"]);
        fs::create_dir(&units).unwrap();
        fs::write(units.join("own.service"), "an operator's").unwrap();
        symlink("/elsewhere", units.join("own.timer")).unwrap();
        let read = |unit: &str| fs::read_to_string(units.join(unit)).ok();

        put(&units, &profile, &one).unwrap();
        profile.point(&profile.add(&one).unwrap()).unwrap();
        assert_eq!(
            (read("a.service"), read("b.service")),
            (Some("one".into()), Some("one".into()))
        );
        put(&units, &profile, &two).unwrap();
        profile.point(&profile.add(&two).unwrap()).unwrap();
        assert_eq!(
            (read("a.service"), read("b.service"), read("c.timer")),
            (None, Some("two".into()), Some("two".into()))
        );
        assert_eq!(read("own.service"), Some("an operator's".into()));
        assert!(units.join("own.timer").is_symlink());
    }

    #[test]
    fn what_stands_in_the_way_is_told_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::new(&folder.path().join("azaion")).unwrap();
        let one = generation(folder.path(), "one", &["a.service", "b.service", "c.service"]);
        let units = folder.path().join("system");
        fs::create_dir(&units).unwrap();
        fs::write(units.join("a.service"), "an operator's").unwrap();
        symlink("/elsewhere", units.join("b.service")).unwrap();
        let plan = plan(&units, &profile, &one).unwrap();
        assert_eq!(
            plan.in_the_way,
            [units.join("a.service"), units.join("b.service")]
        );
        assert_eq!(plan.missing, ["c.service"]);
    }
}
