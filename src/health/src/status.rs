//! The status (DSH-2): everything that a pass found, as one model with several faces.
//!
//! `status/status.json` holds it; `azaion status` prints it, the page shows it, `azaion top` takes its alerts. It is made by each
//! pass and says when the next one is due: whoever reads it later than that reads something stale, and each face says so.

use crate::{
    Grade, Reading,
    alerts::{Book, Past as Over, Standing},
    checks::{Context, Facts, Found, Unit, disk::Disk},
    past::{Folders, Past},
};
use gpu::Gpu;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::Path;
use store::backups::Backups;

/// Version of the file.
pub const VERSION: u32 = 1;
/// The file, relative to the root.
pub const FILE: &str = "status/status.json";
/// How long after a pass its status is about now: three passes were missed.
pub const FRESH: SignedDuration = SignedDuration::from_mins(16);
/// Alerts that are over and still shown.
const OVER: usize = 20;

/// How everything is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    version: u32,
    /// When it was found out.
    pub at: Timestamp,
    /// The program that found it out.
    pub by: String,
    /// The tree.
    pub root: String,
    /// It all in one line.
    pub verdict: Verdict,
    /// What was found, what is wrong first.
    pub readings: Vec<Reading>,
    /// Alerts that stand, the worst first.
    pub alerts: Vec<Alert>,
    /// Alerts that are over, the latest first.
    pub over: Vec<Over>,
    /// The queue.
    pub queue: Queue,
    /// The run that is trained, or was last.
    pub training: Option<Training>,
    /// The GPUs.
    pub gpus: Vec<Gpu>,
    /// The disk beneath the root.
    pub disk: Option<Disk>,
    /// What its folders take.
    pub folders: Option<Folders>,
    /// The suite's units.
    pub units: Vec<Unit>,
    /// The model in service.
    pub model: Option<Model>,
    /// How the backups stand.
    pub backups: Option<Backups>,
    /// When a full pass was made last.
    pub full_at: Option<Timestamp>,
}

/// It all in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The worst there is.
    pub grade: Grade,
    /// In words.
    pub line: String,
}

/// An alert that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its code.
    pub code: String,
    /// How urgent it is.
    pub severity: crate::catalog::Severity,
    /// What it is, in a few words.
    pub title: String,
    /// What it is about.
    pub subject: String,
    /// That in words.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether nobody is told of it now.
    pub silenced: bool,
    /// The next command.
    pub next: String,
}

/// The queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The offset of the next message.
    pub offset: Option<u64>,
    /// Messages that wait.
    pub lag: Option<u64>,
    /// Messages a second, as the queue says.
    pub rate: Option<f64>,
    /// Messages in quarantine.
    pub quarantined: Option<u64>,
    /// Messages that were taken between passes of the last day, the oldest first.
    pub taken: Vec<u64>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Its name.
    pub run: String,
    /// What it is at: `training`, `stopped`, `finished`, `failed`, `interrupted`, or `waiting` before its first step.
    pub phase: String,
    /// The epoch in hand, from 1.
    pub epoch: u32,
    /// Epochs in all.
    pub epochs: u32,
    /// How much of it is done, 0 to 1.
    pub share: f64,
    /// The sum of the losses.
    pub loss: Option<f64>,
    /// mAP50 of the last validation.
    pub map50: Option<f64>,
    /// mAP50-95 of the last validation.
    pub map50_95: Option<f64>,
    /// mAP50-95 by epoch, as `results.csv` has it.
    pub curve: Vec<f64>,
    /// The sum of the losses by epoch.
    pub losses: Vec<f64>,
    /// Seconds to its end.
    pub seconds_left: Option<f64>,
    /// When it was saved last.
    pub saved: Option<Timestamp>,
    /// Its page, relative to the status folder.
    pub report: Option<String>,
}

/// The model in service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The run it is of.
    pub run: String,
    /// When its file was written.
    pub since: Option<Timestamp>,
}

impl Status {
    /// What a pass found.
    #[must_use]
    pub fn of(
        context: &Context,
        found: &Found,
        past: &Past,
        book: &Book,
        now: Timestamp,
        silenced: impl Fn(&Standing) -> bool,
    ) -> Self {
        let (mut readings, facts) = (found.readings.clone(), &found.facts);
        // That a check answered is no news.
        readings.retain(|one| {
            one.grade != Grade::Ok || one.alert.as_deref() != Some(crate::catalog::CHECK_BROKEN)
        });
        readings.sort_by_key(|one| std::cmp::Reverse(one.grade));
        let alerts: Vec<Alert> = book
            .firing(now)
            .into_iter()
            .map(|one| Alert {
                code: one.code.clone(),
                severity: one.severity(),
                title: one.title().to_owned(),
                subject: one.subject.clone(),
                what: one.what.clone(),
                since: one.since,
                silenced: silenced(one),
                next: one.next(),
            })
            .collect();
        Self {
            version: VERSION,
            at: now,
            by: format!("azaion-health {}", env!("CARGO_PKG_VERSION")),
            root: context.root().display().to_string(),
            verdict: verdict(&readings, &alerts),
            alerts,
            over: book.past.iter().take(OVER).cloned().collect(),
            queue: queue(facts, past),
            training: facts.run.as_ref().map(|seen| training(context.root(), seen)),
            gpus: facts.gpus.clone().unwrap_or_default(),
            disk: facts.disk.clone(),
            folders: past.folders.clone(),
            units: facts.units.clone().unwrap_or_default(),
            model: model(context.root()),
            backups: facts.backups.clone(),
            full_at: past.full_at,
            readings,
        }
    }

