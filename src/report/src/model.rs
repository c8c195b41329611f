//! What a report is made of: plain data, filled in by the training run.
//!
//! Everything may be empty, and every number may be NaN: a report is written after each epoch, long before the last
//! section has anything to show. Numbers are what was measured, in the field's units (mAP and the like as 0..1,
//! losses as they are logged, seconds); the page alone decides how to print them.

use serde::{Deserialize, Serialize};

use crate::confusion::Confusion;
use crate::exact;
use crate::labels::LabelStats;
use crate::palette::Color;
use crate::picture::Picture;

/// The three parts of the loss, in the order of [`EpochRow::train`] and [`EpochRow::val`].
pub const LOSS_NAMES: [&str; 3] = ["box", "cls", "l1"];

/// One training run, ready to be rendered.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    /// The run's name, for example `azaion-2026-03-28`.
    pub title: String,
    /// Where the run stands.
    pub progress: Progress,
    /// How many epochs were asked for.
    pub planned_epochs: u32,
    /// What was trained on what: model, image size, dataset, device, seed, duration, ...
    pub facts: Vec<Fact>,
    /// One row an epoch, ascending.
    pub history: Vec<EpochRow>,
    /// The epoch (as in [`EpochRow::epoch`]) whose weights were kept.
    pub best_epoch: Option<u32>,
    /// Seconds to the end of the run, while it is trained.
    pub left_s: Option<f64>,
    /// The final validation, one entry a head; the first one is the headline. Where it is empty, the best epoch of
    /// the history takes its place.
    pub scores: Vec<Scores>,
    /// The last validation, class by class.
    pub classes: Vec<ClassRow>,
    /// Precision over recall.
    pub pr: Vec<Curve>,
    /// F1 over confidence.
    pub f1: Vec<Curve>,
    /// What was taken for what.
    pub confusion: Option<Confusion>,
    /// Validation images with true and predicted boxes, in the order to be shown.
    pub sheet: Vec<SheetImage>,
    /// Images as they were trained on, after augmentation, with their boxes as [`SheetImage::predicted`].
    pub augmented: Vec<SheetImage>,
    /// What the dataset's labels look like.
    pub labels: Option<LabelStats>,
    /// What a reader must know before believing the numbers.
    pub warnings: Vec<String>,
    /// What a reader may want to know.
    pub notes: Vec<String>,
    /// Where the run's files are.
    pub paths: Vec<Fact>,
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Epochs are still to come.
    #[default]
    Running,
    /// All planned epochs were trained.
    Finished,
    /// It ended before the last planned epoch; the text says why ("no gain for 100 epochs").
    Stopped(String),
}

/// A name and a value, both shown as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, for example `Image size`.
    pub name: String,
    /// Its value, for example `1280 px`.
    pub value: String,
}

impl Fact {
    /// A fact from anything that reads as text.
    pub fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
        }
    }
}

/// What one epoch measured: a line of `results.csv`, and what a checkpoint keeps of it (to the bit, NaN included).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: u32,
    /// Seconds since the run began.
    #[serde(with = "exact")]
    pub time_s: f64,
    /// Training losses, named by [`LOSS_NAMES`].
    #[serde(with = "exact")]
    pub train: [f64; 3],
    /// Validation losses, named by [`LOSS_NAMES`].
    #[serde(with = "exact")]
    pub val: [f64; 3],
    /// Mean precision over the classes, 0..1.
    #[serde(with = "exact")]
    pub precision: f64,
    /// Mean recall over the classes, 0..1.
    #[serde(with = "exact")]
    pub recall: f64,
    /// Mean average precision at IoU 0.5.
    #[serde(with = "exact")]
    pub map50: f64,
    /// Mean average precision over IoU 0.5 to 0.95.
    #[serde(with = "exact")]
    pub map50_95: f64,
    /// The learning rate of every parameter group.
    #[serde(with = "exact")]
    pub lr: Vec<f64>,
}

/// What one head scored in the final validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Which head the numbers are from, for example `one2many + NMS`.
    pub head: String,
    /// Mean precision, 0..1.
    pub precision: f64,
    /// Mean recall, 0..1.
    pub recall: f64,
    /// mAP at IoU 0.5.
    pub map50: f64,
    /// mAP over IoU 0.5 to 0.95.
    pub map50_95: f64,
}

