//! Which predictions hit an object, at each of ten IoU thresholds.

use super::Truth;
use crate::decode::Detection;

/// IoU thresholds 0.5, 0.55 .. 0.95, as single-precision steps from both ends give them.
pub const THRESHOLDS: [f32; 10] = {
    const STEP: f32 = (0.95 - 0.5) / 9.0;
    let mut thresholds = [0.0; 10];
    let mut i = 0;
    while i < 10 {
        thresholds[i] = if i < 5 {
            0.5 + STEP * i as f32
        } else {
            0.95 - STEP * (9 - i) as f32
        };
        i += 1;
    }
    thresholds
};

/// A prediction after matching.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Confidence, 0..1.
    pub score: f32,
    /// Class index.
    pub class: u16,
    /// Bit i: it is a true positive at `THRESHOLDS[i]`.
    pub hits: u16,
}

/// Intersection over union of two boxes given as left, top, right, bottom; 0 where it is not a number.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
    let intersection = side(0, 2) * side(1, 3);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let iou = intersection / (area(a) + area(b) - intersection + 1e-7);
    if iou.is_nan() { 0.0 } else { iou }
}

/// Matches an image's predictions, in their order. At each threshold on its own, a prediction takes the unclaimed
/// object of its class of largest IoU, the first on ties, if that reaches the threshold.
pub(super) fn outcomes(predictions: &[Detection], truths: &[Truth]) -> Vec<Outcome> {
    let mut claimed = vec![0u16; truths.len()];
    let mut near = Vec::new();
    predictions
        .iter()
        .map(|prediction| {
            near.clear();
            near.extend(
                truths
                    .iter()
                    .enumerate()
                    // A score that is not a number has no place in the order: it must not claim anything.
                    .filter(|(_, truth)| truth.class == prediction.class && prediction.score.is_finite())
                    .map(|(index, truth)| (index, iou(truth.xyxy, prediction.xyxy)))
                    .filter(|&(_, iou)| iou >= THRESHOLDS[0]),
            );
            // Stable: the first of equal overlaps stays first.
            near.sort_by(|a, b| b.1.total_cmp(&a.1));
            let mut hits = 0;
            for (bit, &threshold) in THRESHOLDS.iter().enumerate() {
                let free = near.iter().find(|&&(index, _)| claimed[index] >> bit & 1 == 0);
                if let Some(&(index, _)) = free.filter(|&&(_, iou)| iou >= threshold) {
                    claimed[index] |= 1 << bit;
                    hits |= 1 << bit;
                }
            }
            Outcome {
                score: prediction.score,
                class: prediction.class,
                hits,
            }
        })
        .collect()
}
