//! What a weights file says of its network.

use super::WeightsError;
use crate::net::{Config, Scale};
use serde::{Deserialize, Serialize};

/// Version of the metadata that this code writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Metadata key of [`Meta`] in a safetensors file.
pub const META_KEY: &str = "azaion";

/// What a weights file says of its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// Size of the network.
    pub scale: Scale,
    /// Number of classes.
    pub nc: usize,
    /// Class names, one a class, by index.
    pub names: Vec<String>,
    /// Side of the training images in pixels; absent where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imgsz: Option<u32>,
    /// Program and version that wrote the file.
    pub created_by: String,
}

impl Meta {
    /// Describes a network whose classes have these names.
    ///
    /// # Errors
    /// Not one name a class.
    pub fn new(config: Config, names: Vec<String>, imgsz: Option<u32>) -> Result<Self, WeightsError> {
        let meta = Self {
            format: FORMAT,
            scale: config.scale(),
            nc: config.nc(),
            names,
            imgsz,
            created_by: this_program(),
        };
        meta.checked(config)
    }

    /// For weights that come without a description: the names that are known, if there is one a class, else numbers.
    pub(super) fn guessed(config: Config, known: &[String], imgsz: Option<u32>) -> Self {
        let names = if known.len() == config.nc() {
            known.to_vec()
        } else {
            (0..config.nc()).map(|class| class.to_string()).collect()
        };
        let created_by = "unknown".to_owned();
        Self {
            format: FORMAT,
            scale: config.scale(),
            nc: config.nc(),
            names,
            imgsz,
            created_by,
        }
    }

    /// The same for a file that this program writes.
    pub(super) fn rewritten(&self) -> Self {
        Self {
            format: FORMAT,
            created_by: this_program(),
            ..self.clone()
        }
    }

    pub(super) fn parse(json: &str) -> Result<Self, WeightsError> {
        let broken = |error: serde_json::Error| WeightsError::Meta(error.to_string());
        let value: serde_json::Value = serde_json::from_str(json).map_err(broken)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(1) => serde_json::from_value(value).map_err(broken),
            Some(found) => Err(WeightsError::Format { found }),
            None => Err(WeightsError::Meta("it has no format number".to_owned())),
        }
    }

    pub(super) fn to_json(&self) -> Result<String, WeightsError> {
        serde_json::to_string(self).map_err(|error| WeightsError::Meta(error.to_string()))
    }

    /// The same, if it agrees with itself and with the tensors.
    pub(super) fn checked(self, config: Config) -> Result<Self, WeightsError> {
        if self.names.len() != self.nc {
            return Err(WeightsError::Meta(format!(
                "{} names for {} classes",
                self.names.len(),
                self.nc
            )));
        }
        if (self.scale, self.nc) != (config.scale(), config.nc()) {
            let (tensors, nc) = (config.scale(), config.nc());
            let says = format!("it says yolo26{} with {} classes", self.scale, self.nc);
            return Err(WeightsError::Meta(format!(
                "{says}, the tensors are yolo26{tensors} with {nc}"
            )));
        }
        Ok(self)
    }
}

fn this_program() -> String {
    format!("azaion {}", env!("CARGO_PKG_VERSION"))
}
