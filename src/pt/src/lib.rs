//! PyTorch's `.pt` files, read without executing anything and written so that PyTorch loads them.
//!
//! Such a file is a zip archive that holds a pickle and raw tensor storages. A pickle is a program; here a small machine
//! runs it that can only build plain values, tensors and inert records, so that an unknown class in a foreign checkpoint
//! is at worst an error that names it. Read: running and stripped checkpoints of the reference, plain state
//! dictionaries, and dictionaries under `ema`, `model` or `state_dict`. Written: a state dictionary for
//! `torch.load(weights_only=True)`, with our own metadata in a member that PyTorch ignores.
//!
//! Guarantees of [`read`], whatever the bytes: it never panics; it takes at most 512 bytes of memory for each byte of the
//! pickle (whose length [`Limits`] bounds), and beside that copies as long as the file (`tests/memory.rs` and the fuzz
//! targets hold it to that). Contiguous tensors borrow from the input. Facts: the project's description of YOLO26
//! (docs/CLEANROOM.md), checked both ways with PyTorch by `tests/files.rs`.

mod archive;
mod machine;
mod network;
mod tensor;
mod value;
mod write;

use std::collections::BTreeMap;

pub use tensor::{Dtype, Tensor};
pub use value::shown;
pub use write::{Data, Entry, write};

/// Where our own metadata is kept, below the archive's folder.
const EXTRA: &str = "extra/azaion.json";

/// What is wrong with a `.pt` file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PtError {
    /// Not an archive at all.
    #[error(
        "not a zip archive: a file of PyTorch before 1.6, or no checkpoint; load it in PyTorch and save it again"
    )]
    NotAnArchive,
    /// The archive is damaged, or uses what PyTorch does not.
    #[error("archive member '{member}': {problem}")]
    Archive {
        /// Name of the member, empty for the directory itself.
        member: String,
        /// What is wrong, and what to do where something can be done.
        problem: &'static str,
    },
    /// The pickle is damaged, or uses what checkpoints do not.
    #[error("data.pkl, byte {at}: {problem}")]
    Pickle {
        /// Where in the pickle.
        at: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file is larger or deeper than a checkpoint can be.
    #[error("more than {limit} {what}: not a detector's checkpoint")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// The pickle is sound but does not hold what is needed.
    #[error("{place}: expected {expected}, found {found}")]
    Content {
        /// Where, as a path of names.
        place: String,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A tensor that cannot be written.
    #[error("cannot write tensor {name:?}: {problem}")]
    Write {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Bounds within which a file is taken for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the pickle. The reference's largest network with optimiser state has well below 1 MB.
    pub pickle_bytes: usize,
    /// Values that the pickle builds.
    pub values: usize,
    /// Modules within modules.
    pub depth: usize,
    /// Tensors of the network.
    pub tensors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pickle_bytes: 8 << 20,
            values: 1 << 19,
            depth: 64,
            tensors: 1 << 14,
        }
    }
}

/// What the tensors were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The averaged network of a running checkpoint.
    Ema,
    /// The network of a stripped or saved checkpoint.
    Model,
    /// A dictionary of tensors.
    StateDict,
}

/// The contents of a `.pt` file.
#[derive(Clone, Debug, PartialEq)]
pub struct PtFile<'a> {
    /// The network's tensors in the order of its state dictionary, named as there.
    pub tensors: Vec<Tensor<'a>>,
    /// Which of the file's networks they are.
    pub source: Source,
    /// Class names by index.
    pub names: Option<BTreeMap<u32, String>>,
    /// Number of classes.
    pub classes: Option<u32>,
    /// The scale's letter as the architecture description has it.
    pub scale: Option<String>,
    /// File name of the architecture description that the network was built from.
    pub architecture: Option<String>,
    /// Side of the training images in pixels.
    pub imgsz: Option<u32>,
    /// The last finished epoch, from 0; -1 in a stripped file.
    pub epoch: Option<i64>,
    /// Our own metadata, if we wrote the file.
    pub extra_json: Option<&'a str>,
}

/// Reads the network of a `.pt` file.
pub fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<PtFile<'a>, PtError> {
    let archive = archive::Archive::open(bytes)?;
    let pickle = archive.required("data.pkl")?;
    if pickle.len() > limits.pickle_bytes {
        return Err(PtError::Limit {
            what: "bytes of pickle",
            limit: limits.pickle_bytes,
        });
    }
    let values = machine::run(pickle, limits)?;
    let storages = tensor::Storages::new(&archive, bytes.len())?;
    let mut file = network::extract(&values, storages, limits)?;
    if let Some(extra) = archive.member(EXTRA) {
        let text = std::str::from_utf8(extra);
        file.extra_json = Some(text.map_err(|_| archive::problem(EXTRA, "not UTF-8"))?);
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
