//! What several tests share: fixtures and synthetic images.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "test support may panic")]

use std::path::{Path, PathBuf};

use dataset::decode::{Image, decode_strict};
use dataset::rng::{Purpose, below, stream};

/// A file of tests/fixtures, made by tests/reference/image_ops.py of the workspace.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// An image of tests/fixtures.
pub fn picture(name: &str) -> Image {
    decode_strict(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// The cases of one operation, as listed in image_ops.json.
pub fn cases(operation: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(fixture("image_ops.json")).unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let found: Vec<_> = all
        .into_iter()
        .filter(|case| case["operation"] == operation)
        .collect();
    assert!(!found.is_empty(), "no case for {operation}");
    found
}

/// The input and the expected output of a case.
pub fn pictures(case: &serde_json::Value) -> (Image, Image) {
    (
        picture(case["input"].as_str().unwrap()),
        picture(case["output"].as_str().unwrap()),
    )
}

/// The largest difference between two runs of samples, and the share of samples that differ.
pub fn difference(ours: &[u8], theirs: &[u8]) -> (u8, f64) {
    assert_eq!(ours.len(), theirs.len());
    let differences = ours.iter().zip(theirs).map(|(&a, &b)| a.abs_diff(b));
    let unequal = differences.clone().filter(|&d| d > 0).count();
    (differences.max().unwrap_or(0), unequal as f64 / ours.len() as f64)
}

/// An image with gradients and noise; different for each seed.
pub fn noisy(width: usize, height: usize, seed: u64) -> Image {
    let mut rng = stream(seed, Purpose::Test, 0, 0);
    let base: [u64; 3] = std::array::from_fn(|_| below(&mut rng, 160));
    let pixels = (0..width * height).flat_map(|i| {
        let (x, y) = (i % width, i / width);
        let noise = below(&mut rng, 40);
        [x * 55 / width, y * 55 / height, (x + y) * 55 / (width + height)]
            .iter()
            .zip(base)
            .map(|(&slope, base)| (base + slope as u64 + noise) as u8)
            .collect::<Vec<_>>()
    });
    Image::new(width, height, pixels.collect()).unwrap()
}
