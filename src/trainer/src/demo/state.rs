//! `demo.json`: what a demo was started with, and how far it is.

use super::{read_classes, summary::Summary};
use crate::args::{DemoArgs, PrecisionArg};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use train::Start;

const VERSION: u32 = 1;
const FILE: &str = "demo.json";

/// What a demo is made from: another value makes another demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origins {
    dataset: Option<PathBuf>,
    scenes: usize,
    model: String,
    epochs: u32,
    imgsz: usize,
    batch: usize,
    seed: u64,
    precision: String,
}

impl Origins {
    /// From the command line.
    pub fn of(args: &DemoArgs, start: &Start) -> Result<Self> {
        let model = match &start.base {
            Some(file) => file.canonicalize()?.display().to_string(),
            None => format!("yolo26{}", start.scale),
        };
        let dataset = match &args.dataset {
            Some(folder) => Some(
                folder
                    .canonicalize()
                    .with_context(|| format!("--dataset {}", folder.display()))?,
            ),
            None => None,
        };
        let precision = match args.precision {
            PrecisionArg::Auto => "auto",
            PrecisionArg::Fp32 => "fp32",
            PrecisionArg::Bf16 => "bf16",
            PrecisionArg::Fp16 => "fp16",
        };
        Ok(Self {
            scenes: if dataset.is_some() { 0 } else { args.scenes },
            dataset,
            model,
            epochs: args.epochs,
            imgsz: args.imgsz,
            batch: args.batch,
            seed: args.seed,
            precision: precision.to_owned(),
        })
    }

    /// The first flag in which two differ, with both values.
    fn difference(&self, other: &Self) -> Option<String> {
        let fields = |o: &Self| -> BTreeMap<String, serde_json::Value> {
            serde_json::to_value(o)
                .ok()
                .and_then(|v| serde_json::from_value(v).ok())
                .unwrap_or_default()
        };
        let theirs = fields(other);
        fields(self)
            .into_iter()
            .find(|(key, value)| theirs.get(key) != Some(value))
            .map(|(key, value)| {
                format!(
                    "--{key} {} (now {value})",
                    theirs.get(&key).cloned().unwrap_or_default()
                )
            })
    }
}

/// Images of each split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// To train on.
    pub train: usize,
    /// To validate on.
    pub valid: usize,
    /// Kept for the end.
    pub test: usize,
}

/// How far a demo is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    origins: Origins,
    #[serde(skip)]
    pub root: PathBuf,
    /// Files of the dataset that could not become a message.
    pub skipped: usize,
    /// Messages read from the stream.
    pub messages: u64,
    /// Messages in quarantine.
    pub quarantined: usize,
    /// Annotations that dataset forming refused.
    pub refused: usize,
    /// Images of each split.
    pub images: Images,
    /// The dataset, relative to the root.
    pub dataset: Option<PathBuf>,
    /// The run's folder, relative to the root.
    pub run: Option<PathBuf>,
    /// Stages that are done, in order: name, seconds, what came of it.
    pub stages: Vec<(String, f64, String)>,
    /// What it came to.
    pub finished: Option<Summary>,
}

impl State {
    /// Opens the demo of `root`, or begins one in a new or empty folder.
    pub fn open(root: &Path, origins: Origins) -> Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let root = root.canonicalize()?;
        let path = root.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Self::resume(root, &bytes, &origins),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::refuse_foreign(&root)?;
                let state = Self {
                    version: VERSION,
                    origins,
                    root,
                    skipped: 0,
                    messages: 0,
                    quarantined: 0,
                    refused: 0,
                    images: Images::default(),
                    dataset: None,
                    run: None,
                    stages: Vec::new(),
                    finished: None,
                };
                state.save()?;
                Ok(state)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn resume(root: PathBuf, bytes: &[u8], origins: &Origins) -> Result<Self> {
        let path = root.join(FILE);
        let state: Self = serde_json::from_slice(bytes)
            .with_context(|| format!("{} is not a demo's state; use another --root", path.display()))?;
        if state.version != VERSION {
            bail!(
                "{} has version {}, this program knows {VERSION}; use another --root",
                path.display(),
                state.version
            );
        }
        if let Some(difference) = origins.difference(&state.origins) {
            bail!(
                "{} holds a demo that was started with {difference}; give the same, or use another --root",
                root.display()
            );
        }
        Ok(Self { root, ..state })
    }

    /// A folder with something else in it is not ours to fill.
    fn refuse_foreign(root: &Path) -> Result<()> {
        let mut entries =
            std::fs::read_dir(root).with_context(|| format!("cannot list {}", root.display()))?;
        if let Some(entry) = entries.next() {
            let name = entry?.file_name();
            bail!(
                "{} is not empty (it holds {}) and not a demo's; use another --root",
                root.display(),
                name.to_string_lossy()
            );
        }
        Ok(())
    }

    /// Writes it down.
    pub fn save(&self) -> Result<()> {
        Ok(store::atomic::replace(
            &self.root.join(FILE),
            &serde_json::to_vec_pretty(self)?,
        )?)
    }

    /// Notes a stage as done.
    pub fn note(&mut self, stage: &str, seconds: f64, text: String) -> Result<()> {
        match self.stages.iter_mut().find(|(name, ..)| name == stage) {
            Some(noted) => {
                noted.1 += seconds;
                noted.2 = text;
            }
            None => self.stages.push((stage.to_owned(), seconds, text)),
        }
        self.save()
    }

    /// The stream that stands in for the broker.
    pub fn stream_file(&self) -> PathBuf {
        self.root.join("annotations.stream")
    }

    /// Takes over a dataset's class list, where it has one.
    pub fn keep_classes(&self, folder: &Path) -> Result<()> {
        if let Some(classes) = read_classes(folder)? {
            store::atomic::replace(&self.root.join("classes.json"), classes.to_json().as_bytes())?;
        }
        Ok(())
    }
}
