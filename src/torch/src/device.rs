//! Where a network lives: on the processor, or on a CUDA device; and how values get there and back.
//!
//! To and from a CUDA device everything goes through pinned memory, which the device reads and writes by itself: an upload
//! returns at once (libtorch keeps the memory until it is done), a download waits once for all its tensors. On the CPU the
//! ways are none: the tensors are handed through, and nothing is copied.
//!
//! Not yet run on a GPU: what only a GPU can show is tested where there is one.
#![expect(
    unsafe_code,
    reason = "calls into the C++ shim, and a view of bytes for the length of a copy"
)]

use crate::ffi;
use crate::slice::fills;
use crate::{During, Error};
use std::ffi::c_int;
use std::fmt;
use std::ptr;
use std::str::FromStr;
use tch::{Device, Kind, Tensor};

/// The device asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number; nothing else will do.
    Cuda(usize),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(text.to_owned())),
        }
    }
}

/// A device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No device has that name.
    #[error("device {0:?} is not known; give auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// libtorch is the one for processors.
    #[error(
        "device cuda:{0}: this libtorch was built without CUDA; point LIBTORCH at one with CUDA and build azaion again, \
         or give --device cpu"
    )]
    WithoutCuda(usize),
    /// There is no GPU, or none that the driver lets this process see.
    #[error(
        "device cuda:{0}: libtorch finds no CUDA device; see what nvidia-smi lists and what CUDA_VISIBLE_DEVICES leaves of \
         it, or give --device cpu"
    )]
    NoDevice(usize),
    /// There are GPUs, but fewer.
    #[error("device cuda:{asked}: libtorch finds {found} CUDA devices, counted from 0; give a lower number")]
    TooFew {
        /// The device asked for.
        asked: usize,
        /// Devices there are.
        found: usize,
    },
    /// libtorch could not tell.
    #[error(transparent)]
    Torch(#[from] Error),
}

/// What this libtorch has of CUDA.
#[derive(Clone, Copy)]
struct Cuda {
    built: bool,
    devices: usize,
}

impl Cuda {
    fn found() -> Result<Self, Error> {
        let (mut built, mut devices) = (0, 0);
        // SAFETY: both numbers are ours.
        unsafe { ffi::check("cuda devices", ffi::azt_cuda_devices(&mut built, &mut devices))? };
        Ok(Self {
            built: built != 0,
            devices: usize::try_from(devices).unwrap_or(0),
        })
    }
}

impl DeviceChoice {
    /// The device, if it is there.
    ///
    /// # Errors
    /// A CUDA device was asked for by name and is not there; the text says what is.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        self.among(Cuda::found()?)
    }

    fn among(self, cuda: Cuda) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if cuda.devices == 0 => Ok(Device::Cpu),
            Self::Auto => Ok(Device::Cuda(0)),
            Self::Cuda(asked) if asked < cuda.devices => Ok(Device::Cuda(asked)),
            Self::Cuda(asked) if !cuda.built => Err(DeviceError::WithoutCuda(asked)),
            Self::Cuda(asked) if cuda.devices == 0 => Err(DeviceError::NoDevice(asked)),
            Self::Cuda(asked) => Err(DeviceError::TooFew {
                asked,
                found: cuda.devices,
            }),
        }
    }
}

/// A new tensor on `device` of the given sizes, from little-endian element bytes in logical order. On a CUDA device the
/// copy may still be under way when this returns; whatever is asked of the tensor there waits for it.
///
/// # Errors
/// As [`crate::from_bytes`], or the device's memory ran out.
pub fn upload(bytes: &[u8], sizes: &[i64], kind: Kind, device: Device) -> Result<Tensor, Error> {
    if device == Device::Cpu {
        return crate::from_bytes(bytes, sizes, kind);
    }
    fills("upload", bytes.len(), sizes, kind)?;
    // SAFETY: `fills` checked that the bytes are as many as the sizes ask for. The tensor reads them only while they
    // are borrowed: it is copied into pinned memory in the next line, and dropped before this function returns.
    let view = unsafe { Tensor::f_from_blob(bytes.as_ptr(), sizes, &strides(sizes), kind, Device::Cpu) };
    let pinned = view
        .and_then(|view| view.f_pin_memory(device))
        .during("pin_memory")?;
    to_device(&pinned, device)
}

/// Strides of a contiguous tensor.
fn strides(sizes: &[i64]) -> Vec<i64> {
    let mut strides: Vec<i64> = sizes
        .iter()
        .rev()
        .scan(1, |step, &size| {
            let stride = *step;
            *step *= size.max(1);
            Some(stride)
        })
        .collect();
    strides.reverse();
    strides
}

/// The tensor on `device`: itself if it is there, else a copy, which from pinned memory may still be under way.
///
/// # Errors
/// There is no such device, or its memory ran out.
pub fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor, Error> {
    tensor
        .f_kind()
        .and_then(|kind| tensor.f_to_device_(device, kind, true, false))
        .during("to device")
}

