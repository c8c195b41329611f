//! `cargo xtask fuzz`: decoders of foreign bytes under libFuzzer, in the crate tests/fuzz.
//!
//! It needs cargo-fuzz, which it does not install, and no nightly compiler. The first run builds the target; what a run
//! learns is kept in tests/fuzz/corpus, a finding in tests/fuzz/artifacts.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::workspace::{Env, Workspace, find_program};

/// Where the crate of the targets lies.
const FOLDER: &str = "tests/fuzz";
/// Memory of the whole process in megabytes: what libtorch takes, and far more than a decoder may.
const PROCESS_MEGABYTES: u32 = 1024;
/// Seconds that one input may take.
const INPUT_SECONDS: u32 = 10;

/// What is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Whole .pt files
    Pt,
    /// The pickle in a .pt file
    Pickle,
    /// Model files of both kinds through the detector, with libtorch
    Weights,
    /// Frames of the RabbitMQ Streams protocol
    Frames,
    /// Chunks of a stream, with whatever is packed in them
    Chunks,
}

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to decode
    target: Target,
    /// How long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pt => "pt",
            Self::Pickle => "pickle",
            Self::Weights => "weights",
            Self::Frames => "frames",
            Self::Chunks => "chunks",
        })
    }
}

impl Target {
    /// Whether libtorch is linked, which makes the first build long.
    #[must_use]
    pub fn needs_libtorch(self) -> bool {
        matches!(self, Self::Weights)
    }
}

/// Runs a target until the time is over or something is found. True when nothing was.
///
/// # Errors
/// cargo-fuzz is missing or cannot be started.
pub fn run(options: &Options, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<bool> {
    if find_program(&["cargo-fuzz"], env).is_none() {
        bail!("cargo-fuzz is missing: cargo install --locked cargo-fuzz");
    }
    let corpus = Path::new(FOLDER).join("corpus").join(options.target.to_string());
    let corpus = workspace.root().join(corpus);
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let status = workspace
        .cargo()
        .args(arguments(options))
        .env("OMP_NUM_THREADS", "1")
        .status()
        .context("cannot start cargo fuzz")?;
    Ok(status.success())
}

/// The command line of cargo, from the workspace's root.
fn arguments(options: &Options) -> Vec<String> {
    let Options { target, minutes } = options;
    let mut arguments: Vec<String> = ["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none"]
        .map(str::to_owned)
        .to_vec();
    if target.needs_libtorch() {
        arguments.extend(["--features".to_owned(), "torch".to_owned()]);
    }
    arguments.push(target.to_string());
    arguments.extend(["corpus", "seeds"].map(|kind| format!("{FOLDER}/{kind}/{target}")));
    arguments.extend([
        "--".to_owned(),
        format!("-max_total_time={}", minutes * 60),
        format!("-rss_limit_mb={PROCESS_MEGABYTES}"),
        format!("-timeout={INPUT_SECONDS}"),
        "-print_final_stats=1".to_owned(),
    ]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_target_is_there_with_seeds() {
        let workspace = Workspace::locate(&|_| None).unwrap();
        let folder = workspace.root().join(FOLDER);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in Target::value_variants() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(folder.join(format!("targets/{target}.rs")).is_file(), "{target}");
            let seeds = std::fs::read_dir(folder.join(format!("seeds/{target}"))).unwrap();
            assert!(seeds.count() > 1, "{target}");
        }
    }

    #[test]
    fn without_cargo_fuzz_the_error_says_how_to_get_it() {
        let workspace = Workspace::locate(&|_| None).unwrap();
        let options = Options {
            target: Target::Pt,
            minutes: 1,
        };
        let text = run(&options, &workspace, &|_| None).unwrap_err().to_string();
        assert!(text.contains("cargo install --locked cargo-fuzz"), "{text}");
    }

    #[test]
    fn the_time_and_the_limits_reach_libfuzzer() {
        let line = arguments(&Options {
            target: Target::Weights,
            minutes: 3,
        })
        .join(" ");
        assert!(
            line.contains("--features torch weights tests/fuzz/corpus/weights tests/fuzz/seeds/weights --")
                && line.contains("-max_total_time=180")
                && line.contains("-rss_limit_mb=1024"),
            "{line}"
        );
    }
}
