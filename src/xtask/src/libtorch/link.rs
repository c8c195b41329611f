//! Which libtorch the build uses: the pinned one through the link `.libtorch`, or the one that the user's own LIBTORCH
//! names.
//!
//! Cargo sets LIBTORCH to the link for everything it runs (`.cargo/config.toml`, without `force`), so LIBTORCH is the
//! user's only if it names something else.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::tree::BUILD_VERSION;
use super::{Recipe, SetupError};
use crate::workspace::Env;

/// The user's own libtorch, if LIBTORCH names one: neither the link nor the pinned tree in the cache.
#[must_use]
pub fn users_own(env: Env<'_>, link: &Path, tree: &Path) -> Option<PathBuf> {
    let own = env("LIBTORCH")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)?;
    let same = |other: &Path| {
        own == other || matches!((own.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    (!same(link) && !same(tree)).then_some(own)
}

/// What a look at the user's own libtorch gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Version {
    /// `build-version` holds the right version.
    Right,
    /// There is no `build-version`: nobody can tell.
    Unknown,
}

/// Looks whether the user's own libtorch can be linked.
///
/// # Errors
/// [`SetupError::UserTree`] when it is no libtorch, or one of another version.
pub fn check_users_own(own: &Path, recipe: &Recipe) -> Result<Version, SetupError> {
    let bad = |why: String| SetupError::UserTree {
        path: own.to_path_buf(),
        why,
        version: recipe.version.clone(),
    };
    for file in ["lib/libtorch_cpu.so", "include/torch"] {
        if !own.join(file).exists() {
            return Err(bad(format!("it has no {file}")));
        }
    }
    let Ok(text) = fs::read_to_string(own.join(BUILD_VERSION)) else {
        return Ok(Version::Unknown);
    };
    // A build's origin follows the version: 2.13.0+cpu, 2.13.0+cu130.
    let version = text.trim().split('+').next().unwrap_or_default();
    if version == recipe.version {
        Ok(Version::Right)
    } else {
        Err(bad(format!("its build-version is {version}")))
    }
}

/// What [`point`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Pointed {
    /// The link was right already.
    Already,
    /// There was none.
    Made,
    /// It pointed elsewhere.
    Instead(PathBuf),
}

/// Makes `link` point to `tree`, in one step: a build that runs meanwhile finds the old tree or the new one.
///
/// # Errors
/// [`SetupError::LinkTaken`] when something else than a link is there, [`SetupError::Io`].
pub fn point(link: &Path, tree: &Path) -> Result<Pointed, SetupError> {
    let before = match fs::read_link(link) {
        Ok(target) if target == tree => return Ok(Pointed::Already),
        Ok(target) => Some(target),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) if e.kind() == ErrorKind::InvalidInput => {
            return Err(SetupError::LinkTaken(link.to_path_buf()));
        }
        Err(e) => return Err(SetupError::io("read", link)(e)),
    };
    // A name of this call alone: two set-ups may point the link at once, also from threads of one process.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let aside = link.with_extension(format!("{}-{call}.partial", std::process::id()));
    // Left by a killed set-up that had our process id.
    let _ = fs::remove_file(&aside);
    symlink(tree, &aside).map_err(SetupError::io("create", &aside))?;
    fs::rename(&aside, link).map_err(SetupError::io("replace", link))?;
    Ok(before.map_or(Pointed::Made, Pointed::Instead))
}

/// Calls of [`point`] in this process.
static CALLS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_point_the_link_at_once_all_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(".libtorch");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (link, dir) = (&link, dir.path());
                scope.spawn(move || {
                    for turn in 0..50 {
                        point(link, &dir.join(format!("tree-{}", (thread + turn) % 3))).unwrap();
                    }
                });
            }
        });
        assert!(link.is_symlink());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    fn libtorch(version: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        fs::create_dir_all(dir.path().join("include/torch")).unwrap();
        fs::write(dir.path().join("lib/libtorch_cpu.so"), "x").unwrap();
        if let Some(version) = version {
            fs::write(dir.path().join(BUILD_VERSION), version).unwrap();
        }
        dir
    }

    #[test]
    fn the_link_and_the_pinned_tree_are_not_the_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, link, else_where) = (
            dir.path().join("tree"),
            dir.path().join(".libtorch"),
            dir.path().join("else"),
        );
        fs::create_dir(&tree).unwrap();
        let own = |value: Option<&Path>| {
            let value = value.map(|v| v.as_os_str().to_owned());
            users_own(&|name| value.clone().filter(|_| name == "LIBTORCH"), &link, &tree)
        };

        assert_eq!(own(Some(&tree)), None, "before there is a link");
        symlink(&tree, &link).unwrap();
        assert_eq!(own(None), None);
        assert_eq!(own(Some(Path::new(""))), None);
        assert_eq!(own(Some(&link)), None);
        assert_eq!(own(Some(&dir.path().join("./.libtorch"))), None);
        assert_eq!(own(Some(&else_where)), Some(else_where));
    }

    #[test]
    fn the_users_own_libtorch_must_be_of_the_right_version() {
        let recipe = Recipe::pinned();
        let look = |dir: &tempfile::TempDir| check_users_own(dir.path(), &recipe);

        assert_eq!(look(&libtorch(Some("2.13.0+cu130\n"))).unwrap(), Version::Right);
        assert_eq!(look(&libtorch(None)).unwrap(), Version::Unknown);
        let text = look(&libtorch(Some("2.12.1\n"))).unwrap_err().to_string();
        assert!(
            text.contains("2.12.1") && text.contains("2.13.0") && text.contains("unset LIBTORCH"),
            "{text}"
        );
        let text = look(&tempfile::tempdir().unwrap()).unwrap_err().to_string();
        assert!(text.contains("lib/libtorch_cpu.so"), "{text}");
    }

    #[test]
    fn the_link_is_made_kept_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(".libtorch");

        assert_eq!(point(&link, Path::new("/a")).unwrap(), Pointed::Made);
        assert_eq!(point(&link, Path::new("/a")).unwrap(), Pointed::Already);
        assert_eq!(
            point(&link, Path::new("/b")).unwrap(),
            Pointed::Instead("/a".into())
        );
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/b"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_folder_in_the_links_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(".libtorch");
        fs::create_dir(&link).unwrap();
        let text = point(&link, Path::new("/a")).unwrap_err().to_string();
        assert!(
            text.contains("not a symbolic link") && text.contains("LIBTORCH"),
            "{text}"
        );
    }
}
