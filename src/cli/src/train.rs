//! `azaion train`: the operator's hand on the training run: begin it, ask it to save itself or to end, see where it stands.
//!
//! Where the service manager knows the unit, it is asked; else the run is a process of this terminal, and others reach it by
//! the lock that it holds: the kernel says who holds it, so a number that another process has by now is never signalled.

use crate::{behind::TRAINER, manager::answer, program, tree::TreeArgs};
use ::runs::{LOCK, Phase, RUNS, Run, Status};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

/// The unit of a training run.
const UNIT: &str = "azaion-train.service";
/// Where a booted systemd has its folder (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How often `follow` looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked of the training run.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Begin a run, or go on with the one that is not finished: by its unit, or else in this terminal.
    Start(TreeArgs),
    /// End it behind the batch in hand, with a checkpoint.
    Stop(TreeArgs),
    /// End it behind the epoch in hand.
    Drain(TreeArgs),
    /// Have it save itself behind the batch in hand, and go on.
    Save(TreeArgs),
    /// Say where it stands.
    Status(StatusArgs),
    /// Show what it says, as it says it.
    Follow(TreeArgs),
}

/// Arguments of `azaion train status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which tree.
    #[command(flatten)]
    pub tree: TreeArgs,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// There is nothing that could be asked, or it cannot be reached.
pub fn run(command: &TrainCommand) -> Result<ExitCode> {
    match command {
        TrainCommand::Start(tree) => start(tree),
        TrainCommand::Stop(tree) => ask(tree, Signal::SIGTERM),
        TrainCommand::Drain(tree) => ask(tree, Signal::SIGUSR2),
        TrainCommand::Save(tree) => ask(tree, Signal::SIGUSR1),
        TrainCommand::Status(args) => status(args),
        TrainCommand::Follow(tree) => follow(tree),
    }
}

/// Whether the service manager has the unit, for the tree of the configuration.
fn is_a_unit(tree: &TreeArgs) -> bool {
    let loaded = || answer(Command::new("systemctl").args(["show", "--property=LoadState", "--", UNIT]));
    tree.root.is_none()
        && Path::new(BOOTED).is_dir()
        && loaded().is_ok_and(|shown| shown.trim() == "LoadState=loaded")
}

fn start(tree: &TreeArgs) -> Result<ExitCode> {
    if is_a_unit(tree) {
        systemctl(&["start", "--no-block", UNIT])?;
        program::answer("asked for; azaion train follow shows what it says\n");
        return Ok(ExitCode::SUCCESS);
    }
    if tree.root.is_some() {
        bail!("a run begins by a configuration: name it with --config");
    }
    let path = TRAINER.find()?;
    let error = Command::new(&path).arg("--config").arg(&tree.config).exec();
    Err(error).with_context(|| format!("cannot start {}", path.display()))
}

fn ask(tree: &TreeArgs, signal: Signal) -> Result<ExitCode> {
    let root = tree.root()?;
    let Some(pid) = store::locked_by(&root.join(RUNS).join(LOCK))? else {
        bail!("no training run is under way in {}", root.display());
    };
    if is_a_unit(tree) {
        match signal {
            Signal::SIGTERM => systemctl(&["stop", "--no-block", UNIT])?,
            other => systemctl(&["kill", "--kill-whom=main", &format!("--signal={other}"), UNIT])?,
        }
    } else {
        kill(Pid::from_raw(pid.cast_signed()), signal)
            .with_context(|| format!("cannot signal process {pid}"))?;
    }
    program::answer(&format!("asked process {pid}\n"));
    Ok(ExitCode::SUCCESS)
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    answer(Command::new("systemctl").args(arguments)).map_err(anyhow::Error::msg)?;
    Ok(())
}

