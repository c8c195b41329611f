//! The report in three sentences: what was reached, whether more epochs would help, and what is weakest.
//!
//! Also the headline numbers, and the warnings that follow from the numbers themselves. Everything is said only where
//! the data supports it: no trend from a handful of epochs, no weakest class among one.

use crate::model::{EpochRow, Progress, RunReport, Scores};
use crate::number::{Duration, Unit};

/// Fewer epochs than this have no trend.
const LEAST_FOR_TREND: usize = 12;
/// A gain in mAP50-95 below this is noise.
const GAIN: f64 = 0.005;

/// The headline numbers: the final validation's first head, else the best epoch.
pub(crate) fn headline(report: &RunReport) -> Option<Scores> {
    report.scores.first().cloned().or_else(|| {
        let row = best_row(report)?;
        Some(Scores {
            head: format!("Best epoch: {}", row.epoch),
            precision: row.precision,
            recall: row.recall,
            map50: row.map50,
            map50_95: row.map50_95,
        })
    })
}

/// The sentences, most important first; never empty.
pub(crate) fn sentences(report: &RunReport) -> Vec<String> {
    let mut sentences = vec![standing(report)];
    sentences.extend(trend(report));
    sentences.extend(weakest(report));
    sentences
}

/// What the numbers themselves warn of.
pub(crate) fn warnings(report: &RunReport) -> Vec<String> {
    let mut warnings = Vec::new();
    let broken = |losses: fn(&EpochRow) -> [f64; 3]| {
        report
            .history
            .iter()
            .filter(move |row| losses(row).iter().any(|v| !v.is_finite()))
    };
    let mut in_training = broken(|row| row.train);
    if let Some(first) = in_training.next() {
        let (from, epochs) = (first.epoch, 1 + in_training.count());
        let span = if epochs == 1 {
            "1 epoch".to_owned()
        } else {
            format!("{epochs} epochs")
        };
        warnings.push(format!(
            "The training loss was not a finite number in {span}, first in epoch {from}."
        ));
    }
    warnings
}

fn best_row(report: &RunReport) -> Option<&EpochRow> {
    let best = report
        .history
        .iter()
        .find(|row| Some(row.epoch) == report.best_epoch);
    best.or_else(|| report.history.last())
}

fn standing(report: &RunReport) -> String {
    let (Some(row), Some(last)) = (best_row(report), report.history.last()) else {
        return match headline(report) {
            Some(scores) => format!("mAP50-95 is {} ({}).", Unit(scores.map50_95), scores.head),
            None => "Nothing has been measured yet.".to_owned(),
        };
    };
    let (best, planned) = (row.epoch, report.planned_epochs.max(last.epoch));
    // The final validation and the best epoch's own may differ: other settings, another head.
    let reached = match report.scores.first() {
        Some(Scores { head, map50_95, .. }) => {
            format!(
                "epoch {best}; validated once more it reaches mAP50-95 {} ({head})",
                Unit(*map50_95)
            )
        }
        None => format!("epoch {best} with mAP50-95 {}", Unit(row.map50_95)),
    };
    match &report.progress {
        Progress::Running => {
            let left = report
                .left_s
                .filter(|left| left.is_finite())
                .map_or_else(String::new, |left| format!(", about {} left", Duration(left)));
            format!(
                "Epoch {} of {planned} is done{left}; the best so far is {reached}.",
                last.epoch
            )
        }
        Progress::Finished => format!("The best of {planned} epochs is {reached}."),
        Progress::Stopped(why) => {
            let why = why.trim().trim_end_matches('.');
            let because = if why.is_empty() {
                String::new()
            } else {
                format!(" ({why})")
            };
            format!(
                "Stopped after epoch {} of {planned}{because}; the best is {reached}.",
                last.epoch
            )
        }
    }
}

/// Compares the best of the last quarter with the best before it.
fn trend(report: &RunReport) -> Option<String> {
    let maps: Vec<f64> = report
        .history
        .iter()
        .map(|row| row.map50_95)
        .filter(|v| v.is_finite())
        .collect();
    if maps.len() < LEAST_FOR_TREND {
        return None;
    }
    let recent = maps.len().div_ceil(4);
    let (before, last) = maps.split_at(maps.len() - recent);
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let gain = most(last) - most(before);
    Some(if gain >= GAIN {
        format!(
            "It was still getting better: the last {recent} epochs gained {}.",
            Unit(gain)
        )
    } else if gain > -GAIN {
        format!("It has levelled off: the last {recent} epochs changed it by less than {GAIN}.")
    } else {
        format!("The last {recent} epochs did not come near the best again.")
    })
}

