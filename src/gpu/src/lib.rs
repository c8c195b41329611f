//! NVIDIA's GPUs as their driver sees them: what there is, and what it is at. **Not yet run on a GPU.**
//!
//! By the driver's management library (NVML), which is looked for while the program runs: where it is missing, there is no
//! driver, and nothing else is wrong.

pub use nvml_wrapper::{Nvml, error::NvmlError};

use nvml_wrapper::{Device, enum_wrappers::device::TemperatureSensor};
use serde::{Deserialize, Serialize};

/// Where the library is: by the system's own search, and where NixOS puts it.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "/run/opengl-driver/lib/libnvidia-ml.so.1"];

/// Opens the library and asks the driver to answer.
///
/// # Errors
/// There is none ([`NvmlError::LibloadingError`]), or it does not answer.
pub fn open() -> Result<Nvml, NvmlError> {
    LIBRARIES
        .iter()
        .map(|library| Nvml::builder().lib_path(library.as_ref()).init())
        .find(|opened| !matches!(opened, Err(NvmlError::LibloadingError(_))))
        .unwrap_or_else(Nvml::init)
}

/// A GPU now. What the driver does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its model.
    pub name: String,
    /// Processor time in use, in percent.
    pub busy_pct: Option<u32>,
    /// Memory in use.
    pub used_bytes: Option<u64>,
    /// Memory in all.
    pub total_bytes: Option<u64>,
    /// Temperature in °C.
    pub celsius: Option<u32>,
    /// Power in watts.
    pub watts: Option<f64>,
    /// What the driver said where it could not be read.
    pub error: Option<String>,
}

impl Gpu {
    /// The GPU of this number.
    #[must_use]
    pub fn read(nvml: &Nvml, index: u32) -> Self {
        nvml.device_by_index(index)
            .and_then(|device| Self::of(&device))
            .unwrap_or_else(|error| Self {
                error: Some(error.to_string()),
                ..Self::default()
            })
    }

    /// Every GPU has a name and a temperature: one that tells neither is lost.
    fn of(device: &Device<'_>) -> Result<Self, NvmlError> {
        let memory = device.memory_info().ok();
        Ok(Self {
            name: device.name()?,
            busy_pct: device.utilization_rates().ok().map(|rates| rates.gpu),
            used_bytes: memory.as_ref().map(|memory| memory.used),
            total_bytes: memory.as_ref().map(|memory| memory.total),
            celsius: Some(device.temperature(TemperatureSensor::Gpu)?),
            watts: device
                .power_usage()
                .ok()
                .map(|milliwatts| f64::from(milliwatts) / 1e3),
            error: None,
        })
    }
}

/// Its model.
///
/// # Errors
/// The driver does not tell.
pub fn name(nvml: &Nvml, index: u32) -> Result<String, NvmlError> {
    nvml.device_by_index(index)?.name()
}

/// Its temperature in °C.
///
/// # Errors
/// The driver does not tell.
pub fn celsius(nvml: &Nvml, index: u32) -> Result<u32, NvmlError> {
    nvml.device_by_index(index)?.temperature(TemperatureSensor::Gpu)
}

/// All of them, in the driver's order.
///
/// # Errors
/// The driver cannot say how many there are.
pub fn all(nvml: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    Ok((0..nvml.device_count()?)
        .map(|index| Gpu::read(nvml, index))
        .collect())
}
