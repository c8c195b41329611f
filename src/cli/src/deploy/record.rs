//! What stays of a deploy: `status/deploys/TIME-OUTCOME.json` in the tree, and the same for a reader as `.txt`.
//!
//! A deploy is root's and the tree is not: every folder on the way is opened without following links, so that nobody who may
//! write in the tree can lead root's files elsewhere.

use super::{
    facts::{Line, State, Unit},
    hold::Unfinished,
    profile::Generation,
};
use crate::check::Report;
use anyhow::{Context, Result};
use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, mkdirat},
};
use serde::Serialize;
use std::{
    fmt,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Version of the record.
const VERSION: u32 = 1;
/// Folders are for the tree's group to read, too.
const FOLDER_MODE: Mode = Mode::from_bits_truncate(0o750);

/// How a deploy came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// What was switched to works.
    Confirmed,
    /// It does not, and nothing was rolled back.
    Failed,
    /// The switch was not begun.
    Refused,
    /// It did not work, and what was there before works again.
    RolledBack,
    /// It did not work, and neither does what was there before.
    RollbackFailed,
}

impl Outcome {
    pub fn code(self) -> u8 {
        match self {
            Self::Confirmed => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::RolledBack => 3,
            Self::RollbackFailed => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::RollbackFailed => "rollback-failed",
        }
    }
}

/// What became of the training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "run", rename_all = "kebab-case")]
pub(super) enum Training {
    /// There was none.
    None,
    /// The same process goes on.
    Untouched { pid: u32 },
    /// It was there and is not any more; whether by itself, its journal says.
    Ended { pid: u32 },
    /// It is another process than before.
    Restarted { before: u32, after: u32 },
    /// The service manager did not say.
    Unknown,
}

