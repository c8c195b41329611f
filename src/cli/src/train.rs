//! `azaion train`: the operator's hand on the training run: begin it, ask it to save itself or to end, see where it stands.
//!
//! Where the service manager knows the unit, it is asked; else the run is a process of this terminal, and others reach it by
//! the lock that it holds: the kernel says who holds it, so a number that another process has by now is never signalled.
//!
//! Two verbs are questions of units: whether a run was interrupted, and whether enough is new to begin one.

mod new;

use crate::{
    behind::TRAINER,
    manager::{self, answer},
    program,
    tree::TreeArgs,
};
use ::runs::{AfterBoot, LOCK, Phase, RUNS, Run, Status};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

/// The unit of a training run.
const UNIT: &str = "azaion-train.service";
/// Where a booted systemd has its folder (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Exit code of an answer that is no.
const NO: u8 = 2;
/// How often `follow` looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked of the training run.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Begin a run, or go on with the one that is not finished: by its unit, or else in this terminal.
    Start(TreeArgs),
    /// End it behind the batch in hand, with a checkpoint. It is gone on with when somebody starts it, not by a boot.
    Stop(TreeArgs),
    /// End it behind the epoch in hand. It is gone on with when somebody starts it, not by a boot.
    Drain(TreeArgs),
    /// Have it save itself behind the batch in hand, and go on.
    Save(TreeArgs),
    /// Say where it stands.
    Status(StatusArgs),
    /// Show what it says, as it says it.
    Follow(TreeArgs),
    /// Say whether a run is open that nobody has stopped; exit code 2 if not.
    Interrupted(TreeArgs),
    /// Order a fine-tuning run from the model in service, if enough annotations are new and the hour is right (training.new_annotations,
    /// training.hours); the next start begins it. Exit code 2 if not.
    New(NewArgs),
}

/// Arguments of `azaion train new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = queue::verbs::CONFIG)]
    pub config: PathBuf,
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
        TrainCommand::Stop(tree) => stop(tree),
        TrainCommand::Drain(tree) => ask(tree, Signal::SIGUSR2),
        TrainCommand::Save(tree) => ask(tree, Signal::SIGUSR1),
        TrainCommand::Status(args) => status(args),
        TrainCommand::Follow(tree) => follow(tree),
        TrainCommand::Interrupted(tree) => interrupted(tree),
        TrainCommand::New(args) => new::run(args),
    }
}

/// Whether the service manager has the unit, for the tree of the configuration.
fn is_a_unit(tree: &TreeArgs) -> bool {
    tree.root.is_none()
        && Path::new(BOOTED).is_dir()
        && shown("LoadState").is_ok_and(|state| state.as_deref() == Some("loaded"))
}

/// What the service manager says of the unit.
fn shown(name: &str) -> Result<Option<String>, String> {
    let property = format!("--property={name}");
    let shown = answer(Command::new("systemctl").args(["show", &property, "--", UNIT]))?;
    Ok(manager::property(&shown, name).map(str::to_owned))
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

/// Stops it, and a unit that waits for its next try too.
fn stop(tree: &TreeArgs) -> Result<ExitCode> {
    let root = tree.root()?;
    let holder = holder(&root)?;
    let is_a_unit = is_a_unit(tree);
    let waits = || shown("ActiveState").is_ok_and(|state| state.as_deref() == Some("activating"));
    if holder.is_none() && !(is_a_unit && waits()) {
        return Err(nobody(&root));
    }
    // First, so that no moment is left in which a boot would go on with it.
    ::runs::hold(&root, "it was stopped by azaion train stop")?;
    match holder {
        _ if is_a_unit => systemctl(&["stop", "--no-block", UNIT])?,
        Some(pid) => signal(pid, Signal::SIGTERM)?,
        None => {}
    }
    program::answer("asked for\n");
    Ok(ExitCode::SUCCESS)
}

fn ask(tree: &TreeArgs, wish: Signal) -> Result<ExitCode> {
    let root = tree.root()?;
    let Some(pid) = holder(&root)? else {
        return Err(nobody(&root));
    };
    if is_a_unit(tree) {
        systemctl(&["kill", "--kill-whom=main", &format!("--signal={wish}"), UNIT])?;
    } else {
        signal(pid, wish)?;
    }
    program::answer(&format!("asked process {pid}\n"));
    Ok(ExitCode::SUCCESS)
}

/// The process that trains.
fn holder(root: &Path) -> Result<Option<u32>> {
    Ok(store::locked_by(&root.join(RUNS).join(LOCK))?)
}

fn nobody(root: &Path) -> anyhow::Error {
    anyhow!("no training run is under way in {}", root.display())
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("cannot signal process {pid}"))
}

fn interrupted(tree: &TreeArgs) -> Result<ExitCode> {
    Ok(match ::runs::after_boot(&tree.root()?)? {
        AfterBoot::GoesOn(run) => {
            program::answer(&format!("{} is open, and nobody has stopped it\n", run.name()));
            ExitCode::SUCCESS
        }
        AfterBoot::Nothing(why) => {
            program::answer(&format!("nothing to go on with: {why}\n"));
            NO.into()
        }
    })
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
    let held = ::runs::held(&root);
    if args.json {
        let under_way = is_under_way(status.as_ref());
        let answer = serde_json::json!({"run": run, "status": status, "under_way": under_way, "held": held});
        program::answer(&format!("{answer:#}\n"));
    } else {
        program::answer(&format!("{}: {}\n", run.name(), line(status.as_ref())));
        if let Some(why) = held {
            program::answer(&format!("it waits for azaion train start: {why}\n"));
        }
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
