//! Programs that steps run and that cargo installs. Where one is missing it is built into the cache, not into the user's own
//! programs; a network that does not answer skips the step by name.

use std::path::PathBuf;
use std::process::Command;

use super::steps::{ended, read_lines};
use super::{Context, Outcome};
use crate::workspace::find_program;

/// What cargo, git, cargo-deny and cargo-audit say when the network is the trouble.
const NO_NETWORK: [&str; 10] = [
    "could not resolve host",
    "couldn't resolve host",
    "failed to lookup address",
    "dns error",
    "error sending request",
    "could not connect",
    "couldn't connect",
    "connection refused",
    "network is unreachable",
    "timed out",
];

/// A program that cargo can install.
pub(crate) struct Tool {
    /// What it is called.
    pub(crate) program: &'static str,
    /// The package that holds it.
    pub(crate) package: &'static str,
    /// The version that is installed where none is there.
    pub(crate) version: &'static str,
}

impl Tool {
    /// Where it is; built first where it is missing.
    pub(crate) fn find(&self, context: &Context<'_>) -> Result<PathBuf, Outcome> {
        let Self {
            program,
            package,
            version,
        } = self;
        if let Some(found) = find_program(&[program], context.env) {
            return Ok(found);
        }
        let tools = context.cache.join("tools");
        let place = tools.join("bin").join(program);
        if place.is_file() {
            return Ok(place);
        }
        println!(
            "    {program} is not installed: building version {version} of {package} into {} (once)",
            tools.display()
        );
        let mut install = context.workspace.cargo();
        install
            .args(["install", "--locked", "--root"])
            .arg(&tools)
            .arg(format!("{package}@{version}"));
        match watched(&mut install) {
            Outcome::Ok => Ok(place),
            Outcome::Failed(why) => Err(Outcome::Failed(format!(
                "{program} could not be installed: {why}"
            ))),
            Outcome::Skipped(why) => Err(Outcome::Skipped(format!("{program} is not installed, and {why}"))),
        }
    }
}

/// A command that may need the network: where that is what failed, it is skipped by name. A finding ("error[...") is a
/// failure whatever else was said: the text of an advisory may well speak of time-outs.
pub(super) fn watched(command: &mut Command) -> Outcome {
    let mut trouble = None;
    let mut found_something = false;
    let status = read_lines(command, |line| {
        found_something |= line.starts_with("error[");
        if trouble.is_none() && is_network_trouble(line) {
            trouble = Some(line.trim().to_owned());
        }
        println!("{line}");
    });
    match (ended(status, command), trouble) {
        (Outcome::Failed(_), Some(said)) if !found_something => {
            Outcome::Skipped(format!("no network: {said}"))
        }
        (outcome, _) => outcome,
    }
}

pub(super) fn is_network_trouble(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    NO_NETWORK.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Outcome {
        watched(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_finding_fails_and_a_missing_network_skips_by_name() {
        assert_eq!(sh("exit 0"), Outcome::Ok);
        assert!(matches!(
            sh("echo 'error[vulnerability]: ...'; exit 1"),
            Outcome::Failed(_)
        ));
        let skipped = sh("echo 'fatal: Could not resolve host: example.invalid' >&2; exit 1");
        assert!(matches!(skipped, Outcome::Skipped(why) if why.contains("Could not resolve host")));
    }

    #[test]
    fn a_finding_whose_text_speaks_of_the_network_is_no_skip() {
        let said = "printf 'error[vulnerability]: a request that timed out is read twice\\n'; exit 1";
        assert!(matches!(sh(said), Outcome::Failed(_)));
    }

    #[test]
    fn a_retry_that_helped_is_no_skip() {
        assert_eq!(
            sh("echo 'warning: spurious network error, timed out'; exit 0"),
            Outcome::Ok
        );
    }
}
