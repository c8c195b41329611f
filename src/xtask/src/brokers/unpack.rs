//! From packages to a root that a broker runs in: a shell and its programs, libraries, Erlang and RabbitMQ, without
//! documentation and without Debian's own configuration.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BrokerError, Version};
use crate::libtorch::SetupError;

/// How the names of packages begin that a broker and its scripts run on.
const NEEDED: [&str; 9] = [
    "erlang-",
    "rabbitmq-server_",
    "lib",
    "zlib1g_",
    "dash_",
    "coreutils_",
    "sed_",
    "grep_",
    "hostname_",
];
/// Libraries that are only other packages' needs.
const NOT_NEEDED: [&str; 4] = ["libapt", "libdb5", "libpython", "libsqlite"];
/// What nobody reads here.
const LEFT_OUT: [&str; 4] = [
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/lib/x86_64-linux-gnu/gconv",
];
/// Folders that are links into /usr in both releases of Debian.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Devices that Erlang opens; a broker's processes see the machine's in their places.
const DEVICES: [&str; 2] = ["null", "urandom"];

/// Makes the root in `aside`.
pub(super) fn unpack(version: Version, packages: &[PathBuf], aside: &Path) -> Result<(), BrokerError> {
    eprintln!("unpacking {version}");
    furnish(aside).map_err(SetupError::io("write in", aside))?;
    for package in packages.iter().filter(|package| is_needed(package)) {
        extract(package, aside)?;
    }
    Ok(())
}

fn is_needed(package: &Path) -> bool {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let begins = |with: &[&str]| with.iter().any(|start| name.starts_with(start));
    begins(&NEEDED) && !begins(&NOT_NEEDED)
}

/// What no package brings.
fn furnish(root: &Path) -> io::Result<()> {
    for name in MERGED {
        let place = Path::new("usr").join(name);
        fs::create_dir_all(root.join(&place))?;
        symlink(&place, root.join(name))?;
    }
    for name in ["dev", "etc", "proc", "srv", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    for name in DEVICES {
        fs::write(root.join("dev").join(name), "")?;
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/srv:/bin/sh\n")
}

fn extract(package: &Path, root: &Path) -> Result<(), BrokerError> {
    let failed = |why: String| BrokerError::Unpack {
        package: package.to_owned(),
        why,
    };
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let tar = archive.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let unpacked = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"])
        .args(LEFT_OUT.iter().map(|path| format!("--exclude={path}")))
        .arg("--directory")
        .arg(root)
        .stdin(tar)
        .output();
    let read = archive.wait().map_err(|error| failed(error.to_string()))?;
    let unpacked = unpacked.map_err(|error| failed(error.to_string()))?;
    if read.success() && unpacked.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&unpacked.stderr);
    Err(failed(format!("dpkg-deb: {read}, tar: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_broker_runs_on_is_unpacked() {
        for needed in [
            "erlang-base_1%3a25_amd64.deb",
            "libssl3_3.0.20_amd64.deb",
            "dash_0.5_amd64.deb",
        ] {
            assert!(is_needed(Path::new(needed)), "{needed}");
        }
        for other in [
            "python3.11_3.11_amd64.deb",
            "libpython3.11-stdlib_3.11_amd64.deb",
            "tzdata_2026b_all.deb",
        ] {
            assert!(!is_needed(Path::new(other)), "{other}");
        }
    }
}
