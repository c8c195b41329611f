//! `cargo xtask bench resume`: what it costs that a run can be gone on with: a checkpoint as a share of an epoch's time, and the
//! time from a start to the first batch. There is no peer: the reference package writes no state that gives the same bits.
//!
//! One run of `bench resume` measures all of it (src/bench/src/resume.rs): epochs with a checkpoint and without take turns.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::report::{machine, median};
use crate::programs;
use crate::workspace::Workspace;

/// What the run printed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Measured {
    imgsz: usize,
    batch: usize,
    images: usize,
    checkpoint_bytes: u64,
    /// Seconds of epochs.
    without_s: Vec<f64>,
    with_s: Vec<f64>,
    /// Seconds of writing, in the background.
    writing_s: Vec<f64>,
    /// Seconds from a start to the first batch.
    starts_s: Vec<f64>,
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    measured: Measured,
}

/// Measures it.
pub(super) fn measure(workspace: &Workspace) -> anyhow::Result<Report> {
    let program = programs::build(workspace, "bench")?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the run")?;
    let scenes = scratch.path().join("scenes");
    let made = Command::new(&program).arg("scenes").arg(&scenes).status()?;
    if !made.success() {
        bail!("bench scenes ended with {made}");
    }
    eprintln!("eleven epochs and three starts, some minutes");
    let output = Command::new(&program)
        .arg("resume")
        .arg(scenes.join("data.yaml"))
        .arg(scratch.path().join("run"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start bench resume")?;
    if !output.status.success() {
        bail!("bench resume ended with {}", output.status);
    }
    let measured = serde_json::from_slice(&output.stdout).context("bench resume printed no measurements")?;
    Ok(Report { measured })
}

impl Report {
    fn medians(&self) -> [f64; 4] {
        let Measured {
            without_s,
            with_s,
            writing_s,
            starts_s,
            ..
        } = &self.measured;
        [without_s, with_s, writing_s, starts_s].map(|seconds| median(seconds.clone()).unwrap_or(f64::NAN))
    }

    /// What a checkpoint adds to an epoch, as a share of it.
    fn share(&self) -> f64 {
        let [without, with, ..] = self.medians();
        with / without - 1.0
    }

    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let [without, with, writing, start] = self.medians();
        let Measured {
            imgsz,
            batch,
            images,
            checkpoint_bytes,
            without_s,
            with_s,
            writing_s,
            starts_s,
        } = &self.measured;
        json!({
            "bench": "resume", "machine": machine(), "imgsz": imgsz, "batch": batch, "images": images,
            "checkpoint_bytes": checkpoint_bytes, "epoch_without_s": without, "epoch_with_s": with, "share": self.share(),
            "writing_s": writing, "start_s": start,
            "rounds": {"without_s": without_s, "with_s": with_s, "writing_s": writing_s, "starts_s": starts_s},
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [without, with, writing, start] = self.medians();
        let Measured {
            imgsz,
            batch,
            images,
            checkpoint_bytes,
            ..
        } = self.measured;
        writeln!(
            f,
            "yolo26n, {images} images of {imgsz} px an epoch, batch {batch}, validation on as many; a checkpoint is {:.0} MB\n{}\n",
            checkpoint_bytes as f64 / 1e6,
            machine()
        )?;
        writeln!(f, "| | seconds, median |\n|---|---|")?;
        writeln!(f, "| an epoch without a checkpoint | {without:.2} |")?;
        writeln!(
            f,
            "| an epoch with one | {with:.2} ({:+.1} %) |",
            100.0 * self.share()
        )?;
        writeln!(f, "| writing it, in the background | {writing:.2} |")?;
        writeln!(f, "| from a start to the first batch | {start:.2} |")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_a_share_of_the_epoch_that_it_is_written_in() {
        let printed = json!({
            "imgsz": 640, "batch": 8, "images": 96, "checkpoint_bytes": 52_000_000, "without_s": [10.0, 9.0, 20.0],
            "with_s": [10.1, 9.0, 30.0], "writing_s": [0.25], "starts_s": [1.5],
        });
        let report = Report {
            measured: serde_json::from_value(printed).unwrap(),
        };
        let text = report.to_string();
        for line in [
            "| an epoch with one | 10.10 (+1.0 %) |",
            "| from a start to the first batch | 1.50 |",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
        assert!((report.json()["share"].as_f64().unwrap() - 0.01).abs() < 1e-9);
    }
}
