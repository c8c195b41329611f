//! `status.json`: where a run stands, for whoever looks at it while it is trained.
//!
//! The trainer replaces it at most once a second, whole and without a sync: it tells of a moment, and what is worth keeping
//! is in the checkpoint and in `results.csv`. It says what its writer knew last; whether that process still lives is asked of
//! the system ([`Status::lives`]), for a process that was killed takes nothing back. What is not known, or no finite number,
//! is null.

use crate::{Error, STATUS, record::Kind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

const KIND: Kind = Kind {
    version: 1,
    name: "status of a run",
    remedy: "remove it, the trainer writes it anew",
};

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    version: u32,
    /// The run's name.
    pub run: String,
    /// What its process does.
    pub phase: Phase,
    /// The process.
    pub pid: u32,
    /// The epoch in hand, from 1.
    pub epoch: u32,
    /// Epochs in all.
    pub epochs: u32,
    /// Batches of the epoch that are done.
    pub batch: u64,
    /// Batches an epoch.
    pub batches: u64,
    /// Running means of the epoch's losses: box, cls, l1.
    pub loss: [Option<f64>; 3],
    /// mAP50 of the last validation.
    pub map50: Option<f64>,
    /// mAP50-95 of the last validation.
    pub map50_95: Option<f64>,
    /// The epoch that the best model is from.
    pub best_epoch: Option<u32>,
    /// Its mAP50-95.
    pub best_map50_95: Option<f64>,
    /// Images trained on a second since this process began, validation included.
    pub images_per_s: Option<f64>,
    /// Seconds to the end of the last epoch, at this pace.
    pub seconds_left: Option<f64>,
    /// The last checkpoint of this process.
    pub saved: Option<Saved>,
    /// Warnings of this process.
    pub warnings: u64,
    /// How the network is run.
    pub device: String,
    /// When this process began to train.
    pub since: Timestamp,
    /// When this was written.
    pub updated: Timestamp,
}

/// What the process of a run does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It trains, or validates.
    Training,
    /// It ended at a checkpoint, to be gone on with.
    Stopped,
    /// It ended with all epochs done.
    Finished,
    /// It ended with an error: which.
    Failed(String),
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// When.
    pub at: Timestamp,
    /// In which epoch, from 1.
    pub epoch: u32,
    /// After how many of its batches.
    pub batch: u64,
}

impl Status {
    /// Of a process that begins to train the run `run`.
    #[must_use]
    pub fn beginning(run: String, now: Timestamp) -> Self {
        Self {
            version: KIND.version,
            run,
            phase: Phase::Training,
            pid: std::process::id(),
            epoch: 1,
            epochs: 0,
            batch: 0,
            batches: 0,
            loss: [None; 3],
            map50: None,
            map50_95: None,
            best_epoch: None,
            best_map50_95: None,
            images_per_s: None,
            seconds_left: None,
            saved: None,
            warnings: 0,
            device: String::new(),
            since: now,
            updated: now,
        }
    }

    /// Of the run in this folder; none where it has no `status.json`.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or of a version that is not known.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        Ok(KIND.read(folder.join(STATUS))?)
    }

    /// Replaces the file in the run's folder, whole, without a sync.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(STATUS);
        let text = KIND.text(self, &path)?;
        Ok(store::atomic::replace_unsynced(&path, &text)?)
    }

    /// Whether it says that the run is trained, and its process is there.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.phase == Phase::Training && Path::new("/proc").join(self.pid.to_string()).exists()
    }

    /// The sum of the losses.
    #[must_use]
    pub fn total_loss(&self) -> Option<f64> {
        self.loss.iter().copied().sum()
    }

    /// How much of the run is done, 0..1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let all = (f64::from(self.epochs) * self.batches as f64).max(1.0);
        let done = f64::from(self.epoch.saturating_sub(1)) * self.batches as f64 + self.batch as f64;
        (done / all).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn status() -> Status {
        Status {
            epoch: 3,
            epochs: 10,
            batch: 50,
            batches: 100,
            loss: [Some(1.5), Some(0.25), Some(0.25)],
            ..Status::beginning("azaion-2026-03-28".into(), Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_folder_without_it_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Status::read(folder.path()).unwrap(), None);
        assert_eq!(Status::read(&folder.path().join("gone")).unwrap(), None);
        let told = Status {
            phase: Phase::Failed("the disk is full".into()),
            saved: Some(Saved {
                at: Timestamp::UNIX_EPOCH,
                epoch: 3,
                batch: 40,
            }),
            ..status()
        };
        told.write(folder.path()).unwrap();
        assert_eq!(Status::read(folder.path()).unwrap(), Some(told));
    }

    #[test]
    fn a_loss_that_is_no_number_is_null_and_so_is_its_sum() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = status();
        assert_eq!(told.total_loss(), Some(2.0));
        told.loss[1] = Some(f64::NAN);
        told.write(folder.path()).unwrap();
        let read = Status::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.loss, [Some(1.5), None, Some(0.25)]);
        assert_eq!(read.total_loss(), None);
    }

    #[test]
    fn the_future_the_torn_and_the_empty_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        status().write(folder.path()).unwrap();
        let path = folder.path().join(STATUS);
        let whole = fs::read_to_string(&path).unwrap();
        for (text, says) in [
            (String::new(), "is no status of a run"),
            (whole[..whole.len() / 2].to_owned(), "remove it"),
            (whole.replace("\"version\": 1", "\"version\": 2"), "has version 2"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Status::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn only_a_training_process_that_is_there_lives() {
        let mut told = status();
        assert!(told.lives());
        // Above the kernel's largest.
        told.pid = 4_194_305;
        assert!(!told.lives());
        told.pid = std::process::id();
        told.phase = Phase::Finished;
        assert!(!told.lives());
    }

    #[test]
    fn a_quarter_is_a_quarter_and_nothing_known_is_nothing_done() {
        assert!((status().share() - 0.25).abs() < 1e-12);
        assert!(Status::beginning("x".into(), Timestamp::UNIX_EPOCH).share() < 1e-12);
    }
}
