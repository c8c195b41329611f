//! The formula by which both sides make the same weights and inputs (tests/reference/detector_forward.py), and comparison.
#![expect(clippy::unwrap_used, reason = "a broken set-up fails the test")]

use detector::Detector;
use detector::weights::WeightMap;
use tch::{Kind, Tensor};

fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// 32 well-mixed bits for each index.
pub fn mixed(name: &str, count: usize) -> impl Iterator<Item = u32> {
    let base = fnv1a(name);
    (0..count as u32).map(move |i| {
        let mut x = base.wrapping_add(i.wrapping_mul(0x9E37_79B9));
        x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
        x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
        x ^ (x >> 16)
    })
}

/// Values in 0..1.
pub fn unit(name: &str, sizes: &[i64]) -> Tensor {
    let count = sizes.iter().product::<i64>() as usize;
    let values: Vec<f32> = mixed(name, count)
        .map(|x| (x >> 8) as f32 * 2f32.powi(-24))
        .collect();
    torch::from_f32(&values, sizes).unwrap()
}

/// The value of a state entry.
pub fn formula(name: &str, sizes: &[i64]) -> Tensor {
    if name.ends_with("num_batches_tracked") {
        return Tensor::zeros(sizes, (Kind::Int64, tch::Device::Cpu));
    }
    let count = sizes.iter().product::<i64>() as usize;
    let s = mixed(name, count).map(|x| (x >> 8) as f32 * 2f32.powi(-24) * 2.0 - 1.0);
    let values: Vec<f32> = if let [_, inputs @ ..] = sizes
        && sizes.len() == 4
    {
        let scale = (4.0 / inputs.iter().product::<i64>() as f64).sqrt() as f32;
        s.map(|s| s * scale).collect()
    } else if name.ends_with("bn.weight") {
        s.map(|s| 1.0 + 0.25 * s).collect()
    } else if name.ends_with("running_var") {
        s.map(|s| 1.0 + 0.5 * s).collect()
    } else if name.ends_with(".2.bias") {
        s.map(|s| {
            if name.contains("cv2") {
                2.0 + 0.5 * s
            } else {
                s - 2.0
            }
        })
        .collect()
    } else {
        s.map(|s| 0.125 * s).collect()
    };
    torch::from_f32(&values, sizes).unwrap()
}

/// Every entry by the formula.
pub fn formula_weights(detector: &Detector) -> WeightMap {
    let mut weights = WeightMap::default();
    for entry in detector.state().entries() {
        weights
            .insert(
                entry.name().to_owned(),
                formula(entry.name(), &entry.tensor().size()),
            )
            .unwrap();
    }
    weights
}

/// Largest difference, relative to the larger of 1 and the largest expected value.
pub fn difference(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1f32, |most, value| most.max(value.abs()));
    got.iter()
        .zip(expected)
        .map(|(a, b)| f64::from((a - b).abs() / scale))
        .fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}
