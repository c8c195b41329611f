//! How many images go through the network at a time, learnt where memory once ran out (ALR-5).
//!
//! One small file for all runs of a machine, JSON: a version, and the number by what it was learnt for: the device's
//! name, the network's scale and the image size. A number is only ever lowered. Losing the file costs nothing but
//! learning again, so one that cannot be read counts as absent.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

const VERSION: u32 = 1;

/// What is known of the memory that a kind of training takes.
#[derive(Clone, Debug, Default)]
pub struct Memory(Option<Place>);

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    kind: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learnt {
    version: u32,
    micro_batch: BTreeMap<String, usize>,
}

impl Memory {
    /// Remembers in `file` what is learnt for networks of `scale` at `imgsz` on `device`.
    pub fn of(file: PathBuf, device: &str, scale: detector::Scale, imgsz: usize) -> Self {
        let kind = format!("{device}, yolo26{scale}, {imgsz} px");
        Self(Some(Place { file, kind }))
    }

    /// Images at a time, if memory ever ran out.
    pub(crate) fn micro_batch(&self) -> Option<usize> {
        let Place { file, kind } = self.0.as_ref()?;
        read(file).micro_batch.get(kind).copied()
    }

    /// Memory suffices for so many images at a time at most.
    pub(crate) fn remember(&self, images: usize) -> Result<(), Error> {
        let Some(Place { file, kind }) = &self.0 else {
            return Ok(());
        };
        let mut learnt = read(file);
        let known = learnt.micro_batch.entry(kind.clone()).or_insert(images);
        *known = images.min(*known);
        Ok(store::atomic::replace(
            file,
            &serde_json::to_vec_pretty(&learnt).unwrap_or_default(),
        )?)
    }
}

fn read(file: &std::path::Path) -> Learnt {
    let read = std::fs::read(file).ok();
    let learnt = read.and_then(|bytes| serde_json::from_slice::<Learnt>(&bytes).ok());
    let fresh = || Learnt {
        version: VERSION,
        ..Learnt::default()
    };
    learnt
        .filter(|learnt| learnt.version == VERSION)
        .unwrap_or_else(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use detector::Scale;

    #[test]
    fn the_least_is_remembered_by_device_scale_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let of = |device: &str, imgsz| Memory::of(folder.path().join("memory.json"), device, Scale::M, imgsz);
        assert_eq!(of("GPU A", 640).micro_batch(), None);
        of("GPU A", 640).remember(8).unwrap();
        of("GPU A", 640).remember(4).unwrap();
        of("GPU A", 640).remember(6).unwrap();
        of("GPU A", 1280).remember(2).unwrap();
        assert_eq!(of("GPU A", 640).micro_batch(), Some(4));
        assert_eq!(of("GPU A", 1280).micro_batch(), Some(2));
        assert_eq!(of("GPU B", 640).micro_batch(), None);
    }

    #[test]
    fn a_file_that_is_no_such_thing_is_learnt_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.json");
        std::fs::write(&file, "{\"version\": 9, \"micro_batch\": {}}").unwrap();
        let memory = Memory::of(file, "GPU A", Scale::N, 320);
        assert_eq!(memory.micro_batch(), None);
        memory.remember(3).unwrap();
        assert_eq!(memory.micro_batch(), Some(3));
    }
}
