//! What a run tells: log lines, systemd's status line, readiness and watchdog.

use super::alarm;
use crate::pace::Pace;
use service::{
    config::Training,
    notify::{self, Watchdog},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};
use train::{Error, Event, Observer, Stage};

/// The status line is at most that often made anew.
const EVERY: Duration = Duration::from_secs(1);
/// How much longer than until now systemd waits while a dataset is formed.
const START_EXTENSION: Duration = Duration::from_secs(600);

/// How long a piece of each kind of work may take before it counts as hung.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    step: Duration,
    validation: Duration,
    export: Duration,
}

impl Limits {
    pub(super) fn configured(training: &Training) -> Self {
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        Self {
            step: seconds(training.step_limit_s),
            validation: seconds(training.validation_limit_s),
            export: seconds(training.export_limit_s),
        }
    }

    fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Training => self.step,
            Stage::Validation => self.validation,
            Stage::Export => self.export,
        }
    }
}

/// How long an alert is not raised again.
const FRESH: Duration = Duration::from_secs(3600);

/// Tells of a run.
pub(crate) struct Herald {
    watchdog: Watchdog,
    limits: Limits,
    told: Mutex<Option<Instant>>,
    pace: Pace,
    map50: Option<f64>,
    /// Where alerts are kept.
    root: PathBuf,
    /// When each alert was raised last.
    raised: BTreeMap<&'static str, Instant>,
}

impl Herald {
    pub(super) fn new(root: &Path, limits: Limits) -> Self {
        Self {
            watchdog: Watchdog::from_systemd(),
            limits,
            told: Mutex::new(None),
            pace: Pace::default(),
            map50: None,
            root: root.to_owned(),
            raised: BTreeMap::new(),
        }
    }

    /// Raises an alert, but not again while it is fresh: what fails every minute is one thing that is wrong.
    fn alarm(&mut self, alert: &'static str, event: &Event<'_>) {
        let message = event.incident().unwrap_or_default();
        let now = Instant::now();
        if self.raised.get(alert).is_some_and(|raised| now - *raised < FRESH) {
            tracing::warn!(alert, "{message}");
            return;
        }
        self.raised.insert(alert, now);
        alarm::raise(&self.root, alert, &message);
    }

    /// The run ends, and starting again would change nothing.
    pub(super) fn give_up(&self, error: &Error) {
        match error {
            Error::GaveUp { .. } => alarm::raise(&self.root, "ALR-4", &error.to_string()),
            _ => tracing::error!(%error, "training ended"),
        }
        notify::status(&format!("ended: {error}"));
    }

    /// Annotations were checked; called from several threads.
    pub(super) fn forming(&self, done: usize, all: usize) {
        self.watchdog.progress();
        if self.is_due() {
            notify::extend_timeout(START_EXTENSION);
            notify::status(&format!("dataset: {done} of {all} annotations checked"));
        }
    }

    fn is_due(&self) -> bool {
        let now = Instant::now();
        // A poisoned lock only means that another thread panicked between two assignments of an instant.
        let mut told = self
            .told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = told.is_none_or(|told| now - told >= EVERY);
        if due {
            *told = Some(now);
        }
        due
    }

