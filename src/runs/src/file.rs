//! `run.json`, and the runs that have one.

use crate::{
    Code,
    folder::{self, BEST, IN_SERVICE, RUN, RUNS},
    record::{Kind, RecordError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

const KIND: Kind = Kind {
    version: 1,
    name: "run's file",
    remedy: "restore it, or remove the folder of a run that is not wanted",
};

/// Whether there is anything left to do in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is trained, or waits to be gone on with.
    Open,
    /// All of it is done.
    Finished,
    /// It is not gone on with: why.
    Closed(String),
}

/// A run, by its `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    version: u32,
    /// Its folder, relative to the root.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The dataset's folder, relative to the root.
    pub dataset: PathBuf,
    /// Hash of the dataset's manifest, where it has one.
    pub dataset_hash: Option<String>,
    /// What it starts from, as the configuration names it.
    pub model: String,
    /// The hyper-parameters, all of them, by their names.
    pub hyper: serde_json::Value,
    /// The code that began it.
    pub code: Code,
    /// When it was begun.
    pub begun: Timestamp,
    /// When its state was last changed.
    pub changed: Timestamp,
    /// Whether there is anything left to do.
    pub state: State,
}

/// A folder, and its run: none where it has no `run.json`, an error where that cannot be used.
pub type Found = (PathBuf, Result<Option<Run>, Error>);

/// What a run is begun with.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The dataset's folder, relative to the root.
    pub dataset: PathBuf,
    /// Hash of the dataset's manifest, where it has one.
    pub dataset_hash: Option<String>,
    /// What it starts from, as the configuration names it.
    pub model: String,
    /// The hyper-parameters, all of them, by their names.
    pub hyper: serde_json::Value,
}

impl Run {
    /// All runs of a tree, the earliest first. Folders without `run.json` are none.
    ///
    /// # Errors
    /// The folder of runs cannot be listed, or a `run.json` cannot be used.
    pub fn all(root: &Path) -> Result<Vec<Self>, Error> {
        let path = root.join(RUNS);
        let listing = |source| Error::List {
            path: path.clone(),
            source,
        };
        let mut runs = Vec::new();
        for entry in fs::read_dir(&path).map_err(listing)? {
            runs.extend(Self::at(&entry.map_err(listing)?.path())?);
        }
        runs.sort_by(|a, b| (a.begun, &a.folder).cmp(&(b.begun, &b.folder)));
        Ok(runs)
    }

