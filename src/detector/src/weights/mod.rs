//! Weights in and out: files with the reference's tensor names, and the networks that they make up.
//!
//! A file of ours holds every tensor of a network's state (float32; batch counts int64) and one JSON object, [`Meta`],
//! whose `format` is checked first: in a safetensors file under the metadata key `azaion`, in a `.pt` file in a member of
//! its own. Files without it, straight from another tool, are read too; nothing in a `.pt` file is executed, and no file
//! takes more memory than a small multiple of its length. The caller writes files, atomically.

mod container;
mod meta;
mod model;
mod open;
mod pickle;

pub use container::{read, write};
pub use meta::{FORMAT, META_KEY, Meta};
pub use model::{FusedModel, Model, Network};
pub use open::{LARGEST, read_file};
pub use pickle::{read_pt, write_pt};

use crate::Error;
use crate::net::{Config, Head, State};
use pt::PtError;
use std::collections::HashMap;
use tch::{Kind, Tensor};
use torch::During;

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Neither safetensors nor a zip.
    #[error("not a weights file: it begins with {0}; expected a .safetensors or a PyTorch .pt file")]
    UnknownFile(String),
    /// A broken `.pt` file.
    #[error(transparent)]
    Pt(#[from] PtError),
    /// The safetensors container is broken.
    #[error("broken safetensors file: {0}; fetch or write it again")]
    Container(safetensors::SafeTensorError),
    /// A tensor of a kind that no weight has.
    #[error("tensor '{name}' holds {kind}; expected F32, F16, BF16, F64 or I64")]
    Kind {
        /// Its name.
        name: String,
        /// What it holds.
        kind: String,
    },
    /// The same name twice.
    #[error("tensor '{0}' appears twice")]
    Duplicate(String),
    /// Our metadata does not parse or contradicts itself.
    #[error("metadata '{META_KEY}': {0}")]
    Meta(String),
    /// Written by a newer program.
    #[error("metadata '{META_KEY}' has format {found}, this program knows {FORMAT}: use a newer program")]
    Format {
        /// The format found.
        found: u64,
    },
    /// A fused file answers through one head only.
    #[error(
        "the file is fused for the {have:?} head, asked for {asked:?}; take the unfused file or the other head"
    )]
    Head {
        /// The head in the file.
        have: Head,
        /// The head asked for.
        asked: Head,
    },
    /// Of another family, or incomplete.
    #[error("not a YOLO26 detector of scale n, s, m, l or x: {problem}; the file holds {found}")]
    Stranger {
        /// What was expected and is not there.
        problem: String,
        /// What the file holds instead.
        found: String,
    },
    /// The file cannot be opened or read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// More than a model can have.
    #[error("it has {0} bytes, a model file has at most {LARGEST}")]
    TooLarge(u64),
    /// The tensors do not make up a network, or memory ran out.
    #[error(transparent)]
    Network(#[from] Error),
}

// Not a source as well: its message says all of it.
impl From<safetensors::SafeTensorError> for WeightsError {
    fn from(error: safetensors::SafeTensorError) -> Self {
        Self::Container(error)
    }
}

impl From<torch::Error> for WeightsError {
    fn from(error: torch::Error) -> Self {
        Self::Network(Error::Torch(error))
    }
}

/// Named tensors on the CPU.
#[derive(Default)]
pub struct WeightMap {
    entries: Vec<(String, Tensor)>,
    index: HashMap<String, usize>,
}

