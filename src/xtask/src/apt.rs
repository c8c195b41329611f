//! Programs of Debian's packages: found, or installed as root where they are missing. Anywhere else the error names the package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::workspace::{Env, find_program};

/// A program that is neither there nor installable: a reason to go on without, for only the machine's owner can change it.
#[derive(Debug, Error)]
#[error(
    "{program} is missing, and it cannot be installed: {why}; as root on Debian: apt-get install {package}"
)]
pub struct Missing {
    /// What was looked for.
    program: &'static str,
    /// Why it could not be brought.
    why: String,
    /// The package that brings it.
    package: &'static str,
}

/// The program `name`, from `package` where it is not there yet.
///
/// # Errors
/// [`Missing`].
pub fn program(name: &'static str, package: &'static str, env: Env<'_>) -> Result<PathBuf, Missing> {
    // Some programs are in a folder of root's that the PATH of others lacks.
    let find = || {
        find_program(&[name], env).or_else(|| {
            let sbin = Path::new("/usr/sbin").join(name);
            (env("PATH").is_some() && sbin.is_file()).then_some(sbin)
        })
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    install(name, package, env)?;
    find().ok_or_else(|| Missing {
        program: name,
        why: format!("the package {package} does not bring it"),
        package,
    })
}

/// Installs `package` for what it brings.
///
/// # Errors
/// [`Missing`].
pub fn install(what: &'static str, package: &'static str, env: Env<'_>) -> Result<(), Missing> {
    let missing = |why: &str| Missing {
        program: what,
        why: why.to_owned(),
        package,
    };
    let apt = find_program(&["apt-get"], env).ok_or_else(|| missing("there is no apt-get"))?;
    if !nix::unistd::geteuid().is_root() {
        return Err(missing("that takes root"));
    }
    eprintln!("installing {package}");
    let arguments = ["install", "--yes", "--no-install-recommends", package];
    if quiet(&apt, &arguments) || (quiet(&apt, &["update"]) && quiet(&apt, &arguments)) {
        return Ok(());
    }
    Err(missing("apt-get install failed"))
}

/// Whether apt-get does what it is asked to; it asks nothing back.
pub(crate) fn quiet(apt: &Path, arguments: &[&str]) -> bool {
    Command::new(apt)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_apt_is_told_the_package() {
        let error = program("systemd-nspawn", "systemd-container", &|_| None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("systemd-nspawn is missing"), "{error}");
        assert!(error.contains("apt-get install systemd-container"), "{error}");
    }
}
