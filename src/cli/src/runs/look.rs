//! One run as it is seen from outside: `run.json`, `status.json`, `results.csv`, and what lies in the folder.

use jiff::Timestamp;
use report::EpochRow;
use runs::{Error, Phase, RESULTS, Run, Saved, State, Status};
use serde::Serialize;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A run, as much of it as can be known.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    /// Its name: that of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// How it stands.
    pub state: Standing,
    /// Epochs that are done.
    pub epochs_done: u32,
    /// Epochs that were asked for.
    pub epochs: Option<u64>,
    /// The best epoch.
    pub best: Option<Epoch>,
    /// The last epoch.
    pub last: Option<Epoch>,
    /// Seconds of training and validation.
    pub seconds: Option<f64>,
    /// The last checkpoint that is known of.
    pub saved: Option<Saved>,
    /// The dataset's folder, relative to the root.
    pub dataset: Option<PathBuf>,
    /// Hash of its manifest.
    pub dataset_hash: Option<String>,
    /// What it started from.
    pub model: Option<String>,
    /// The code that began it.
    pub code: Option<String>,
    /// When it was begun.
    pub begun: Option<Timestamp>,
    /// The hyper-parameters.
    pub hyper: serde_json::Value,
    /// How the network is run.
    pub device: Option<String>,
    /// What its files take on disk.
    pub bytes: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// A row an epoch.
    #[serde(skip)]
    pub history: Vec<EpochRow>,
    /// What its process told last.
    #[serde(skip)]
    pub status: Option<Status>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A process trains it.
    Training,
    /// It is not done, and nobody trains it.
    Interrupted,
    /// All of it is done.
    Finished,
    /// It is not gone on with.
    Closed,
    /// It cannot be said.
    Damaged,
}

impl Standing {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Interrupted => "interrupted",
            Self::Finished => "finished",
            Self::Closed => "closed",
            Self::Damaged => "damaged",
        }
    }
}

/// What an epoch measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// mAP50.
    pub map50: f64,
    /// mAP50-95.
    pub map50_95: f64,
    /// Sum of the training losses.
    pub train_loss: f64,
    /// Sum of the validation losses.
    pub val_loss: f64,
}

impl From<&EpochRow> for Epoch {
    fn from(row: &EpochRow) -> Self {
        Self {
            epoch: row.epoch,
            precision: row.precision,
            recall: row.recall,
            map50: row.map50,
            map50_95: row.map50_95,
            train_loss: row.train.iter().sum(),
            val_loss: row.val.iter().sum(),
        }
    }
}

impl Look {
    /// Looks at a run's folder, whatever is in it.
    #[must_use]
    pub fn at(folder: &Path, run: Result<Option<Run>, Error>) -> Self {
        let mut problems = Vec::new();
        let mut noted = |problem: String| problems.push(problem);
        let run = run.unwrap_or_else(|error| {
            noted(error.to_string());
            None
        });
        if run.is_none() && !folder.join(runs::RUN).exists() {
            noted("run.json is missing: it is not known what the run was begun with".to_owned());
        }
        let status = Status::read(folder).unwrap_or_else(|error| {
            noted(error.to_string());
            None
        });
        let history = history(folder).unwrap_or_else(|error| {
            noted(error);
            Vec::new()
        });
        let bytes = size(folder).unwrap_or_else(|error| {
            noted(format!("not all of it can be listed: {error}"));
            0
        });
        let state = standing(run.as_ref(), status.as_ref());
        if let (Standing::Interrupted, Some(Phase::Failed(why))) = (state, status.as_ref().map(|s| &s.phase))
        {
            noted(format!("it ended with an error: {why}"));
        }
        let hyper = run.as_ref().map(|run| run.hyper.clone()).unwrap_or_default();
        let best = history
            .iter()
            .filter(|row| !row.map50_95.is_nan())
            .max_by(|a, b| a.map50_95.total_cmp(&b.map50_95));
        Self {
            name: folder
                .file_name()
                .unwrap_or(folder.as_os_str())
                .to_string_lossy()
                .into_owned(),
            folder: folder.to_owned(),
            state,
            epochs_done: history.last().map_or(0, |row| row.epoch),
            epochs: hyper["epochs"]
                .as_u64()
                .or(status.as_ref().map(|status| status.epochs.into())),
            best: best.map(Epoch::from),
            last: history.last().map(Epoch::from),
            seconds: history.last().map(|row| row.time_s),
            saved: status.as_ref().and_then(|status| status.saved.clone()),
            dataset: run.as_ref().map(|run| run.dataset.clone()),
            dataset_hash: run.as_ref().and_then(|run| run.dataset_hash.clone()),
            model: run.as_ref().map(|run| run.model.clone()),
            code: run.as_ref().map(|run| run.code.to_string()),
            begun: run.as_ref().map(|run| run.begun),
            hyper,
            device: status
                .as_ref()
                .map(|status| status.device.clone())
                .filter(|device| !device.is_empty()),
            bytes,
            problems,
            history,
            status,
        }
    }
}

fn standing(run: Option<&Run>, status: Option<&Status>) -> Standing {
    match run.map(|run| &run.state) {
        None => Standing::Damaged,
        Some(State::Finished) => Standing::Finished,
        Some(State::Closed(_)) => Standing::Closed,
        Some(State::Open) if status.is_some_and(Status::lives) => Standing::Training,
        Some(State::Open) => Standing::Interrupted,
    }
}

/// The epochs of `results.csv`; none where there is no file yet.
fn history(folder: &Path) -> Result<Vec<EpochRow>, String> {
    let path = folder.join(RESULTS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    report::parse_results(&text).map_err(|error| error.to_string())
}

/// What the files of a folder take, links not followed.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            size(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}
