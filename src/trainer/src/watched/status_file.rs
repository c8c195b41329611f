//! The run's `status.json`, and its metrics in `status/metrics/training.prom`.
//!
//! Both are for those who look from outside: rewritten at most once a second and once in ten, without a sync. That they
//! cannot be written is said once and never ends a run.

use crate::pace::{Pace, Rarely};
use jiff::Timestamp;
use runs::{Phase, Run, Saved, Status};
use service::metrics::{self, Family};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use train::{Error, Event, Observer, Outcome};

const STATUS_EVERY: Duration = Duration::from_secs(1);
const METRICS_EVERY: Duration = Duration::from_secs(10);
/// Beneath the root, where a node exporter is to look.
const METRICS: &str = "status/metrics";

/// Keeps both files.
pub(super) struct StatusFile {
    folder: PathBuf,
    metrics: PathBuf,
    status: Status,
    pace: Pace,
    status_due: Rarely,
    metrics_due: Rarely,
    told: bool,
}

impl StatusFile {
    pub(super) fn new(root: &Path, run: &Run) -> Self {
        Self {
            folder: root.join(&run.folder),
            metrics: root.join(METRICS).join("training.prom"),
            status: Status::beginning(run.name(), Timestamp::now()),
            pace: Pace::default(),
            status_due: Rarely::every(STATUS_EVERY),
            metrics_due: Rarely::every(METRICS_EVERY),
            told: false,
        }
    }

    /// The run has ended, for now or for good.
    pub(super) fn end(&mut self, outcome: &Result<Outcome, Error>) {
        self.status.phase = match outcome {
            Ok(Outcome::Stopped { .. }) => Phase::Stopped,
            Ok(Outcome::Finished(_)) => Phase::Finished,
            Err(error) => Phase::Failed(error.to_string()),
        };
        self.status.seconds_left = None;
        self.write_status();
        self.write_metrics();
    }

    fn write_status(&mut self) {
        self.status.updated = Timestamp::now();
        let written = self.status.write(&self.folder);
        self.tell_once(written);
    }

    fn write_metrics(&mut self) {
        let text = metrics::text(&families(&self.status));
        let folder = self.metrics.parent().unwrap_or(Path::new("."));
        let made =
            fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()));
        let written = made.and_then(|()| {
            store::atomic::replace_unsynced(&self.metrics, text.as_bytes()).map_err(|error| error.to_string())
        });
        self.tell_once(written);
    }

    fn tell_once(&mut self, written: Result<(), impl ToString>) {
        if let Err(error) = written
            && !self.told
        {
            self.told = true;
            tracing::warn!(
                error = error.to_string(),
                "the status of the run cannot be written"
            );
        }
    }
}

impl Observer for StatusFile {
    fn on(&mut self, event: Event<'_>) {
        let mut is_news = true;
        match event {
            Event::Started {
                images,
                schedule,
                execution,
                resumed,
                ..
            } => {
                self.pace = Pace::begin(schedule, images, resumed);
                let (epoch, batch) = resumed.unwrap_or_default();
                self.status.epoch = (epoch + 1).min(schedule.epochs);
                self.status.batch = batch;
                self.status.epochs = schedule.epochs;
                self.status.batches = schedule.batches_per_epoch;
                self.status.device = execution.to_string();
                self.take_over();
            }
            Event::Batch { epoch, batch, loss } => {
                self.status.epoch = epoch;
                self.status.batch = batch;
                self.status.loss = loss.map(finite);
                self.status.images_per_s = self.pace.images_per_s(epoch, batch);
                self.status.seconds_left = Some(self.pace.left(epoch, batch));
                is_news = false;
            }
            Event::Epoch { row, best } => {
                self.status.loss = row.train.map(finite);
                self.status.map50 = finite(row.map50);
                self.status.map50_95 = finite(row.map50_95);
                if best {
                    self.status.best_epoch = Some(row.epoch);
                    self.status.best_map50_95 = finite(row.map50_95);
                }
                self.status.seconds_left = Some(self.pace.left(row.epoch, self.pace.batches()));
            }
            Event::Saved { epochs, batches, .. } => {
                // At an epoch's end: behind all of its batches.
                let (epoch, batch) = match (epochs, batches) {
                    (1.., 0) => (epochs, self.status.batches),
                    _ => (epochs + 1, batches),
                };
                let at = Timestamp::now();
                self.status.saved = Some(Saved { at, epoch, batch });
            }
            Event::Stage(_) | Event::Validating { .. } | Event::Saving | Event::Cooling { .. } => {
                is_news = false
            }
            event => self.status.warnings += u64::from(event.incident().is_some()),
        }
        if self.status_due.is_due() || is_news {
            self.write_status();
        }
        if self.metrics_due.is_due() || is_news {
            self.write_metrics();
        }
    }
}

