//! A comparison on disk.
//!
//! ```text
//! ~/.cache/azaion/learn/
//!   NAME-100-1a2b3c4d/     the dataset's name, epochs, and a hash of what is trained on and how
//!     settings.json        what it was begun with; written last, so it stands for a whole data/
//!     data/                the images and labels that both sides read, data.yaml
//!     programs/            what runs the jobs, as it was when the command was started
//!     bf16-0/ ...          a job: results.csv, weights, log, and result.json when it is finished
//!     learning.svg         the curves at the last report
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::digest;
use crate::workspace::{Env, cache_dir};

/// Side of the network's input in pixels.
pub(super) const IMGSZ: u32 = 320;
/// Images a batch.
pub(super) const BATCH: u32 = 16;
const SETTINGS: &str = "settings.json";

/// A comparison's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    settings: Value,
}

/// Where comparisons are kept.
pub(super) fn root(own: Option<&Path>, env: Env<'_>) -> anyhow::Result<PathBuf> {
    Ok(match own {
        Some(root) => std::path::absolute(root)?,
        None => cache_dir(env)?.join("learn"),
    })
}

impl Folder {
    /// Copies the dataset, with `bench`, and opens the comparison that it stands for, begun already or not.
    pub fn begin(root: &Path, dataset: &Path, epochs: u32, bench: &Path) -> anyhow::Result<Self> {
        let dataset = fs::canonicalize(dataset)
            .with_context(|| format!("--dataset {}: no such folder", dataset.display()))?;
        let path = root.join(key(&dataset, epochs)?);
        if !path.join(SETTINGS).is_file() {
            let data = path.join("data");
            if data.exists() {
                fs::remove_dir_all(&data)?;
            }
            fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
            let copied = Command::new(bench)
                .arg("learn-data")
                .args([&dataset, &data])
                .stderr(Stdio::inherit())
                .output()?;
            if !copied.status.success() {
                bail!("{} cannot be used: see above", dataset.display());
            }
            let copied: Value = serde_json::from_slice(&copied.stdout)?;
            let settings = json!({
                "dataset": dataset, "model": "yolo26n", "epochs": epochs, "imgsz": IMGSZ, "batch": BATCH,
                "train": copied["train"], "val": copied["val"], "names": copied["names"],
                "left_out": copied["left_out"],
            });
            replace(&path.join(SETTINGS), format!("{settings:#}\n").as_bytes())?;
        }
        Self::open(path)
    }

    /// The comparison that a dataset stands for; without a dataset the only one there is.
    pub fn find(root: &Path, dataset: Option<&Path>, epochs: u32) -> anyhow::Result<Self> {
        if let Some(dataset) = dataset {
            return Self::open(root.join(key(&fs::canonicalize(dataset)?, epochs)?));
        }
        let begun: Vec<PathBuf> = fs::read_dir(root)
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        let begun: Vec<PathBuf> = begun
            .into_iter()
            .filter(|path| path.join(SETTINGS).is_file())
            .collect();
        match begun.as_slice() {
            [only] => Self::open(only.clone()),
            [] => bail!(
                "no comparison was begun in {}: give --dataset DIR",
                root.display()
            ),
            several => bail!(
                "{} holds {} comparisons: say which by --dataset and --epochs",
                root.display(),
                several.len()
            ),
        }
    }

    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let file = path.join(SETTINGS);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("no comparison was begun with these settings ({})", file.display()))?;
        let settings = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(Self { path, settings })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was begun with.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// Epochs of every run.
    pub fn epochs(&self) -> u32 {
        self.settings["epochs"]
            .as_u64()
            .and_then(|epochs| u32::try_from(epochs).ok())
            .unwrap_or_default()
    }

    /// The dataset's description that both sides read.
    pub fn data(&self) -> PathBuf {
        self.path.join("data/data.yaml")
    }

    /// The right to train here. Jobs hold it too (as their standard input), so that one that outlives its parent keeps
    /// others away from its folder.
    pub fn lock(&self) -> anyhow::Result<File> {
        let file = File::create(self.path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another `cargo xtask learn` is at work in {}",
                    self.path.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// A copy of a program or script that stays as it is.
    pub fn keep(&self, program: &Path) -> anyhow::Result<PathBuf> {
        let folder = self.path.join("programs");
        fs::create_dir_all(&folder)?;
        let kept = folder.join(program.file_name().context("a program without a name")?);
        let aside = kept.with_extension("part");
        fs::copy(program, &aside).with_context(|| format!("cannot copy {}", program.display()))?;
        fs::rename(&aside, &kept)?;
        Ok(kept)
    }
}

/// The name of the folder for a dataset: other lists, labels, images or settings are another comparison.
fn key(dataset: &Path, epochs: u32) -> anyhow::Result<String> {
    let mut facts = format!("yolo26n {IMGSZ} {BATCH} {epochs}\n");
    for name in ["classes.json", "train.txt", "val.txt"] {
        let file = dataset.join(name);
        let sum = digest::of_file(&file, |_| {}).with_context(|| {
            format!(
                "cannot read {}: a dataset has images/, labels/, classes.json, train.txt and val.txt",
                file.display()
            )
        })?;
        facts += &format!("{name} {sum}\n");
    }
    for part in ["images", "labels"] {
        let folder = dataset.join(part);
        let mut entries: Vec<_> = fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
            .collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let sum = digest::of_file(&entry.path(), |_| {})
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            facts += &format!("{part}/{} {sum}\n", entry.file_name().display());
        }
    }
    let name = dataset
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let hash = digest::of_bytes(facts.as_bytes());
    Ok(format!("{name}-{epochs}-{}", hash.get(..8).unwrap_or_default()))
}

/// Writes a file aside and renames it into place: a reader finds the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let aside = path.with_extension("part");
    fs::write(&aside, bytes).with_context(|| format!("cannot write {}", aside.display()))?;
    Ok(fs::rename(&aside, path)?)
}
