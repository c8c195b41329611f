//! A root of its own for systemd's offline tools: the suite's units with programs that only exist, beside the targets and
//! slices of this machine's systemd, and nothing else of the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::repository;

const UNITS: &str = "usr/lib/systemd/system";
/// What the units execute.
const PROGRAMS: [&str; 6] = [
    "azaion",
    "azaion-backup",
    "azaion-queue",
    "azaion-train",
    "sh",
    "azaion-health",
];

/// The root; gone when dropped.
#[derive(Debug)]
pub struct Stage {
    root: TempDir,
}

impl Stage {
    /// The units as they are in `units/`.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn new() -> anyhow::Result<Self> {
        let root = tempfile::tempdir().context("cannot make a folder for the units")?;
        for folder in [UNITS, "usr/bin", "etc"] {
            fs::create_dir_all(root.path().join(folder))?;
        }
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin"))?;
        for program in PROGRAMS {
            let path = root.path().join("usr/bin").join(program);
            fs::write(&path, "#!/bin/sh\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        let stage = Self { root };
        stage.take(&Path::new("/").join(UNITS), &["target", "slice", "socket"])?;
        stage.take(
            &repository().join("units"),
            &["service", "target", "timer", "path"],
        )?;
        Ok(stage)
    }

    fn take(&self, folder: &Path, kinds: &[&str]) -> anyhow::Result<()> {
        let read = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in read {
            let path = entry?.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            // Names that lead outside are other names of units that are taken anyway, or of none.
            if path.is_file() && kind.is_some_and(|kind| kinds.contains(&kind)) {
                let name = path.file_name().unwrap_or_default();
                fs::copy(&path, self.root.path().join(UNITS).join(name))?;
            }
        }
        Ok(())
    }

    /// Adds a drop-in to a unit, as the NixOS module or an administrator does.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn drop_in(&self, unit: &str, text: &str) -> anyhow::Result<()> {
        let folder = self.root.path().join(UNITS).join(format!("{unit}.d"));
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("overrides.conf"), text)?)
    }

    /// What `systemd-analyze verify` finds in `units` and in all that they depend on: nothing, if all is well.
    ///
    /// # Errors
    /// systemd-analyze cannot be started.
    pub fn verify(&self, units: &[&str]) -> anyhow::Result<Vec<String>> {
        let output = self
            .analyze("verify")
            .args(["--recursive-errors=yes", "--man=no"])
            .args(units)
            .output()
            .context("cannot start systemd-analyze")?;
        let mut said: Vec<String> = [output.stdout, output.stderr]
            .iter()
            .flat_map(|bytes| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        if !output.status.success() && said.is_empty() {
            said.push(output.status.to_string());
        }
        Ok(said)
    }

    /// The exposure of a service by `systemd-analyze security`, from 0 to 10.
    ///
    /// # Errors
    /// It gives none.
    pub fn exposure(&self, unit: &str) -> anyhow::Result<f64> {
        let output = self
            .analyze("security")
            .args(["--offline=true", "--no-pager"])
            .arg(unit)
            .output()
            .context("cannot start systemd-analyze")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text
            .lines()
            .find_map(|line| line.split_once("Overall exposure level for"))
            .and_then(|(_, rest)| rest.split_once(": "))
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        match number {
            Some(number) => Ok(number),
            None => bail!(
                "systemd-analyze security {unit} gave no exposure: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    fn analyze(&self, verb: &str) -> Command {
        let mut command = Command::new("systemd-analyze");
        command
            .arg(verb)
            .arg(format!("--root={}", self.root.path().display()));
        command
    }
}