/// The tensors in host memory, ready to be read: themselves if they are there, else copies in pinned memory, after one
/// wait for all of them.
///
/// # Errors
/// Memory ran out, or work given to the device before failed.
pub fn to_host<const N: usize>(tensors: [&Tensor; N]) -> Result<[Tensor; N], Error> {
    let mut host = tensors.map(Tensor::shallow_clone);
    let mut waits_for = None;
    for tensor in &mut host {
        // An undefined tensor has no kind, which is an error; asked for its device, tch would panic.
        tensor.f_kind().during("to host")?;
        if let Device::Cuda(index) = tensor.device() {
            // A copy to the host that does not block is one into pinned memory.
            *tensor = to_device(tensor, Device::Cpu)?;
            waits_for = Some(index);
        }
    }
    if let Some(index) = waits_for {
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: a call without pointers.
        unsafe { ffi::check("to host", ffi::azt_cuda_synchronize(index))? };
    }
    Ok(host)
}

/// A float32 tensor in host memory whose values don't matter; pinned if it is to travel to a CUDA device.
///
/// # Errors
/// Memory ran out.
pub fn host_buffer(sizes: &[i64], bound_for: Device) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: the sizes are `sizes.len()` numbers; on success `out` is a new tensor that nobody else owns.
    unsafe {
        ffi::check(
            "host buffer",
            ffi::azt_host_buffer(
                sizes.as_ptr(),
                sizes.len(),
                c_int::from(bound_for.is_cuda()),
                &mut out,
            ),
        )?;
        Ok(Tensor::from_ptr(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{slice_f32, slice_f32_mut};

    #[test]
    fn names_are_read_and_written_alike() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:one", "CPU"] {
            let error = name.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn auto_takes_what_there_is_and_a_name_insists() {
        let (none, unseen, two) = (
            Cuda {
                built: false,
                devices: 0,
            },
            Cuda {
                built: true,
                devices: 0,
            },
            Cuda {
                built: true,
                devices: 2,
            },
        );
        let auto = DeviceChoice::Auto;
        assert_eq!(auto.among(none).unwrap(), Device::Cpu);
        assert_eq!(auto.among(unseen).unwrap(), Device::Cpu);
        assert_eq!(auto.among(two).unwrap(), Device::Cuda(0));
        assert_eq!(DeviceChoice::Cpu.among(two).unwrap(), Device::Cpu);
        assert_eq!(DeviceChoice::Cuda(1).among(two).unwrap(), Device::Cuda(1));
        let refused = |choice: DeviceChoice, cuda| choice.among(cuda).unwrap_err().to_string();
        assert!(refused(DeviceChoice::Cuda(0), none).contains("LIBTORCH"));
        assert!(refused(DeviceChoice::Cuda(0), unseen).contains("nvidia-smi"));
        assert!(refused(DeviceChoice::Cuda(2), two).contains("finds 2 CUDA devices"));
    }

    #[test]
    fn this_machine_is_asked() {
        let cuda = Cuda::found().unwrap();
        let expected = if cuda.devices > 0 {
            Device::Cuda(0)
        } else {
            Device::Cpu
        };
        assert_eq!(DeviceChoice::Auto.resolve().unwrap(), expected);
        assert!(DeviceChoice::Cuda(cuda.devices).resolve().is_err());
    }

    #[test]
    fn on_the_cpu_nothing_is_copied() {
        let mut buffer = host_buffer(&[2, 3], Device::Cpu).unwrap();
        slice_f32_mut(&mut buffer).unwrap().fill(1.5);
        let [there] = to_host([&buffer]).unwrap();
        let back = to_device(&there, Device::Cpu).unwrap();
        assert_eq!(
            (there.data_ptr(), back.data_ptr()),
            (buffer.data_ptr(), buffer.data_ptr())
        );
        assert_eq!(slice_f32(&back).unwrap(), [1.5; 6]);
    }

    #[test]
    fn uploads_check_their_length() {
        let tensor = upload(&[1, 2, 3, 4, 5, 6], &[2, 3], Kind::Uint8, Device::Cpu).unwrap();
        assert_eq!(tensor.int64_value(&[1, 0]), 4);
        for device in [Device::Cpu, Device::Cuda(0)] {
            let error = upload(&[1, 2, 3], &[2, 3], Kind::Uint8, device).unwrap_err();
            assert!(error.to_string().contains("3 bytes cannot fill"), "{error}");
        }
    }

    #[test]
    fn strides_are_those_of_contiguous_memory() {
        for sizes in [&[2, 3, 4][..], &[5], &[]] {
            assert_eq!(
                strides(sizes),
                Tensor::zeros(sizes, (Kind::Float, Device::Cpu)).stride()
            );
        }
    }

    #[test]
    fn values_survive_the_way_to_a_gpu_and_back() {
        let Ok(device @ Device::Cuda(_)) = DeviceChoice::Cuda(0).resolve() else {
            println!("skipped: no CUDA device");
            return;
        };
        let there = upload(&[7, 8, 9], &[3], Kind::Uint8, device).unwrap();
        let mut buffer = host_buffer(&[3], device).unwrap();
        assert!(buffer.is_pinned(device));
        slice_f32_mut(&mut buffer).unwrap().fill(0.5);
        let sum = there.totype(Kind::Float) + to_device(&buffer, device).unwrap();
        let [sum] = to_host([&sum]).unwrap();
        assert_eq!(slice_f32(&sum).unwrap(), [7.5, 8.5, 9.5]);
    }
}
