//! What the GPUs are at, by NVIDIA's driver.

use crate::driver;
use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};

/// One GPU now. What the driver does not tell is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gpu {
    pub name: String,
    pub use_percent: Option<u32>,
    pub used_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    pub celsius: Option<u32>,
    pub watts: Option<f64>,
}

/// The driver, opened once.
pub(super) struct Gpus(Result<Nvml, String>);

impl Gpus {
    pub(super) fn open() -> Self {
        Self(driver::open().map_err(|error| match error {
            NvmlError::LibloadingError(_) => "no GPU: NVIDIA's driver is not installed".to_owned(),
            other => format!("no GPU answers: {other}"),
        }))
    }

    pub(super) fn look(&self) -> Result<Vec<Gpu>, String> {
        let nvml = self.0.as_ref().map_err(Clone::clone)?;
        let count = nvml.device_count().map_err(|error| error.to_string())?;
        let gpus = (0..count).map(|index| nvml.device_by_index(index).map(|device| gpu(&device)));
        gpus.collect::<Result<_, NvmlError>>()
            .map_err(|error| error.to_string())
    }
}

fn gpu(device: &Device<'_>) -> Gpu {
    let memory = device.memory_info().ok();
    Gpu {
        name: device.name().unwrap_or_else(|_| "GPU".to_owned()),
        use_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        used_bytes: memory.as_ref().map(|memory| memory.used),
        total_bytes: memory.as_ref().map(|memory| memory.total),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        watts: device
            .power_usage()
            .ok()
            .map(|milliwatts| f64::from(milliwatts) / 1e3),
    }
}
