//! `azaion runs`: the training runs of a tree, looked at from outside: listed, shown, compared.
//!
//! All that is known of a run is read from its folder (docs/RUNS.md), beside a trainer at work or without one. A folder that
//! was moved, is half written or damaged is listed with what is wrong: it never hides the others. Only looking is done here;
//! nothing is locked and nothing changed.

mod diff;
mod look;
mod text;

use crate::{program, tree::TreeArgs};
use ::runs::{REPORT, RUNS, Run};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
pub use diff::Diff;
pub use look::{Epoch, Look, Standing};
use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
};
pub(crate) use text::{gigabytes, span};

/// What is asked of runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// All runs: state, epochs, best mAP50-95, duration, dataset, model, size. What is damaged is listed too, with why.
    List(ListArgs),
    /// Everything that is known of one.
    Show(OneArgs),
    /// Two side by side: what they were begun with where that differs, and the best epoch of each.
    Diff(DiffArgs),
    /// Where the report of a run is, and what it comes to.
    Report(OneArgs),
}

/// Arguments of `azaion runs list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which tree.
    #[command(flatten)]
    pub tree: TreeArgs,
    /// One JSON list on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of the verbs about one run.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The run: a folder's name in models/, or the path of a folder anywhere [default: the latest].
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Which tree.
    #[command(flatten)]
    pub tree: TreeArgs,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `azaion runs diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The run to compare with.
    #[arg(value_name = "A")]
    pub a: String,
    /// The run that is compared.
    #[arg(value_name = "B")]
    pub b: String,
    /// Which tree.
    #[command(flatten)]
    pub tree: TreeArgs,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: the answer goes to stdout.
///
/// # Errors
/// There is no tree, or no such run.
pub fn run(command: &RunsCommand) -> Result<ExitCode> {
    let text = match command {
        RunsCommand::List(args) => told(&text::List(all(&args.tree.root()?)?), args.json)?,
        RunsCommand::Show(args) => told(&args.look()?, args.json)?,
        RunsCommand::Diff(args) => {
            let look = |name: &str| named(&args.tree, name);
            told(&Diff::of(look(&args.a)?, look(&args.b)?), args.json)?
        }
        RunsCommand::Report(args) => told(&report(args.look()?)?, args.json)?,
    };
    program::answer(&text);
    Ok(ExitCode::SUCCESS)
}

/// All runs of a tree, the earliest first.
///
/// # Errors
/// The folder of runs cannot be listed.
pub fn all(root: &Path) -> Result<Vec<Look>> {
    let found = Run::every(root)?;
    let mut looks: Vec<Look> = found
        .into_iter()
        .map(|(folder, run)| Look::at(&folder, run))
        .collect();
    looks.sort_by(|a, b| (a.begun, &a.name).cmp(&(b.begun, &b.name)));
    Ok(looks)
}

impl OneArgs {
    fn look(&self) -> Result<Look> {
        match &self.run {
            Some(name) => named(&self.tree, name),
            None => {
                let latest = all(&self.tree.root()?)?.pop();
                latest.context("there is no run yet: azaion-train begins one")
            }
        }
    }
}

/// The run of this name in the tree, or in the folder that it is the path of.
fn named(tree: &TreeArgs, name: &str) -> Result<Look> {
    let folder = if name.contains('/') || name == "." || name == ".." {
        PathBuf::from(name)
    } else {
        tree.root()?.join(RUNS).join(name)
    };
    if !folder.is_dir() {
        bail!(
            "there is no run in {}: azaion runs list names those that are there",
            folder.display()
        );
    }
    let run = Run::at(&folder);
    Ok(Look::at(&folder, run))
}

/// Where a report is, and what it comes to.
#[derive(Debug, Serialize)]
struct Report {
    report: PathBuf,
    #[serde(flatten)]
    look: Look,
}

fn report(look: Look) -> Result<Report> {
    let report = look.folder.join(REPORT);
    if !report.is_file() {
        bail!(
            "{} has no report yet: the first one is written when the first epoch is done",
            look.folder.display()
        );
    }
    Ok(Report { report, look })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.report.display())?;
        text::headline(f, &self.look)
    }
}

fn told(answer: &(impl Serialize + fmt::Display), json: bool) -> Result<String> {
    Ok(if json {
        serde_json::to_string(answer)? + "\n"
    } else {
        answer.to_string()
    })
}
