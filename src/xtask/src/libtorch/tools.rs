//! What the machine itself has to have: a C++ compiler always, Python with pip only where wheels must be fetched.
//! Each missing program is named with the package that brings it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Recipe, SetupError};
use crate::workspace::{Env, find_program};

/// The wheels are for this kind of machine only.
///
/// # Errors
/// [`SetupError::Platform`].
pub fn check_platform(recipe: &Recipe) -> Result<(), SetupError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if (os, arch) == ("linux", "x86_64") {
        return Ok(());
    }
    Err(SetupError::Platform {
        os,
        arch,
        version: recipe.version.clone(),
    })
}

/// A C++ compiler is there: tch compiles its glue to libtorch. CXX counts, as it does for the build. A look at PATH, not
/// a test run, as this happens on every start.
///
/// # Errors
/// [`SetupError::MissingProgram`].
pub fn check_compiler(env: Env<'_>) -> Result<(), SetupError> {
    if env("CXX").is_some_and(|cxx| !cxx.is_empty()) || find_program(&["c++", "g++"], env).is_some() {
        return Ok(());
    }
    Err(SetupError::MissingProgram {
        program: "a C++ compiler (c++)",
        why: "which the build needs to reach libtorch",
        package: "g++ (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++)",
    })
}

/// The Python that has pip.
///
/// # Errors
/// [`SetupError::MissingProgram`] that names which of the two is missing.
pub fn python_with_pip(env: Env<'_>) -> Result<PathBuf, SetupError> {
    let python = find_program(&["python3"], env).ok_or(SetupError::MissingProgram {
        program: "python3",
        why: "which fetches libtorch's wheels with pip",
        package: "python3 and python3-pip (Debian, Ubuntu: apt-get install python3 python3-pip)",
    })?;
    let pip = Command::new(&python)
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(SetupError::io("start", &python))?;
    if pip.success() {
        return Ok(python);
    }
    Err(SetupError::MissingProgram {
        program: "pip (python3 -m pip)",
        why: "which fetches libtorch's wheels",
        package: "python3-pip (Debian, Ubuntu: apt-get install python3-pip; elsewhere: python3 -m ensurepip)",
    })
}
