//! Whether an annotation can be learned from: its image decodes to the end, its label follows LBL-1.
//!
//! A file is looked into once in its life. One that an earlier dataset vouches for is taken as it was found then: it is the
//! same file (the dataset's hard link has its inode), as long and as old as its manifest says, under the manifest's hash.
//! Everything else is read whole, decoded or parsed, and hashed.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use annotation::{Label, Name};
use rayon::prelude::*;

use super::build::{Building, Linked};
use super::earlier::{Earlier, Found};
use super::{FormError, Refused, SkipReason, Skipped, failed, image_path, label_path};
use crate::decode::decode_strict;
use crate::likeness::Likeness;
use crate::manifest::{ManifestItem, Split, sha256};

/// What is wrong with an annotation, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Its image does not decode.
    Image(String),
    /// Its label is invalid.
    Label(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reason) | Self::Label(reason) => f.write_str(reason),
        }
    }
}

/// Every annotation, judged.
#[derive(Default)]
pub(super) struct Checked {
    /// What can be learned from, sorted by name; the split is not decided yet.
    pub valid: Vec<ManifestItem>,
    pub refused: Vec<Refused>,
    pub vanished: Vec<Skipped>,
    /// How the files of the valid ones came into the building folder.
    pub linked: Linked,
    /// Images of the valid ones that were decoded; an earlier dataset vouches for the others.
    pub decoded: usize,
}

enum Verdict {
    Valid(Box<ManifestItem>, Linked, Look),
    Refused(Refused),
    Vanished(Skipped),
}

/// Whether a file was looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Into,
    Vouched,
}

/// Links every annotation into the building folder and checks it there.
pub(super) fn check(
    data: &Path,
    building: &Building,
    earlier: &Earlier,
    names: Vec<Name>,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<Checked, FormError> {
    let (all, done) = (names.len(), AtomicUsize::new(0));
    let verdicts: Vec<Verdict> = names
        .into_par_iter()
        .map(|name| {
            let verdict = judge(data, building, earlier, name);
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            verdict
        })
        .collect::<Result<_, _>>()?;

    let mut checked = Checked::default();
    for verdict in verdicts {
        match verdict {
            Verdict::Valid(item, linked, look) => {
                checked.valid.push(*item);
                checked.linked += linked;
                checked.decoded += usize::from(look == Look::Into);
            }
            Verdict::Refused(refused) => checked.refused.push(refused),
            Verdict::Vanished(skipped) => checked.vanished.push(skipped),
        }
    }
    Ok(checked)
}

fn judge(data: &Path, building: &Building, earlier: &Earlier, name: Name) -> Result<Verdict, FormError> {
    let Some(linked) = building.take(data, &name)? else {
        let path = image_path(data, &name);
        return Ok(Verdict::Vanished(Skipped {
            path,
            reason: SkipReason::Vanished,
        }));
    };
    let image_path = image_path(building.stock(), &name);
    let label_path = label_path(building.stock(), &name);
    let (image_file, label_file) = (Found::at(&image_path)?, Found::at(&label_path)?);
    let (image, look) = look_at_image(earlier, &name, &image_path, image_file)?;
    let label = match earlier.label(&name, label_file) {
        Some(item) => Ok((item.label_sha256.clone(), item.boxes)),
        None => look_at_label(&label_path)?,
    };
    Ok(match (image, label) {
        (Ok(image), Ok((label_sha256, boxes))) => {
            let item = ManifestItem {
                name: name.as_str().to_owned(),
                split: Split::Train,
                image_sha256: image.sha256,
                label_sha256,
                width: image.width,
                height: image.height,
                boxes,
                offset: None,
                time: None,
                role: None,
                media: None,
                likeness: image.likeness,
                image_file: image_file.stamp,
                label_file: label_file.stamp,
            };
            Verdict::Valid(Box::new(item), linked, look)
        }
        (image, label) => {
            let faults = image.err().into_iter().chain(label.err()).collect();
            Verdict::Refused(Refused { name, faults })
        }
    })
}

/// A file system that fails to read is not a corrupt image: that error stops the forming.
fn read(path: &Path) -> Result<Vec<u8>, FormError> {
    std::fs::read(path).map_err(failed("read", path))
}

/// What is found in an image that decodes.
#[derive(Debug)]
pub(crate) struct Image {
    pub sha256: String,
    pub width: usize,
    pub height: usize,
    pub likeness: Option<Likeness>,
}

impl Image {
    pub fn recorded(item: &ManifestItem) -> Self {
        Self {
            sha256: item.image_sha256.clone(),
            width: item.width,
            height: item.height,
            likeness: item.likeness,
        }
    }

    /// Decodes it to its end.
    pub fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let pixels = decode_strict(bytes).map_err(|error| Fault::Image(error.to_string()))?;
        Ok(Self {
            sha256: sha256(bytes),
            width: pixels.width(),
            height: pixels.height(),
            likeness: Likeness::of(&pixels),
        })
    }
}

/// An image at this path, which was found so, and whether it was looked into.
pub(crate) fn look_at_image(
    earlier: &Earlier,
    name: &Name,
    path: &Path,
    found: Found,
) -> Result<(Result<Image, Fault>, Look), FormError> {
    Ok(match earlier.image(name, found) {
        Some(item) => (Ok(Image::recorded(item)), Look::Vouched),
        None => (Image::of(&read(path)?), Look::Into),
    })
}

/// The label's hash, and how many boxes it has.
fn look_at_label(path: &Path) -> Result<Result<(String, usize), Fault>, FormError> {
    let bytes = read(path)?;
    let parsed = Label::parse_bytes(&bytes).map_err(|error| Fault::Label(error.to_string()));
    Ok(parsed.map(|label| (sha256(&bytes), label.rows.len())))
}

/// Whether two files are one, or hold the same bytes.
pub(super) fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (meta_a, meta_b) = (a.metadata()?, b.metadata()?);
    if (meta_a.dev(), meta_a.ino()) == (meta_b.dev(), meta_b.ino()) {
        return Ok(true);
    }
    Ok(meta_a.len() == meta_b.len() && std::fs::read(a)? == std::fs::read(b)?)
}
