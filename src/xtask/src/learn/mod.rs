//! `cargo xtask learn`: trains the reference package and azaion from scratch on the same images, seed after seed, and
//! compares what they reach.
//!
//! A comparison is a folder ([`Folder`]) and every run in it a job with a folder of its own. Whatever stops the command,
//! the same command goes on: finished jobs are kept, azaion's runs go on exactly, the reference's by its own resume,
//! which isn't exact and is therefore told in the table. Jobs run in processes of their own ([`job`]), each side seed by
//! seed, so that an unfinished comparison is a smaller one. `--report` shows what there is at any time.

mod curve;
mod drawing;
mod folder;
mod job;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use clap::ValueEnum;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::workspace::{Env, Workspace};
use crate::{programs, reference};
use folder::Folder;
use job::{Ended, Job};
pub use report::{Report, Verdict};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A folder with images/, labels/, classes.json, train.txt and val.txt [default: that of the one comparison begun]
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// Runs a side, with the seeds 0, 1, ...
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Train this side alone
    #[arg(long, value_enum, value_name = "SIDE")]
    only: Option<Side>,
    /// Runs at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Processor threads a run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Where comparisons are kept [default: learn/ in the user's cache]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Train nothing, show what is finished
    #[arg(long)]
    report: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Who trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// The reference package, 32 bit, as it trains on a processor
    Reference,
    /// azaion with bf16 convolutions and matrix products
    Bf16,
    /// azaion, 32 bit throughout
    Fp32,
}

impl Side {
    /// All, in the order they train in.
    pub const ALL: [Self; 3] = [Self::Reference, Self::Bf16, Self::Fp32];

    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
        }
    }

    /// Who, and in which number format.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Reference => "reference, fp32",
            Self::Bf16 => "azaion, bf16",
            Self::Fp32 => "azaion, fp32",
        }
    }
}

/// What came of it.
pub struct Outcome {
    /// What there is by now.
    pub report: Report,
    /// A signal ended it: there is more to train.
    pub stopped: bool,
}

/// Trains what is not yet trained, unless only the report is wanted, and reports. The drawing of the curves is beside
/// the runs.
///
/// # Errors
/// The dataset cannot be used, there is no interpreter with the reference, or a job failed (the others are run first).
pub fn run(options: &Options, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Outcome> {
    let root = folder::root(options.root.as_deref(), env)?;
    let (folder, stopped) = if options.report {
        let folder = Folder::find(&root, options.dataset.as_deref(), options.epochs)?;
        (folder, false)
    } else {
        train(options, &root, workspace, env)?
    };
    let jobs = jobs(&folder, options.seeds, None);
    let report = Report::new(&folder, &jobs)?;
    let drawing = folder.path().join("learning.svg");
    folder::replace(&drawing, drawing::svg(&report).as_bytes())?;
    eprintln!("curves: {}", drawing.display());
    Ok(Outcome { report, stopped })
}

/// Trains; true when a signal ended it.
fn train(
    options: &Options,
    root: &Path,
    workspace: &Workspace,
    env: Env<'_>,
) -> anyhow::Result<(Folder, bool)> {
    let python = reference::interpreter(env)?;
    let bench = programs::build(workspace, "bench")?;
    let azaion = programs::build(workspace, "trainer")?;
    let folder = match &options.dataset {
        Some(dataset) => Folder::begin(root, dataset, options.epochs, &bench)?,
        None => Folder::find(root, None, options.epochs)?,
    };
    let lock = folder.lock()?;
    let script = workspace.root().join("tests/reference/learn_run.py");
    let tools = job::Tools {
        // A run of hours is not changed by what is built or edited meanwhile.
        bench: folder.keep(&bench)?,
        azaion: folder.keep(&azaion)?,
        script: folder.keep(&script)?,
        python,
        threads: options.threads,
        lock,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let jobs = jobs(&folder, options.seeds, options.only);
    let ended = job::all(&jobs, options.jobs as usize, &folder, &tools, &stop);
    let failed: Vec<String> = ended
        .into_iter()
        .filter_map(|(job, ended)| match ended {
            Ok(Ended::Done | Ended::Stopped) => None,
            Err(error) => Some(format!("{job}: {error:#}")),
        })
        .collect();
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    let stopped = stop.load(Ordering::Relaxed);
    if stopped {
        eprintln!("Stopped. The same command goes on from here.");
    }
    Ok((folder, stopped))
}

/// All jobs of a comparison, or those of one side.
fn jobs(folder: &Folder, seeds: u32, only: Option<Side>) -> Vec<Job> {
    (0..seeds)
        .flat_map(|seed| Side::ALL.map(|side| Job::new(folder, side, seed)))
        .filter(|job| only.is_none_or(|side| job.side == side))
        .collect()
}
