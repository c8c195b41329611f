//! A Python interpreter with the reference package in it: the one that REFERENCE_PYTHON names, or a virtual environment
//! in the user's cache that is made when it is first needed. The package is run, never read (docs/CLEANROOM.md).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::libtorch::{SetupError, tools};
use crate::workspace::{Env, WorkspaceError, cache_dir};

/// What has to be installed, as pip and `importlib.metadata` name it. OpenCV because its versions round differently.
const PACKAGES: [(&str, &str); 6] = [
    ("ultralytics", "8.4.190"),
    ("torch", "2.13.0"),
    ("opencv-python", "5.0.0.93"),
    ("safetensors", ""),
    ("onnx", ""),
    ("onnxruntime", ""),
];
/// Written last: an environment without it was not finished.
const COMPLETE: &str = "azaion-complete";

/// Why there is no reference to compare with.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// No place for it.
    #[error(transparent)]
    Cache(#[from] WorkspaceError),
    /// Python or pip is missing.
    #[error(transparent)]
    Tool(#[from] SetupError),
    /// The interpreter cannot be started, or lacks a package.
    #[error(
        "REFERENCE_PYTHON={}: {why}; it has to hold {}. Unset it to have an environment made in the cache", .python.display(), wanted().join(", ")
    )]
    Unfit {
        /// The interpreter.
        python: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The folder of the environment cannot be made.
    #[error("cannot make a virtual environment in {}: {why} (Debian, Ubuntu: apt-get install python3-venv)", .folder.display())]
    Venv {
        /// Its folder.
        folder: PathBuf,
        /// What Python said.
        why: String,
    },
    /// pip could not bring the packages.
    #[error(
        "the reference package could not be installed (pip's words are above): it needs a network and about 6 GB in {}; \
         try again, or name an interpreter that has it in REFERENCE_PYTHON", .0.display()
    )]
    Install(PathBuf),
}

impl ReferenceError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Install(_))
    }
}

fn wanted() -> Vec<String> {
    let pinned = |(name, version): &(&str, &str)| match *version {
        "" => (*name).to_owned(),
        version => format!("{name}=={version}"),
    };
    PACKAGES.iter().map(pinned).collect()
}

/// The interpreter; makes the environment where it is missing, with lines of progress on stderr.
///
/// # Errors
/// [`ReferenceError`].
pub fn interpreter(env: Env<'_>) -> Result<PathBuf, ReferenceError> {
    if let Some(python) = env("REFERENCE_PYTHON").filter(|value| !value.is_empty()) {
        let python = PathBuf::from(python);
        return match misfit(&python) {
            None => Ok(python),
            Some(why) => Err(ReferenceError::Unfit { python, why }),
        };
    }
    let folder = cache_dir(env)?.join("reference");
    let python = folder.join("bin/python");
    let complete = folder.join(COMPLETE);
    if std::fs::read_to_string(&complete).is_ok_and(|text| text == wanted().join("\n")) {
        return Ok(python);
    }
    make(&folder, &python, env)?;
    std::fs::write(&complete, wanted().join("\n")).map_err(|error| ReferenceError::Venv {
        folder,
        why: error.to_string(),
    })?;
    Ok(python)
}

/// What an interpreter lacks. Versions are asked of the packages' metadata: importing them takes seconds.
fn misfit(python: &Path) -> Option<String> {
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let script =
        format!("from importlib.metadata import version\nfor name in {names:?}: print(version(name))");
    let output = match Command::new(python)
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => output,
        Err(error) => return Some(error.to_string()),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Some(
            said.lines()
                .last()
                .unwrap_or("it failed without a word")
                .to_owned(),
        );
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let mut found = said.lines();
    PACKAGES.iter().find_map(|(name, version)| {
        let found = found.next().unwrap_or_default();
        // "2.13.0+cu130" is 2.13.0 for another device.
        let plain = found.split('+').next().unwrap_or_default();
        (!version.is_empty() && plain != *version)
            .then(|| format!("it has {name} {found}, {version} is needed"))
    })
}

fn make(folder: &Path, python: &Path, env: Env<'_>) -> Result<(), ReferenceError> {
    let system = tools::python_with_pip(env)?;
    eprintln!(
        "making a virtual environment with the reference package in {} (once, about 6 GB)",
        folder.display()
    );
    let venv = |why: String| ReferenceError::Venv {
        folder: folder.to_owned(),
        why,
    };
    let made = Command::new(system)
        .args(["-m", "venv", "--clear"])
        .arg(folder)
        .output()
        .map_err(|error| venv(error.to_string()))?;
    if !made.status.success() {
        let said = [made.stdout, made.stderr].concat();
        return Err(venv(String::from_utf8_lossy(&said).trim().to_owned()));
    }
    // pip's own lines are the progress; they go to stderr, for stdout is the table's.
    let installed = Command::new(python)
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args(wanted())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| venv(error.to_string()))?;
    if installed.success() {
        Ok(())
    } else {
        Err(ReferenceError::Install(folder.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A shell script in the place of Python.
    fn python(script: &str) -> (tempfile::TempDir, Result<PathBuf, ReferenceError>) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("python");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = interpreter(&|name| (name == "REFERENCE_PYTHON").then(|| program.clone().into()));
        (dir, found)
    }

    #[test]
    fn a_named_interpreter_with_the_right_versions_is_taken() {
        let (_dir, found) = python("printf '8.4.190\\n2.13.0+cu130\\n5.0.0.93\\n0.6\\n1.22\\n1.30\\n'");
        assert!(found.unwrap().ends_with("python"));
    }

    #[test]
    fn another_version_is_named_with_the_one_that_is_needed() {
        let (_dir, found) = python("printf '8.4.190\\n2.12.1\\n5.0.0.93\\n0.6\\n1.22\\n1.30\\n'");
        let text = found.unwrap_err().to_string();
        assert!(text.contains("torch 2.12.1, 2.13.0 is needed"), "{text}");
    }

    #[test]
    fn an_interpreter_without_the_package_says_what_it_said() {
        let (_dir, found) = python("echo 'PackageNotFoundError: ultralytics' >&2; exit 1");
        let text = found.unwrap_err().to_string();
        assert!(
            text.contains("PackageNotFoundError") && text.contains("ultralytics==8.4.190"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_interpreter_is_an_error_that_names_it() {
        let text = interpreter(&|_| Some("/nowhere/python".into()))
            .unwrap_err()
            .to_string();
        assert!(text.contains("REFERENCE_PYTHON=/nowhere/python"), "{text}");
    }

    #[test]
    fn an_unfinished_environment_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let bin = cache.path().join("reference/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("python"), "").unwrap();
        let env = |name: &str| (name == "AZAION_CACHE").then(|| cache.path().as_os_str().to_owned());
        // Without a PATH nothing can be made, so it is an error and no half environment.
        assert!(matches!(interpreter(&env), Err(ReferenceError::Tool(_))));
        std::fs::write(cache.path().join("reference").join(COMPLETE), wanted().join("\n")).unwrap();
        assert_eq!(interpreter(&env).unwrap(), bin.join("python"));
    }
}
