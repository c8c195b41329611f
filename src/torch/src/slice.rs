//! Float tensors as slices, and tensors from slices, without a detour through single elements.
//!
//! A tensor handle is a shared pointer, so Rust cannot see every alias of its storage. The contract that keeps the slices
//! sound, and how far it is enforced, is on each function; a tensor never leaves its thread by reference (it is not
//! `Sync`), so only code of the same thread can break it.
#![expect(unsafe_code, reason = "views of libtorch's storage")]

use crate::ffi;
use crate::{During, Error};
use std::ffi::c_int;
use std::ptr;
use tch::{Kind, Tensor};

/// Which tensors a view takes.
#[derive(Clone, Copy)]
enum Order {
    /// Contiguous ones: elements in logical order.
    Logical,
    /// Any without gaps or overlaps: elements in the order of memory.
    Memory,
}

fn view(operation: &'static str, tensor: &Tensor, order: Order) -> Result<(*mut f32, usize), Error> {
    let (mut data, mut count) = (ptr::null_mut(), 0);
    let any_order = c_int::from(matches!(order, Order::Memory));
    // SAFETY: the tensor outlives the call, both outputs are ours.
    unsafe {
        ffi::check(
            operation,
            ffi::azt_f32_view(tensor.as_ptr(), any_order, &mut data, &mut count),
        )?
    };
    let count = usize::try_from(count).map_err(|_| Error::new(operation, "a negative number of elements"))?;
    let data = if count == 0 {
        ptr::NonNull::dangling().as_ptr()
    } else {
        data
    };
    Ok((data, count))
}

