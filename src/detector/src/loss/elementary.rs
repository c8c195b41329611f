//! libtorch's sigmoid, arctangent, power and sum on slices, for the sake of their last bits.
//!
//! Training multiplies rounding, so a loss that is to follow the reference's has to round as it does. These functions
//! are not correctly rounded in libtorch, so no other library gives the same bits. Their kernels take whole vector
//! registers; the elements behind the last whole pair of registers go through the C library, which rounds otherwise
//! (all but the arctangent's). Hence the length of what is computed in one call is part of the result.
//!
//! Guarantee: the bits of one call on the whole slice with one thread, whatever the number of libtorch's threads (of
//! the sum: those that libtorch gives with that number).

use tch::{Device, Kind, TchError, Tensor};
use torch::During;

/// Elements in a call: a multiple of every register pair, and too few for libtorch to split over threads.
const BLOCK: usize = 1 << 14;
/// A multiple of the elements in two vector registers of any processor.
pub(super) const VECTORS: usize = 64;

/// 1 / (1 + exp(-x)).
pub(super) fn sigmoid(values: &mut [f32]) -> Result<(), torch::Error> {
    in_blocks("sigmoid", values, Tensor::f_sigmoid_)
}

/// The arctangent.
pub(super) fn atan(values: &mut [f32]) -> Result<(), torch::Error> {
    in_blocks("atan", values, Tensor::f_atan_)
}

/// The power; with exponent 0.5 it is not the rounded square root either.
pub(super) fn power(values: &mut [f32], exponent: f64) -> Result<(), torch::Error> {
    in_blocks("pow", values, |tensor| tensor.f_pow_(exponent))
}

fn in_blocks(
    operation: &'static str,
    values: &mut [f32],
    function: impl Fn(&mut Tensor) -> Result<Tensor, TchError>,
) -> Result<(), torch::Error> {
    for block in values.chunks_mut(BLOCK) {
        let mut tensor = torch::from_f32(block, &[block.len() as i64])?;
        let result = function(&mut tensor).during(operation)?;
        block.copy_from_slice(torch::slice_f32(&result)?);
    }
    Ok(())
}

/// The sum of `length` values of which all but the given (index, value) are 0.
pub(super) fn sum(length: usize, values: impl Iterator<Item = (usize, f32)>) -> Result<f32, torch::Error> {
    let mut dense = Tensor::f_zeros([length as i64], (Kind::Float, Device::Cpu)).during("zeros")?;
    let slots = torch::slice_f32_mut(&mut dense)?;
    for (index, value) in values {
        slots[index] = value;
    }
    let sum = dense.f_sum(Kind::Float).during("sum")?;
    Ok(sum.f_double_value(&[]).during("sum")? as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(length: usize) -> Vec<f32> {
        (0..length).map(|i| 0.3 + i as f32 / length as f32).collect()
    }

    #[test]
    fn blocks_have_the_bits_of_one_call() {
        for length in [1, 63, 64, 65, BLOCK - 1, BLOCK, BLOCK + 37] {
            let mut found = ramp(length);
            power(&mut found, 6.0).unwrap();
            let whole = Tensor::from_slice(&ramp(length)).pow_tensor_scalar(6.0);
            assert!(found == torch::to_vec_f32(&whole).unwrap(), "{length}");
        }
    }

    #[test]
    fn the_values_are_right() {
        let values = ramp(100);
        let close = |function: fn(&mut [f32]) -> Result<(), torch::Error>, exact: fn(f64) -> f64| {
            let mut found = values.clone();
            function(&mut found).unwrap();
            for (&x, y) in values.iter().zip(found) {
                assert!((exact(x.into()) / f64::from(y) - 1.0).abs() < 3e-7, "{x}: {y}");
            }
        };
        close(sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        close(atan, f64::atan);
        close(|values| power(values, 6.0), |x| x.powi(6));
        close(|values| power(values, 0.5), f64::sqrt);
        assert_eq!(sum(1000, [(3, 0.5), (999, 2.25)].into_iter()).unwrap(), 2.75);
        assert_eq!(sum(0, std::iter::empty()).unwrap(), 0.0);
    }
}