    /// Reads what the last pass left.
    ///
    /// # Errors
    /// There is none, or it is of a version that is not known.
    pub fn read(root: &Path) -> Result<Self, String> {
        let path = root.join(FILE);
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("{}: {error}; azaion-health makes it", path.display()))?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        if value["version"] != VERSION {
            return Err(format!(
                "{} is of version {}, this program knows {VERSION}",
                path.display(),
                value["version"]
            ));
        }
        serde_json::from_value(value).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Why it is not about now any more, where it is not.
    #[must_use]
    pub fn staleness(&self, now: Timestamp) -> Option<String> {
        let age = now.duration_since(self.at);
        (age > FRESH).then(|| {
            format!(
                "this is {} old: azaion-health.timer does not run",
                crate::checks::disk::hours(age)
            )
        })
    }
}

fn verdict(readings: &[Reading], alerts: &[Alert]) -> Verdict {
    let worst = readings.first().map_or(Grade::Ok, |one| one.grade);
    let plural = |count: usize, one: &str| {
        if count == 1 {
            format!("{count} {one}")
        } else {
            format!("{count} {one}s")
        }
    };
    let found = readings.iter().filter(|one| one.grade.is_found()).count();
    match (alerts.first(), worst) {
        (Some(alert), _) => Verdict {
            grade: if alert.severity >= crate::catalog::Severity::High {
                Grade::Problem
            } else {
                worst.max(Grade::Warning)
            },
            line: match alerts.len() {
                1 => format!("{}: {}", alert.title, alert.what),
                more => format!("{}, the worst: {}", plural(more, "alert"), alert.title),
            },
        },
        (None, grade) if grade.is_found() => Verdict {
            grade,
            line: match readings.first() {
                Some(first) if found == 1 => format!("{}: {}", first.subject, first.what),
                _ => format!("{} to look at, no alert", plural(found, "thing")),
            },
        },
        _ => Verdict {
            grade: Grade::Ok,
            line: "everything is well".to_owned(),
        },
    }
}

fn queue(facts: &Facts, past: &Past) -> Queue {
    let offsets: Vec<u64> = past.samples.iter().filter_map(|sample| sample.offset).collect();
    Queue {
        offset: facts.offset,
        lag: facts.lag,
        rate: facts.queue.as_ref().map(|queue| queue.rate),
        quarantined: facts.quarantined,
        taken: offsets
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .collect(),
    }
}

fn training(root: &Path, seen: &crate::checks::training::Seen) -> Training {
    use runs::{Phase, State};
    let folder = root.join(&seen.run.folder);
    let status = seen.status.as_ref();
    let phase = match (status.map(|status| &status.phase), seen.lives) {
        (None, _) => "waiting",
        (Some(Phase::Training), true) => "training",
        (Some(Phase::Training), false) if seen.run.state == State::Open => "interrupted",
        (Some(Phase::Stopped), _) => "stopped",
        (Some(Phase::Failed(_)), _) => "failed",
        _ => "finished",
    };
    // Half a table misleads: one that cannot be read is left out.
    let rows = std::fs::read_to_string(folder.join(runs::RESULTS))
        .ok()
        .and_then(|text| report::parse_results(&text).ok())
        .unwrap_or_default();
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    Training {
        run: seen.run.name(),
        phase: phase.to_owned(),
        epoch: status.map_or(0, |status| status.epoch),
        epochs: status.map_or(0, |status| status.epochs),
        share: if phase == "finished" {
            1.0
        } else {
            status.map_or(0.0, runs::Status::share)
        },
        loss: status.and_then(runs::Status::total_loss),
        map50: status.and_then(|status| status.map50),
        map50_95: status.and_then(|status| status.map50_95),
        curve: rows.iter().map(|row| finite(row.map50_95)).collect(),
        losses: rows.iter().map(|row| finite(row.train.iter().sum())).collect(),
        seconds_left: status
            .and_then(|status| status.seconds_left)
            .filter(|_| phase == "training"),
        saved: status
            .and_then(|status| status.saved.as_ref())
            .map(|saved| saved.at),
        report: folder
            .join(runs::REPORT)
            .is_file()
            .then(|| format!("../{}/report.html", seen.run.folder.display())),
    }
}

fn model(root: &Path) -> Option<Model> {
    let link = root.join(runs::RUNS).join(runs::IN_SERVICE);
    let target = std::fs::read_link(&link).ok()?;
    let modified = std::fs::metadata(&link).and_then(|meta| meta.modified()).ok();
    Some(Model {
        run: target.parent()?.file_name()?.to_string_lossy().into_owned(),
        since: modified.and_then(|time| Timestamp::try_from(time).ok()),
    })
}
