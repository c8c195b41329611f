//! In-place operations on whole lists of tensors: on a GPU a few kernels instead of one a tensor, and nothing recorded
//! for backward. The lists go element by element: equal lengths, and each element's tensors of equal sizes, kind and
//! device. They work on the CPU too, where passes over slices ([`crate::update_f32`]) are faster.
//!
//! Autograd is told of the writes; gradients that are computed for an older value are refused.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::Error;
use crate::ffi;
use tch::Tensor;
use torch_sys::C_tensor;

/// The handles' pointers; they live as long as the borrowed tensors do.
fn pointers(tensors: &[&Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr()).collect()
}

/// The pointers of lists that must be of one length.
fn equally_many<const N: usize>(
    operation: &'static str,
    lists: [&[&Tensor]; N],
) -> Result<[Vec<*const C_tensor>; N], Error> {
    let lengths = lists.map(<[&Tensor]>::len);
    if lengths.windows(2).all(|pair| pair[0] == pair[1]) {
        Ok(lists.map(pointers))
    } else {
        Err(Error::new(operation, &format!("lists of {lengths:?} tensors")))
    }
}

/// `tensors *= factor`.
///
/// # Errors
/// libtorch refused.
pub fn mul_(tensors: &[&Tensor], factor: f64) -> Result<(), Error> {
    let list = pointers(tensors);
    // SAFETY: the list holds pointers to borrowed tensors, and its length is given.
    unsafe {
        ffi::check(
            "foreach mul_",
            ffi::azt_foreach_mul(list.as_ptr(), list.len(), factor),
        )
    }
}

/// `tensors += alpha * other`.
///
/// # Errors
/// The lists do not go together.
pub fn add_(tensors: &[&Tensor], other: &[&Tensor], alpha: f64) -> Result<(), Error> {
    let [list, other] = equally_many("foreach add_", [tensors, other])?;
    // SAFETY: both lists hold `list.len()` pointers to borrowed tensors.
    unsafe {
        ffi::check(
            "foreach add_",
            ffi::azt_foreach_add(list.as_ptr(), other.as_ptr(), list.len(), alpha),
        )
    }
}

/// `tensors += weight * (end - tensors)`.
///
/// # Errors
/// The lists do not go together.
pub fn lerp_(tensors: &[&Tensor], end: &[&Tensor], weight: f64) -> Result<(), Error> {
    let [list, end] = equally_many("foreach lerp_", [tensors, end])?;
    // SAFETY: both lists hold `list.len()` pointers to borrowed tensors.
    unsafe {
        ffi::check(
            "foreach lerp_",
            ffi::azt_foreach_lerp(list.as_ptr(), end.as_ptr(), list.len(), weight),
        )
    }
}

/// `tensors += value * a * b`.
///
/// # Errors
/// The lists do not go together.
pub fn addcmul_(tensors: &[&Tensor], a: &[&Tensor], b: &[&Tensor], value: f64) -> Result<(), Error> {
    let [list, a, b] = equally_many("foreach addcmul_", [tensors, a, b])?;
    // SAFETY: all lists hold `list.len()` pointers to borrowed tensors.
    unsafe {
        ffi::check(
            "foreach addcmul_",
            ffi::azt_foreach_addcmul(list.as_ptr(), a.as_ptr(), b.as_ptr(), list.len(), value),
        )
    }
}

/// What a square root is divided by and added to, so that it can be divided by.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// Divisor of the root.
    pub over: f64,
    /// Added afterwards.
    pub eps: f64,
}

/// `tensors += value * a / (sqrt(b) / root.over + root.eps)`: the update of Adam.
///
/// # Errors
/// The lists do not go together, or memory for the roots ran out.
pub fn add_over_root_(
    tensors: &[&Tensor],
    a: &[&Tensor],
    b: &[&Tensor],
    root: Root,
    value: f64,
) -> Result<(), Error> {
    let [list, a, b] = equally_many("foreach add_over_root_", [tensors, a, b])?;
    // SAFETY: all lists hold `list.len()` pointers to borrowed tensors.
    unsafe {
        ffi::check(
            "foreach add_over_root_",
            ffi::azt_foreach_add_over_root(
                list.as_ptr(),
                a.as_ptr(),
                b.as_ptr(),
                list.len(),
                root.over,
                root.eps,
                value,
            ),
        )
    }
}

