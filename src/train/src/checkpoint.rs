//! One file from which a run goes on as if it had never stopped.
//!
//! On-disk layout: a safetensors file. Tensors: `model/{name}` and `ema/{name}` (weights and statistics),
//! `optimizer/first/{name}`, `optimizer/second/{name}` (moments), `gradient/{name}` (only between two optimiser steps of
//! one accumulation; at their true size, whatever the loss was scaled by). Nothing in it depends on the device. The file's
//! metadata holds two keys: `azaion.checkpoint`, the JSON of [`Position`] with the version of this format, and
//! `azaion.seal`, SHA-256 over that JSON and every tensor's name, sizes and bytes: a file that was cut short or changed in
//! one bit is refused. The file is written aside, synced and renamed ([`store::atomic::replace`]): a crash or a full
//! disk leaves the previous checkpoint whole. Random choices need no state: they are functions of (seed, epoch, index).

use crate::{guard::Guards, hyper::Hyper, scaler::GradScaler};
use report::EpochRow;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// Version of the format that this code writes. It reads version 1 too, which had no seal.
pub const FORMAT: u32 = 2;
const UNSEALED: u32 = 1;
const KEY: &str = "azaion.checkpoint";
const SEAL: &str = "azaion.seal";

/// Where a run stands, and what it must be resumed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Version of the file format.
    pub format: u32,
    /// What the run was started with.
    pub hyper: Hyper,
    /// Scale letter of the network.
    pub scale: String,
    /// Hash of the dataset trained on.
    pub dataset: String,
    /// Epoch to go on with, from 0.
    pub epoch: u32,
    /// Batches of that epoch already done with.
    pub batch: u64,
    /// How many of those were not trained on, for what [`Guards`] says of them.
    #[serde(default)]
    pub passed_over: u64,
    /// Iteration of the last optimiser step, -1 before the first.
    pub last_step: i64,
    /// Optimiser steps taken.
    pub optimizer_steps: u64,
    /// EMA updates made.
    pub ema_updates: u64,
    /// State of the loss scaling, where the run had any. Absent from checkpoints that had none, which read as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<GradScaler>,
    /// Running means of the three losses in the epoch.
    pub loss_means: [f64; 3],
    /// Best fitness so far and its epoch (from 1).
    pub best: Option<Best>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Finished epochs.
    pub history: Vec<EpochRow>,
    /// What went wrong so far, and what is done about it.
    #[serde(default)]
    pub guards: Guards,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, counted from 1.
    pub epoch: u32,
    /// mAP50-95, rounded to 5 decimals.
    pub fitness: f64,
}

/// 32-bit floats with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub position: Position,
    /// Tensors by name, as the module's head lists them.
    pub arrays: BTreeMap<String, Array>,
}

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written; the previous one is whole.
    #[error("checkpoint: {0}")]
    Write(#[from] store::Error),
    /// It was written, and cannot be kept as that of an epoch's end.
    #[error("checkpoint {path} cannot be kept for later, or earlier ones not removed: {source}")]
    Keep {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be read.
    #[error("checkpoint {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a checkpoint, or damaged.
    #[error("checkpoint {path} is damaged or not a checkpoint: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Written by another version.
    #[error(
        "checkpoint {path} has format {got}, this program reads up to {FORMAT}; resume with the program that wrote it"
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        got: u32,
    },
}

impl Checkpoint {
    /// Writes the checkpoint so that `path` holds either the previous one or this one, whatever happens.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let damaged = |why: String| CheckpointError::Damaged {
            path: path.to_owned(),
            why,
        };
        let position = serde_json::to_string(&self.position).map_err(|e| damaged(e.to_string()))?;
        let views = self
            .arrays
            .iter()
            .map(|(name, array)| (name.as_str(), Encoded(array)));
        let seal = seal(&position, &self.arrays);
        let metadata = HashMap::from([(KEY.to_owned(), position), (SEAL.to_owned(), seal)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| damaged(e.to_string()))?;
        Ok(store::atomic::replace(path, &bytes)?)
    }

    /// Reads a checkpoint; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(CheckpointError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(&bytes, path).map(Some)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let damaged = |why: String| CheckpointError::Damaged {
            path: path.to_owned(),
            why,
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or_else(|| damaged(format!("no {KEY} in its metadata")))?;
        let version: Versioned = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        if !(UNSEALED..=FORMAT).contains(&version.format) {
            return Err(CheckpointError::Version {
                path: path.to_owned(),
                got: version.format,
            });
        }
        let position: Position = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let arrays = file
            .iter()
            .map(|(name, view)| Ok((name.to_owned(), decode(name, &view).map_err(damaged)?)))
            .collect::<Result<_, CheckpointError>>()?;
        let sealed = header.metadata().as_ref().and_then(|m| m.get(SEAL));
        if version.format != UNSEALED && sealed != Some(&seal(text, &arrays)) {
            return Err(damaged("its content does not fit its seal".to_owned()));
        }
        let position = Position {
            format: FORMAT,
            ..position
        };
        Ok(Self { position, arrays })
    }

    /// Arrays whose names begin with `prefix`, by the rest of the name.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, Vec<f32>> {
        self.arrays
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array.values.clone())))
            .collect()
    }
}

