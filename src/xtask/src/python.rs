//! Python with certain packages in it: the interpreter that a variable names, or a virtual environment in the user's cache
//! that is made when it is first needed. An environment is complete or not taken: its marker is written last.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::libtorch::{SetupError, tools};
use crate::workspace::{Env, WorkspaceError, cache_dir};

/// Written last: an environment without it was not finished.
pub const COMPLETE: &str = "azaion-complete";

/// An environment and what it has to hold.
#[derive(Debug)]
pub struct Environment {
    /// What it is for, in words.
    pub what: &'static str,
    /// Its folder in the cache.
    pub folder: &'static str,
    /// The variable that names another interpreter.
    pub variable: &'static str,
    /// What has to be installed, as pip and `importlib.metadata` name it; an empty version stands for any.
    pub packages: &'static [(&'static str, &'static str)],
    /// What it takes on disk, in words.
    pub size: &'static str,
}

/// Why there is no such interpreter.
#[derive(Debug, Error)]
pub enum PythonError {
    /// No place for it.
    #[error(transparent)]
    Cache(#[from] WorkspaceError),
    /// Python or pip is missing.
    #[error(transparent)]
    Tool(#[from] SetupError),
    /// The interpreter cannot be started, or lacks a package.
    #[error(
        "{}={}: {why}; it has to hold {}. Unset it to have an environment made in the cache", .environment.variable, .python.display(),
        .environment.wanted().join(", ")
    )]
    Unfit {
        /// What was looked for.
        environment: &'static Environment,
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
        "{} could not be installed (pip's words are above): it needs a network and {} in {}; try again, or name an interpreter \
         that has it in {}", .environment.what, .environment.size, .folder.display(), .environment.variable
    )]
    Install {
        /// What was to be installed.
        environment: &'static Environment,
        /// Its folder.
        folder: PathBuf,
    },
}

impl PythonError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Install { .. })
    }
}

impl Environment {
    /// The interpreter; makes the environment where it is missing, with lines of progress on stderr.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn interpreter(&'static self, env: Env<'_>) -> Result<PathBuf, PythonError> {
        if let Some(python) = env(self.variable).filter(|value| !value.is_empty()) {
            let python = PathBuf::from(python);
            return match self.misfit(&python) {
                None => Ok(python),
                Some(why) => Err(PythonError::Unfit {
                    environment: self,
                    python,
                    why,
                }),
            };
        }
        let folder = cache_dir(env)?.join(self.folder);
        if !self.is_complete(&folder) {
            self.make(&folder, env)?;
        }
        Ok(python_of(&folder))
    }

    /// The interpreter if it is there already: nothing is made.
    #[must_use]
    pub fn find(&'static self, env: Env<'_>) -> Option<PathBuf> {
        if let Some(python) = env(self.variable).filter(|value| !value.is_empty()) {
            return Some(python.into());
        }
        let folder = cache_dir(env).ok()?.join(self.folder);
        self.is_complete(&folder).then(|| python_of(&folder))
    }

    /// What pip is asked for.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let pinned = |(name, version): &(&str, &str)| match *version {
            "" => (*name).to_owned(),
            version => format!("{name}=={version}"),
        };
        self.packages.iter().map(pinned).collect()
    }

    fn is_complete(&self, folder: &Path) -> bool {
        std::fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|text| text == self.wanted().join("\n"))
    }

    /// What an interpreter lacks. Versions are asked of the packages' metadata: importing them takes seconds.
    fn misfit(&self, python: &Path) -> Option<String> {
        let names: Vec<&str> = self.packages.iter().map(|(name, _)| *name).collect();
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
        self.packages.iter().find_map(|(name, version)| {
            let found = found.next().unwrap_or_default();
            // "2.13.0+cu130" is 2.13.0 for another device.
            let plain = found.split('+').next().unwrap_or_default();
            (!version.is_empty() && plain != *version)
                .then(|| format!("it has {name} {found}, {version} is needed"))
        })
    }

    fn make(&'static self, folder: &Path, env: Env<'_>) -> Result<(), PythonError> {
        let system = tools::python_with_pip(env)?;
        eprintln!(
            "making a virtual environment with {} in {} (once, {})",
            self.what,
            folder.display(),
            self.size
        );
        let venv = |why: String| PythonError::Venv {
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
        let installed = Command::new(python_of(folder))
            .args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-input",
            ])
            .args(self.wanted())
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| venv(error.to_string()))?;
        if !installed.success() {
            return Err(PythonError::Install {
                environment: self,
                folder: folder.to_owned(),
            });
        }
        std::fs::write(folder.join(COMPLETE), self.wanted().join("\n"))
            .map_err(|error| venv(error.to_string()))
    }
}

fn python_of(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}