/// The L2 norm over all values of all tensors, squares summed in 64 bit; waits for the device once.
///
/// # Errors
/// libtorch refused, or work given to the device before failed.
pub fn norm(tensors: &[&Tensor]) -> Result<f64, Error> {
    let list = pointers(tensors);
    let mut out = 0.0;
    // SAFETY: the list holds pointers to borrowed tensors, its length is given, and `out` is ours.
    unsafe {
        ffi::check(
            "foreach norm",
            ffi::azt_foreach_norm(list.as_ptr(), list.len(), &mut out),
        )?
    };
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{During, from_f32, to_vec_f32};
    use tch::Kind;

    fn of(values: &[f32]) -> Tensor {
        from_f32(values, &[values.len() as i64]).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        to_vec_f32(tensor).unwrap()
    }

    #[test]
    fn every_operation_reaches_every_tensor_of_the_list() {
        let (x, y) = (of(&[1.0, 2.0]), of(&[-4.0]));
        let (a, b) = (of(&[3.0, 5.0]), of(&[0.5]));
        let (list, other) = ([&x, &y], [&a, &b]);
        mul_(&list, 2.0).unwrap();
        assert_eq!((values(&x), values(&y)), (vec![2.0, 4.0], vec![-8.0]));
        add_(&list, &other, 10.0).unwrap();
        assert_eq!((values(&x), values(&y)), (vec![32.0, 54.0], vec![-3.0]));
        lerp_(&list, &other, 0.5).unwrap();
        assert_eq!((values(&x), values(&y)), (vec![17.5, 29.5], vec![-1.25]));
        addcmul_(&list, &other, &other, -1.0).unwrap();
        assert_eq!((values(&x), values(&y)), (vec![8.5, 4.5], vec![-1.5]));
        let (c, d) = (of(&[4.0, 16.0]), of(&[64.0]));
        let root = Root { over: 2.0, eps: 1.0 };
        add_over_root_(&list, &other, &[&c, &d], root, 2.0).unwrap();
        let expected = [8.5 + 2.0 * 3.0 / 2.0, 4.5 + 2.0 * 5.0 / 3.0];
        assert_eq!(
            (values(&x), values(&y)),
            (expected.to_vec(), vec![-1.5 + 1.0 / 5.0])
        );
        assert_eq!(values(&a), [3.0, 5.0], "operands stay");
    }

    #[test]
    fn the_norm_is_over_all_and_does_not_overflow() {
        assert_eq!(norm(&[&of(&[3.0, 0.0]), &of(&[4.0])]).unwrap(), 5.0);
        assert_eq!(norm(&[]).unwrap(), 0.0);
        assert!((norm(&[&of(&[1e30, 1e30])]).unwrap() / 2.0_f64.sqrt() / 1e30 - 1.0).abs() < 1e-6);
        assert_eq!(
            norm(&[&of(&[1.0]), &of(&[f32::INFINITY])]).unwrap(),
            f64::INFINITY
        );
        assert!(norm(&[&of(&[f32::NAN])]).unwrap().is_nan());
    }

    #[test]
    fn trained_tensors_are_written_and_autograd_knows() {
        let weight = of(&[1.0]).set_requires_grad(true);
        let loss = (&weight * &weight).sum(Kind::Float);
        mul_(&[&weight], 3.0).unwrap();
        assert_eq!(values(&weight), [3.0]);
        assert!(weight.requires_grad() && weight.is_leaf());
        let stale = loss.f_backward().during("backward").unwrap_err().to_string();
        assert!(stale.contains("modified by an inplace operation"), "{stale}");
    }

    #[test]
    fn lists_that_do_not_go_together_are_errors() {
        let x = of(&[1.0]);
        let text = add_(&[&x], &[], 1.0).unwrap_err().to_string();
        assert!(text.contains("foreach add_") && text.contains("[1, 0]"), "{text}");
        assert!(addcmul_(&[&x], &[&x], &[&of(&[1.0, 2.0, 3.0])], 1.0).is_err());
        assert_eq!(values(&x), [1.0]);
    }
}
