//! Memory formats of image tensors.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::Error;
use crate::ffi;
use std::ffi::c_int;
use std::ptr;
use tch::Tensor;

/// How the elements of an N x C x H x W tensor lie in memory. The sizes and the values do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFormat {
    /// Plane after plane: libtorch's default.
    Contiguous,
    /// All channels of a pixel side by side, N x H x W x C: what the fast convolution kernels work in.
    ChannelsLast,
}

impl MemoryFormat {
    fn code(self) -> c_int {
        c_int::from(self == Self::ChannelsLast)
    }

    /// The tensor in this format: itself (sharing storage) if it has it, else a copy. Gradients flow through.
    ///
    /// # Errors
    /// The tensor has not four dimensions (channels last), or memory ran out.
    pub fn apply(self, tensor: &Tensor) -> Result<Tensor, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: the tensor outlives the call, `out` is ours; on success it is a new tensor that nobody else owns.
        unsafe {
            ffi::check(
                "contiguous",
                ffi::azt_contiguous(tensor.as_ptr(), self.code(), &mut out),
            )?;
            Ok(Tensor::from_ptr(out))
        }
    }

    /// Whether the tensor lies in memory in this format, without gaps. Both answers are true where they mean the same
    /// (a single channel, or a single pixel).
    ///
    /// # Errors
    /// The tensor is undefined.
    pub fn is_of(self, tensor: &Tensor) -> Result<bool, Error> {
        let mut out = 0;
        // SAFETY: the tensor outlives the call and `out` is ours.
        unsafe {
            ffi::check(
                "is_contiguous",
                ffi::azt_is_contiguous(tensor.as_ptr(), self.code(), &mut out),
            )?
        };
        Ok(out != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn channels_last_changes_strides_and_not_values() {
        let planes = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).view([2, 3, 4, 5]);
        let pixels = MemoryFormat::ChannelsLast.apply(&planes).unwrap();
        assert_eq!(pixels.size(), [2, 3, 4, 5]);
        assert_eq!(pixels.stride(), [60, 1, 15, 3]);
        assert!(
            MemoryFormat::ChannelsLast.is_of(&pixels).unwrap()
                && !MemoryFormat::Contiguous.is_of(&pixels).unwrap()
        );
        assert!(
            MemoryFormat::Contiguous.is_of(&planes).unwrap()
                && !MemoryFormat::ChannelsLast.is_of(&planes).unwrap()
        );
        assert!(pixels.equal(&planes));
        assert!(MemoryFormat::Contiguous.apply(&pixels).unwrap().equal(&planes));
    }

    #[test]
    fn a_tensor_already_in_the_format_is_shared() {
        let planes = Tensor::zeros([1, 2, 3, 3], (Kind::Float, Device::Cpu));
        assert_eq!(
            MemoryFormat::Contiguous.apply(&planes).unwrap().data_ptr(),
            planes.data_ptr()
        );
    }

    #[test]
    fn channels_last_needs_four_dimensions() {
        let flat = Tensor::zeros([6], (Kind::Float, Device::Cpu));
        let error = MemoryFormat::ChannelsLast.apply(&flat).unwrap_err();
        assert!(error.to_string().contains("rank 4"), "{error}");
    }
}