impl WeightMap {
    /// The tensors of a network, sharing its storage.
    ///
    /// # Errors
    /// libtorch refused a handle.
    pub fn of(state: &State) -> Result<Self, WeightsError> {
        let mut map = Self::default();
        for entry in state.entries() {
            map.insert(
                entry.name().to_owned(),
                entry.tensor().f_detach().during("detach")?,
            )?;
        }
        Ok(map)
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// The name is taken.
    pub fn insert(&mut self, name: String, tensor: Tensor) -> Result<(), WeightsError> {
        if self.index.contains_key(&name) {
            return Err(WeightsError::Duplicate(name));
        }
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push((name, tensor));
        Ok(())
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index
            .get(name)
            .and_then(|&at| self.entries.get(at))
            .map(|(_, tensor)| tensor)
    }

    /// All tensors in the order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All names in the order of insertion.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// Whether normalisation is folded in: such weights answer, but do not train.
    pub fn is_fused(&self) -> bool {
        self.get("model.0.conv.bias").is_some()
    }
}

/// What a weights file holds.
pub struct File {
    /// Its tensors.
    pub weights: WeightMap,
    /// Our description, if it has one.
    pub meta: Option<Meta>,
    /// The metadata of others.
    pub extra: HashMap<String, String>,
    /// What another tool wrote about its network.
    foreign: Foreign,
}

/// What another tool's file says of its network, beside the tensors.
#[derive(Default)]
struct Foreign {
    /// Class names by index.
    names: Vec<String>,
    /// Side of the training images in pixels.
    imgsz: Option<u32>,
    /// What the network was built from.
    architecture: Option<String>,
}

impl File {
    /// Class names by index; empty if the file has none.
    pub fn names(&self) -> &[String] {
        self.meta.as_ref().map_or(&self.foreign.names, |meta| &meta.names)
    }

    /// The description, or what the tensors themselves say.
    fn describe(&self, config: Config) -> Result<Meta, WeightsError> {
        match &self.meta {
            Some(meta) => meta.clone().checked(config),
            None => Ok(Meta::guessed(config, &self.foreign.names, self.foreign.imgsz)),
        }
    }

    /// Why the tensors are no network, with what they are instead.
    fn refusal(&self, error: Error) -> WeightsError {
        let problem = match error {
            Error::Mismatch { expected, got, .. } => format!("expected {expected}, got {got}"),
            Error::Weights { scale, nc, problems } => {
                format!("taken for yolo26{scale} with {nc} classes, {problems}")
            }
            other => return other.into(),
        };
        let mut found = match self.weights.names().next() {
            None => "no tensors".to_owned(),
            Some(first) => format!(
                "{} tensors, the first '{}'",
                self.weights.entries.len(),
                pt::shown(first)
            ),
        };
        if let Some(architecture) = &self.foreign.architecture {
            found += &format!(", built from {}", pt::shown(architecture));
        }
        WeightsError::Stranger { problem, found }
    }
}

/// Reads a weights file of either kind, told apart by its first bytes.
///
/// # Errors
/// It is neither, or broken.
pub fn read_any(bytes: &[u8]) -> Result<File, WeightsError> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => read_pt(bytes),
        // The header's length in eight bytes, far below 2^48, and the header's first brace.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => read(bytes),
        _ => Err(WeightsError::UnknownFile(format!(
            "{:02x?}",
            bytes.get(..9).unwrap_or(bytes)
        ))),
    }
}

/// The elements of a tensor as files hold them.
enum Elements {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl Elements {
    /// Copies them out, in logical order; half precision becomes float32.
    fn of(name: &str, tensor: &Tensor) -> Result<Self, WeightsError> {
        match tensor.f_kind().during("kind")? {
            Kind::Float | Kind::Half | Kind::BFloat16 => Ok(Self::F32(torch::to_vec_f32(tensor)?)),
            Kind::Int64 => {
                let mut values = vec![0i64; tensor.numel()];
                tensor
                    .f_copy_data(&mut values, tensor.numel())
                    .during("copy_data")?;
                Ok(Self::I64(values))
            }
            other => Err(WeightsError::Kind {
                name: name.to_owned(),
                kind: format!("{other:?}"),
            }),
        }
    }
}

fn shape_of(tensor: &Tensor) -> Vec<usize> {
    tensor
        .size()
        .iter()
        .map(|&size| size.unsigned_abs() as usize)
        .collect()
}