/// The run that is not finished, else the latest, and where it stands.
fn latest(root: &Path) -> Result<Option<(Run, Option<Status>)>> {
    let run = match Run::open(root)? {
        Some(open) => Some(open),
        None => Run::all(root)?.pop(),
    };
    let Some(run) = run else { return Ok(None) };
    let status = Status::read(&root.join(&run.folder))?;
    Ok(Some((run, status)))
}

fn status(args: &StatusArgs) -> Result<ExitCode> {
    let root = args.tree.root()?;
    let Some((run, status)) = latest(&root)? else {
        bail!(
            "there is no run in {}: azaion train start begins one",
            root.display()
        );
    };
    if args.json {
        let answer =
            serde_json::json!({"run": run, "status": status, "under_way": is_under_way(status.as_ref())});
        program::answer(&format!("{answer:#}\n"));
    } else {
        program::answer(&format!("{}: {}\n", run.name(), line(status.as_ref())));
    }
    Ok(ExitCode::SUCCESS)
}

fn is_under_way(status: Option<&Status>) -> bool {
    status.is_some_and(Status::lives)
}

/// Where a run stands, in a line.
fn line(status: Option<&Status>) -> String {
    let Some(status) = status else {
        return "begun, and not trained yet".to_owned();
    };
    let what = match &status.phase {
        Phase::Training if status.lives() => "training".to_owned(),
        Phase::Training => "interrupted, the next start goes on".to_owned(),
        Phase::Stopped => "stopped, the next start goes on".to_owned(),
        Phase::Finished => "finished".to_owned(),
        Phase::Failed(why) => format!("failed: {why}"),
    };
    let mut line = format!(
        "{what}; epoch {} of {}, batch {} of {}",
        status.epoch, status.epochs, status.batch, status.batches
    );
    for (name, value) in [
        ("loss", status.total_loss()),
        ("mAP50", status.map50),
        ("mAP50-95", status.map50_95),
    ] {
        if let Some(value) = value {
            line.push_str(&format!(", {name} {value:.3}"));
        }
    }
    if let Some(seconds) = status.seconds_left {
        line.push_str(&format!(", {:.0} min left", (seconds / 60.0).ceil()));
    }
    if let Some(saved) = &status.saved {
        line.push_str(&format!(
            ", saved in epoch {} after batch {} at {}",
            saved.epoch,
            saved.batch,
            saved.at.strftime("%FT%TZ")
        ));
    }
    line
}

fn follow(tree: &TreeArgs) -> Result<ExitCode> {
    if is_a_unit(tree) {
        let error = Command::new("journalctl")
            .args(["--follow", "--unit", UNIT])
            .exec();
        return Err(error).context("cannot start journalctl");
    }
    let root = tree.root()?;
    let mut last = String::new();
    loop {
        let Some((run, status)) = latest(&root)? else {
            bail!("there is no run in {}", root.display());
        };
        let now = format!("{}: {}\n", run.name(), line(status.as_ref()));
        if now != last {
            program::answer(&now);
            last = now;
        }
        if !is_under_way(status.as_ref()) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_line_says_where_a_run_stands() {
        assert_eq!(line(None), "begun, and not trained yet");
        let mut status = Status::beginning("azaion-2026-03-28".into(), Timestamp::UNIX_EPOCH);
        (status.epoch, status.epochs, status.batch, status.batches) = (3, 10, 50, 100);
        status.loss = [Some(1.0), Some(0.5), Some(0.25)];
        (status.map50, status.seconds_left) = (Some(0.5), Some(61.0));
        assert_eq!(
            line(Some(&status)),
            "training; epoch 3 of 10, batch 50 of 100, loss 1.750, mAP50 0.500, 2 min left"
        );
        // No process has this number: it is above the kernel's largest.
        status.pid = 4_194_305;
        assert!(line(Some(&status)).starts_with("interrupted, the next start goes on; epoch 3"));
        status.phase = Phase::Failed("no room".into());
        assert!(line(Some(&status)).starts_with("failed: no room; "));
    }
}
