//! `azaion why`: from a model to its run, dataset, code and the offsets of its labels.

use super::{DONE, PROBLEMS, held, show::Origins, told, tree};
use crate::args::WhyArgs;
use ::dataset::manifest::{Counts, Manifest};
use anyhow::{Context, Result};
use jiff::Timestamp;
use runs::{Code, IN_SERVICE, RUN, RUNS, Run, State};
use serde::Serialize;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Hyper-parameters that are told; JSON has all.
const SETTINGS: [&str; 5] = ["epochs", "batch", "imgsz", "optimizer", "seed"];

pub(super) fn run(args: &WhyArgs) -> Result<ExitCode> {
    let Place { root, folder } = Place::of(args)?;
    let run = Run::at(&folder)?.with_context(|| {
        format!(
            "{} has no {RUN}: nobody wrote down what was trained there",
            folder.display()
        )
    })?;
    let answer = Answer::of(&root, run);
    let code = match answer.data.trace {
        Trace::Whole => DONE,
        Trace::Unknown | Trace::Gone(_) | Trace::Changed { .. } => PROBLEMS,
    };
    told(&answer, args.asked.json, code)
}

/// Where a run is.
struct Place {
    root: PathBuf,
    folder: PathBuf,
}

impl Place {
    /// Of a model's file, a run's folder, a run's name, or the model in service.
    fn of(args: &WhyArgs) -> Result<Self> {
        if let Some(path) = args.model.as_deref().map(Path::new).filter(|path| path.exists()) {
            return Self::at(path);
        }
        let runs = tree(&args.asked)?.models();
        let named = args.model.as_deref().unwrap_or(IN_SERVICE);
        let path = runs.join(named);
        if !path.exists() {
            anyhow::bail!("there is no {}: name a model's file or a run", path.display());
        }
        Self::at(&path)
    }

    /// Links are followed: the model in service is one.
    fn at(path: &Path) -> Result<Self> {
        let found = fs::canonicalize(path).with_context(|| format!("cannot follow {}", path.display()))?;
        let folder = if found.is_dir() {
            Some(found.as_path())
        } else {
            found.parent()
        };
        let root = folder.and_then(Path::parent).and_then(Path::parent);
        let (Some(folder), Some(root)) = (folder, root) else {
            anyhow::bail!("{} is in no run's folder", found.display());
        };
        Ok(Self {
            root: root.to_owned(),
            folder: folder.to_owned(),
        })
    }
}

/// Whether the dataset is still what the run was begun with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Trace {
    /// It has the hash that was written down.
    Whole,
    /// No hash was written down.
    Unknown,
    /// It is not there, or its manifest cannot be used: why.
    Gone(String),
    /// It has another hash.
    Changed {
        /// The one it has.
        hash: String,
    },
}

/// The dataset of a run.
#[derive(Debug, Serialize)]
struct Data {
    folder: PathBuf,
    hash: Option<String>,
    trace: Trace,
    counts: Option<Counts>,
    labels: Option<Origins>,
}

impl Data {
    fn of(root: &Path, run: &Run) -> Self {
        let (folder, hash) = (run.dataset.clone(), run.dataset_hash.clone());
        match Manifest::read(&root.join(&folder)) {
            Err(error) => Self {
                folder,
                hash,
                trace: Trace::Gone(error.to_string()),
                counts: None,
                labels: None,
            },
            Ok(manifest) => Self {
                trace: match &hash {
                    None => Trace::Unknown,
                    Some(hash) if *hash == manifest.hash => Trace::Whole,
                    Some(_) => Trace::Changed {
                        hash: manifest.hash.clone(),
                    },
                },
                folder,
                hash,
                counts: Some(manifest.counts),
                labels: Some(Origins::of(&manifest)),
            },
        }
    }
}

/// Why a model is what it is.
#[derive(Debug, Serialize)]
struct Answer {
    run: PathBuf,
    state: State,
    begun: Timestamp,
    /// Whether its best model is the one in service.
    in_service: bool,
    code: Code,
    /// What it started from.
    model: String,
    hyper: serde_json::Value,
    data: Data,
}

impl Answer {
    fn of(root: &Path, run: Run) -> Self {
        let serving = fs::canonicalize(root.join(RUNS).join(IN_SERVICE)).ok();
        let own = fs::canonicalize(root.join(&run.folder)).ok();
        let in_service = serving.as_deref().and_then(Path::parent) == own.as_deref() && own.is_some();
        Self {
            data: Data::of(root, &run),
            run: run.folder,
            state: run.state,
            begun: run.begun,
            in_service,
            code: run.code,
            model: run.model,
            hyper: run.hyper,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Open => "not finished".to_owned(),
            State::Finished => "finished".to_owned(),
            State::Closed(why) => format!("closed: {why}"),
        };
        let service = if self.in_service {
            "; its model is in service"
        } else {
            ""
        };
        writeln!(
            f,
            "run       {}, begun {}, {state}{service}",
            self.run.display(),
            self.begun
        )?;
        writeln!(f, "code      {}", self.code)?;
        writeln!(f, "base      {}", self.model)?;
        let settings: Vec<String> = SETTINGS
            .iter()
            .filter_map(|name| Some(format!("{name} {}", self.hyper.get(name)?)))
            .collect();
        writeln!(f, "settings  {}", settings.join(", "))?;
        let Data {
            folder,
            hash,
            trace,
            counts,
            labels,
        } = &self.data;
        writeln!(f, "dataset   {}", folder.display())?;
        if let Some(counts) = counts {
            writeln!(f, "images    {}", held(*counts))?;
        }
        if let Some(labels) = labels {
            writeln!(f, "labels    {labels}")?;
        }
        match trace {
            Trace::Whole => writeln!(f, "hash      {}", hash.as_deref().unwrap_or_default()),
            Trace::Unknown => writeln!(f, "hash      unknown: the run did not write down its dataset's"),
            Trace::Gone(why) => writeln!(f, "PROBLEM   the dataset cannot be looked into: {why}"),
            Trace::Changed { hash: now } => writeln!(
                f,
                "PROBLEM   the dataset is not what the run was begun with: its hash was {}, it is {now}",
                hash.as_deref().unwrap_or_default()
            ),
        }
    }
}
