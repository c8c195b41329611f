//! What the GPUs are at, by a driver that is opened once.

use gpu::{Gpu, Nvml, NvmlError};

/// The driver.
pub(super) struct Gpus(Result<Nvml, String>);

impl Gpus {
    pub(super) fn open() -> Self {
        Self(gpu::open().map_err(|error| match error {
            NvmlError::LibloadingError(_) => "no GPU: NVIDIA's driver is not installed".to_owned(),
            other => format!("no GPU answers: {other}"),
        }))
    }

    pub(super) fn look(&self) -> Result<Vec<Gpu>, String> {
        let nvml = self.0.as_ref().map_err(Clone::clone)?;
        gpu::all(nvml).map_err(|error| error.to_string())
    }
}
