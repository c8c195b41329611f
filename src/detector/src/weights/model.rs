//! Networks from weights files, and back.

use super::{Meta, WeightMap, WeightsError, read_any, write, write_pt};
use crate::net::{Detector, FusedDetector, Head};
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
        let file = read_any(bytes)?;
        let detector = Detector::from_weights(&file.weights)?;
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
        let file = read_any(bytes)?;
        let detector = if file.weights.is_fused() {
            FusedDetector::from_weights(&file.weights)?
        } else {
            Detector::from_weights(&file.weights)?.fused(head)?
        };
        if detector.head() != head {
            return Err(WeightsError::Head {
                have: detector.head(),
                asked: head,
            });
        }
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
