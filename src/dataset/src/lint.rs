//! What is wrong with a dataset, or with the annotations that one would be formed of: what the rules call invalid (LBL-1,
//! DST-2), what differs from the manifest, and what smells.
//!
//! Nothing is changed. Every file is read; an image is decoded unless a manifest has its very bytes, or, in `data/`, vouches
//! for the file as forming has it. What cannot be read at all is a finding like any other.

mod found;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use annotation::{Label, Name};
use rayon::prelude::*;

use crate::form::check::{self, Fault, Image};
use crate::form::earlier::{Earlier, Found};
use crate::form::pairs;
use crate::form::{FormError, Skipped, image_path, label_path};
use crate::groups::Features;
use crate::manifest::{Manifest, ManifestItem, Split, sha256};

pub use found::{Finding, Grade, Kind, Linted};

/// An annotation that was looked at.
#[derive(Debug)]
struct Seen {
    name: Name,
    split: Option<Split>,
    image: Option<Image>,
    media: Option<store::Media>,
    label: Option<Label>,
}

impl Seen {
    fn features(&self) -> Option<Features<'_>> {
        self.image.as_ref().map(|image| Features {
            sha256: &image.sha256,
            likeness: image.likeness,
            media: self.media,
        })
    }
}

/// An annotation with what was found in it.
type Look = (Seen, Vec<Finding>);

/// Looks at the annotations of a tree; `data` is their folder.
pub fn tree(root: &Path, data: &Path, watch: &(dyn Fn(usize, usize) + Sync)) -> Result<Linted, FormError> {
    if !data.is_dir() {
        return Err(FormError::NoData {
            path: data.to_owned(),
        });
    }
    let found = pairs::find(data)?;
    let earlier = Earlier::read(&store::Paths::under(root).datasets())?;
    let looks = look_at_all(found.names, watch, |name| of_tree(data, &earlier, name))?;
    Ok(conclude(data, looks, skipped(found.skipped)))
}

/// Looks at the dataset in this folder.
pub fn dataset(folder: &Path, watch: &(dyn Fn(usize, usize) + Sync)) -> Result<Linted, FormError> {
    let mut findings = Vec::new();
    let manifest = match Manifest::read(folder) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            let file = folder.join(crate::manifest::FILE_NAME);
            findings.push(Finding::new(Kind::Manifest, file.display(), error));
            None
        }
    };
    let mut names = Vec::new();
    for split in Split::ALL {
        let part = folder.join(split.folder());
        // What the manifest lists there is told as vanished.
        if ["images", "labels"].iter().all(|kind| part.join(kind).is_dir()) {
            let found = pairs::find(&part)?;
            findings.append(&mut skipped(found.skipped));
            names.extend(found.names.into_iter().map(|name| (name, split)));
        }
    }
    findings.append(&mut missing(folder, manifest.as_ref(), &names));
    let looks = look_at_all(names, watch, |(name, split)| {
        of_dataset(folder, manifest.as_ref(), name, split)
    })?;
    Ok(conclude(folder, looks, findings))
}

fn look_at_all<T: Send>(
    all: Vec<T>,
    watch: &(dyn Fn(usize, usize) + Sync),
    look: impl Fn(T) -> Result<Look, FormError> + Sync,
) -> Result<Vec<Look>, FormError> {
    let (count, done) = (all.len(), AtomicUsize::new(0));
    all.into_par_iter()
        .map(|one| {
            let looked = look(one);
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, count);
            looked
        })
        .collect()
}

/// An annotation of `data/`.
fn of_tree(data: &Path, earlier: &Earlier, name: Name) -> Result<Look, FormError> {
    let path = image_path(data, &name);
    let mut findings = Vec::new();
    let image = match Found::at(&path) {
        Ok(found) => match check::look_at_image(earlier, &name, &path, found)? {
            (Ok(image), _) => Some(image),
            (Err(fault), _) => {
                findings.push(Finding::new(Kind::Image, &name, fault));
                None
            }
        },
        // Moved by a writer since the folder was listed.
        Err(_) => None,
    };
    let label = read_label(&label_path(data, &name), &name, &mut findings).map(|(label, _)| label);
    let media = earlier.item(name.as_str()).and_then(|item| item.media);
    let seen = Seen {
        name,
        split: None,
        image,
        media,
        label,
    };
    Ok((seen, findings))
}

