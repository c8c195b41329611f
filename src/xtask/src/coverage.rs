//! `cargo xtask coverage`: which lines the tests reach, by cargo-llvm-cov. It covers the crates that are built without libtorch;
//! the others' tests would be built with counters in every loop of the numeric code, and take hours.
//!
//! The report is a page and a file in lcov's format in `target/coverage`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::checks::Context;
use crate::checks::tools::Tool;
use crate::packages::Packages;
use crate::workspace::{Env, Workspace, find_program};

const LLVM_COV: Tool = Tool {
    program: "cargo-llvm-cov",
    package: "cargo-llvm-cov",
    version: "0.9.1",
};
/// What marks a crate that needs libtorch.
const LIBTORCH: &str = "torch-sys";
/// Where the report goes, from the workspace's root.
const FOLDER: &str = "target/coverage";

/// What is asked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Cover only these crates
    crates: Vec<String>,
}

/// Runs the tests and writes the report; gives its folder.
///
/// # Errors
/// cargo-llvm-cov or LLVM's tools are missing, a crate needs libtorch, or a test fails.
pub fn run(options: &Options, context: &Context<'_>) -> anyhow::Result<PathBuf> {
    let workspace = context.workspace;
    let crates = crates(options, &Packages::load(workspace)?)?;
    let program = LLVM_COV.find(context).map_err(|outcome| {
        anyhow::Error::msg(format!(
            "{outcome}; to have it: cargo install --locked cargo-llvm-cov"
        ))
    })?;
    let tools = llvm_tools(workspace, context.env)?;
    let call = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = workspace.cargo_like(&program);
        command
            .arg("llvm-cov")
            .args(arguments)
            .envs(tools.clone())
            .env("OMP_NUM_THREADS", "1");
        let status = command.status().context("cannot start cargo llvm-cov")?;
        if !status.success() {
            bail!("cargo llvm-cov {}: {status}", arguments.first().unwrap_or(&""));
        }
        Ok(())
    };
    let folder = workspace.root().join(FOLDER);
    let lcov = folder.join("lcov.info");
    let (page, lcov) = (folder.display().to_string(), lcov.display().to_string());
    let mut arguments = vec!["test", "--no-report", "--no-fail-fast", "--locked"];
    for name in &crates {
        arguments.extend(["--package", name]);
    }
    call(&arguments)?;
    call(&["report", "--html", "--output-dir", &page])?;
    call(&["report", "--lcov", "--output-path", &lcov])?;
    call(&["report", "--summary-only"])?;
    Ok(folder)
}

fn crates(options: &Options, packages: &Packages) -> anyhow::Result<Vec<String>> {
    let possible = packages.members_without(LIBTORCH);
    if options.crates.is_empty() {
        return Ok(possible);
    }
    if let Some(other) = options.crates.iter().find(|name| !possible.contains(name)) {
        bail!(
            "{other} is none of the crates that are built without libtorch: {}",
            possible.join(", ")
        );
    }
    Ok(options.crates.clone())
}

/// The variables that lead cargo-llvm-cov to LLVM's tools; none where rustup has them. They have to be of the compiler's own
/// LLVM, or a newer one of the same number.
fn llvm_tools(workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    if ["LLVM_COV", "LLVM_PROFDATA"]
        .iter()
        .all(|name| env(name).is_some())
    {
        return Ok(Vec::new());
    }
    let sysroot = rustc(workspace, &["--print", "target-libdir"])?;
    if Path::new(sysroot.trim())
        .with_file_name("bin")
        .join("llvm-profdata")
        .is_file()
    {
        return Ok(Vec::new());
    }
    let version = rustc(workspace, &["--version", "--verbose"])?;
    let number = llvm_number(&version).context("rustc does not say which LLVM it has")?;
    let find = |tool: &str| {
        let name = format!("{tool}-{number}");
        find_program(&[name.as_str()], env).with_context(|| {
            format!(
                "{name} is missing: rustup component add llvm-tools; or, where the compiler is not rustup's, as root on Debian: \
                 apt-get install llvm-{number}"
            )
        })
    };
    Ok(vec![
        ("LLVM_COV", find("llvm-cov")?),
        ("LLVM_PROFDATA", find("llvm-profdata")?),
    ])
}

fn rustc(workspace: &Workspace, arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program)
        .current_dir(workspace.root())
        .args(arguments)
        .output()
        .context("cannot start rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number before the first dot of `LLVM version: 22.1.2`.
fn llvm_number(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_without_libtorch_are_covered_and_others_refused() {
        let packages = Packages::load(&Workspace::locate(&|_| None).unwrap()).unwrap();
        let all = crates(&Options::default(), &packages).unwrap();
        for name in ["annotation", "store", "queue", "service", "cli", "xtask"] {
            assert!(all.iter().any(|one| one == name), "{name}");
        }
        assert!(
            !all.iter().any(|one| one == "torch" || one == "trainer"),
            "{all:?}"
        );
        let options = Options {
            crates: vec!["trainer".into()],
        };
        let error = crates(&options, &packages).unwrap_err().to_string();
        assert!(error.contains("trainer is none of the crates"), "{error}");
    }

    #[test]
    fn the_number_of_llvm_is_read_from_what_rustc_says() {
        assert_eq!(
            llvm_number("rustc 1.95.0\nhost: x\nLLVM version: 22.1.2\n"),
            Some(22)
        );
        assert_eq!(llvm_number("rustc 1.95.0\n"), None);
    }
}
