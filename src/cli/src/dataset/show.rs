//! `azaion dataset show`: what a manifest says, as a whole or of one image.

use super::{DONE, held, opened, told};
use crate::args::DatasetShowArgs;
use ::dataset::manifest::{Counts, Division, Grouping, Manifest, ManifestItem};
use annotation::Role;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    process::ExitCode,
};

pub(super) fn run(args: &DatasetShowArgs) -> Result<ExitCode> {
    let (folder, manifest) = opened(args.dataset.as_deref(), &args.asked)?;
    match &args.item {
        None => told(&Whole::of(folder, &manifest), args.asked.json, DONE),
        Some(name) => {
            let item = manifest
                .item(name.as_str())
                .with_context(|| format!("{name} is not in {}", manifest.name))?
                .clone();
            let dataset = manifest.name;
            told(&One { dataset, item }, args.asked.json, DONE)
        }
    }
}

/// Where the labels of a dataset came from.
#[derive(Debug, Serialize)]
pub(super) struct Origins {
    /// Least and greatest offset.
    pub(super) offsets: Option<(u64, u64)>,
    /// When the first and the last of them came.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// How many each role made.
    roles: BTreeMap<&'static str, usize>,
    /// Images of which the ledger told nothing.
    pub(super) unknown: usize,
}

impl Origins {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let times = || manifest.items.iter().filter_map(|item| item.time);
        let mut roles = BTreeMap::new();
        for role in manifest.items.iter().filter_map(|item| item.role) {
            *roles.entry(Role::as_str(role)).or_default() += 1;
        }
        Self {
            offsets: manifest.offsets(),
            times: times().min().zip(times().max()),
            roles,
            unknown: manifest.items.iter().filter(|item| item.time.is_none()).count(),
        }
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offsets {
            Some((first, last)) => write!(f, "offsets {first} to {last}")?,
            None => f.write_str("offsets unknown")?,
        }
        if let Some((first, last)) = self.times {
            write!(f, ", {first} to {last}")?;
        }
        for (role, count) in &self.roles {
            write!(f, ", {count} by {role}")?;
        }
        if self.unknown > 0 {
            write!(f, ", {} unknown", self.unknown)?;
        }
        Ok(())
    }
}

/// A dataset.
#[derive(Serialize)]
struct Whole {
    dataset: String,
    folder: PathBuf,
    version: u32,
    created: Timestamp,
    division: Division,
    grouping: Grouping,
    seed: u64,
    counts: Counts,
    hash: String,
    labels: Origins,
    /// Source media that are known, and images of them.
    media: (usize, usize),
    earlier: Vec<String>,
}

impl Whole {
    fn of(folder: PathBuf, manifest: &Manifest) -> Self {
        let media: Vec<_> = manifest.items.iter().filter_map(|item| item.media).collect();
        let different: BTreeSet<_> = media.iter().collect();
        Self {
            dataset: manifest.name.clone(),
            folder,
            version: manifest.version(),
            created: manifest.created,
            division: manifest.division,
            grouping: manifest.grouping,
            seed: manifest.seed,
            counts: manifest.counts,
            hash: manifest.hash.clone(),
            labels: Origins::of(manifest),
            media: (different.len(), media.len()),
            earlier: manifest.earlier.clone(),
        }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let division = match self.division {
            Division::Seeded => format!("by seed {}", self.seed),
            Division::Fixed => "by lists".to_owned(),
        };
        let grouping = match self.grouping {
            Grouping::Media => "frames of one source media and near-duplicates are kept together",
            Grouping::Likeness => "near-duplicates are kept together, frames of one source media are not",
            Grouping::Nothing => "nothing is kept together",
        };
        writeln!(
            f,
            "dataset   {} (manifest version {})",
            self.dataset, self.version
        )?;
        writeln!(f, "folder    {}", self.folder.display())?;
        writeln!(f, "formed    {}", self.created)?;
        writeln!(f, "division  {division}; {grouping}")?;
        writeln!(f, "images    {}", held(self.counts))?;
        writeln!(f, "labels    {}", self.labels)?;
        writeln!(f, "media     {} known, of {} images", self.media.0, self.media.1)?;
        match self.earlier.as_slice() {
            [] => writeln!(f, "keeps to  no earlier dataset")?,
            [newest] => writeln!(f, "keeps to  {newest}")?,
            [newest, more @ ..] => writeln!(f, "keeps to  {newest} and {} before", more.len())?,
        }
        writeln!(f, "hash      {}", self.hash)
    }
}

/// An image in a dataset.
#[derive(Serialize)]
struct One {
    dataset: String,
    #[serde(flatten)]
    item: ManifestItem,
}

impl fmt::Display for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = &self.item;
        let or = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
        writeln!(f, "image     {} in {} of {}", item.name, item.split, self.dataset)?;
        writeln!(
            f,
            "size      {} x {} pixels, {} boxes",
            item.width, item.height, item.boxes
        )?;
        writeln!(
            f,
            "label     offset {}, role {}, time {}",
            or(item.offset.map(|offset| offset.to_string())),
            or(item.role.map(|role| role.to_string())),
            or(item.time.map(|time| time.to_string()))
        )?;
        writeln!(f, "media     {}", or(item.media.map(|media| media.to_string())))?;
        writeln!(
            f,
            "likeness  {}",
            item.likeness
                .map_or("none".to_owned(), |likeness| likeness.to_string())
        )?;
        writeln!(f, "image     sha256 {}", item.image_sha256)?;
        writeln!(f, "label     sha256 {}", item.label_sha256)
    }
}
