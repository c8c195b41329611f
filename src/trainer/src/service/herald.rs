//! What a run tells: log lines, systemd's status line, readiness and watchdog.

use super::alarm;
use service::notify::{self, Watchdog};
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};
use train::{Event, Observer};

/// The status line is at most that often made anew.
const EVERY: Duration = Duration::from_secs(1);
/// How much longer than until now systemd waits while a dataset is formed.
const START_EXTENSION: Duration = Duration::from_secs(600);

/// Tells of a run.
pub(super) struct Herald {
    watchdog: Watchdog,
    told: Mutex<Option<Instant>>,
    epochs: u32,
    batches_per_epoch: u64,
    map50: Option<f64>,
    /// When, and at which batch of the run, this process began.
    begun: (Instant, u64),
    /// Where alerts are kept.
    root: PathBuf,
}

impl Herald {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            watchdog: Watchdog::from_systemd(),
            told: Mutex::new(None),
            epochs: 0,
            batches_per_epoch: 0,
            map50: None,
            begun: (Instant::now(), 0),
            root: root.to_owned(),
        }
    }

    fn alarm(&self, alert: &str, event: &Event<'_>) {
        alarm::raise(&self.root, alert, &event.incident().unwrap_or_default());
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
            self.epochs,
            self.left(epoch, batch)
        )
    }

    /// Time left by the pace so far, validation included.
    fn left(&self, epoch: u32, batch: u64) -> String {
        let done = u64::from(epoch.saturating_sub(1)) * self.batches_per_epoch + batch;
        let all = u64::from(self.epochs) * self.batches_per_epoch;
        let (since, from) = self.begun;
        let pace = since.elapsed().as_secs_f64() / done.saturating_sub(from).max(1) as f64;
        let minutes = (pace * all.saturating_sub(done) as f64 / 60.0).ceil() as u64;
        match (minutes / 60, minutes % 60) {
            (0, minutes) => format!("{minutes} min"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        }
    }
}

impl Observer for Herald {
    fn on(&mut self, event: Event<'_>) {
        self.watchdog.progress();
        match event {
            Event::Started {
                images,
                validation,
                schedule,
                execution,
                resumed,
                ..
            } => {
                self.epochs = schedule.epochs;
                self.batches_per_epoch = schedule.batches_per_epoch;
                let (epoch, batch) = resumed.unwrap_or_default();
                self.begun = (
                    Instant::now(),
                    u64::from(epoch) * schedule.batches_per_epoch + batch,
                );
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
                tracing::info!(
                    epoch = row.epoch,
                    epochs = self.epochs,
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
    fn the_status_line_says_epoch_loss_map_and_time_left() {
        let mut herald = Herald::new(Path::new("/nowhere"));
        herald.epochs = 10;
        herald.batches_per_epoch = 100;
        herald.begun = (Instant::now() - Duration::from_secs(6000), 0);
        let line = herald.status(6, 0, 2.25);
        assert!(line.starts_with("epoch 6/10, loss 2.250, 1 h 4"), "{line}");
        herald.map50 = Some(0.5);
        assert!(herald.status(6, 0, 2.25).contains(", mAP50 0.500, "));
    }
}