/// The values of a contiguous float32 CPU tensor, in logical order, without a copy.
///
/// While the slice lives nothing may write to the storage through another handle (an in-place operation on a clone or a
/// view): that is the caller's part of the contract.
///
/// # Errors
/// The tensor is of another kind, on another device, or not contiguous.
pub fn slice_f32(tensor: &Tensor) -> Result<&[f32], Error> {
    let (data, count) = view("slice_f32", tensor, Order::Logical)?;
    // SAFETY: the shim checked that `count` float32 elements lie at `data` without gaps; the borrow keeps the storage
    // alive, and writes through other handles are excluded by the contract.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// The values of a float32 CPU tensor in the order in which they lie in memory: for passes over tensors of equal
/// strides (a parameter, its gradient and its optimiser state) in whatever memory format. The contract of [`slice_f32`]
/// holds.
///
/// # Errors
/// The tensor is of another kind, on another device, or has gaps or overlaps in memory (an expanded or sliced view).
pub fn dense_f32(tensor: &Tensor) -> Result<&[f32], Error> {
    let (data, count) = view("dense_f32", tensor, Order::Memory)?;
    // SAFETY: as in `slice_f32`; dense and non-overlapping storage is `count` elements from the first on.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// The values of a contiguous float32 CPU tensor, for writing.
///
/// Only for a tensor that nobody else can reach: the call fails if another handle, view or graph shares the storage, and
/// the exclusive borrow keeps new ones from being made. For shared tensors (parameters) see [`update_f32`].
///
/// # Errors
/// As [`slice_f32`], or the storage is shared.
pub fn slice_f32_mut(tensor: &mut Tensor) -> Result<&mut [f32], Error> {
    let (data, count) = view("slice_f32_mut", tensor, Order::Logical)?;
    let mut sole = 0;
    // SAFETY: the tensor outlives the call and `sole` is ours.
    unsafe {
        ffi::check(
            "slice_f32_mut",
            ffi::azt_is_sole_owner(tensor.as_ptr(), &mut sole),
        )?
    };
    if sole == 0 {
        return Err(Error::new(
            "slice_f32_mut",
            "another handle shares the storage; use update_f32, or copy the tensor",
        ));
    }
    // SAFETY: the shim checked kind, device and density, and that this handle is the only way to the storage; a new one
    // needs a borrow of `tensor`, which the returned slice holds exclusively.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, count) })
}

/// Overwrites a float32 CPU tensor in place, also one that modules and registry share. `body` gets the values in the
/// order of memory ([`dense_f32`]). Autograd is told of the write; no graph is recorded.
///
/// The slice exists only during `body`. `body` must be `Sync`, and tensor handles are not, so it cannot capture one and
/// reach the storage by the back door; the caller's part of the contract is to capture no [`slice_f32`] of the same
/// storage.
///
/// # Errors
/// As [`dense_f32`].
pub fn update_f32<T>(tensor: &Tensor, body: impl FnOnce(&mut [f32]) -> T + Sync) -> Result<T, Error> {
    let (data, count) = view("update_f32", tensor, Order::Memory)?;
    // SAFETY: the shim checked kind, device and density; the contract above keeps other accesses out while `body` runs.
    let value = body(unsafe { std::slice::from_raw_parts_mut(data, count) });
    // SAFETY: the tensor outlives the call.
    unsafe { ffi::check("update_f32", ffi::azt_mark_written(tensor.as_ptr()))? };
    Ok(value)
}

/// [`update_f32`] of many tensors at once: `body` gets the values of each, in their order, and may spread them over
/// threads. The contract of [`update_f32`] holds.
///
/// # Errors
/// As [`update_f32`], or two of the tensors share memory.
pub fn update_all_f32<T>(
    tensors: &[&Tensor],
    body: impl FnOnce(Vec<&mut [f32]>) -> T + Sync,
) -> Result<T, Error> {
    let views = tensors
        .iter()
        .map(|tensor| view("update_all_f32", tensor, Order::Memory))
        .collect::<Result<Vec<_>, _>>()?;
    let mut places: Vec<_> = views
        .iter()
        .map(|&(data, count)| (data as usize, count))
        .collect();
    places.sort_unstable();
    if places
        .windows(2)
        .any(|pair| pair[0].0 + pair[0].1 * size_of::<f32>() > pair[1].0)
    {
        return Err(Error::new("update_all_f32", "two tensors share memory"));
    }
    let slices = views
        .into_iter()
        // SAFETY: the shim checked kind, device and density of each, and no two overlap; the contract of `update_f32`
        // keeps other accesses out while `body` runs.
        .map(|(data, count)| unsafe { std::slice::from_raw_parts_mut(data, count) })
        .collect();
    let value = body(slices);
    for tensor in tensors {
        // SAFETY: the tensor outlives the call.
        unsafe { ffi::check("update_all_f32", ffi::azt_mark_written(tensor.as_ptr()))? };
    }
    Ok(value)
}

/// The values of a tensor of any kind, device and memory format as float32, in logical order: always a copy.
///
/// # Errors
/// The kind has no conversion to float32, or memory ran out.
pub fn to_vec_f32(tensor: &Tensor) -> Result<Vec<f32>, Error> {
    let plain = crate::no_grad(|| {
        tensor
            .f_to(tch::Device::Cpu)?
            .f_totype(Kind::Float)?
            .f_contiguous()
    });
    slice_f32(&plain.during("to_vec_f32")?).map(<[f32]>::to_vec)
}

/// A new CPU tensor of the given sizes from little-endian element bytes in logical order.
///
/// # Errors
/// A negative size, or a number of bytes that is not the product of the sizes times the element size.
pub fn from_bytes(bytes: &[u8], sizes: &[i64], kind: Kind) -> Result<Tensor, Error> {
    fills("from_bytes", bytes.len(), sizes, kind)?;
    Tensor::f_from_data_size(bytes, sizes, kind).during("from_bytes")
}

/// Refuses a number of bytes that is not the product of the sizes times the element size.
pub(crate) fn fills(operation: &'static str, bytes: usize, sizes: &[i64], kind: Kind) -> Result<(), Error> {
    let expected = sizes.iter().try_fold(kind.elt_size_in_bytes(), |total, &size| {
        total.checked_mul(usize::try_from(size).ok()?)
    });
    if expected == Some(bytes) {
        return Ok(());
    }
    let text = format!("{bytes} bytes cannot fill a {kind:?} tensor of sizes {sizes:?}");
    Err(Error::new(operation, &text))
}

/// A new float32 CPU tensor of the given sizes from values in logical order.
///
/// # Errors
/// A negative size, or a number of values that is not the product of the sizes.
pub fn from_f32(values: &[f32], sizes: &[i64]) -> Result<Tensor, Error> {
    let count = sizes.iter().try_fold(1usize, |total, &size| {
        total.checked_mul(usize::try_from(size).ok()?)
    });
    if count != Some(values.len()) {
        let text = format!("{} values cannot fill a tensor of sizes {sizes:?}", values.len());
        return Err(Error::new("from_f32", &text));
    }
    Tensor::f_from_slice(values)
        .and_then(|flat| flat.f_view(sizes))
        .during("from_f32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFormat;
    use tch::Device;

    fn counting(sizes: &[i64]) -> Tensor {
        let count: i64 = sizes.iter().product();
        Tensor::arange(count, (Kind::Float, Device::Cpu)).view(sizes)
    }

    #[test]
    fn a_slice_is_the_storage_itself() {
        let mut tensor = counting(&[2, 3]);
        assert_eq!(slice_f32(&tensor).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let mut copy = tensor.copy();
        slice_f32_mut(&mut copy).unwrap()[4] = 40.0;
        assert_eq!(copy.double_value(&[1, 1]), 40.0);
        let _ = tensor.fill_(7.0);
        assert_eq!(slice_f32(&tensor).unwrap(), [7.0; 6]);
    }

    #[test]
    fn only_contiguous_float32_has_a_slice() {
        let tensor = counting(&[2, 3]);
        for wrong in [
            tensor.tr(),
            tensor.to_kind(Kind::Double),
            tensor.to_kind(Kind::BFloat16),
            Tensor::new(),
        ] {
            assert!(slice_f32(&wrong).is_err());
        }
        let text = slice_f32(&tensor.tr()).unwrap_err().to_string();
        assert!(
            text.contains("not contiguous") && text.contains("[3, 2]"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_tensor_has_an_empty_slice() {
        let mut empty = Tensor::zeros([0, 4], (Kind::Float, Device::Cpu));
        assert!(slice_f32(&empty).unwrap().is_empty());
        assert!(slice_f32_mut(&mut empty).unwrap().is_empty());
    }

    #[test]
    fn shared_storage_is_refused_for_exclusive_writing() {
        let mut tensor = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let clone = tensor.shallow_clone();
        assert!(
            slice_f32_mut(&mut tensor)
                .unwrap_err()
                .to_string()
                .contains("update_f32")
        );
        drop(clone);
        let view = tensor.narrow(0, 1, 2);
        assert!(slice_f32_mut(&mut tensor).is_err());
        drop(view);
        assert!(slice_f32_mut(&mut tensor).is_ok());
    }

    #[test]
    fn an_update_is_seen_through_every_handle_and_by_autograd() {
        let weight = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let module = weight.shallow_clone();
        let loss = (&weight * &weight).sum(Kind::Float);
        let step = [0.5f32, 0.25];
        update_f32(&weight, |values| {
            values.iter_mut().zip(step).for_each(|(value, by)| *value -= by)
        })
        .unwrap();
        assert_eq!(to_vec_f32(&module).unwrap(), [0.5, 0.75]);
        assert!(weight.requires_grad());
        let stale = loss.f_backward().during("backward").unwrap_err().to_string();
        assert!(stale.contains("modified by an inplace operation"), "{stale}");
    }

    #[test]
    fn dense_order_is_the_order_of_memory() {
        let pixels = MemoryFormat::ChannelsLast
            .apply(&counting(&[1, 2, 1, 2]))
            .unwrap();
        assert_eq!(dense_f32(&pixels).unwrap(), [0.0, 2.0, 1.0, 3.0]);
        assert!(slice_f32(&pixels).is_err());
        assert_eq!(to_vec_f32(&pixels).unwrap(), [0.0, 1.0, 2.0, 3.0]);
        let gaps = counting(&[2, 4]).narrow(1, 0, 2);
        assert!(dense_f32(&gaps).unwrap_err().to_string().contains("gaps"));
    }

    #[test]
    fn tensors_from_bytes_check_their_length() {
        let bytes: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensor = from_bytes(&bytes, &[2, 1], Kind::Float).unwrap();
        assert_eq!(
            (tensor.size(), to_vec_f32(&tensor).unwrap()),
            (vec![2, 1], vec![1.5, -2.0])
        );
        for sizes in [&[3][..], &[1, 1], &[-2], &[i64::MAX, i64::MAX], &[0]] {
            assert!(from_bytes(&bytes, sizes, Kind::Float).is_err(), "{sizes:?}");
            assert!(from_f32(&[1.0, 2.0], sizes).is_err(), "{sizes:?}");
        }
        assert_eq!(from_bytes(&[], &[0, 5], Kind::Half).unwrap().size(), [0, 5]);
        assert_eq!(from_f32(&[], &[0]).unwrap().size(), [0]);
    }

    #[test]
    fn conversion_to_float32_takes_half_precision_and_integers() {
        let halves = Tensor::from_slice(&[1.0f32, 0.1]).to_kind(Kind::Half);
        assert_eq!(to_vec_f32(&halves).unwrap(), [1.0, 0.099_975_586]);
        assert_eq!(to_vec_f32(&Tensor::from_slice(&[3i64])).unwrap(), [3.0]);
    }

    #[test]
    fn many_tensors_are_updated_at_once_and_aliases_are_refused() {
        let (a, b) = (counting(&[2, 2]), counting(&[3]));
        update_all_f32(&[&a, &b], |values| {
            for values in values {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
        })
        .unwrap();
        assert_eq!(slice_f32(&a).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(slice_f32(&b).unwrap(), [1.0, 2.0, 3.0]);
        let part = a.narrow(0, 1, 1);
        let refused = update_all_f32(&[&a, &b, &part], |_| ()).unwrap_err();
        assert!(refused.to_string().contains("share memory"), "{refused}");
    }
}
