//! Whether an annotation can be learned from: its image decodes to the end, its label follows LBL-1.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use annotation::{Label, Name};
use rayon::prelude::*;

use super::build::{Building, Linked};
use super::{FormError, Refused, SkipReason, Skipped, failed, image_path, label_path};
use crate::decode::decode_strict;
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
}

enum Verdict {
    Valid(ManifestItem, Linked),
    Refused(Refused),
    Vanished(Skipped),
}

/// Links every annotation into the building folder and checks it there.
pub(super) fn check(
    data: &Path,
    building: &Building,
    names: Vec<Name>,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<Checked, FormError> {
    let (all, done) = (names.len(), AtomicUsize::new(0));
    let verdicts: Vec<Verdict> = names
        .into_par_iter()
        .map(|name| {
            let verdict = judge(data, building, name);
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            verdict
        })
        .collect::<Result<_, _>>()?;

    let mut checked = Checked::default();
    for verdict in verdicts {
        match verdict {
            Verdict::Valid(item, linked) => {
                checked.valid.push(item);
                checked.linked += linked;
            }
            Verdict::Refused(refused) => checked.refused.push(refused),
            Verdict::Vanished(skipped) => checked.vanished.push(skipped),
        }
    }
    Ok(checked)
}

fn judge(data: &Path, building: &Building, name: Name) -> Result<Verdict, FormError> {
    let Some(linked) = building.take(data, &name)? else {
        let path = image_path(data, &name);
        return Ok(Verdict::Vanished(Skipped {
            path,
            reason: SkipReason::Vanished,
        }));
    };
    let read = |path: &Path| -> Result<Vec<u8>, FormError> {
        // A file system that fails to read is not a corrupt image: that error stops the forming.
        std::fs::read(path).map_err(failed("read", path))
    };
    let image = read(&image_path(building.stock(), &name))?;
    let label = read(&label_path(building.stock(), &name))?;

    let decoded = decode_strict(&image).map_err(|error| Fault::Image(error.to_string()));
    let parsed = Label::parse_bytes(&label).map_err(|error| Fault::Label(error.to_string()));
    Ok(match (decoded, parsed) {
        (Ok(pixels), Ok(parsed)) => {
            let item = ManifestItem {
                name: name.as_str().to_owned(),
                split: Split::Train,
                image_sha256: sha256(&image),
                label_sha256: sha256(&label),
                width: pixels.width(),
                height: pixels.height(),
                boxes: parsed.rows.len(),
            };
            Verdict::Valid(item, linked)
        }
        (decoded, parsed) => {
            let faults = decoded.err().into_iter().chain(parsed.err()).collect();
            Verdict::Refused(Refused { name, faults })
        }
    })
}

/// Whether two files are one, or hold the same bytes.
pub(super) fn same(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (meta_a, meta_b) = (a.metadata()?, b.metadata()?);
    if (meta_a.dev(), meta_a.ino()) == (meta_b.dev(), meta_b.ino()) {
        return Ok(true);
    }
    Ok(meta_a.len() == meta_b.len() && std::fs::read(a)? == std::fs::read(b)?)
}