    fn status(&self, epoch: u32, batch: u64, loss: f64) -> String {
        let map50 = self
            .map50
            .map_or_else(String::new, |map50| format!(", mAP50 {map50:.3}"));
        format!(
            "epoch {epoch}/{}, loss {loss:.3}{map50}, {} left",
            self.pace.epochs(),
            hours(self.pace.left(epoch, batch))
        )
    }
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

impl Observer for Herald {
    fn on(&mut self, event: Event<'_>) {
        // Waiting for the disk is none: a disk that hangs is for the watchdog.
        if !matches!(event, Event::Saving) {
            self.watchdog.progress();
        }
        match event {
            Event::Stage(stage) => self.watchdog.set_limit(self.limits.of(stage)),
            Event::Started {
                images,
                validation,
                schedule,
                execution,
                resumed,
                ..
            } => {
                self.pace = Pace::begin(schedule, images, resumed);
                let (epoch, batch) = resumed.unwrap_or_default();
                notify::ready();
                tracing::info!(
                    images,
                    validation,
                    epochs = schedule.epochs,
                    optimizer = ?schedule.optimizer,
                    %execution,
                    "training started"
                );
                if resumed.is_some() {
                    tracing::info!(epoch = epoch + 1, batch, "training goes on");
                }
            }
            Event::Batch { epoch, batch, loss } => {
                if self.is_due() {
                    notify::status(&self.status(epoch, batch, loss.iter().sum()));
                }
            }
            Event::Epoch { row, best } => {
                self.map50 = Some(row.map50);
                // Told whether or not a line is due: the first that has this epoch's figures.
                notify::status(&self.status(row.epoch, self.pace.batches(), row.train.iter().sum()));
                tracing::info!(
                    epoch = row.epoch,
                    epochs = self.pace.epochs(),
                    loss = row.train.iter().sum::<f64>(),
                    mAP50 = row.map50,
                    mAP50_95 = row.map50_95,
                    best,
                    "epoch completed"
                );
            }
            Event::Saved {
                epochs,
                batches,
                took,
            } => tracing::debug!(
                epochs,
                batches,
                took_ms = took.as_millis() as u64,
                "checkpoint saved"
            ),
            Event::Validating { done, all } => {
                if self.is_due() {
                    notify::status(&format!("validating: {done} of {all} images"));
                }
            }
            Event::Saving => notify::status("waiting for the disk"),
            Event::Cooling { celsius } => {
                notify::status(&format!("waiting for the GPU, which is at {celsius} °C"))
            }
            Event::NotSaved { .. } => self.alarm("ALR-8", &event),
            Event::Diverging { .. } | Event::WentBack { .. } => self.alarm("ALR-4", &event),
            Event::OutOfMemory { .. } => self.alarm("ALR-5", &event),
            Event::TooHot { .. } => self.alarm("ALR-1", &event),
            Event::Warning(_) | Event::Skipped { .. } | Event::Cooled { .. } => {
                tracing::warn!("{}", event.incident().unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_once_while_it_is_fresh_and_another_at_once() {
        let root = tempfile::tempdir().unwrap();
        let mut herald = Herald::new(root.path(), Limits::configured(&Training::default()));
        for _ in 0..3 {
            herald.on(Event::TooHot { celsius: 95 });
        }
        herald.on(Event::Diverging { epoch: 7 });
        let alerts = std::fs::read_dir(root.path().join(store::alerts::ALERTS)).unwrap();
        let mut told: Vec<String> = alerts
            .map(|entry| {
                let record = std::fs::read(entry.unwrap().path()).unwrap();
                let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
                format!("{} {}", record["alert"], record["message"])
            })
            .collect();
        told.sort();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("ALR-1") && told[0].contains("95 °C"), "{told:?}");
        assert!(
            told[1].contains("ALR-4") && told[1].contains("epoch 7"),
            "{told:?}"
        );
    }

    #[test]
    fn each_kind_of_work_has_the_limit_that_is_configured_for_it() {
        let limits = Limits::configured(&Training {
            step_limit_s: 1,
            validation_limit_s: 2,
            export_limit_s: 3,
            ..Training::default()
        });
        let of = [Stage::Training, Stage::Validation, Stage::Export].map(|stage| limits.of(stage).as_secs());
        assert_eq!(of, [1, 2, 3]);
    }

    #[test]
    fn the_status_line_says_epoch_loss_map_and_time_left() {
        let mut herald = Herald::new(Path::new("/nowhere"), Limits::configured(&Training::default()));
        herald.pace = Pace::running(10, 100, Duration::from_secs(6000));
        let line = herald.status(6, 0, 2.25);
        assert!(line.starts_with("epoch 6/10, loss 2.250, 1 h 4"), "{line}");
        herald.map50 = Some(0.5);
        assert!(herald.status(6, 0, 2.25).contains(", mAP50 0.500, "));
    }
}
