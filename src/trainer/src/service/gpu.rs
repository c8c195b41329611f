//! The GPU that a run uses, as the driver sees it: its name, and how hot it is. **Not yet run on a GPU**: tests have a library
//! of their own in the driver's place.
//!
//! The driver counts GPUs as CUDA does, unless CUDA_VISIBLE_DEVICES or CUDA_DEVICE_ORDER say otherwise; the units set neither.

use gpu::{Nvml, NvmlError};
use std::sync::Arc;
use train::Thermometer;

/// A GPU, by the driver's library.
#[derive(Debug)]
pub(super) struct Gpu {
    nvml: Nvml,
    index: u32,
}

impl Gpu {
    /// The GPU that the device is; none for the processor, or where no driver answers, which is told.
    pub(super) fn of(device: tch::Device) -> Option<Arc<Self>> {
        let tch::Device::Cuda(index) = device else {
            return None;
        };
        let gpu = gpu::open().map(|nvml| Self {
            nvml,
            index: index as u32,
        });
        match gpu {
            Ok(gpu) => Some(Arc::new(gpu)),
            Err(error) => {
                tracing::warn!(%error, "the GPU's temperature is not watched: its driver does not answer");
                None
            }
        }
    }

    /// What it calls itself.
    pub(super) fn name(&self) -> Result<String, NvmlError> {
        gpu::name(&self.nvml, self.index)
    }
}

impl Thermometer for Gpu {
    fn celsius(&self) -> Option<u32> {
        gpu::celsius(&self.nvml, self.index).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path, process::Command};

    /// A library that answers for one GPU, whose temperature stands in the file that the environment names.
    const LIBRARY: &str = r#"
        #include <stdio.h>
        #include <string.h>
        int nvmlInit_v2(void) { return 0; }
        int nvmlInitWithFlags(unsigned flags) { return 0; }
        int nvmlShutdown(void) { return 0; }
        const char *nvmlErrorString(int code) { return "a fake error"; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
            static int one;
            if (index != 0) return 2;
            *device = &one;
            return 0;
        }
        int nvmlDeviceGetName(void *device, char *name, unsigned length) {
            strncpy(name, "A GPU of tests", length);
            return 0;
        }
        int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
            FILE *file = fopen(READING, "r");
            if (!file) return 15;
            int read = fscanf(file, "%u", celsius);
            fclose(file);
            return read == 1 ? 0 : 999;
        }
    "#;

    fn library(folder: &Path, reading: &Path) -> Option<std::path::PathBuf> {
        let (source, library) = (folder.join("nvml.c"), folder.join("libnvidia-ml.so.1"));
        fs::write(&source, LIBRARY).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .args([&library, &source])
            .arg(format!("-DREADING=\"{}\"", reading.display()))
            .status();
        match built {
            Ok(status) if status.success() => Some(library),
            other => {
                eprintln!(
                    "skipped: the_drivers_library_tells_name_and_temperature: no C compiler: {other:?}"
                );
                None
            }
        }
    }

    #[test]
    fn the_drivers_library_tells_name_and_temperature() {
        let folder = tempfile::tempdir().unwrap();
        let reading = folder.path().join("celsius");
        let Some(library) = library(folder.path(), &reading) else {
            return;
        };
        let of = |index| Gpu {
            nvml: Nvml::builder().lib_path(library.as_os_str()).init().unwrap(),
            index,
        };
        let gpu = of(0);
        assert_eq!(gpu.name().unwrap(), "A GPU of tests");
        assert_eq!(gpu.celsius(), None, "a GPU that is lost says nothing");
        for (text, celsius) in [("91", Some(91)), ("79", Some(79)), ("hot", None)] {
            fs::write(&reading, text).unwrap();
            assert_eq!(gpu.celsius(), celsius, "{text}");
        }
        assert_eq!(of(1).celsius(), None);
    }

    #[test]
    fn the_processor_is_no_gpu() {
        assert!(Gpu::of(tch::Device::Cpu).is_none());
    }
}
