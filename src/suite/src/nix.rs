//! The flake without network: a copy of what Nix reads of the repository, evaluated by the real Nix with `tests/nix-standin`
//! in nixpkgs' place, in a store of its own. Nothing outside the copy's folder is written, and nothing is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::repository;

/// What Nix reads. `src/` is only looked for.
const READ: [&str; 13] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "clippy.toml",
    ".ci",
    ".github",
    "docs",
    "flake.lock",
    "flake.nix",
    "nixos-module",
    "rustfmt.toml",
    "tests/nix-standin",
    "tests/nixos",
];
const CONFIG: &str =
    "experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstituters =";

/// A copy that can be edited; gone when dropped.
#[derive(Debug)]
pub struct Copy {
    folder: TempDir,
}

impl Copy {
    /// A copy of the repository as it is.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the copy")?;
        let copy = Self { folder };
        fs::create_dir_all(copy.flake().join("src"))?;
        fs::write(copy.flake().join("src/.keep"), "")?;
        for name in READ.into_iter().chain(["units"]) {
            copy_all(&repository().join(name), &copy.flake().join(name))?;
        }
        Ok(copy)
    }

    /// The copied repository.
    #[must_use]
    pub fn flake(&self) -> PathBuf {
        self.folder.path().join("flake")
    }

    /// Replaces `from`, which must be there, in a file.
    ///
    /// # Errors
    /// It is not there.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.flake().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        if !text.contains(from) {
            bail!("{file} does not hold {from}");
        }
        Ok(fs::write(&path, text.replace(from, to))?)
    }

    /// `nix flake check` without building: every output is evaluated. Gives what Nix said against it.
    ///
    /// # Errors
    /// Nix cannot be started.
    pub fn check(&self) -> anyhow::Result<Result<(), String>> {
        let output = self.flakes(&["flake", "check", "--no-build"], "")?;
        Ok(if output.status.success() {
            Ok(())
        } else {
            Err(said(&output))
        })
    }

    /// The value of an output of the flake, `packages.x86_64-linux.azaion.pname` for instance.
    ///
    /// # Errors
    /// What Nix says against it.
    pub fn output(&self, attribute: &str) -> anyhow::Result<Value> {
        let output = self.flakes(&["eval", "--json"], &format!("#{attribute}"))?;
        value(&output)
    }

    /// The value of a Nix expression in which `pkgs` and `lib` are nixpkgs' stand-in and `flake` is the copy's path.
    ///
    /// # Errors
    /// What Nix says against it.
    pub fn expression(&self, expression: &str) -> anyhow::Result<Value> {
        let flake = self.flake();
        let text = format!(
            "let flake = {}; nixpkgs = (import (flake + \"/tests/nix-standin/flake.nix\")).outputs {{ }}; inherit (nixpkgs) lib; \
             pkgs = nixpkgs.legacyPackages.x86_64-linux; in {expression}",
            flake.display()
        );
        let mut command = self.command("nix-instantiate");
        command.args(["--eval", "--json", "--strict", "--expr"]).arg(text);
        value(&command.output().context("cannot start nix-instantiate")?)
    }

    fn flakes(&self, verb: &[&str], attribute: &str) -> anyhow::Result<Output> {
        let flake = self.flake();
        let mut command = self.command("nix");
        command
            .args(verb)
            .args(["--offline", "--no-write-lock-file", "--override-input", "nixpkgs"])
            .arg(format!("path:{}/tests/nix-standin", flake.display()))
            .arg(format!("path:{}{attribute}", flake.display()));
        command.output().context("cannot start nix")
    }

    fn command(&self, program: &str) -> Command {
        let own = self.folder.path();
        let mut command = Command::new(program);
        command
            .current_dir(own)
            .env("NIX_CONFIG", CONFIG)
            .env("NIX_STORE_DIR", own.join("nix/store"))
            .env("NIX_STATE_DIR", own.join("nix/state"))
            .env("NIX_LOG_DIR", own.join("nix/log"))
            .env("XDG_CACHE_HOME", own.join("nix/cache"))
            .env_remove("NIX_PATH")
            .env_remove("NIX_REMOTE");
        command
    }
}

fn value(output: &Output) -> anyhow::Result<Value> {
    if !output.status.success() {
        bail!("{}", said(output));
    }
    serde_json::from_slice(&output.stdout).context("Nix gave no JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy {}", from.display());
    if !from.is_dir() {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to).with_context(cannot)?;
        return Ok(());
    }
    fs::create_dir_all(to).with_context(cannot)?;
    for entry in fs::read_dir(from).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        copy_all(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
