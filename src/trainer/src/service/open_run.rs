//! `run.json`: what a run was begun with, and whether it is finished.
//!
//! It lies in the run's folder and is written before the first step. A run keeps its dataset, base model and
//! hyper-parameters to its end, whatever the configuration says by then: only so does it end as it would have, undisturbed.

use crate::run_folder::{self, RUNS};
use anyhow::{Context, Result, bail};
use fs2::FileExt as _;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};
use train::Hyper;

const VERSION: u32 = 1;
const FILE: &str = "run.json";
const LOCK: &str = ".azaion-train.lock";

/// A run that is not finished.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenRun {
    version: u32,
    /// Relative to the root.
    #[serde(skip)]
    pub(super) folder: PathBuf,
    /// Relative to the root.
    pub(super) dataset: PathBuf,
    /// What it starts from, as the configuration names it.
    pub(super) model: String,
    pub(super) hyper: Hyper,
    finished: bool,
}

impl OpenRun {
    /// The run that is not finished, if there is one; the latest, should there be several.
    pub(super) fn find(root: &Path) -> Result<Option<Self>> {
        let runs = root.join(RUNS);
        let mut found: Vec<(std::time::SystemTime, Self)> = Vec::new();
        for entry in fs::read_dir(&runs).with_context(|| format!("cannot list {}", runs.display()))? {
            let folder = entry
                .with_context(|| format!("cannot list {}", runs.display()))?
                .path();
            let Some(run) = Self::read(&folder)? else { continue };
            if !run.finished {
                let begun = fs::metadata(folder.join(FILE)).and_then(|meta| meta.modified());
                found.push((begun.unwrap_or(std::time::UNIX_EPOCH), run));
            }
        }
        found.sort_by_key(|(begun, _)| *begun);
        Ok(found.pop().map(|(_, run)| run))
    }

    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // No folder, or a run of another kind.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let run: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is no run's file; restore it, or remove the folder of a run that is not wanted",
                path.display()
            )
        })?;
        if run.version != VERSION {
            bail!(
                "{} has version {}, and only {VERSION} is known here",
                path.display(),
                run.version
            );
        }
        let name = folder.file_name().unwrap_or_default();
        Ok(Some(Self {
            folder: Path::new(RUNS).join(name),
            ..run
        }))
    }

    /// Begins a new one.
    pub(super) fn begin(root: &Path, dataset: PathBuf, hyper: Hyper, model: &str) -> Result<Self> {
        let run = Self {
            version: VERSION,
            folder: run_folder::create(root)?,
            dataset,
            model: model.to_owned(),
            hyper,
            finished: false,
        };
        run.write(root)?;
        Ok(run)
    }

    /// There is nothing left to do.
    pub(super) fn finish(mut self, root: &Path) -> Result<()> {
        self.finished = true;
        self.write(root)
    }

    fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.folder).join(FILE);
        Ok(store::atomic::replace(&path, &serde_json::to_vec_pretty(self)?)?)
    }

    /// Says where the configuration has changed since the run began.
    pub(super) fn warn_of_other_settings(&self, hyper: &Hyper, model: &str) {
        let run = self.folder.display();
        for name in self.differences(hyper, model) {
            tracing::warn!(%run, setting = name, "the run keeps what it was begun with; the configuration now says otherwise");
        }
    }

    fn differences(&self, hyper: &Hyper, model: &str) -> Vec<&'static str> {
        let ours = &self.hyper;
        [
            ("model", self.model != model),
            ("epochs", ours.epochs != hyper.epochs),
            ("batch_size", ours.batch != hyper.batch),
            ("imgsz", ours.imgsz != hyper.imgsz),
            ("save_period", ours.save_period != hyper.save_period),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

/// Keeps a second trainer out, until dropped or the process ends.
pub(super) struct RunLock {
    _file: File,
}

impl RunLock {
    pub(super) fn take(runs: &Path) -> Result<Self> {
        let path = runs.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| {
                format!(
                    "cannot open {}; is the tree mounted, and made by systemd-tmpfiles?",
                    path.display()
                )
            })?;
        if file.try_lock_exclusive().is_err() {
            let mut holder = String::new();
            // Best effort: the message is only poorer without it.
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another azaion-train is at work here (process {}); wait for it, or stop it",
                holder.trim()
            );
        }
        file.set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(RUNS)).unwrap();
        root
    }

    #[test]
    fn a_run_is_found_until_it_is_finished() {
        let root = root();
        assert!(OpenRun::find(root.path()).unwrap().is_none());
        let run = OpenRun::begin(root.path(), "datasets/cells".into(), Hyper::default(), "yolo26n").unwrap();
        let found = OpenRun::find(root.path()).unwrap().unwrap();
        assert_eq!((&found.folder, &found.hyper), (&run.folder, &run.hyper));
        found.finish(root.path()).unwrap();
        assert!(OpenRun::find(root.path()).unwrap().is_none());
        let next = OpenRun::begin(root.path(), "datasets/cells".into(), Hyper::default(), "yolo26n").unwrap();
        assert_ne!(next.folder, run.folder);
    }

    #[test]
    fn what_the_configuration_says_otherwise_by_now_is_named() {
        let root = root();
        let run = OpenRun::begin(root.path(), "datasets/cells".into(), Hyper::default(), "yolo26n").unwrap();
        assert!(run.differences(&Hyper::default(), "yolo26n").is_empty());
        let now = Hyper {
            epochs: 1,
            ..Hyper::default()
        };
        assert_eq!(run.differences(&now, "yolo26s"), ["model", "epochs"]);
    }

    #[test]
    fn a_file_that_is_no_runs_ends_the_start_and_says_what_to_do() {
        let root = root();
        let run = OpenRun::begin(root.path(), "datasets/cells".into(), Hyper::default(), "yolo26n").unwrap();
        fs::write(root.path().join(&run.folder).join(FILE), "{").unwrap();
        let error = OpenRun::find(root.path()).unwrap_err().to_string();
        assert!(error.contains("run.json is no run's file; restore it"), "{error}");
    }

    #[test]
    fn the_second_trainer_is_told_who_is_at_work() {
        let root = root();
        let runs = root.path().join(RUNS);
        let lock = RunLock::take(&runs).unwrap();
        let error = RunLock::take(&runs).err().unwrap().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(lock);
        RunLock::take(&runs).unwrap();
    }
}
