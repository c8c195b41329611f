//! Where things are: the workspace's root, the user's cache folder, programs on PATH; and how cargo is called from
//! within cargo. The environment is read through [`Env`], so that every rule here is tested without touching the process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

/// How a variable of the environment is looked up: `&|name| std::env::var_os(name)` in the program.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The process's own environment.
#[must_use]
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Why a place could not be found.
#[derive(Debug, Error)]
pub enum WorkspaceError {
    /// There is no Cargo.lock where the workspace should be.
    #[error("{} is not the workspace (it has no Cargo.lock): run this as `cargo xtask` from inside the clone", .0.display())]
    NotAWorkspace(PathBuf),
    /// Nothing says where a cache may be kept.
    #[error(
        "no place for the cache: none of AZAION_CACHE, XDG_CACHE_HOME and HOME is set; set AZAION_CACHE to a folder"
    )]
    NoCache,
    /// The current folder is unknown, so a relative AZAION_CACHE means nothing.
    #[error("AZAION_CACHE={} is relative, and the current folder is unknown: give an absolute path", .0.display())]
    RelativeCache(PathBuf),
}

/// The workspace on disk.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace this program was started in. `cargo run` says at run time where the package is; the place it was
    /// compiled at is the fallback.
    ///
    /// # Errors
    /// [`WorkspaceError::NotAWorkspace`] where the clone has moved away.
    pub fn locate(env: Env<'_>) -> Result<Self, WorkspaceError> {
        let package = env("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.ancestors().nth(2).unwrap_or(&package).to_path_buf();
        if root.join("Cargo.lock").is_file() {
            Ok(Self { root })
        } else {
            Err(WorkspaceError::NotAWorkspace(root))
        }
    }

    /// The folder that holds the workspace's Cargo.toml.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The symbolic link through which the build finds libtorch (`.cargo/config.toml` names it).
    #[must_use]
    pub fn libtorch_link(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// The very cargo that runs us, called as [`Self::cargo_like`] does.
    #[must_use]
    pub fn cargo(&self) -> Command {
        self.cargo_like(Path::new(
            &std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        ))
    }

    /// `program`, which is cargo or runs it, in the root, without the variables that the outer cargo set for this
    /// package: build scripts watch some of them, and would run again on every change between `cargo xtask` and cargo.
    #[must_use]
    pub fn cargo_like(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_set_for_one_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn is_set_for_one_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || matches!(
            name,
            "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE"
        )
}

/// `$AZAION_CACHE`, else `$XDG_CACHE_HOME/azaion`, else `~/.cache/azaion`; always absolute. An empty variable counts as
/// unset, and so does a relative XDG_CACHE_HOME (its specification says to ignore one).
///
/// # Errors
/// [`WorkspaceError::NoCache`] where no variable says anything.
pub fn cache_dir(env: Env<'_>) -> Result<PathBuf, WorkspaceError> {
    let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = set("AZAION_CACHE") {
        return std::path::absolute(&own).map_err(|_| WorkspaceError::RelativeCache(own));
    }
    set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| {
            set("HOME")
                .filter(|path| path.is_absolute())
                .map(|home| home.join(".cache"))
        })
        .map(|caches| caches.join("azaion"))
        .ok_or(WorkspaceError::NoCache)
}

/// The first of `names` that PATH (then cargo's own folder of programs) has as an executable file.
#[must_use]
pub fn find_program(names: &[&str], env: Env<'_>) -> Option<PathBuf> {
    let path = env("PATH").unwrap_or_default();
    let cargo_bin = env("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| Path::new(&home).join(".cargo")))
        .map(|home| home.join("bin"));
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(cargo_bin).collect();
    names.iter().find_map(|name| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| is_executable(file))
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(vars: &[(&str, &str)]) -> Result<PathBuf, WorkspaceError> {
        cache_dir(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
    }

    #[test]
    fn the_cache_is_where_the_nearest_variable_says() {
        let all = [
            ("AZAION_CACHE", "/a"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(cache(&all).unwrap(), Path::new("/a"));
        assert_eq!(cache(&all[1..]).unwrap(), Path::new("/x/azaion"));
        assert_eq!(cache(&all[2..]).unwrap(), Path::new("/home/u/.cache/azaion"));
    }

    #[test]
    fn empty_and_relative_variables_do_not_lead_the_cache_astray() {
        let vars = [
            ("AZAION_CACHE", ""),
            ("XDG_CACHE_HOME", "rel"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(cache(&vars).unwrap(), Path::new("/home/u/.cache/azaion"));
        assert!(cache(&[("AZAION_CACHE", "rel")]).unwrap().is_absolute());
    }

    #[test]
    fn without_any_variable_the_error_names_all_three() {
        let text = cache(&[]).unwrap_err().to_string();
        for name in ["AZAION_CACHE", "XDG_CACHE_HOME", "HOME"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_not_a_program() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c++"), "").unwrap();
        let path = dir.path().as_os_str().to_owned();
        let env = |name: &str| (name == "PATH").then(|| path.clone());
        assert_eq!(find_program(&["c++", "g++"], &env), None);
    }

    #[test]
    fn a_moved_clone_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("src/xtask").into_os_string();
        let text = Workspace::locate(&|_| Some(package.clone()))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("no Cargo.lock") && text.contains("cargo xtask"),
            "{text}"
        );
    }

    #[test]
    fn only_the_variables_of_one_package_are_taken_from_an_inner_cargo() {
        assert!(is_set_for_one_package("CARGO_PKG_NAME"));
        assert!(is_set_for_one_package("CARGO_MANIFEST_DIR"));
        assert!(!is_set_for_one_package("CARGO_TARGET_DIR"));
        assert!(!is_set_for_one_package("CARGO_HOME"));
    }
}
