//! Mixed precision: operations that gain from 16 bits take their inputs and weights in them.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::Error;
use crate::ffi::{self, AutocastState};
use std::ffi::c_int;
use std::marker::PhantomData;
use tch::Device;

/// In what precision convolutions and matrix products run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Inputs as they are: float32 throughout.
    Float32,
    /// Inputs cast to bfloat16 (the exponent range of float32, so no loss scaling); accumulation stays float32.
    BFloat16,
    /// Inputs cast to float16: finer than bfloat16, but gradients fall out of its range unless the loss is scaled up.
    Float16,
}

/// Runs `body` with autocast of `device` set to `precision`, on this thread, and puts the former state back, also when
/// `body` panics. Regions nest: [`Precision::Float32`] inside a 16-bit region turns autocast off. Leaving the outermost
/// region drops the cached casts of weights, so weights may change between regions, never inside one.
///
/// # Errors
/// libtorch refused to enter the region; `body` has not run then.
pub fn with_autocast<T>(device: Device, precision: Precision, body: impl FnOnce() -> T) -> Result<T, Error> {
    let region = Region::enter(device, precision)?;
    let value = body();
    drop(region);
    Ok(value)
}

/// Open as long as it lives. Autocast belongs to a thread, so a region must not leave it: hence the raw pointer.
struct Region {
    previous: AutocastState,
    _of_this_thread: PhantomData<*const ()>,
}

impl Region {
    fn enter(device: Device, precision: Precision) -> Result<Self, Error> {
        let mut previous = AutocastState::default();
        let bits16 = match precision {
            Precision::Float32 => 0,
            Precision::BFloat16 => 1,
            Precision::Float16 => 2,
        };
        // SAFETY: `previous` is ours and laid out as the shim's struct.
        unsafe {
            ffi::check(
                "autocast",
                ffi::azt_autocast_enter(c_int::from(device.is_cuda()), bits16, &mut previous),
            )?;
        }
        Ok(Self {
            previous,
            _of_this_thread: PhantomData,
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `previous` was filled by the matching enter on this thread. Setting flags back does not fail, and
        // there is nobody to tell in a drop.
        let _ = unsafe { ffi::check("autocast", ffi::azt_autocast_leave(&self.previous)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    fn product_kind() -> Kind {
        let a = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        a.matmul(&a).kind()
    }

    #[test]
    fn products_inside_are_of_16_bits_and_outside_float32() {
        assert_eq!(product_kind(), Kind::Float);
        let inside = with_autocast(Device::Cpu, Precision::BFloat16, product_kind).unwrap();
        assert_eq!(inside, Kind::BFloat16);
        let inside = with_autocast(Device::Cpu, Precision::Float16, product_kind).unwrap();
        assert_eq!(inside, Kind::Half);
        assert_eq!(product_kind(), Kind::Float);
    }

    #[test]
    fn a_float32_region_inside_turns_it_off_and_back_on() {
        let kinds = with_autocast(Device::Cpu, Precision::BFloat16, || {
            let inner = with_autocast(Device::Cpu, Precision::Float32, product_kind).unwrap();
            (inner, product_kind())
        });
        assert_eq!(kinds.unwrap(), (Kind::Float, Kind::BFloat16));
    }

    #[test]
    fn a_panic_inside_leaves_it_off() {
        let caught =
            std::panic::catch_unwind(|| with_autocast(Device::Cpu, Precision::BFloat16, || panic!("within")));
        assert!(caught.is_err());
        assert_eq!(product_kind(), Kind::Float);
    }

    #[test]
    fn a_weight_changed_between_regions_is_seen() {
        let mut weight = Tensor::ones([1, 1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let x = Tensor::ones([1, 1], (Kind::Float, Device::Cpu));
        let product = |w: &Tensor| {
            with_autocast(Device::Cpu, Precision::BFloat16, || {
                x.matmul(w).double_value(&[0, 0])
            })
            .unwrap()
        };
        assert_eq!(product(&weight), 1.0);
        let _ = tch::no_grad(|| weight.fill_(3.0));
        assert_eq!(product(&weight), 3.0);
    }
}
