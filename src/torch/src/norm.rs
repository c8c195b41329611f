//! Batch normalisation in training and the SiLU behind it as one operation on bfloat16.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::{Error, ffi};
use std::ffi::c_int;
use std::ptr;
use tch::Tensor;

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// x * sigmoid(x).
    Silu,
}

/// A batch normalisation: float32 vectors of a value a channel.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Learnt factor.
    pub weight: &'a Tensor,
    /// Learnt offset.
    pub bias: &'a Tensor,
    /// Running mean.
    pub mean: &'a Tensor,
    /// Running variance.
    pub variance: &'a Tensor,
    /// Share of the batch in the new running statistics.
    pub momentum: f64,
    /// What is added to the variance.
    pub eps: f64,
}

impl BatchNorm<'_> {
    /// Normalises bfloat16 images on the CPU by the batch's own statistics, moves the running ones, and applies
    /// `activation`. Part of the graph. In float32 inside: what libtorch rounds to bfloat16 between its two operations
    /// is not rounded here. The number of threads changes no bit.
    ///
    /// # Errors
    /// `x` is no N x C x H x W bfloat16 tensor on the CPU, a vector has another length, there is but one value a channel,
    /// or memory ran out.
    pub fn train_bf16(&self, x: &Tensor, activation: Activation) -> Result<Tensor, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: all tensors outlive the call; `out` is ours and on success a new tensor that nobody else owns.
        unsafe {
            ffi::check(
                "batch_norm",
                ffi::azt_batch_norm(
                    x.as_ptr(),
                    self.weight.as_ptr(),
                    self.bias.as_ptr(),
                    self.mean.as_ptr(),
                    self.variance.as_ptr(),
                    self.momentum,
                    self.eps,
                    c_int::from(activation == Activation::Silu),
                    &mut out,
                ),
            )?;
            Ok(Tensor::from_ptr(out))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryFormat, backward, gradient, set_threads, to_vec_f32};
    use tch::{Device, Kind};

    const MOMENTUM: f64 = 0.03;
    const EPS: f64 = 1e-3;

    struct Case {
        x: Tensor,
        vectors: [Tensor; 4],
        seed: Tensor,
    }

    /// Values with a mean far from 0 in some channels, a gradient, and learnt and running vectors.
    fn case(sizes: [i64; 4]) -> Case {
        let count: i64 = sizes.iter().product();
        let wave = |count: i64, step: f64| {
            (Tensor::arange(count, (Kind::Float, Device::Cpu)) * step)
                .sin()
                .set_requires_grad(false)
        };
        let channels = sizes[1];
        let offset = (wave(channels, 1.7) * 3.0).view([1, channels, 1, 1]);
        let x = (wave(count, 0.37).view(sizes) * 1.5 + offset).to_kind(Kind::BFloat16);
        Case {
            x: MemoryFormat::ChannelsLast
                .apply(&x)
                .unwrap()
                .set_requires_grad(true),
            vectors: [
                (wave(channels, 0.9) + 1.2).set_requires_grad(true),
                wave(channels, 0.7).set_requires_grad(true),
                wave(channels, 0.3),
                wave(channels, 0.2) + 2.0,
            ],
            seed: wave(count, 0.11).view(sizes).to_kind(Kind::BFloat16),
        }
    }

    /// Output, running statistics, and the gradients of input, weight and bias.
    fn results(case: &Case, out: &Tensor) -> Vec<Vec<f32>> {
        let seed = case.seed.to_kind(out.kind());
        backward(&[(out, &seed)]).unwrap();
        let gradients = [&case.x, &case.vectors[0], &case.vectors[1]].map(|t| gradient(t).unwrap().unwrap());
        [out, &case.vectors[2], &case.vectors[3]]
            .into_iter()
            .chain(&gradients)
            .map(|t| to_vec_f32(t).unwrap())
            .collect()
    }

    fn ours(case: &Case, activation: Activation) -> Vec<Vec<f32>> {
        let [weight, bias, mean, variance] = &case.vectors;
        let norm = BatchNorm {
            weight,
            bias,
            mean,
            variance,
            momentum: MOMENTUM,
            eps: EPS,
        };
        results(case, &norm.train_bf16(&case.x, activation).unwrap())
    }

    /// The same in float32 by libtorch's operations.
    fn libtorch(case: &Case, activation: Activation) -> Vec<Vec<f32>> {
        let [weight, bias, mean, variance] = &case.vectors;
        let out = case.x.to_kind(Kind::Float).batch_norm(
            Some(weight),
            Some(bias),
            Some(mean),
            Some(variance),
            true,
            MOMENTUM,
            EPS,
            true,
        );
        let out = if activation == Activation::Silu {
            out.silu()
        } else {
            out
        };
        results(case, &out)
    }

    fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
        let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let off = (got - expected).abs();
            assert!(
                off <= tolerance * largest,
                "{what} {index}: {got}, expected {expected}"
            );
        }
    }

    #[test]
    fn it_computes_what_libtorch_does_in_float32() {
        // Half a unit in the last of 8 bits; the gradient is rounded before parts of it cancel.
        const ROUNDED: f32 = 1.0 / 256.0;
        let whats = [
            "output",
            "mean",
            "variance",
            "gradient",
            "weight's gradient",
            "bias's gradient",
        ];
        let tolerances = [ROUNDED, 1e-5, 1e-5, 6.0 * ROUNDED, 1e-3, 1e-3];
        for sizes in [
            [2, 3, 5, 7],
            [1, 8, 4, 4],
            [3, 80, 9, 2],
            [2, 200, 3, 3],
            [4, 16, 100, 60],
        ] {
            for activation in [Activation::Linear, Activation::Silu] {
                let got = ours(&case(sizes), activation);
                let expected = libtorch(&case(sizes), activation);
                for i in 0..got.len() {
                    let what = format!("{sizes:?} {activation:?} {}", whats[i]);
                    assert_close(&got[i], &expected[i], tolerances[i], &what);
                }
            }
        }
    }

    #[test]
    fn threads_and_memory_order_change_no_bit() {
        let sizes = [4, 16, 100, 60];
        set_threads(1).unwrap();
        let one = ours(&case(sizes), Activation::Silu);
        set_threads(3).unwrap();
        assert!(one == ours(&case(sizes), Activation::Silu), "three threads");
        let mut planes = case(sizes);
        planes.x = planes.x.detach().contiguous().set_requires_grad(true);
        assert!(one == ours(&planes, Activation::Silu), "plane after plane");
    }

    #[test]
    fn what_is_not_a_number_is_passed_on() {
        for bad in [f64::NAN, f64::INFINITY] {
            let case = case([1, 8, 4, 4]);
            let _ = crate::no_grad(|| case.x.get(0).get(2).fill_(bad));
            let [out, ..] = &ours(&case, Activation::Silu)[..] else {
                panic!("no output")
            };
            assert!(out.iter().any(|value| !value.is_finite()));
        }
    }

    #[test]
    fn what_cannot_be_normalised_is_refused() {
        let refused = |x: &Tensor, channels: i64| {
            let vector = Tensor::ones([channels], (Kind::Float, Device::Cpu));
            let norm = BatchNorm {
                weight: &vector,
                bias: &vector,
                mean: &vector,
                variance: &vector,
                momentum: MOMENTUM,
                eps: EPS,
            };
            norm.train_bf16(x, Activation::Silu).unwrap_err().to_string()
        };
        let x = Tensor::ones([2, 8, 4, 4], (Kind::BFloat16, Device::Cpu));
        assert!(refused(&x, 7).contains("weight must hold 8"));
        assert!(refused(&x.to_kind(Kind::Float), 8).contains("bfloat16"));
        assert!(refused(&x.get(0), 8).contains("four dimensions"));
        assert!(refused(&x.narrow(0, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1), 8).contains("single value"));
    }
}
