//! Programs of the workspace, built with optimisation.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// Builds a package by itself, as `cargo run` does too, and gives the path of its program.
///
/// # Errors
/// cargo cannot be started, does not build it, or it has no program.
pub fn build(workspace: &Workspace, package: &str) -> anyhow::Result<PathBuf> {
    build_with(workspace, package, &[], None)
}

/// [`build`], with the commit that the program says it was built from.
///
/// # Errors
/// As [`build`].
pub fn build_of(workspace: &Workspace, package: &str, revision: Option<&str>) -> anyhow::Result<PathBuf> {
    build_with(workspace, package, &[], revision)
}

/// Builds an example of a package.
///
/// # Errors
/// As [`build`].
pub fn build_example(workspace: &Workspace, package: &str, example: &str) -> anyhow::Result<PathBuf> {
    build_with(workspace, package, &["--example", example], None)
}

fn build_with(
    workspace: &Workspace,
    package: &str,
    more: &[&str],
    revision: Option<&str>,
) -> anyhow::Result<PathBuf> {
    let output = workspace
        .cargo()
        .envs(revision.map(|revision| ("AZAION_REVISION", revision)))
        .args(["build", "--release", "--package", package])
        .args(more)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo build --release --package {package} ended with {}",
            output.status
        );
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("cargo named no program of package {package}"))
}

/// The program that cargo's JSON messages name last.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/bench\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/bench")));
        assert_eq!(executable("not json"), None);
    }
}
