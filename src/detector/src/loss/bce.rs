//! Binary cross-entropy of logits: the sum over all logits.
//!
//! Almost every target is 0, so the pass adds up softplus(z), and the few positives are corrected afterwards:
//! BCE(z, t) = softplus(z) - t z. exp(-|z|) and log(1 + e) are polynomials without branches, so that the loop vectorises
//! (libm's functions do not). The sum is only reported; gradients are sigmoids and come from [`super::elementary`].
//!
//! Accuracy: 3e-7 relative per element, checked against `f64` by the tests. NaN stays NaN; below -87 the value stays at
//! 1e-38 where it should go on to fall.

/// Independent partial sums, enough to fill the widest vector registers.
const LANES: usize = 16;
/// Elements that are summed in `f32` before the sum is carried on in `f64`.
const BLOCK: usize = 16 * LANES;

/// The sum of softplus over all logits.
pub(super) fn softplus_sum(logits: &[f32]) -> f64 {
    logits.chunks(BLOCK).map(block_sum).sum()
}

fn block_sum(block: &[f32]) -> f64 {
    let mut sums = [0f32; LANES];
    let (rows, rest) = block.as_chunks::<LANES>();
    for row in rows {
        for lane in 0..LANES {
            sums[lane] += softplus(row[lane]);
        }
    }
    for (sum, &z) in sums.iter_mut().zip(rest) {
        *sum += softplus(z);
    }
    sums.iter().map(|&s| f64::from(s)).sum()
}

/// log(1 + exp(z)).
#[inline(always)]
fn softplus(z: f32) -> f32 {
    // Not `max`, which would turn a NaN into 0.
    let positive_part = if z < 0.0 { 0.0 } else { z };
    positive_part + ln_1p_of_fraction(exp_of_negative(-z.abs()))
}

/// exp(x) for x <= 0. With n = round(x / ln 2), exp(x) = 2^n exp(x - n ln 2), whose argument is within ln(2)/2.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; products of the first with small integers are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Below, the result would not be a normal number.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Least relative error for (exp(r) - 1 - r) / r^2: 3e-9 of exp(r).
    let tail =
        0.499_999_94 + r * (0.166_665_2 + r * (0.041_668_393 + r * (0.008_368_781 + r * 0.001_381_446_7)));
    let mantissa = 1.0 + (r + r * r * tail);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(exponent)
}

/// log(1 + e) for 0 <= e <= 1: least relative error for log(1 + e) / e, 5e-9.
#[inline(always)]
fn ln_1p_of_fraction(e: f32) -> f32 {
    let high = 0.106_036_514 + e * (-0.056_959_5 + e * (0.019_851_444 + e * -0.003_244_021));
    let middle = -0.249_541_34 + e * (0.196_759_39 + e * (-0.153_055_9 + e * high));
    e * (1.0 + e * (-0.499_999_02 + e * (0.333_299_64 + e * middle)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(z: f32) -> f64 {
        let z = f64::from(z);
        z.max(0.0) + (-z.abs()).exp().ln_1p()
    }

    #[test]
    fn the_value_is_accurate_over_the_whole_range() {
        let worst = (-86_000..=100_000)
            .map(|i| i as f32 / 1000.0)
            .map(|z| (f64::from(softplus(z)) / exact(z) - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "{worst}");
    }

    #[test]
    fn infinities_and_nan_behave_as_their_limits() {
        assert_eq!(softplus(f32::INFINITY), f32::INFINITY);
        assert!(softplus(f32::NEG_INFINITY) < 2e-38);
        assert!(softplus(f32::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn sums_are_accurate_for_any_length(logits in prop::collection::vec(-30f32..10.0, 0..1500)) {
            let exact_sum: f64 = logits.iter().map(|&z| exact(z)).sum();
            prop_assert!((softplus_sum(&logits) - exact_sum).abs() <= 1e-6 * exact_sum);
        }
    }
}
