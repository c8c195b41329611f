//! Seconds of turns of several kinds, and what timing whole commands takes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::report::median;

/// The seconds of every turn, by what was timed.
#[derive(Debug)]
pub(super) struct Rounds<I>(Vec<(I, f64)>);

impl<I> Default for Rounds<I> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<I: Copy + PartialEq> Rounds<I> {
    pub(super) fn add(&mut self, item: I, seconds: f64) {
        self.0.push((item, seconds));
    }

    /// Those of one kind, in their order.
    pub(super) fn of(&self, item: I) -> Vec<f64> {
        let of_it = self.0.iter().filter(|(of, _)| *of == item);
        of_it.map(|(_, seconds)| *seconds).collect()
    }

    /// Their median; none where none was timed.
    pub(super) fn median(&self, item: I) -> Option<f64> {
        median(self.of(item))
    }
}

/// Runs a command to its end; the seconds it took.
pub(super) fn run(command: &mut Command) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Removes what an earlier turn has left, if it did.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
