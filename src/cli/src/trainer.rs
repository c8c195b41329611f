//! The training program beside this one: `azaion-train` holds what needs libtorch, and this tool does not.
//!
//! It is looked for beside this program's own file, then on PATH. For a verb of its own this process becomes it, so that
//! terminal, signals and exit code are the same as if it had been called itself.

use crate::args::Passed;
use std::{
    env, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Name of the program.
pub const PROGRAM: &str = "azaion-train";

/// Why the training program does not run.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// It is nowhere.
    #[error(
        "{PROGRAM} is neither in {} nor on PATH, and what needs libtorch is in there: install the training package (from a clone: cargo build --release -p trainer)",
        .beside.display()
    )]
    Missing {
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

/// Runs a verb of the training program in the place of this one; comes back only with an error.
pub fn become_it(verbose: u8, verb: &str, passed: &Passed) -> TrainerError {
    let path = match find() {
        Ok(path) => path,
        Err(error) => return error,
    };
    let source = Command::new(&path)
        // Its usage lines then say what the user typed.
        .arg0("azaion")
        .args((0..verbose).map(|_| "-v"))
        .arg(verb)
        .args(&passed.arguments)
        .exec();
    TrainerError::Start { path, source }
}

/// Where the training program is.
///
/// # Errors
/// It is neither beside this program nor on PATH.
pub fn find() -> Result<PathBuf, TrainerError> {
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.to_owned()))
        .unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.clone())
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(PROGRAM))
        .find(|file| is_program(file))
        .ok_or(TrainerError::Missing { beside })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
