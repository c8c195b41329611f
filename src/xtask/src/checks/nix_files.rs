//! Format of the Nix files, and names in them that nothing uses.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::steps::ended;
use super::tools::Tool;
use super::{Context, Outcome};

const NIXFMT: Tool = Tool {
    program: "nixfmt",
    package: "nixfmt_rs",
    version: "0.5.3",
};
const DEADNIX: Tool = Tool {
    program: "deadnix",
    package: "deadnix",
    version: "1.3.1",
};
/// Where they are.
const PLACES: [&str; 4] = ["flake.nix", "nixos-module", "tests/nix-standin", "tests/nixos"];

/// Runs both over every file.
pub(super) fn check(context: &Context<'_>) -> Outcome {
    let files = match files(context.workspace.root()) {
        Ok(files) => files,
        Err(error) => return Outcome::Failed(format!("the Nix files cannot be listed: {error}")),
    };
    for (tool, argument) in [(NIXFMT, "--check"), (DEADNIX, "--fail")] {
        let program = match tool.find(context) {
            Ok(program) => program,
            Err(outcome) => return outcome,
        };
        let mut command = Command::new(program);
        command.arg(argument).args(&files);
        match ended(command.status(), &command) {
            Outcome::Ok => {}
            Outcome::Failed(why) => return Outcome::Failed(format!("{}: {why}", tool.program)),
            skipped @ Outcome::Skipped(_) => return skipped,
        }
    }
    Outcome::Ok
}

fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut places: Vec<PathBuf> = PLACES.iter().map(|place| root.join(place)).collect();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            for entry in fs::read_dir(&place)? {
                places.push(entry?.path());
            }
        } else if place.extension().is_some_and(|extension| extension == "nix") {
            files.push(place);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nix_file_is_found_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "flake.nix",
            "nixos-module/a/b.nix",
            "nixos-module/README",
            "tests/nixos/c.nix",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(root.path().join("tests/nix-standin")).unwrap();
        let found = files(root.path()).unwrap();
        let expected = ["flake.nix", "nixos-module/a/b.nix", "tests/nixos/c.nix"];
        assert_eq!(found, expected.map(|file| root.path().join(file)));
    }
}