fn weakest(report: &RunReport) -> Option<String> {
    let mut seen: Vec<_> = report
        .classes
        .iter()
        .filter(|c| c.instances > 0 && c.ap50_95.is_finite())
        .collect();
    seen.sort_by(|a, b| a.ap50_95.total_cmp(&b.ap50_95));
    let [weakest, _, ..] = seen.as_slice() else {
        return None;
    };
    let boxes = if weakest.instances == 1 { "box" } else { "boxes" };
    let (name, ap, count) = (&weakest.name, Unit(weakest.ap50_95), weakest.instances);
    Some(format!(
        "The weakest class is {name} with AP50-95 {ap} over {count} {boxes}."
    ))
}

#[cfg(test)]
mod tests {
    use super::{headline, sentences, warnings};
    use crate::model::{ClassRow, EpochRow, Progress, RunReport, Scores};
    use crate::palette::Color;

    fn run(maps: &[f64]) -> RunReport {
        let row = |(i, map): (usize, &f64)| EpochRow {
            epoch: i as u32 + 1,
            map50_95: *map,
            ..EpochRow::default()
        };
        RunReport {
            history: maps.iter().enumerate().map(row).collect(),
            planned_epochs: 20,
            ..RunReport::default()
        }
    }

    fn class(name: &str, instances: u64, ap50_95: f64) -> ClassRow {
        let color = Color::default();
        ClassRow {
            name: name.into(),
            color,
            instances,
            precision: 0.5,
            recall: 0.5,
            ap50: 0.5,
            ap50_95,
        }
    }

    #[test]
    fn a_run_without_numbers_says_so() {
        assert_eq!(
            sentences(&RunReport::default()),
            ["Nothing has been measured yet."]
        );
        assert!(headline(&RunReport::default()).is_none());
    }

    #[test]
    fn the_first_sentence_says_where_the_run_stands() {
        let mut report = run(&[0.1, 0.3, 0.2]);
        report.best_epoch = Some(2);
        let first = |report: &RunReport| sentences(report).remove(0);
        assert_eq!(
            first(&report),
            "Epoch 3 of 20 is done; the best so far is epoch 2 with mAP50-95 0.300."
        );
        report.progress = Progress::Stopped("no gain for 100 epochs.".into());
        assert_eq!(
            first(&report),
            "Stopped after epoch 3 of 20 (no gain for 100 epochs); the best is epoch 2 with mAP50-95 0.300."
        );
        report.progress = Progress::Finished;
        assert_eq!(
            first(&report),
            "The best of 20 epochs is epoch 2 with mAP50-95 0.300."
        );
    }

    #[test]
    fn a_trend_is_told_from_twelve_epochs_on() {
        let rising: Vec<f64> = (0..12).map(|i| f64::from(i) / 20.0).collect();
        assert!(sentences(&run(&rising))[1].contains("still getting better: the last 3 epochs gained 0.150"));
        assert_eq!(sentences(&run(&rising[..11])).len(), 1);
        assert!(sentences(&run(&[0.5; 16]))[1].contains("levelled off"));
        let fallen: Vec<f64> = rising.iter().rev().copied().collect();
        assert!(sentences(&run(&fallen))[1].contains("did not come near"));
    }

    #[test]
    fn the_weakest_class_is_named_if_there_are_two() {
        let mut report = run(&[0.5]);
        report.classes = vec![class("cone", 3, 0.7)];
        assert_eq!(sentences(&report).len(), 1);
        report.classes.extend([
            class("cube", 1, 0.2),
            class("never", 0, 0.0),
            class("nan", 4, f64::NAN),
        ]);
        assert_eq!(
            sentences(&report)[1],
            "The weakest class is cube with AP50-95 0.200 over 1 box."
        );
    }

    #[test]
    fn the_final_validation_is_the_headline_before_any_epoch() {
        let mut report = run(&[0.1]);
        assert_eq!(headline(&report).unwrap().head, "Best epoch: 1");
        let scores = Scores {
            head: "one2one".into(),
            precision: 0.0,
            recall: 0.0,
            map50: 0.0,
            map50_95: 0.9,
        };
        report.scores.push(scores.clone());
        assert_eq!(headline(&report), Some(scores));
        assert!(
            sentences(&report)[0]
                .contains("epoch 1; validated once more it reaches mAP50-95 0.900 (one2one).")
        );
    }

    #[test]
    fn a_loss_that_is_no_number_is_a_warning() {
        let mut report = run(&[0.1, 0.2, 0.3]);
        assert!(warnings(&report).is_empty());
        report.history[1].train[0] = f64::NAN;
        report.history[2].train[2] = f64::INFINITY;
        assert_eq!(
            warnings(&report),
            ["The training loss was not a finite number in 2 epochs, first in epoch 2."]
        );
    }
}
