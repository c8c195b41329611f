//! `cargo xtask parity`: has the reference package compute what tests/reference asks, and compares azaion with it.
//!
//! Everything that is made goes to a temporary folder (about 3 GB), which is removed at the end; with `--keep` it
//! stays where that says. The comparison itself is the program of src/parity; docs/PARITY.md explains its table.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::reference;
use crate::workspace::{Env, Workspace};

/// How many last lines of a failed script are repeated.
const TAIL_LINES: usize = 15;
/// The exit code by which src/parity says that a bound is broken.
const BROKEN: i32 = 2;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Another number, other weights, inputs and draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    /// Make and compare this part alone
    #[arg(long, value_name = "PART", value_parser = SCRIPTS.map(|script| script.name))]
    only: Option<String>,
    /// Keep what the reference computed in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A script of tests/reference and what it makes.
struct Script {
    name: &'static str,
    file: &'static str,
    /// Arguments before the place that it writes to.
    before: &'static [&'static str],
    /// File or folder in the scratch folder; a folder where it has no ending.
    output: &'static str,
    /// What stands before the seed.
    seed: &'static [&'static str],
}

const SCRIPTS: [Script; 5] = [
    Script {
        name: "network",
        file: "detector_forward.py",
        before: &["full"],
        output: "network",
        seed: &[],
    },
    Script {
        name: "loss",
        file: "loss_cases.py",
        before: &[],
        output: "loss.safetensors",
        seed: &[],
    },
    Script {
        name: "optimiser",
        file: "optimiser_runs.py",
        before: &[],
        output: "optimiser",
        seed: &["--seed"],
    },
    Script {
        name: "images",
        file: "image_samples.py",
        before: &[],
        output: "images",
        seed: &["--seed"],
    },
    Script {
        name: "metrics",
        file: "metrics_cases.py",
        before: &[],
        output: "metrics.safetensors",
        seed: &[],
    },
];

/// Runs the reference, then the comparison. True when every bound holds.
///
/// # Errors
/// There is no interpreter with the reference, a script failed, or the comparison could not be made.
pub fn run(options: &Options, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<bool> {
    let python = reference::interpreter(env)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = match &options.keep {
        Some(folder) => std::path::absolute(folder)?,
        None => scratch.path().join("reference"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scripts = workspace.root().join("tests/reference");
    let asked = |name: &str| options.only.as_ref().is_none_or(|only| only == name);
    for script in SCRIPTS.iter().filter(|script| asked(script.name)) {
        let started = Instant::now();
        eprintln!("reference: {}", script.name);
        script.run(&python, &scripts, &folder, options.seed)?;
        eprintln!("    {:.1} s", started.elapsed().as_secs_f64());
    }
    compare(workspace, &folder, options)
}

/// Builds and runs src/parity.
fn compare(workspace: &Workspace, folder: &Path, options: &Options) -> anyhow::Result<bool> {
    let mut command = workspace.cargo();
    command
        .args(["run", "--release", "--package", "parity", "--"])
        .arg(folder)
        .args(options.json.then_some("--json"))
        .args(options.only.iter().flat_map(|part| ["--only", part]))
        // Sums depend on how they are split over threads.
        .env("OMP_NUM_THREADS", "1");
    let status = command.status().context("cannot start cargo")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(BROKEN) => Ok(false),
        _ => bail!("the comparison ended with {status}"),
    }
}

impl Script {
    fn run(&self, python: &Path, scripts: &Path, folder: &Path, seed: u32) -> anyhow::Result<()> {
        let output = folder.join(self.output);
        if output.extension().is_none() {
            std::fs::create_dir_all(&output)?;
        }
        let log = folder.join(format!("{}.log", self.name));
        let said = File::create(&log)?;
        let status = Command::new(python)
            .arg(scripts.join(self.file))
            .args(self.before)
            .arg(&output)
            .args(self.seed)
            .arg(seed.to_string())
            .current_dir(folder)
            .env("YOLO_OFFLINE", "true")
            .env("YOLO_CONFIG_DIR", folder)
            .env("OMP_NUM_THREADS", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()
            .with_context(|| format!("cannot start {}", python.display()))?;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default();
        bail!("{} ended with {status}. It said:\n{}", self.file, tail.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(script: &str) -> anyhow::Result<String> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("optimiser_runs.py"), script)?;
        SCRIPTS[2].run(Path::new("/bin/sh"), dir.path(), dir.path(), 7)?;
        Ok(std::fs::read_to_string(dir.path().join("optimiser.log"))?)
    }

    #[test]
    fn a_script_gets_its_place_its_seed_and_no_network() {
        let said = stand_in(r#"test -d "$1" && echo "$2 $3 $YOLO_OFFLINE""#).unwrap();
        assert_eq!(said, "--seed 7 true\n");
    }

    #[test]
    fn a_script_that_fails_is_quoted() {
        let text = stand_in("echo 'no space left' >&2; exit 3")
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("optimiser_runs.py") && text.contains("no space left"),
            "{text}"
        );
    }

    #[test]
    fn every_script_is_there() {
        let workspace = Workspace::locate(&|_| None).unwrap();
        for script in SCRIPTS {
            let file = workspace.root().join("tests/reference").join(script.file);
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
