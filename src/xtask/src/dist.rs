//! `cargo xtask dist`: what is handed on to machines without Nix, in one folder; `cargo xtask closure`: the suite for machines
//! with it. Both are what CI keeps of a revision, so that it can be deployed later without being built again.
//!
//! ```text
//! target/dist/
//!   bin/           azaion, azaion-queue, azaion-backup, azaion-health, azaion-train (which takes libtorch from where `cargo xtask setup` puts it)
//!   units/         the units, users and tree, as they are in the workspace
//!   sbom.cdx.json  what is in the programs
//!   SHA256SUMS     of all of it, written last
//! target/closure/  a binary cache of Nix with the suite and all it needs
//!   path           the suite's path in the store, written last
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::packages::SHIPPED;
use crate::workspace::{Env, Workspace, find_program};
use crate::{digest, programs, sbom};

/// Where a folder is made.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder; it must not be there yet
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Options {
    /// The folder, made empty.
    fn folder(&self, workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
        let target = workspace.root().join("target");
        let folder = self
            .to
            .as_ref()
            .map_or_else(|| target.join(name), |to| workspace.root().join(to));
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}: it has to be a new folder", folder.display()))?;
        Ok(folder)
    }
}

/// Builds the programs and lays out the folder.
///
/// # Errors
/// Something does not build, or the folder cannot be written.
pub fn run(options: &Options, workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = options.folder(workspace, "dist")?;
    let bin = folder.join("bin");
    fs::create_dir(&bin)?;
    let revision = revision(workspace);
    for shipped in SHIPPED {
        let program = programs::build_of(workspace, shipped.package, revision.as_deref())?;
        let place = bin.join(shipped.program);
        fs::copy(&program, &place).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    copy_tree(&workspace.root().join("units"), &folder.join("units"))?;
    sbom::write(workspace, &folder.join("sbom.cdx.json"))?;
    let sums = sums(&folder)?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(folder)
}

/// The commit of the workspace; none without git.
fn revision(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root())
        .args(["rev-parse", "--verify", "HEAD"]);
    let output = git.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Builds the suite with Nix and copies it, with all it needs, into a folder that `nix copy --from file://DIR` reads.
///
/// # Errors
/// Nix is missing or fails.
pub fn closure(options: &Options, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<PathBuf> {
    let nix = find_program(&["nix"], env)
        .context("nix is missing: cargo xtask setup --host brings it on Debian")?;
    let folder = options.folder(workspace, "closure")?;
    let call = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(&nix)
            .current_dir(workspace.root())
            .args(["--extra-experimental-features", "nix-command flakes"])
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start nix")?;
        if !output.status.success() {
            bail!("nix {}: {}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let suite = call(&["build", "--no-link", "--print-out-paths", ".#azaion-suite"])?;
    let store = format!("file://{}?compression=zstd", folder.display());
    call(&["copy", "--to", &store, &suite])?;
    fs::write(folder.join("path"), format!("{suite}\n"))?;
    Ok(folder)
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), &place)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Lines that `sha256sum --check` reads, in order of the names.
fn sums(folder: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(place) = open.pop() {
        if place.is_dir() {
            for entry in fs::read_dir(&place)? {
                open.push(entry?.path());
            }
        } else {
            files.push(place);
        }
    }
    files.sort();
    let mut lines = String::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file).display();
        lines.push_str(&format!("{}  {name}\n", digest::of_file(&file, |_| ())?));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_sha256sum_checks() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/azaion"), "abc").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let sums = sums(folder.path()).unwrap();
        assert_eq!(
            sums,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  bin/azaion\n"
        );
    }

    #[test]
    fn a_folder_that_is_there_is_not_mixed_with() {
        let workspace = Workspace::locate(&|_| None).unwrap();
        let there = tempfile::tempdir().unwrap();
        let options = Options {
            to: Some(there.path().to_owned()),
        };
        let error = run(&options, &workspace).unwrap_err();
        assert!(
            format!("{error:#}").contains("it has to be a new folder"),
            "{error:#}"
        );
    }
}
