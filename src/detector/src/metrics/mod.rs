//! How good detections are: matching with ground truth, average precision, precision and recall, confusion.
//!
//! Everything is compared in pixels of the padded network input, without clipping. Two things differ from COCO's tools
//! and are kept on purpose, so that numbers compare with the reference's: average precision is the trapezoid area under
//! the interpolated curve, which gives a perfect class 0.995, and reported precision and recall are those at the
//! confidence of the best smoothed F1.
//!
//! Guarantees: no NaN comes out, whatever goes in; a set without ground truth gives zeros. Facts: the project's
//! description of YOLO26 (docs/CLEANROOM.md), compared with the reference by `tests/metrics_reference.rs`.

mod confusion;
mod curves;
mod matching;

use serde::Serialize;

use crate::decode::Detection;

pub use confusion::Confusion;
pub use curves::{CURVE_POINTS, Curves};
pub use matching::{Outcome, THRESHOLDS, iou};

use curves::ClassCurves;

/// What is wrong with an image's boxes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetricsError {
    /// A box of a class that the evaluator does not know.
    #[error(
        "{what} {index}: class {class} of only {classes}; the model's and the dataset's class lists differ"
    )]
    Class {
        /// `prediction` or `ground truth`.
        what: &'static str,
        /// Position in the image's list.
        index: usize,
        /// The class it names.
        class: u16,
        /// How many there are.
        classes: usize,
    },
}

/// An object that an image shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Left, top, right, bottom in pixels of the network input.
    pub xyxy: [f32; 4],
    /// Class index.
    pub class: u16,
}

/// Gathers the images of a set.
#[derive(Clone, Debug)]
pub struct Evaluator {
    outcomes: Vec<Outcome>,
    /// By class.
    instances: Vec<u64>,
    /// Images that show the class.
    shown: Vec<u64>,
    images: u64,
    dropped: u64,
    confusion: Confusion,
}

/// The verdict over a set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Mean over classes, at `confidence`.
    pub precision: f64,
    /// Mean over classes, at `confidence`.
    pub recall: f64,
    /// Mean over classes of average precision at IoU 0.5.
    pub map50: f64,
    /// Mean over classes and the ten IoU thresholds.
    pub map50_95: f64,
    /// Confidence at which the smoothed mean F1 is largest.
    pub confidence: f64,
    /// Images in the set.
    pub images: u64,
    /// Objects in the set.
    pub instances: u64,
    /// Predictions left out because their score was not a number.
    pub dropped: u64,
    /// Classes that occur in the ground truth, ascending.
    pub per_class: Vec<ClassMetrics>,
    /// Means over these classes.
    pub curves: Curves,
    /// Which class was taken for which.
    pub confusion: Confusion,
}

/// The verdict on one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Class index.
    pub class: u16,
    /// Objects of the class.
    pub instances: u64,
    /// Images that show it.
    pub images: u64,
    /// At the confidence of the set's best F1.
    pub precision: f64,
    /// At the confidence of the set's best F1.
    pub recall: f64,
    /// Average precision at IoU 0.5.
    pub ap50: f64,
    /// Mean average precision over the ten thresholds.
    pub ap50_95: f64,
    /// Average precision at each of [`THRESHOLDS`].
    pub ap: [f64; 10],
    /// The class's own curves.
    pub curves: Curves,
}

impl Evaluator {
    /// An evaluator for models of this many classes.
    pub fn new(classes: usize) -> Self {
        Self {
            outcomes: Vec::new(),
            instances: vec![0; classes],
            shown: vec![0; classes],
            images: 0,
            dropped: 0,
            confusion: Confusion::new(classes),
        }
    }

    /// Adds an image: its predictions in the order of post-processing (descending score) and its objects, both in pixels
    /// of the network input. After an error nothing of the image is counted.
    pub fn add_image(&mut self, predictions: &[Detection], truths: &[Truth]) -> Result<(), MetricsError> {
        self.check_classes("prediction", predictions.iter().map(|p| p.class))?;
        self.check_classes("ground truth", truths.iter().map(|t| t.class))?;
        self.confusion.add_image(predictions, truths);
        let outcomes = matching::outcomes(predictions, truths);
        self.count(&outcomes, truths.iter().map(|t| t.class));
        Ok(())
    }

    /// Adds an image whose predictions are matched already; it does not enter the confusion matrix.
    pub fn add_matched(&mut self, outcomes: &[Outcome], truths: &[u16]) -> Result<(), MetricsError> {
        self.check_classes("prediction", outcomes.iter().map(|o| o.class))?;
        self.check_classes("ground truth", truths.iter().copied())?;
        self.count(outcomes, truths.iter().copied());
        Ok(())
    }

    fn check_classes(
        &self,
        what: &'static str,
        found: impl Iterator<Item = u16>,
    ) -> Result<(), MetricsError> {
        let classes = self.instances.len();
        match found
            .enumerate()
            .find(|&(_, class)| usize::from(class) >= classes)
        {
            None => Ok(()),
            Some((index, class)) => Err(MetricsError::Class {
                what,
                index,
                class,
                classes,
            }),
        }
    }

    fn count(&mut self, outcomes: &[Outcome], truths: impl Iterator<Item = u16>) {
        let before = self.outcomes.len();
        self.outcomes
            .extend(outcomes.iter().filter(|o| o.score.is_finite()));
        self.dropped += (outcomes.len() - (self.outcomes.len() - before)) as u64;
        let mut seen = Vec::new();
        for class in truths {
            self.instances[usize::from(class)] += 1;
            if !seen.contains(&class) {
                seen.push(class);
                self.shown[usize::from(class)] += 1;
            }
        }
        self.images += 1;
    }

    /// The metrics of all images added.
    pub fn finish(self) -> Metrics {
        let Self {
            mut outcomes,
            instances,
            shown,
            images,
            dropped,
            confusion,
        } = self;
        // Stable: of equal scores the one that was added first stays first.
        outcomes.sort_by(|a, b| a.class.cmp(&b.class).then(b.score.total_cmp(&a.score)));
        let by_class: Vec<ClassCurves> = (0u16..)
            .zip(&instances)
            .filter(|&(_, &instances)| instances > 0)
            .map(|(class, &instances)| {
                let start = outcomes.partition_point(|o| o.class < class);
                let end = outcomes.partition_point(|o| o.class <= class);
                ClassCurves::new(class, instances, &outcomes[start..end])
            })
            .collect();
        let mean = Curves::mean(by_class.iter().map(|c| &c.curves));
        let best = mean.best_f1();

        let per_class: Vec<ClassMetrics> = by_class
            .into_iter()
            .map(|c| ClassMetrics {
                class: c.class,
                instances: instances[usize::from(c.class)],
                images: shown[usize::from(c.class)],
                precision: c.curves.precision[best],
                recall: c.curves.recall[best],
                ap50: c.ap[0],
                ap50_95: c.ap.iter().sum::<f64>() / c.ap.len() as f64,
                ap: c.ap,
                curves: c.curves,
            })
            .collect();
        let over_classes = |value: fn(&ClassMetrics) -> f64| {
            per_class.iter().map(value).sum::<f64>() / per_class.len().max(1) as f64
        };
        Metrics {
            precision: over_classes(|c| c.precision),
            recall: over_classes(|c| c.recall),
            map50: over_classes(|c| c.ap50),
            map50_95: over_classes(|c| c.ap50_95),
            confidence: curves::axis(best),
            images,
            instances: instances.iter().sum(),
            dropped,
            per_class,
            curves: mean,
            confusion,
        }
    }
}

#[cfg(test)]
mod tests;
