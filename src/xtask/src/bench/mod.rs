//! `cargo xtask bench NAME`: ours and the reference package side by side in one run.
//!
//! Every contender is a process that stays alive and measures when asked (src/bench, tests/reference/bench_*.py). They
//! take turns, round after round, in an order that reverses each time: a shared machine changes its speed by the minute,
//! and both sides of a ratio should feel it alike. A ratio is the median of the rounds' ratios, a rate the median of all
//! repetitions. The first turn of every contender warms it up and is not counted.

mod backup;
mod contender;
mod dataset;
mod memory;
mod plan;
mod report;
mod resume;
mod rounds;

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::workspace::{Env, Workspace};
use crate::{programs, reference, trial};
use contender::Contender;
pub use plan::Name;
use plan::{Plan, Turn};
use report::Measured;

/// A set ends before its last round when it has taken this long on a slow or busy machine,
const PATIENCE: Duration = Duration::from_secs(75);
/// but not before it has so many rounds that a median means something.
const MIN_ROUNDS: usize = 3;

/// Builds our side, runs one benchmark, and keeps its numbers in `target/bench/NAME.json`.
///
/// # Errors
/// Our side does not build or run, or there is no interpreter with the reference package. A peer that cannot run is a
/// line in the report.
pub fn run(name: Name, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Report> {
    let report = match name {
        Name::Queue => Report::Queue(trial::bench(workspace, env)?),
        Name::Dataset => Report::Dataset(dataset::measure(workspace, env)?),
        Name::Resume => Report::Resume(resume::measure(workspace)?),
        Name::Backup => Report::Backup(backup::measure(workspace, env)?),
        Name::Step | Name::Loader | Name::Infer | Name::Memory => beside_reference(name, workspace, env)?,
    };
    let folder = workspace.root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{}.json", name.as_str()));
    std::fs::write(&file, format!("{:#}\n", report.json()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("numbers: {}", file.display());
    Ok(report)
}

/// What is measured beside the reference package.
fn beside_reference(name: Name, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Report> {
    let python = reference::interpreter(env)?;
    let ours = programs::build(workspace, "bench")?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the peers' files")?;
    let place = Place {
        ours: &ours,
        python: &python,
        scripts: &workspace.root().join("tests/reference"),
        scratch: scratch.path(),
        scenes: &scratch.path().join("scenes"),
    };
    Ok(match Plan::of(name) {
        Some(plan) => Report::Speed(speed(name, &plan, &place)?),
        None => Report::Memory(memory::measure(&place)?),
    })
}

/// A benchmark's outcome.
pub enum Report {
    /// Images a second, side by side.
    Speed(report::Report),
    /// Bytes, side by side.
    Memory(memory::Report),
    /// Messages a second and more, side by side.
    Queue(trial::Report),
    /// Seconds of forming, side by side.
    Dataset(dataset::Report),
    /// Seconds of epochs and starts.
    Resume(resume::Report),
    /// Seconds of backups, side by side.
    Backup(backup::Report),
}

impl Report {
    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Speed(report) => report.json(),
            Self::Memory(report) => report.json(),
            Self::Queue(report) => report.json(),
            Self::Dataset(report) => report.json(),
            Self::Resume(report) => report.json(),
            Self::Backup(report) => report.json(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speed(report) => report.fmt(f),
            Self::Memory(report) => report.fmt(f),
            Self::Queue(report) => report.fmt(f),
            Self::Dataset(report) => report.fmt(f),
            Self::Resume(report) => report.fmt(f),
            Self::Backup(report) => report.fmt(f),
        }
    }
}

/// Where contenders find what they need.
struct Place<'a> {
    ours: &'a Path,
    python: &'a Path,
    scripts: &'a Path,
    scratch: &'a Path,
    scenes: &'a Path,
}

fn speed(name: Name, plan: &Plan, place: &Place<'_>) -> anyhow::Result<report::Report> {
    if plan.needs_scenes {
        let made = Command::new(place.ours)
            .arg("scenes")
            .arg(place.scenes)
            .status()?;
        if !made.success() {
            bail!("bench scenes ended with {made}");
        }
    }
    let measured = measure(plan, place)?;
    Ok(report::Report::new(name, plan, &measured))
}

/// All rounds of all cases.
fn measure(plan: &Plan, place: &Place<'_>) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let mut contenders = Vec::new();
    for spec in &plan.contenders {
        eprintln!("starting {}", spec.label);
        match Contender::start(spec, place) {
            Ok(started) => {
                measured
                    .facts
                    .push((spec.label.to_owned(), started.facts.clone()));
                contenders.push((spec.label, started));
            }
            Err(error) if spec.is_peer() => measured.skipped.push((spec.label, format!("{error:#}"))),
            Err(error) => return Err(error),
        }
    }
    for set in &plan.sets {
        let mut turns: Vec<&Turn> = set.turns.iter().collect();
        let start = Instant::now();
        eprint!("{}: ", set.label);
        for round in 0..=set.rounds {
            if round > MIN_ROUNDS && start.elapsed() > PATIENCE {
                break;
            }
            eprint!(".");
            for turn in &turns {
                let Some((_, contender)) = contenders.iter_mut().find(|(label, _)| *label == turn.contender)
                else {
                    continue;
                };
                let answer = contender.ask(&turn.case, turn.count)?;
                if round > 0 {
                    measured.add(turn, round, answer);
                }
            }
            turns.reverse();
        }
        eprintln!();
    }
    Ok(measured)
}
