//! Which class is taken for which.

use serde::Serialize;

use super::Truth;
use super::matching::iou;
use crate::decode::Detection;

/// Predictions at or below this score do not take part.
const CONFIDENCE: f32 = 0.25;
/// Pairs at or below this overlap do not match.
const OVERLAP: f32 = 0.45;

/// Counts of (predicted class, actual class), with the background as one class more.
///
/// Per image, predictions scored above 0.25 and objects are paired whatever their classes, by descending IoU above 0.45,
/// each at most once (ties: the earlier prediction, then the earlier object). A pair counts at its two classes. An
/// object without a prediction counts as predicted background (missed); a prediction without an object counts as actual
/// background (invented), and so do the further rows of a box that was reported with several classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; (classes + 1) * (classes + 1)],
        }
    }

    /// The index of the background, which is also the number of classes.
    pub fn background(&self) -> usize {
        self.classes
    }

    /// How often `predicted` was reported where `actual` is; 0 for indices beyond the background.
    pub fn count(&self, predicted: usize, actual: usize) -> u64 {
        if predicted > self.classes || actual > self.classes {
            return 0;
        }
        self.counts[predicted * (self.classes + 1) + actual]
    }

    /// Counts an image; classes are within range.
    pub(super) fn add_image(&mut self, predictions: &[Detection], truths: &[Truth]) {
        let sure: Vec<&Detection> = predictions.iter().filter(|p| p.score > CONFIDENCE).collect();
        let mut pairs: Vec<(usize, usize, f32)> = Vec::new();
        for (p, prediction) in sure.iter().enumerate() {
            let overlaps = truths
                .iter()
                .map(|truth| iou(truth.xyxy, prediction.xyxy))
                .enumerate();
            pairs.extend(
                overlaps
                    .filter(|&(_, iou)| iou > OVERLAP)
                    .map(|(t, iou)| (p, t, iou)),
            );
        }
        pairs.sort_by(|a, b| b.2.total_cmp(&a.2));

        let (mut found, mut explained) = (vec![false; truths.len()], vec![false; sure.len()]);
        for (p, t, _) in pairs {
            if !found[t] && !explained[p] {
                (found[t], explained[p]) = (true, true);
                self.add(sure[p].class.into(), truths[t].class.into());
            }
        }
        for (truth, _) in truths.iter().zip(found).filter(|(_, found)| !found) {
            self.add(self.classes, truth.class.into());
        }
        for (prediction, _) in sure.iter().zip(explained).filter(|(_, explained)| !explained) {
            self.add(prediction.class.into(), self.classes);
        }
    }

    fn add(&mut self, predicted: usize, actual: usize) {
        self.counts[predicted * (self.classes + 1) + actual] += 1;
    }
}