/// SHA-256 over everything that a reader takes from the file, in hex.
fn seal(position: &str, arrays: &BTreeMap<String, Array>) -> String {
    let mut hash = Sha256::new();
    hash.update(position);
    for (name, array) in arrays {
        hash.update(format!("\n{name}{:?}", array.shape));
        let mut bytes = [0; 4096];
        for values in array.values.chunks(bytes.len() / 4) {
            let (words, _) = bytes.as_chunks_mut::<4>();
            words
                .iter_mut()
                .zip(values)
                .for_each(|(word, value)| *word = value.to_le_bytes());
            hash.update(bytes.get(..4 * values.len()).unwrap_or_default());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

fn decode(name: &str, view: &TensorView<'_>) -> Result<Array, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("{name} is {:?}, not F32", view.dtype()));
    }
    let (words, rest) = view.data().as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("{name} is cut short"));
    }
    Ok(Array {
        shape: view.shape().to_vec(),
        values: words.iter().map(|w| f32::from_le_bytes(*w)).collect(),
    })
}

struct Encoded<'a>(&'a Array);

impl safetensors::View for Encoded<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.0.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let position = Position {
            format: FORMAT,
            hyper: Hyper::default(),
            scale: "n".into(),
            dataset: "abc".into(),
            epoch: 3,
            batch: 7,
            passed_over: 1,
            last_step: 41,
            optimizer_steps: 12,
            ema_updates: 12,
            scaler: None,
            loss_means: [1.0, f64::MIN_POSITIVE, 0.1 + 0.2],
            best: Some(Best {
                epoch: 2,
                fitness: 0.12345,
            }),
            seconds: 9.5,
            history: vec![EpochRow::default()],
            guards: Guards::default(),
        };
        let array = |n: usize| Array {
            shape: vec![n],
            values: (0..n).map(|i| i as f32 * 0.1 - 1e-40).collect(),
        };
        let arrays = BTreeMap::from([
            ("model/model.0.conv.weight".to_owned(), array(27)),
            ("ema/model.0.conv.weight".to_owned(), array(27)),
            (
                "ema/model.0.bn.num".to_owned(),
                Array {
                    shape: vec![],
                    values: vec![3.0],
                },
            ),
        ]);
        Checkpoint { position, arrays }
    }

    #[test]
    fn reads_back_what_was_written_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        checkpoint().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().unwrap(), checkpoint());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn the_state_of_the_loss_scaling_is_there_only_where_there_is_one() {
        let text = |checkpoint: &Checkpoint| serde_json::to_string(&checkpoint.position).unwrap();
        assert!(!text(&checkpoint()).contains("scaler"), "as before there was any");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let mut scaled = checkpoint();
        scaled.position.scaler = Some(GradScaler::default());
        scaled.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().unwrap(), scaled);
    }

    #[test]
    fn no_file_is_no_checkpoint() {
        assert!(
            Checkpoint::read(Path::new("/nowhere/last.safetensors"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn every_truncation_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        checkpoint().write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in (0..bytes.len()).step_by(97) {
            assert!(
                Checkpoint::parse(&bytes[..len], &path).is_err(),
                "{len} bytes were accepted"
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        checkpoint().write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(read) = Checkpoint::parse(&bytes, &path) {
                    assert_eq!(read, checkpoint(), "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_checkpoint_from_before_there_was_a_seal_is_read() {
        let arrays = checkpoint().arrays;
        let mut old = serde_json::to_value(checkpoint().position).unwrap();
        old["format"] = UNSEALED.into();
        let fields = old.as_object_mut().unwrap();
        assert!(fields.remove("guards").is_some() && fields.remove("passed_over").is_some());
        let metadata = HashMap::from([(KEY.to_owned(), old.to_string())]);
        let views = arrays.iter().map(|(name, array)| (name.as_str(), Encoded(array)));
        let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
        let read = Checkpoint::parse(&bytes, Path::new("last.safetensors")).unwrap();
        assert_eq!((read.position.epoch, read.position.format), (3, FORMAT));
        assert_eq!(read.arrays, arrays);
    }

    #[test]
    fn a_future_version_is_refused_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let mut future = checkpoint();
        future.position.format = FORMAT + 1;
        future.write(&path).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains("format 3"), "{error}");
    }
}