impl StatusFile {
    /// What the process before this one measured, so that it is not forgotten until the next validation.
    fn take_over(&mut self) {
        if let Ok(Some(before)) = Status::read(&self.folder)
            && before.run == self.status.run
        {
            self.status.map50 = before.map50;
            self.status.map50_95 = before.map50_95;
            self.status.best_epoch = before.best_epoch;
            self.status.best_map50_95 = before.best_map50_95;
            self.status.saved = before.saved;
        }
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn families(status: &Status) -> [Family; 6] {
    let updated = status.updated.as_millisecond() as f64 / 1e3;
    [
        Family::gauge(
            "training_epoch",
            "Epoch in hand, from 1.",
            f64::from(status.epoch),
        ),
        Family::gauge(
            "training_epochs",
            "Epochs of the run in all.",
            f64::from(status.epochs),
        ),
        Family::gauge(
            "training_loss",
            "Sum of the training losses, running mean of the epoch.",
            status.total_loss(),
        ),
        Family::gauge("training_mAP50", "mAP50 of the last validation.", status.map50),
        Family::gauge(
            "training_mAP50_95",
            "mAP50-95 of the last validation.",
            status.map50_95,
        ),
        Family::gauge(
            "training_updated_timestamp_seconds",
            "When these were written, seconds since 1970.",
            updated,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::EpochRow;
    use runs::{Begin, RUNS};

    fn begun() -> (tempfile::TempDir, Run) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        let begin = Begin {
            dataset: "datasets/cells".into(),
            dataset_hash: None,
            model: "yolo26n".into(),
            hyper: serde_json::json!({}),
        };
        let run = Run::begin(root.path(), begin).unwrap();
        (root, run)
    }

    fn row(epoch: u32, map50_95: f64) -> EpochRow {
        EpochRow {
            epoch,
            train: [1.0, 0.5, 0.25],
            map50: 0.75,
            map50_95,
            ..EpochRow::default()
        }
    }

    #[test]
    fn an_epoch_is_in_both_files_at_once_and_batches_are_written_rarely() {
        let (root, run) = begun();
        let folder = root.path().join(&run.folder);
        let mut file = StatusFile::new(root.path(), &run);
        file.pace = Pace::running(3, 10, Duration::from_secs(10));
        let batch = |batch, loss| Event::Batch {
            epoch: 2,
            batch,
            loss,
        };
        file.on(batch(1, [9.0, f64::NAN, 1.0]));
        file.on(batch(2, [1.0, 2.0, 3.0]));
        let read = Status::read(&folder).unwrap().unwrap();
        assert_eq!((read.batch, read.loss), (1, [Some(9.0), None, Some(1.0)]));
        file.on(Event::Epoch {
            row: &row(2, 0.5),
            best: true,
        });
        let read = Status::read(&folder).unwrap().unwrap();
        assert_eq!(
            (read.epoch, read.map50, read.best_epoch),
            (2, Some(0.75), Some(2))
        );
        assert!(read.lives() && read.images_per_s.is_some_and(|pace| pace > 0.0));
        let text = fs::read_to_string(root.path().join("status/metrics/training.prom")).unwrap();
        for line in [
            "training_epoch 2",
            "training_loss 1.75",
            "training_mAP50 0.75",
            "training_mAP50_95 0.5",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
        assert!(
            text.contains("# TYPE training_updated_timestamp_seconds gauge"),
            "{text}"
        );
    }

    #[test]
    fn a_checkpoint_is_noticed_and_the_end_says_how_it_ended() {
        let (root, run) = begun();
        let folder = root.path().join(&run.folder);
        let mut file = StatusFile::new(root.path(), &run);
        file.on(Event::Warning("a cell was left out"));
        assert_eq!(Status::read(&folder).unwrap().unwrap().saved, None);
        file.on(Event::Saved {
            epochs: 0,
            batches: 4,
            took: Duration::ZERO,
        });
        file.end(&Ok(Outcome::Stopped { epoch: 1, batch: 4 }));
        let read = Status::read(&folder).unwrap().unwrap();
        assert_eq!((read.phase, read.warnings), (Phase::Stopped, 1));
        let saved = read.saved.unwrap();
        assert_eq!((saved.epoch, saved.batch), (1, 4));
        file.status.batches = 9;
        file.on(Event::Saved {
            epochs: 3,
            batches: 0,
            took: Duration::ZERO,
        });
        let saved = Status::read(&folder).unwrap().unwrap().saved.unwrap();
        assert_eq!((saved.epoch, saved.batch), (3, 9), "at the end of the third");
        file.end(&Err(Error::NothingToTrainOn("data.yaml".into())));
        let read = Status::read(&folder).unwrap().unwrap();
        assert!(matches!(read.phase, Phase::Failed(why) if why.contains("no training images")));
    }

    #[test]
    fn a_folder_that_is_gone_ends_nothing() {
        let (root, run) = begun();
        fs::remove_dir_all(root.path()).unwrap();
        let mut file = StatusFile::new(root.path(), &run);
        file.on(Event::Epoch {
            row: &row(1, 0.1),
            best: false,
        });
        assert!(file.told);
    }
}
