//! The command line of `azaion-backup`, as data. `azaion backup` is the same.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Where the configuration is, if nothing else is said.
const CONFIG: &str = "/etc/azaion/config.yaml";

/// Backs the tree up, and brings it back.
#[derive(Debug, Parser)]
#[command(
    name = "azaion-backup",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 found problems, 64 bad usage, 75 interrupted or at work already: try again"
)]
pub struct Cli {
    /// More log lines (-v: more of ours, -vv: the library's too).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take a backup beside the running queue, remove those that are not kept, and look at the repository; the first one makes it.
    Run(Asked),
    /// List the backups that there are.
    List(Asked),
    /// Look whether all is there, and read a part of the data back, the next one each time; exit code 2 if something is wrong.
    Check(CheckArgs),
    /// Restore some files, the last checkpoint and the model for practice, and try the model; exit code 2 if something is wrong.
    Drill(Asked),
    /// Restore a tree.
    Restore(RestoreArgs),
}

/// What every verb needs to know.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The configuration: where the tree is, and where its backups are.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// One JSON value on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read all of the data back.
    #[arg(long)]
    pub all: bool,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which backup: its name in the list, or how that begins.
    #[arg(long, value_name = "NAME", default_value = crate::vault::LATEST)]
    pub snapshot: String,
    /// Where to: an empty folder [default: root_dir of the configuration, if that is empty].
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Which tree.
    #[command(flatten)]
    pub asked: Asked,
}