impl Training {
    pub fn compare(before: &Result<Unit, String>, after: &Result<Unit, String>) -> Self {
        let runs = |unit: &Unit| matches!(unit.active, State::Active | State::Activating);
        match (before, after) {
            (Ok(before), _) if !runs(before) => Self::None,
            (Ok(before), Ok(after)) => match (before.pid, after.pid) {
                (Some(pid), _) if !runs(after) => Self::Ended { pid },
                (Some(pid), Some(same)) if pid == same && before.invocation == after.invocation => {
                    Self::Untouched { pid }
                }
                (Some(before), Some(after)) => Self::Restarted { before, after },
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Whether something reached it that must not.
    pub fn is_touched(self) -> bool {
        matches!(self, Self::Restarted { .. })
    }
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no run was active"),
            Self::Untouched { pid } => write!(f, "process {pid} goes on, untouched"),
            Self::Ended { pid } => write!(
                f,
                "process {pid} has ended meanwhile: journalctl -u azaion-train says why"
            ),
            Self::Restarted { before, after } => {
                write!(f, "WAS TOUCHED: process {before} before, {after} after")
            }
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// One generation that was activated and watched.
#[derive(Debug, Serialize)]
pub(super) struct Attempt {
    /// None where a command was to bring it and did not.
    pub generation: Option<Generation>,
    /// Why it could not be activated.
    pub failure: Option<String>,
    /// What was seen of it.
    pub confirmation: Report,
    /// The journal since it was activated, where it was not confirmed.
    pub journal: Vec<Line>,
}

/// All of a deploy.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    version: u32,
    /// When it began, in UTC.
    pub time: String,
    /// What was asked for.
    pub what: String,
    pub outcome: Outcome,
    pub exit_code: u8,
    pub profile: PathBuf,
    pub from: Option<Generation>,
    pub seconds: f64,
    /// How long the queue was not active, from the switch to the end of this.
    pub queue_down_seconds: f64,
    pub training: Training,
    pub attempt: Attempt,
    pub rollback: Option<Attempt>,
    /// A deploy before this one that was cut off.
    pub cut_off_before: Option<Unfinished>,
}

impl Record {
    /// A deploy that begins, and of which nothing is known yet but what is wanted.
    pub fn new(what: String, profile: &Path) -> Self {
        Self {
            version: VERSION,
            time: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            what,
            outcome: Outcome::Failed,
            exit_code: Outcome::Failed.code(),
            profile: profile.to_owned(),
            from: None,
            seconds: 0.0,
            queue_down_seconds: 0.0,
            training: Training::Unknown,
            attempt: Attempt {
                generation: None,
                failure: None,
                confirmation: Report::default(),
                journal: Vec::new(),
            },
            rollback: None,
            cut_off_before: None,
        }
    }

    /// Writes both files into the tree; says where.
    pub fn keep(&self, root: &Path) -> Result<PathBuf> {
        let shown = root.join("status/deploys");
        let folder = folder(root).with_context(|| format!("cannot open {}", shown.display()))?;
        // Names in here are of the very folder that was opened.
        let real = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let stem = format!("{}-{}", self.time.replace(':', ""), self.outcome.name());
        let stems = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
        let is_free = |stem: &String| real.join(format!("{stem}.json")).symlink_metadata().is_err();
        let stem = stems.into_iter().find(is_free).context("no name is free")?;
        store::atomic::replace(&real.join(format!("{stem}.txt")), self.to_string().as_bytes())?;
        store::atomic::replace(
            &real.join(format!("{stem}.json")),
            &serde_json::to_vec_pretty(self)?,
        )?;
        Ok(shown.join(format!("{stem}.json")))
    }
}

/// The folder of the records, made where it is missing.
fn folder(root: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = open(root, flags, Mode::empty())?;
    for name in ["status", "deploys"] {
        match mkdirat(&folder, name, FOLDER_MODE) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error),
        }
        folder = openat(&folder, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self
            .from
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string);
        writeln!(f, "{}: {}", self.what, self.outcome.name())?;
        writeln!(f, "{:<13} {}, {:.1} s", "begun", self.time, self.seconds)?;
        writeln!(f, "{:<13} {}, from {from}", "profile", self.profile.display())?;
        writeln!(
            f,
            "{:<13} not active for {:.1} s",
            "queue", self.queue_down_seconds
        )?;
        writeln!(f, "{:<13} {}", "training run", self.training)?;
        if let Some(unfinished) = &self.cut_off_before {
            writeln!(f, "{:<13} {unfinished}", "before this")?;
        }
        writeln!(f, "\n{}", self.attempt)?;
        if let Some(rollback) = &self.rollback {
            writeln!(f, "rolled back to {rollback}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.generation {
            Some(generation) => writeln!(f, "{generation}")?,
            None => writeln!(f, "no generation")?,
        }
        if let Some(failure) = &self.failure {
            writeln!(f, "{:<13} FAILED   {failure}", "activation")?;
        }
        write!(f, "{}", self.confirmation)?;
        for Line {
            unit,
            priority,
            message,
            ..
        } in &self.journal
        {
            let priority = priority.map_or_else(|| "?".to_owned(), |priority| priority.to_string());
            let unit = unit.strip_suffix(".service").unwrap_or(unit);
            // One line a line, whatever is in it.
            writeln!(
                f,
                "  {unit} <{priority}> {}",
                message.replace(char::is_control, " ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn run(active: &str, pid: u32, invocation: &str) -> Result<Unit, String> {
        Ok(Unit::read(&format!(
            "ActiveState={active}\nMainPID={pid}\nInvocationID={invocation}"
        )))
    }

    #[test]
    fn a_training_run_is_the_same_process_or_it_was_touched() {
        let before = run("active", 7, "a");
        let compared = |after: Result<Unit, String>| Training::compare(&before, &after);
        assert_eq!(compared(run("active", 7, "a")), Training::Untouched { pid: 7 });
        assert_eq!(
            compared(run("active", 8, "b")),
            Training::Restarted { before: 7, after: 8 }
        );
        assert!(
            compared(run("active", 7, "b")).is_touched(),
            "a number can come again"
        );
        assert_eq!(compared(run("inactive", 0, "a")), Training::Ended { pid: 7 });
        assert_eq!(compared(Err("no answer".into())), Training::Unknown);
        assert_eq!(
            Training::compare(&run("inactive", 0, ""), &before),
            Training::None
        );
    }

    #[test]
    fn each_outcome_has_a_code_of_its_own() {
        let codes = [
            Outcome::Confirmed,
            Outcome::Failed,
            Outcome::Refused,
            Outcome::RolledBack,
            Outcome::RollbackFailed,
        ];
        assert_eq!(codes.map(Outcome::code), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_record_is_kept_beside_those_before_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tree");
        fs::create_dir(&root).unwrap();
        let record = Record::new("switch to /store/two".into(), Path::new("/profiles/azaion"));
        let first = record.keep(&root).unwrap();
        assert_ne!(record.keep(&root).unwrap(), first);
        assert_eq!(fs::read_dir(root.join("status/deploys")).unwrap().count(), 4);
        assert!(
            fs::read_to_string(first.with_extension("txt"))
                .unwrap()
                .contains("switch to /store/two: failed")
        );

        fs::remove_dir_all(root.join("status/deploys")).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, root.join("status/deploys")).unwrap();
        assert!(record.keep(&root).is_err());
        assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    }
}
