//! Gradients: backward from gradients that were computed elsewhere, and access to what it left behind.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::Error;
use crate::ffi;
use std::ptr;
use tch::Tensor;

/// Runs `body` without recording operations for backward; nests, and ends with `body` also when that panics.
pub fn no_grad<T>(body: impl FnOnce() -> T) -> T {
    let _guard = tch::no_grad_guard();
    body()
}

/// Backward through the graphs of all outputs at once: each pair is an output and d(loss)/d(output) of the same sizes.
/// Gradients add up in the leaves; the graphs are freed.
///
/// # Errors
/// An output that no gradient reaches a leaf from, sizes that differ, a graph already freed, or memory ran out.
pub fn backward(outputs: &[(&Tensor, &Tensor)]) -> Result<(), Error> {
    let roots: Vec<_> = outputs.iter().map(|(output, _)| output.as_ptr()).collect();
    let gradients: Vec<_> = outputs.iter().map(|(_, gradient)| gradient.as_ptr()).collect();
    // SAFETY: both lists hold `outputs.len()` pointers to tensors that the borrowed slice keeps alive.
    unsafe {
        ffi::check(
            "backward",
            ffi::azt_backward(roots.as_ptr(), gradients.as_ptr(), outputs.len()),
        )
    }
}

/// A handle of the tensor's accumulated gradient; `None` if no backward has reached it.
///
/// # Errors
/// The tensor is undefined.
pub fn gradient(tensor: &Tensor) -> Result<Option<Tensor>, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: the tensor outlives the call; `out` stays null or becomes a new tensor that nobody else owns.
    unsafe {
        ffi::check("gradient", ffi::azt_gradient(tensor.as_ptr(), &mut out))?;
        Ok((!out.is_null()).then(|| Tensor::from_ptr(out)))
    }
}

/// Drops the tensor's gradient: the next backward stores instead of adding.
///
/// # Errors
/// The tensor is undefined.
pub fn clear_gradient(tensor: &Tensor) -> Result<(), Error> {
    // SAFETY: the tensor outlives the call.
    unsafe { ffi::check("clear_gradient", ffi::azt_clear_gradient(tensor.as_ptr())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_f32, to_vec_f32};

    fn leaf(values: &[f32]) -> Tensor {
        from_f32(values, &[values.len() as i64])
            .unwrap()
            .set_requires_grad(true)
    }

    #[test]
    fn backward_weighs_each_output_by_its_gradient_and_adds_up() {
        let x = leaf(&[2.0, 3.0]);
        let (square, double) = (&x * &x, &x * 2.0);
        let (by_square, by_double) = (
            from_f32(&[1.0, 10.0], &[2]).unwrap(),
            from_f32(&[0.5, 0.0], &[2]).unwrap(),
        );
        backward(&[(&square, &by_square), (&double, &by_double)]).unwrap();
        let got = to_vec_f32(&gradient(&x).unwrap().unwrap()).unwrap();
        assert_eq!(got, [4.0 + 1.0, 60.0]);
    }

    #[test]
    fn a_gradient_is_absent_until_backward_and_after_clearing() {
        let x = leaf(&[1.0]);
        assert!(gradient(&x).unwrap().is_none());
        let y = &x * 3.0;
        backward(&[(&y, &from_f32(&[1.0], &[1]).unwrap())]).unwrap();
        assert!(gradient(&x).unwrap().is_some());
        clear_gradient(&x).unwrap();
        assert!(gradient(&x).unwrap().is_none());
    }

    #[test]
    fn bad_calls_are_errors() {
        let x = leaf(&[1.0, 2.0]);
        let y = &x * 3.0;
        let short = from_f32(&[1.0], &[1]).unwrap();
        assert!(
            backward(&[(&y, &short)])
                .unwrap_err()
                .to_string()
                .contains("backward")
        );
        let constant = from_f32(&[1.0], &[1]).unwrap();
        assert!(backward(&[(&constant, &short)]).is_err());
        assert!(backward(&[(&y, &Tensor::new())]).is_err());
        assert!(backward(&[(&Tensor::new(), &short)]).is_err());
    }
}
