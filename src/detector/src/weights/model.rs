//! Networks from weights files, and back.

use super::{File, Meta, WeightMap, WeightsError, read_any, write, write_pt};
use crate::net::{Detector, FusedDetector, Head, State};
use std::collections::HashMap;

/// A trainable network and its description.
pub struct Model {
    /// The network.
    pub detector: Detector,
    /// Its description.
    pub meta: Meta,
}

impl Model {
    /// Reads a `.safetensors` or `.pt` file.
    ///
    /// # Errors
    /// It is neither, broken, fused, or not of this family.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        Self::from_file(&read_any(bytes)?)
    }

    fn from_file(file: &File) -> Result<Self, WeightsError> {
        let detector = Detector::from_weights(&file.weights).map_err(|error| file.refusal(error))?;
        let meta = file.describe(detector.config())?;
        Ok(Self { detector, meta })
    }

    /// The bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        write(
            &WeightMap::of(self.detector.state())?,
            Some(&self.meta),
            &HashMap::new(),
        )
    }

    /// The bytes of a `.pt` file: a state dictionary that PyTorch loads.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_pt_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        write_pt(&WeightMap::of(self.detector.state())?, &self.meta)
    }
}

/// A network that only answers, and its description.
pub struct FusedModel {
    /// The network.
    pub detector: FusedDetector,
    /// Its description.
    pub meta: Meta,
}

impl FusedModel {
    /// Reads a `.safetensors` or `.pt` file, fused or not, to answer through `head`.
    ///
    /// # Errors
    /// It is neither, broken, not of this family, or fused for the other head.
    pub fn from_bytes(bytes: &[u8], head: Head) -> Result<Self, WeightsError> {
        let model = match Network::from_bytes(bytes)? {
            Network::Fused(model) => model,
            Network::Trainable(model) => Self {
                detector: model.detector.fused(head)?,
                meta: model.meta,
            },
        };
        match model.detector.head() {
            have if have == head => Ok(model),
            have => Err(WeightsError::Head { have, asked: head }),
        }
    }

    fn from_file(file: &File) -> Result<Self, WeightsError> {
        let detector = FusedDetector::from_weights(&file.weights).map_err(|error| file.refusal(error))?;
        let meta = file.describe(detector.config())?;
        Ok(Self { detector, meta })
    }

    /// The bytes of a fused `.safetensors` file.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        write(
            &WeightMap::of(self.detector.state())?,
            Some(&self.meta),
            &HashMap::new(),
        )
    }
}

/// A network as its file has it.
pub enum Network {
    /// With both heads and its batch normalisation.
    Trainable(Model),
    /// Folded, with one head.
    Fused(FusedModel),
}

impl Network {
    /// Reads a `.safetensors` or `.pt` file.
    ///
    /// # Errors
    /// It is neither, broken, or not of this family.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = read_any(bytes)?;
        if file.weights.is_fused() {
            FusedModel::from_file(&file).map(Self::Fused)
        } else {
            Model::from_file(&file).map(Self::Trainable)
        }
    }

    /// The bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let meta = self.meta().rewritten();
        write(&WeightMap::of(self.state())?, Some(&meta), &HashMap::new())
    }

    /// The bytes of a `.pt` file: a state dictionary that PyTorch loads.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_pt_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        write_pt(&WeightMap::of(self.state())?, &self.meta().rewritten())
    }

    /// Its description.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Trainable(model) => &model.meta,
            Self::Fused(model) => &model.meta,
        }
    }

    /// Its tensors by name.
    pub fn state(&self) -> &State {
        match self {
            Self::Trainable(model) => model.detector.state(),
            Self::Fused(model) => model.detector.state(),
        }
    }
}
