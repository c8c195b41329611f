//! NVIDIA's driver, by its management library, which is looked for while the program runs.

use nvml_wrapper::{Nvml, error::NvmlError};

/// Where the library is: by the system's own search, and where NixOS puts it.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "/run/opengl-driver/lib/libnvidia-ml.so.1"];

/// Opens the library and asks the driver to answer.
///
/// # Errors
/// There is none, or it does not answer.
pub fn open() -> Result<Nvml, NvmlError> {
    LIBRARIES
        .iter()
        .map(|library| Nvml::builder().lib_path(library.as_ref()).init())
        .find(|opened| !matches!(opened, Err(NvmlError::LibloadingError(_))))
        .unwrap_or_else(Nvml::init)
}