/// What the final validation measured for one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The class.
    pub name: String,
    /// Its colour everywhere on the page.
    pub color: Color,
    /// How many true boxes of it the validation images hold.
    pub instances: u64,
    /// Precision, 0..1.
    pub precision: f64,
    /// Recall, 0..1.
    pub recall: f64,
    /// Average precision at IoU 0.5.
    pub ap50: f64,
    /// Average precision over IoU 0.5 to 0.95.
    pub ap50_95: f64,
}

/// One curve of a chart whose axes both run from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The class, or what the curve is the mean of.
    pub name: String,
    /// The class's colour; none for the mean over all classes, which is drawn strongest.
    pub color: Option<Color>,
    /// (x, y), ascending in x.
    pub points: Vec<(f64, f64)>,
}

/// An image and what was true and predicted on it.
#[derive(Clone, Debug)]
pub struct SheetImage {
    /// The pixels.
    pub picture: Picture,
    /// Said below the image, for example its name and what went wrong.
    pub caption: String,
    /// The labelled boxes.
    pub truth: Vec<BoundingBox>,
    /// The detected boxes.
    pub predicted: Vec<BoundingBox>,
}

/// A box to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundingBox {
    /// Left, top, right, bottom, in pixels of the image that the box lies on.
    pub xyxy: [f32; 4],
    /// The class's name.
    pub label: String,
    /// The confidence, 0..1; none for a true box.
    pub score: Option<f32>,
    /// The class's colour.
    pub color: Color,
}

impl BoundingBox {
    /// The score to be shown: within 0..1, none if it is not a number.
    pub(crate) fn sure(&self) -> Option<f32> {
        self.score
            .filter(|score| !score.is_nan())
            .map(|score| score.clamp(0.0, 1.0))
    }

    /// The corners sorted and cut to an image of this size; none if nothing of the box lies on it, or if a corner is
    /// not a number.
    pub(crate) fn clipped(&self, width: f32, height: f32) -> Option<[f32; 4]> {
        let [x0, y0, x1, y1] = self.xyxy;
        if self.xyxy.iter().any(|v| v.is_nan()) {
            return None;
        }
        let (left, right) = (x0.min(x1).max(0.0), x0.max(x1).min(width));
        let (top, bottom) = (y0.min(y1).max(0.0), y0.max(y1).min(height));
        (left < right && top < bottom).then_some([left, top, right, bottom])
    }
}

#[cfg(test)]
mod tests {
    use super::EpochRow;
    use proptest::prelude::*;

    fn bits(row: &EpochRow) -> Vec<u64> {
        let one = [row.time_s, row.precision, row.recall, row.map50, row.map50_95];
        let all = one.iter().chain(&row.train).chain(&row.val).chain(&row.lr);
        all.map(|v| if v.is_nan() { f64::NAN } else { *v }.to_bits())
            .collect()
    }

    #[test]
    fn an_epoch_that_is_damaged_in_its_file_is_refused() {
        let good = serde_json::to_string(&EpochRow {
            train: [1.0, f64::NAN, 0.5],
            ..EpochRow::default()
        })
        .unwrap();
        assert!(good.contains(r#""train":"1 NaN 0.5""#), "{good}");
        for bad in [r#""train":"1 0.5""#, r#""train":"1 x 0.5""#, r#""train":7"#] {
            let damaged = good.replace(r#""train":"1 NaN 0.5""#, bad);
            assert!(serde_json::from_str::<EpochRow>(&damaged).is_err(), "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn an_epoch_survives_json_to_the_bit(v in prop::array::uniform11(any::<f64>()), lr in any::<Vec<f64>>()) {
            let row = EpochRow {
                epoch: 7, time_s: v[0], train: [v[1], v[2], v[3]], val: [v[4], v[5], f64::NAN],
                precision: v[6], recall: v[7], map50: v[8], map50_95: v[9], lr,
            };
            let json = serde_json::to_string(&row).unwrap();
            let read: EpochRow = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(bits(&read), bits(&row));
        }
    }
}