    /// The folders in which a run is or was, by name, each with its run or with what is wrong with it: nothing that is
    /// damaged hides the others. A folder without `run.json` counts where it holds another file of a run.
    ///
    /// # Errors
    /// The folder of runs cannot be listed.
    pub fn every(root: &Path) -> Result<Vec<Found>, Error> {
        let path = root.join(RUNS);
        let listing = |source| Error::List {
            path: path.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&path).map_err(listing)? {
            let folder = entry.map_err(listing)?.path();
            let run = Self::at(&folder);
            let is_one = !matches!(run, Ok(None)) || folder::has_traces(&folder);
            if is_one {
                found.push((folder, run));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// The run that is not finished, if there is one; the latest, should there be several.
    ///
    /// # Errors
    /// As [`Run::all`].
    pub fn open(root: &Path) -> Result<Option<Self>, Error> {
        let mut runs = Self::all(root)?;
        runs.retain(|run| run.state == State::Open);
        Ok(runs.pop())
    }

    /// The run in this folder; none where it has no `run.json`.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or of a version that is not known.
    pub fn at(folder: &Path) -> Result<Option<Self>, Error> {
        let run: Option<Self> = KIND.read(folder.join(RUN))?;
        let name = folder.file_name().unwrap_or_default();
        Ok(run.map(|run| Self {
            folder: Path::new(RUNS).join(name),
            ..run
        }))
    }

    /// Begins a new one: makes its folder and writes its `run.json`.
    ///
    /// # Errors
    /// Either cannot be made.
    pub fn begin(root: &Path, begin: Begin) -> Result<Self, Error> {
        let now = Timestamp::now();
        let run = Self {
            version: KIND.version,
            folder: folder::create(root)?,
            dataset: begin.dataset,
            dataset_hash: begin.dataset_hash,
            model: begin.model,
            hyper: begin.hyper,
            code: Code::of_this_build(),
            begun: now,
            changed: now,
            state: State::Open,
        };
        run.write(root)?;
        Ok(run)
    }

    /// Its name: that of its folder.
    pub fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// There is nothing left to do in it, or it is not gone on with.
    ///
    /// # Errors
    /// `run.json` cannot be replaced.
    pub fn end(&mut self, root: &Path, state: State) -> Result<(), Error> {
        self.state = state;
        self.changed = Timestamp::now();
        self.write(root)
    }

    /// Makes its best model the one in service.
    ///
    /// # Errors
    /// The link cannot be replaced; the model in service is the one before.
    pub fn put_into_service(&self, root: &Path) -> Result<(), Error> {
        let link = root.join(RUNS).join(IN_SERVICE);
        Ok(store::atomic::repoint(
            &link,
            &Path::new(&self.name()).join(BEST),
        )?)
    }

    fn write(&self, root: &Path) -> Result<(), Error> {
        let path = root.join(&self.folder).join(RUN);
        let text = KIND.text(self, &path)?;
        Ok(store::atomic::replace(&path, &text)?)
    }
}

/// Why a run cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of runs cannot be listed.
    #[error("cannot list the runs in {path}: {source}")]
    List {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A run's folder cannot be made.
    #[error("cannot make the run's folder {path}: {source}")]
    Create {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A day has no name left.
    #[error("every name of a run on {date} is taken: move finished runs away from models/")]
    NoName {
        /// The day.
        date: jiff::civil::Date,
    },
    /// What was said of the next start cannot be taken back.
    #[error("cannot remove {path}: {source}")]
    Release {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `run.json` cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// `run.json` cannot be written.
    #[error(transparent)]
    Write(#[from] store::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        root
    }

    fn begin(root: &Path) -> Run {
        let begin = Begin {
            dataset: "datasets/cells".into(),
            dataset_hash: Some("ab".into()),
            model: "yolo26n".into(),
            hyper: serde_json::json!({"epochs": 3}),
        };
        Run::begin(root, begin).unwrap()
    }

    #[test]
    fn a_run_is_open_until_it_ends_and_the_next_has_a_folder_of_its_own() {
        let root = root();
        assert_eq!(Run::open(root.path()).unwrap(), None);
        let mut first = begin(root.path());
        assert_eq!(Run::open(root.path()).unwrap().as_ref(), Some(&first));
        first.end(root.path(), State::Finished).unwrap();
        assert_eq!(Run::open(root.path()).unwrap(), None);
        let mut second = begin(root.path());
        assert_ne!(second.folder, first.folder);
        second.end(root.path(), State::Closed("diverged".into())).unwrap();
        assert_eq!(Run::open(root.path()).unwrap(), None);
        assert_eq!(Run::all(root.path()).unwrap(), [first, second]);
    }

    #[test]
    fn a_folder_that_was_moved_is_a_run_under_its_new_name() {
        let root = root();
        let run = begin(root.path());
        let moved = root.path().join("models/kept");
        fs::rename(root.path().join(&run.folder), &moved).unwrap();
        assert_eq!(Run::at(&moved).unwrap().unwrap().folder, Path::new("models/kept"));
    }

    #[test]
    fn what_is_damaged_is_listed_beside_the_others_and_foreign_folders_are_not() {
        let root = root();
        let whole = begin(root.path());
        let models = root.path().join(RUNS);
        for (folder, file) in [("cut", RUN), ("half", folder::CHECKPOINT), ("notes", "notes.txt")] {
            fs::create_dir(models.join(folder)).unwrap();
            fs::write(models.join(folder).join(file), "{").unwrap();
        }
        let found = Run::every(root.path()).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|(folder, run)| {
                let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
                (
                    name,
                    run.as_ref().map(Option::is_some).map_err(ToString::to_string),
                )
            })
            .collect();
        assert_eq!(told[0], (whole.name(), Ok(true)));
        assert!(
            told[1].0 == "cut"
                && told[1]
                    .1
                    .as_ref()
                    .unwrap_err()
                    .contains("run.json is no run's file")
        );
        assert_eq!(told[2..], [("half".to_owned(), Ok(false))]);
    }

    #[test]
    fn a_file_that_is_no_runs_or_of_the_future_is_refused_with_what_to_do() {
        let root = root();
        let run = begin(root.path());
        let path = root.path().join(&run.folder).join(RUN);
        let whole = fs::read_to_string(&path).unwrap();
        for (text, says) in [
            ("{".to_owned(), "run.json is no run's file"),
            (whole.replace("\"version\": 1", "\"version\": 9"), "has version 9"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Run::open(root.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
