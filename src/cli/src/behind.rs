//! The programs behind this one's verbs: what they need, libtorch or a library for repositories of backups, this tool does not.
//!
//! Each is looked for beside this program's own file, then on PATH. For a verb of its own this process becomes it, so that
//! terminal, signals and exit code are the same as if it had been called itself.

use std::{ffi::OsStr, io, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

/// A program behind this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its name.
    pub program: &'static str,
    /// What is in there and not here, as `what needs libtorch`.
    pub holds: &'static str,
    /// What to install, as `training`.
    pub package: &'static str,
    /// The package of the workspace that builds it.
    pub built_by: &'static str,
}

/// `azaion-backup`.
pub const BACKUP: Behind = Behind {
    program: "azaion-backup",
    holds: "what reads and writes backups",
    package: "backup",
    built_by: "backup",
};

/// `azaion-health`.
pub const HEALTH: Behind = Behind {
    program: "azaion-health",
    holds: "what looks after everything",
    package: "health",
    built_by: "health",
};

/// `azaion-train`.
pub const TRAINER: Behind = Behind {
    program: "azaion-train",
    holds: "what needs libtorch",
    package: "training",
    built_by: "trainer",
};

/// Why such a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum BehindError {
    /// It is nowhere.
    #[error(
        "{} is neither in {} nor on PATH, and {} is in there: install the {} package (from a clone: cargo build --release -p {})",
        .behind.program, .beside.display(), .behind.holds, .behind.package, .behind.built_by
    )]
    Missing {
        /// Which.
        behind: Behind,
        /// The folder of this program.
        beside: PathBuf,
    },
    /// It is there and cannot be started.
    #[error("cannot start {}: {source}", .path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Behind {
    /// Where it is.
    ///
    /// # Errors
    /// It is neither beside this program nor on PATH.
    pub fn find(self) -> Result<PathBuf, BehindError> {
        service::program::find(self.program).map_err(|beside| BehindError::Missing { behind: self, beside })
    }

    /// Runs it in the place of this one, so that its usage lines say what the user typed (`called`); comes back only with an
    /// error.
    pub fn become_it(
        self,
        called: &str,
        verbose: u8,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> BehindError {
        let path = match self.find() {
            Ok(path) => path,
            Err(error) => return error,
        };
        let source = Command::new(&path)
            .arg0(called)
            .args((0..verbose).map(|_| "-v"))
            .args(arguments)
            .exec();
        BehindError::Start { path, source }
    }
}