/// An annotation of a dataset.
fn of_dataset(
    folder: &Path,
    manifest: Option<&Manifest>,
    name: Name,
    split: Split,
) -> Result<Look, FormError> {
    let part = folder.join(split.folder());
    let item = manifest.and_then(|manifest| manifest.item(name.as_str()));
    let mut findings = Vec::new();
    if manifest.is_some() && item.is_none_or(|item| item.split != split) {
        let what = format!("is in {split}; the manifest does not have it there");
        findings.push(Finding::new(Kind::Unlisted, &name, what));
    }
    let image = read_image(&image_path(&part, &name), &name, item, &mut findings);
    let label = read_label(&label_path(&part, &name), &name, &mut findings);
    if let (Some((_, sha256)), Some(item)) = (&label, item)
        && *sha256 != item.label_sha256
    {
        findings.push(Finding::new(
            Kind::Changed,
            &name,
            "its label is not the one of the manifest",
        ));
    }
    let seen = Seen {
        name,
        split: Some(split),
        image,
        media: item.and_then(|item| item.media),
        label: label.map(|(label, _)| label),
    };
    Ok((seen, findings))
}

fn read_image(
    path: &Path,
    name: &Name,
    item: Option<&ManifestItem>,
    findings: &mut Vec<Finding>,
) -> Option<Image> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.push(Finding::new(Kind::Image, name, error));
            return None;
        }
    };
    if let Some(item) = item {
        if sha256(&bytes) == item.image_sha256 {
            // It was decoded when it was checked; the first version kept no likeness.
            if item.image_file.is_some() {
                return Some(Image::recorded(item));
            }
        } else {
            findings.push(Finding::new(
                Kind::Changed,
                name,
                "its image is not the one of the manifest",
            ));
        }
    }
    match Image::of(&bytes) {
        Ok(image) => Some(image),
        Err(fault) => {
            findings.push(Finding::new(Kind::Image, name, fault));
            None
        }
    }
}

/// The label, and the hash of its file.
fn read_label(path: &Path, name: &Name, findings: &mut Vec<Finding>) -> Option<(Label, String)> {
    let problem = match std::fs::read(path) {
        Ok(bytes) => match Label::parse_bytes(&bytes) {
            Ok(label) => return Some((label, sha256(&bytes))),
            Err(error) => Fault::Label(error.to_string()).to_string(),
        },
        Err(error) => error.to_string(),
    };
    findings.push(Finding::new(Kind::Label, name, problem));
    None
}

fn skipped(skipped: Vec<Skipped>) -> Vec<Finding> {
    let finding = |Skipped { path, reason }| Finding::new(Kind::Alone, path.display(), reason);
    skipped.into_iter().map(finding).collect()
}

/// What the manifest lists and the folders do not have.
fn missing(folder: &Path, manifest: Option<&Manifest>, names: &[(Name, Split)]) -> Vec<Finding> {
    let Some(manifest) = manifest else {
        return Vec::new();
    };
    let there: BTreeSet<(&str, Split)> = names
        .iter()
        .map(|(name, split)| (name.as_str(), *split))
        .collect();
    let gone = manifest
        .items
        .iter()
        .filter(|item| !there.contains(&(item.name.as_str(), item.split)));
    gone.map(|item| {
        let place: PathBuf = folder.join(item.split.folder());
        let what = format!("is not in {}, or only half of it", place.display());
        Finding::new(Kind::Vanished, &item.name, what)
    })
    .collect()
}

fn conclude(place: &Path, looks: Vec<Look>, mut findings: Vec<Finding>) -> Linted {
    let mut seen = Vec::with_capacity(looks.len());
    for (one, mut its) in looks {
        seen.push(one);
        findings.append(&mut its);
    }
    findings.extend(rules::smells(&seen));
    findings.sort_by(|a, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for finding in &findings {
        *counts.entry(finding.kind).or_default() += 1;
    }
    Linted {
        place: place.to_owned(),
        images: seen.len(),
        boxes: seen
            .iter()
            .filter_map(|seen| seen.label.as_ref())
            .map(|label| label.rows.len())
            .sum(),
        counts,
        findings,
    }
}
