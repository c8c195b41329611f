//! Debian's side: which mirror apt is configured for, debootstrap and the archive's keys, and fetching with them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BrokerError, Version, packages_in};
use crate::apt::{self, quiet};
use crate::libtorch::SetupError;
use crate::workspace::{Env, find_program};

/// The keys that Debian signs its releases with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What fetching needs.
pub(super) struct Tools {
    debootstrap: PathBuf,
    mirror: String,
}

impl Tools {
    /// Finds them, and installs what is missing as root.
    pub(super) fn find(env: Env<'_>) -> Result<Self, BrokerError> {
        apt::program("dpkg-deb", "dpkg", env)?;
        let debootstrap = apt::program("debootstrap", "debootstrap", env)?;
        if !Path::new(KEYRING).is_file() {
            apt::install("the keyring of Debian's archive", "debian-archive-keyring", env)?;
        }
        let mirror = mirror(env)?;
        Ok(Self { debootstrap, mirror })
    }

    /// The packages of `version` and of all that it depends on, verified, below `folder`. Those of an earlier attempt are
    /// not fetched again.
    pub(super) fn fetch(&self, version: Version, folder: &Path) -> Result<Vec<PathBuf>, BrokerError> {
        eprintln!(
            "fetching {version} of Debian {} (once, about 125 MB)",
            version.suite()
        );
        fs::create_dir_all(folder).map_err(SetupError::io("create", folder))?;
        let mut child = Command::new(&self.debootstrap)
            .args([
                "--variant=minbase",
                "--include=rabbitmq-server",
                "--download-only",
            ])
            .args(["--keyring", KEYRING, version.suite()])
            .arg(folder)
            .arg(&self.mirror)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(SetupError::io("start", &self.debootstrap))?;
        let mut last = String::new();
        let mut next = Instant::now() + SAY_EVERY;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if Instant::now() >= next {
                next = Instant::now() + SAY_EVERY;
                eprintln!("    {line}");
            }
            last = line;
        }
        let status = child.wait().map_err(SetupError::io("run", &self.debootstrap))?;
        if !status.success() {
            let said = last;
            return Err(BrokerError::Fetch { version, said });
        }
        let packages = packages_in(&folder.join("var/cache/apt/archives"))?;
        check_version(version, &packages)?;
        Ok(packages)
    }
}

/// The release of Debian still holds the broker that is wanted.
fn check_version(version: Version, packages: &[PathBuf]) -> Result<(), BrokerError> {
    let names = packages.iter().filter_map(|path| path.file_name()?.to_str());
    let found = names
        .filter_map(|name| name.strip_prefix("rabbitmq-server_"))
        .next()
        .unwrap_or("no rabbitmq-server");
    let (number, _) = found.split_once('-').unwrap_or((found, ""));
    if number == version.number() {
        return Ok(());
    }
    let found = found.to_owned();
    Err(BrokerError::OtherVersion { version, found })
}

/// The mirror of Debian's main archive that apt is configured for.
fn mirror(env: Env<'_>) -> Result<String, BrokerError> {
    if let Some(own) = env("AZAION_DEBIAN_MIRROR").filter(|value| !value.is_empty()) {
        return Ok(own.to_string_lossy().into_owned());
    }
    let apt = find_program(&["apt-get"], env).ok_or(BrokerError::NoMirror)?;
    if let Some(mirror) = main_archive(&targets(&apt)) {
        return Ok(mirror);
    }
    // A fresh image has no lists, and without them apt does not know whose archive an address is.
    if nix::unistd::geteuid().is_root() && quiet(&apt, &["update"]) {
        return main_archive(&targets(&apt)).ok_or(BrokerError::NoMirror);
    }
    Err(BrokerError::NoMirror)
}

fn targets(apt: &Path) -> String {
    Command::new(apt)
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)",
        ])
        .arg("Created-By: Packages")
        .stdin(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The address among apt's targets that is no archive of updates or of another project.
fn main_archive(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut fields = line.split('|');
        let (origin, component, release) = (fields.next()?, fields.next()?, fields.next()?);
        let address = fields.next()?;
        let plain = !release.contains(['-', '/']) && address.contains("://");
        (origin == "Debian" && component == "main" && plain).then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archives_not_that_of_updates_or_others() {
        let targets = "Debian|main|bookworm-security|http://mirror.invalid/debian-security/\n\
                       Other|main|bookworm|http://other.invalid/debian/\n\
                       Debian|contrib|bookworm|http://mirror.invalid/contrib/\n\
                       Debian|main|bookworm-updates|http://mirror.invalid/updates/\n\
                       Debian|main|bookworm|http://mirror.invalid/debian/\n";
        assert_eq!(
            main_archive(targets).as_deref(),
            Some("http://mirror.invalid/debian/")
        );
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn a_release_that_moved_on_is_named() {
        let packages = |name: &str| vec![PathBuf::from("libc6_2.36_amd64.deb"), PathBuf::from(name)];
        check_version(
            Version::V3_10,
            &packages("rabbitmq-server_3.10.8-1.1+deb12u1_all.deb"),
        )
        .unwrap();
        let newer = packages("rabbitmq-server_3.10.9-1_all.deb");
        let text = check_version(Version::V3_10, &newer).unwrap_err().to_string();
        assert!(
            text.contains("3.10.9-1") && text.contains("3.10.8 is needed"),
            "{text}"
        );
    }
}
