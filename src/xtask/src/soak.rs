//! `cargo xtask soak memory`: whether a training run's memory stays where it is.
//!
//! azaion's own run loop (src/bench, `soak`) trains on drawn scenes with loader threads, an image cache too small for
//! them, checkpoints and a validation every epoch. Its resident memory is read every 50 steps. After a warm-up, in which
//! caches fill and the allocator finds its size, a line is fitted: what it grows by over the rest must be under 1 %.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::programs;
use crate::resident::Resident;
use crate::workspace::Workspace;

const EVERY: u32 = 50;
const WARM_UP: u32 = 200;
/// Growth after the warm-up, as a share of the mean, from which on a run isn't flat.
const BOUND: f64 = 0.01;
/// With fewer samples a line says nothing.
const MIN_SAMPLES: usize = 4;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Training steps
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(i64::from(WARM_UP + EVERY * MIN_SAMPLES as u32)..))]
    steps: u32,
    /// Lose so many bytes a step, to see that a leak is found
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    leak: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Resident memory in the course of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Step and bytes.
    samples: Vec<(u32, u64)>,
}

/// Runs it.
///
/// # Errors
/// Our side does not build, or the run failed.
pub fn run(options: &Options, workspace: &Workspace) -> anyhow::Result<Report> {
    let bench = programs::build(workspace, "bench")?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the run")?;
    let scenes = scratch.path().join("scenes");
    let made = Command::new(&bench).arg("scenes").arg(&scenes).status()?;
    if !made.success() {
        bail!("bench scenes ended with {made}");
    }
    let mut command = Command::new(&bench);
    command
        .arg("soak")
        .arg(scenes.join("data.yaml"))
        .arg(scratch.path().join("run"))
        .args(["--steps", &options.steps.to_string()])
        .args(["--every", &EVERY.to_string()])
        .args(["--leak", &options.leak.to_string()]);
    let samples = watch(&mut command)?;
    if samples
        .last()
        .is_none_or(|(step, _)| *step < options.steps - options.steps % EVERY)
    {
        bail!("{} ended early", Path::new(command.get_program()).display());
    }
    Ok(Report { samples })
}

/// Reads the memory of a process whenever it names a step.
fn watch(command: &mut Command) -> anyhow::Result<Vec<(u32, u64)>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    let mut samples = Vec::new();
    for line in lines {
        let line = line?;
        let step: u32 = line.parse().with_context(|| format!("not a step: {line}"))?;
        let bytes = Resident::of(child.id())?.now;
        eprintln!("step {step}: {:.1} MB", megabytes(bytes as f64));
        samples.push((step, bytes));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the run ended with {status}");
    }
    Ok(samples)
}

fn megabytes(bytes: f64) -> f64 {
    bytes / 1e6
}

impl Report {
    fn settled(&self) -> impl Iterator<Item = (f64, f64)> {
        self.samples
            .iter()
            .filter(|(step, _)| *step >= WARM_UP)
            .map(|(step, bytes)| (f64::from(*step), *bytes as f64))
    }

    /// Bytes a step, by least squares.
    fn slope(&self) -> f64 {
        let count = self.settled().count() as f64;
        let mean = |of: fn((f64, f64)) -> f64| self.settled().map(of).sum::<f64>() / count;
        let (step, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let (mut above, mut below) = (0.0, 0.0);
        for (x, y) in self.settled() {
            above += (x - step) * (y - bytes);
            below += (x - step) * (x - step);
        }
        above / below
    }

    /// What the line gains after the warm-up, as a share of the mean.
    fn growth(&self) -> f64 {
        let count = self.settled().count() as f64;
        let mean = self.settled().map(|sample| sample.1).sum::<f64>() / count;
        let last = self.samples.last().map_or(0.0, |(step, _)| f64::from(*step));
        self.slope() * (last - f64::from(WARM_UP)) / mean
    }

    /// Whether memory stays where it is.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.growth() < BOUND
    }

    /// The same as a value.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "samples": self.samples, "warm_up": WARM_UP, "bytes_a_step": self.slope(), "growth": self.growth(),
            "bound": BOUND, "flat": self.is_flat(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>6} {:>9}", "step", "MB")?;
        for (step, bytes) in &self.samples {
            writeln!(f, "{step:>6} {:>9.1}", megabytes(*bytes as f64))?;
        }
        write!(
            f,
            "after step {WARM_UP}: {:+.0} bytes a step, {:+.2} % over the rest, bound {:.0} %: {}",
            self.slope(),
            100.0 * self.growth(),
            100.0 * BOUND,
            if self.is_flat() { "flat" } else { "GROWS" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(bytes: impl Fn(u32) -> u64) -> Report {
        let steps = (1..=40).map(|i| i * EVERY);
        Report {
            samples: steps.map(|step| (step, bytes(step))).collect(),
        }
    }

    #[test]
    fn what_comes_before_the_warm_up_is_over_does_not_count() {
        let report = report(|step| {
            if step < WARM_UP {
                u64::from(step)
            } else {
                1_000_000
            }
        });
        assert_eq!(report.growth(), 0.0);
        assert!(report.is_flat());
    }

    #[test]
    fn noise_is_flat_and_a_leak_is_not() {
        let noise = report(|step| 500_000_000 + u64::from(step * 7919 % 1000) * 1000);
        assert!(noise.is_flat(), "{noise}");
        let leak = report(|step| 500_000_000 + u64::from(step) * 4096);
        assert!((leak.slope() - 4096.0).abs() < 1e-6);
        assert!(!leak.is_flat() && leak.to_string().ends_with("GROWS"));
    }

    #[test]
    fn a_process_is_read_whenever_it_names_a_step() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 50; sleep 0.2; echo 100; sleep 0.2"]);
        let samples = watch(&mut shell).unwrap();
        let steps: Vec<u32> = samples.iter().map(|sample| sample.0).collect();
        assert_eq!(steps, [50, 100]);
        assert!(samples.iter().all(|sample| sample.1 > 0));
    }
}
