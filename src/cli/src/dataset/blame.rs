//! `azaion blame`: an image's history, where it is now, and which datasets and runs it was in.

use super::{DONE, all, told, tree};
use crate::args::BlameArgs;
use ::dataset::{
    Split, catalog,
    manifest::{Manifest, ManifestItem},
};
use annotation::Name;
use anyhow::{Context, Result};
use queue::verbs::{self, History};
use runs::Run;
use serde::Serialize;
use std::{
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
};
use store::{Digest, Home, Paths};

pub(super) fn run(args: &BlameArgs) -> Result<ExitCode> {
    let name = named(&args.image)?;
    let paths = tree(&args.asked)?;
    let mut notes = Vec::new();
    let now = Now::of(&paths, &name);
    let answer = Answer {
        history: history(&paths, &name, &mut notes),
        datasets: datasets(&paths, &name, now.as_ref(), &mut notes)?,
        name: name.to_string(),
        now,
        notes,
    };
    told(&answer, args.asked.json, DONE)
}

/// An annotation's name, as it is or as that of its image or label file.
fn named(image: &Path) -> Result<Name> {
    let file = image.file_name().unwrap_or_default().to_string_lossy();
    let stem = [".jpg", ".txt"].iter().find_map(|end| file.strip_suffix(end));
    Name::new(stem.unwrap_or(&file)).with_context(|| format!("{} is no annotation's name", image.display()))
}

/// Where an annotation is.
#[derive(Debug, Serialize)]
struct Now {
    home: &'static str,
    image: Option<PathBuf>,
    image_sha256: Option<String>,
    label_sha256: Option<String>,
}

impl Now {
    fn of(paths: &Paths, name: &Name) -> Option<Self> {
        // The label's home is the annotation's; an image without a label is better than nothing.
        let of = |path: fn(&Paths, Home, &Name) -> PathBuf| {
            Home::ALL
                .into_iter()
                .find(|home| path(paths, *home, name).is_file())
        };
        let home = of(Paths::label).or_else(|| of(Paths::image))?;
        let image = paths.image(home, name);
        Some(Self {
            home: home.as_str(),
            image_sha256: sha256(&image),
            label_sha256: sha256(&paths.label(home, name)),
            image: image.is_file().then_some(image),
        })
    }
}

fn sha256(file: &Path) -> Option<String> {
    fs::read(file).ok().map(|bytes| Digest::of(&bytes).to_string())
}

/// What the ledger tells; a tree may be without one.
fn history(paths: &Paths, name: &Name, notes: &mut Vec<String>) -> Option<History> {
    match verbs::history(paths, name) {
        Ok(history) => Some(history),
        Err(verbs::Error::Store(store::Error::Io { source, .. })) if source.kind() == ErrorKind::NotFound => {
            notes.push("the tree has no ledger: what happened is unknown".to_owned());
            None
        }
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    }
}

/// A dataset that has the image.
#[derive(Debug, Serialize)]
struct InDataset {
    dataset: String,
    split: Split,
    /// Whether it is the image that is there now; unknown where the manifest cannot be used.
    same_image: Option<bool>,
    same_label: Option<bool>,
    /// The runs that were trained on it.
    runs: Vec<String>,
}

fn datasets(
    paths: &Paths,
    name: &Name,
    now: Option<&Now>,
    notes: &mut Vec<String>,
) -> Result<Vec<InDataset>> {
    let runs = runs_of(paths, notes)?;
    let mut found = Vec::new();
    for dataset in all(&paths.datasets())? {
        let (dataset_name, item) = (dataset.name(), dataset.manifest);
        let (split, same_image, same_label) = match &item {
            Ok(manifest) => match of_manifest(manifest, name, now) {
                Some(found) => found,
                None => continue,
            },
            Err(error) => {
                let splits = catalog::splits_by_folder(&dataset.folder);
                let Some(split) = splits.get(name) else { continue };
                notes.push(format!("{error}; where it is was read off its folders"));
                (*split, None, None)
            }
        };
        let relative = Path::new("datasets").join(&dataset_name);
        let trained = runs.iter().filter(|run| run.dataset == relative);
        found.push(InDataset {
            runs: trained.map(Run::name).collect(),
            dataset: dataset_name,
            split,
            same_image,
            same_label,
        });
    }
    Ok(found)
}

fn of_manifest(
    manifest: &Manifest,
    name: &Name,
    now: Option<&Now>,
) -> Option<(Split, Option<bool>, Option<bool>)> {
    let ManifestItem {
        split,
        image_sha256,
        label_sha256,
        ..
    } = manifest.item(name.as_str())?;
    let same = |now: Option<&String>, then: &String| Some(now? == then);
    Some((
        *split,
        same(now.and_then(|now| now.image_sha256.as_ref()), image_sha256),
        same(now.and_then(|now| now.label_sha256.as_ref()), label_sha256),
    ))
}

/// The runs of the tree, the earliest first; one whose file cannot be used is a note.
fn runs_of(paths: &Paths, notes: &mut Vec<String>) -> Result<Vec<Run>> {
    if !paths.models().is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (_, run) in Run::every(paths.root())? {
        match run {
            Ok(run) => found.extend(run),
            Err(error) => notes.push(error.to_string()),
        }
    }
    found.sort_by(|a, b| (a.begun, &a.folder).cmp(&(b.begun, &b.folder)));
    Ok(found)
}

/// All that is known of an image.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    history: Option<History>,
    now: Option<Now>,
    datasets: Vec<InDataset>,
    notes: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(history) = &self.history {
            write!(f, "{history}")?;
        }
        match &self.now {
            Some(Now {
                home,
                image: Some(image),
                ..
            }) => writeln!(f, "now       in {home}: {}", image.display())?,
            Some(Now { home, .. }) => writeln!(f, "now       in {home}, without an image")?,
            None => writeln!(f, "now       nowhere in the tree")?,
        }
        for found in &self.datasets {
            let used = match found.split {
                Split::Train => "learned from",
                Split::Valid | Split::Test => "judged by",
            };
            let other = match (found.same_image, found.same_label) {
                (Some(false), _) => ", with another image than now",
                (_, Some(false)) => ", with another label than now",
                _ => "",
            };
            write!(f, "dataset   {}: {} ({used}){other}", found.dataset, found.split)?;
            match found.runs.as_slice() {
                [] => writeln!(f)?,
                runs => writeln!(f, "; runs: {}", runs.join(", "))?,
            }
        }
        if self.datasets.is_empty() {
            writeln!(f, "dataset   in none")?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "note      {note}"))
    }
}
