//! Every alert there is: what it means, how urgent it is, and what a person does about it.
//!
//! ALR-1 to ALR-8 are the requirements' own; the others carry on from there. Texts here are what an operator reads in the
//! night, so each says what probably happened, what the suite has done already, and the command to type next.
//! docs/RUNBOOK.md has an entry for each, and a test holds the two together.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How urgent an alert is (REQUIREMENTS 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The next day is soon enough.
    Low,
    /// Within four hours.
    Medium,
    /// Within half an hour.
    High,
    /// At once.
    Critical,
}

impl Severity {
    /// How long after it was told an alert that still stands is told again.
    #[must_use]
    pub const fn remind_after(self) -> SignedDuration {
        SignedDuration::from_mins(match self {
            Self::Critical => 30,
            Self::High => 2 * 60,
            Self::Medium => 12 * 60,
            Self::Low => 72 * 60,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// One kind of alert.
#[derive(Debug)]
pub struct Kind {
    /// Its name in files and messages.
    pub code: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// How long it must be so before it is told.
    pub pending: SignedDuration,
    /// How long it must be over before it counts as over.
    pub hold: SignedDuration,
    /// What is likely behind it.
    pub cause: &'static str,
    /// What the suite has done by itself.
    pub done: &'static str,
    /// What to type next; `{subject}` stands for what the alert is about.
    pub next: &'static str,
    /// The worse alert about the same thing, which says it all: while that one stands, this one is not told.
    pub covered_by: Option<&'static str>,
}

impl Kind {
    /// Whether training runs tell of it, as long as it is so and at most once an hour; nobody tells that it is over.
    #[must_use]
    pub fn is_told_by_runs(&self) -> bool {
        [GPU_HOT, DIVERGING, GPU_MEMORY, NOT_SAVED].contains(&self.code)
    }

    /// Its heading in docs/RUNBOOK.md, as a link finds it.
    #[must_use]
    pub fn anchor(&self) -> String {
        format!("{} {}", self.code, self.title)
            .chars()
            .filter_map(|c| match c {
                ' ' | '-' => Some('-'),
                c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
                _ => None,
            })
            .collect()
    }
}

const AT_ONCE: SignedDuration = SignedDuration::ZERO;
const fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}
/// The trainer raises an alert of the same kind at most once an hour: one that did not come back by then is over.
const NO_MORE_FROM_THE_RUN: SignedDuration = minutes(65);

/// What alerts about GPUs are about: all of them, one line says which.
pub const GPUS: &str = "GPU";
/// GPU above 90 °C.
pub const GPU_HOT: &str = "ALR-1";
/// The queue's process crashed.
pub const QUEUE_DOWN: &str = "ALR-2";
/// Disk above 95 %.
pub const DISK_FULL: &str = "ALR-3";
/// A run's loss is NaN, or diverges.
pub const DIVERGING: &str = "ALR-4";
/// A run's GPU has no memory left.
pub const GPU_MEMORY: &str = "ALR-5";
/// Disk above 80 %.
pub const DISK_FILLING: &str = "ALR-6";
/// The offset stands still while messages wait.
pub const OFFSET_STALE: &str = "ALR-7";
/// A checkpoint was not saved.
pub const NOT_SAVED: &str = "ALR-8";
/// The broker cannot be reached.
pub const BROKER_AWAY: &str = "ALR-10";
/// The GPU or its driver does not answer.
pub const GPU_AWAY: &str = "ALR-11";
/// Another unit of the suite failed.
pub const UNIT_FAILED: &str = "ALR-12";
/// A run makes no progress.
pub const TRAINING_STALLED: &str = "ALR-13";
/// A unit is restarted again and again.
pub const RESTARTS: &str = "ALR-14";
/// Messages go into quarantine.
pub const QUARANTINE: &str = "ALR-15";
/// The disk will be full before long.
pub const DISK_FORECAST: &str = "ALR-16";
/// File numbers run out.
pub const INODES: &str = "ALR-17";
/// The clock was set, or nothing keeps it right.
pub const CLOCK: &str = "ALR-18";
/// A certificate expires.
pub const CERTIFICATE: &str = "ALR-19";
/// No recent backup.
pub const BACKUP: &str = "ALR-20";
/// Secrets that others may read.
pub const SECRETS: &str = "ALR-21";
/// Memory is short.
pub const MEMORY: &str = "ALR-22";
/// The kernel ended a process for want of memory.
pub const OOM_KILL: &str = "ALR-23";
/// A check did not come to an answer.
pub const CHECK_BROKEN: &str = "ALR-24";
/// The offset is ahead of the stream.
pub const OFFSET_AHEAD: &str = "ALR-25";
/// An alert cannot be delivered.
pub const UNDELIVERED: &str = "ALR-26";

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind {
        code: GPU_HOT,
        title: "GPU too hot",
        severity: Severity::Critical,
        pending: AT_ONCE,
        hold: minutes(5),
        cause: "fans or filters, a room that is too warm, or another load on the same GPU",
        done: "the run pauses between two batches and goes on below 80 °C; nothing was lost",
        next: "nvidia-smi -q -d TEMPERATURE,PERFORMANCE",
        covered_by: None,
    },
    Kind {
        code: QUEUE_DOWN,
        title: "queue process crashed",
        severity: Severity::Critical,
        pending: AT_ONCE,
        hold: minutes(10),
        cause: "the last lines of its journal say why; a broken configuration, a damaged offset.yaml and a disk that cannot be written are the usual ones",
        done: "systemd starts it again, health does where systemd has given up; messages wait in the broker, none is lost",
        next: "journalctl -u azaion-queue -n 50 --no-pager",
        covered_by: None,
    },
    Kind {
        code: DISK_FULL,
        title: "disk almost full",
        severity: Severity::Critical,
        pending: AT_ONCE,
        hold: minutes(10),
        cause: "old datasets and models, or something else on the same disk",
        done: "nothing is removed by itself; at 100 % the queue stops taking messages and goes on when there is room, and a run keeps its last checkpoint",
        next: "du -sh {subject}/datasets/* {subject}/models/* | sort -h | tail",
        covered_by: None,
    },
    Kind {
        code: DIVERGING,
        title: "training diverges",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: NO_MORE_FROM_THE_RUN,
        cause: "labels that are wrong in the images it names, or a learning rate that is too high",
        done: "steps that are not finite were skipped and their images named; after several the run went back to an epoch's end with half the learning rate",
        next: "azaion train status; azaion dataset lint",
        covered_by: None,
    },
    Kind {
        code: GPU_MEMORY,
        title: "GPU out of memory",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: NO_MORE_FROM_THE_RUN,
        cause: "batch and image size are too large for this GPU, or another process holds its memory",
        done: "the same batches are now taken in halves, with the same result; what was learnt is remembered for the next run",
        next: "nvidia-smi",
        covered_by: None,
    },
    Kind {
        code: DISK_FILLING,
        title: "disk filling up",
        severity: Severity::Medium,
        pending: AT_ONCE,
        hold: minutes(30),
        cause: "annotations keep coming; datasets share their images with data/, so models and checkpoints are what can go",
        done: "nothing; there is time",
        next: "azaion status",
        covered_by: Some(DISK_FULL),
    },
    Kind {
        code: OFFSET_STALE,
        title: "queue stands still",
        severity: Severity::Medium,
        pending: minutes(60),
        hold: AT_ONCE,
        cause: "a queue that cannot write, or a broker that accepts connections and sends nothing",
        done: "the queue connects anew by itself, for ever",
        next: "systemctl status azaion-queue; azaion check",
        covered_by: Some(QUEUE_DOWN),
    },
    Kind {
        code: NOT_SAVED,
        title: "checkpoint not saved",
        severity: Severity::Low,
        pending: AT_ONCE,
        hold: NO_MORE_FROM_THE_RUN,
        cause: "a disk that is full or slow",
        done: "the checkpoint before stays whole, training goes on, saving is tried again every minute",
        next: "df -h; azaion train status",
        covered_by: None,
    },
    Kind {
        code: BROKER_AWAY,
        title: "broker not reachable",
        severity: Severity::High,
        pending: minutes(4),
        hold: minutes(4),
        cause: "the network, a firewall, or the broker itself",
        done: "the queue tries again for ever; messages wait in the broker",
        next: "azaion check; ping the broker's machine",
        covered_by: None,
    },
    Kind {
        code: GPU_AWAY,
        title: "GPU not available",
        severity: Severity::High,
        pending: minutes(4),
        hold: minutes(4),
        cause: "a driver that was updated without a reboot, or a GPU that fell off the bus",
        done: "nothing: a run that needs it ends with an error and goes on from its checkpoint when it is started again",
        next: "nvidia-smi; dmesg | grep -i -e nvrm -e xid | tail",
        covered_by: None,
    },
    Kind {
        code: UNIT_FAILED,
        title: "unit failed",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: minutes(10),
        cause: "the last lines of its journal say why",
        done: "systemd restarts what can be restarted; a training run goes on from its last checkpoint",
        next: "systemctl status {subject}; journalctl -u {subject} -n 50 --no-pager",
        covered_by: None,
    },
    Kind {
        code: TRAINING_STALLED,
        title: "training makes no progress",
        severity: Severity::High,
        pending: minutes(4),
        hold: AT_ONCE,
        cause: "a step or a loader that hangs, a disk that does not answer, or a run that was interrupted and not started again",
        done: "a hung run is ended by its watchdog with the stacks of its threads in the journal, and started again",
        next: "azaion train status; journalctl -u azaion-train -n 50 --no-pager",
        covered_by: None,
    },
    Kind {
        code: RESTARTS,
        title: "unit restarts again and again",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: minutes(60),
        cause: "something that a restart does not mend",
        done: "systemd goes on restarting, with pauses, until its limit",
        next: "journalctl -u {subject} -p warning -n 100 --no-pager",
        covered_by: None,
    },
    Kind {
        code: QUARANTINE,
        title: "messages go into quarantine",
        severity: Severity::Medium,
        pending: AT_ONCE,
        hold: minutes(60),
        cause: "a producer that sends what this version cannot read",
        done: "each is kept whole with its offset and the reason; those behind it were taken",
        next: "azaion queue quarantine list",
        covered_by: None,
    },
    Kind {
        code: DISK_FORECAST,
        title: "disk full before long",
        severity: Severity::Medium,
        pending: minutes(30),
        hold: minutes(60),
        cause: "the rate of the last hours",
        done: "nothing",
        next: "azaion status",
        covered_by: Some(DISK_FULL),
    },
    Kind {
        code: INODES,
        title: "file numbers run out",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: minutes(30),
        cause: "many small files; a file system made with too few inodes",
        done: "nothing",
        next: "df -i {subject}",
        covered_by: None,
    },
    Kind {
        code: CLOCK,
        title: "clock is not right",
        severity: Severity::Medium,
        pending: minutes(9),
        hold: minutes(9),
        cause: "no time server answers, or the clock was set by hand",
        done: "nothing depends on the clock for correctness; names of runs and times in files do follow it",
        next: "timedatectl",
        covered_by: None,
    },
    Kind {
        code: CERTIFICATE,
        title: "certificate expires",
        severity: Severity::Medium,
        pending: AT_ONCE,
        hold: AT_ONCE,
        cause: "a certificate that nobody renews by itself",
        done: "nothing; once it has expired the queue cannot connect",
        next: "renew the certificate of {subject}; azaion-health --full",
        covered_by: None,
    },
    Kind {
        code: BACKUP,
        title: "no recent backup",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: AT_ONCE,
        cause: "the backup's last run failed, or its timer is off",
        done: "the next run is tried by its timer",
        next: "azaion backup run",
        covered_by: None,
    },
    Kind {
        code: SECRETS,
        title: "secrets open to others",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: AT_ONCE,
        cause: "a file that was copied or edited with the wrong owner or mode",
        done: "programs refuse to read it",
        next: "azaion config check; then change the secret: others could read it",
        covered_by: None,
    },
    Kind {
        code: MEMORY,
        title: "memory is short",
        severity: Severity::High,
        pending: minutes(9),
        hold: minutes(9),
        cause: "too many loader workers, or something else on this machine",
        done: "under pressure a training run is ended first and goes on from its checkpoint; the queue is kept",
        next: "systemd-cgtop -m -n 1",
        covered_by: None,
    },
    Kind {
        code: OOM_KILL,
        title: "process killed for memory",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: minutes(60),
        cause: "a limit of a unit (MemoryMax=), or the machine ran out",
        done: "what was killed is restarted by systemd if it is a unit of the suite",
        next: "journalctl -k -g 'Out of memory|oom-kill' -n 20 --no-pager",
        covered_by: None,
    },
    Kind {
        code: CHECK_BROKEN,
        title: "check came to no answer",
        severity: Severity::Medium,
        pending: minutes(9),
        hold: AT_ONCE,
        cause: "what it asks hangs or is denied to it",
        done: "the other checks went on without it",
        next: "azaion-health --full --verbose",
        covered_by: None,
    },
    Kind {
        code: OFFSET_AHEAD,
        title: "offset ahead of the stream",
        severity: Severity::High,
        pending: AT_ONCE,
        hold: AT_ONCE,
        cause: "the stream was made anew, or offset.yaml is another machine's",
        done: "nothing: a queue that is started like this ends, and messages wait",
        next: "azaion queue status; docs/RUNBOOK.md says how to set the offset without losing anything",
        covered_by: None,
    },
    Kind {
        code: UNDELIVERED,
        title: "alerts cannot be delivered",
        severity: Severity::High,
        pending: minutes(30),
        hold: AT_ONCE,
        cause: "the mail server or webhook refuses or does not answer",
        done: "every message is kept and tried again, at most once an hour",
        next: "azaion alerts test",
        covered_by: None,
    },
];

/// The alert with this code.
#[must_use]
pub fn kind(code: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_there_once_and_what_covers_is_worse() {
        for (i, one) in KINDS.iter().enumerate() {
            assert!(
                KINDS[..i].iter().all(|other| other.code != one.code),
                "{}",
                one.code
            );
            if let Some(cover) = one.covered_by {
                assert!(kind(cover).unwrap().severity > one.severity, "{}", one.code);
            }
        }
    }

    #[test]
    fn every_alert_has_its_entry_in_the_runbook() {
        let runbook = include_str!("../../../docs/RUNBOOK.md");
        for kind in KINDS {
            let heading = format!("\n### {} {}\n", kind.code, kind.title);
            assert!(runbook.contains(&heading), "no entry {heading:?}");
        }
        assert_eq!(kind(DISK_FULL).unwrap().anchor(), "alr-3-disk-almost-full");
    }
}
