//! Which boxes are answered with: non-maximum suppression and the end-to-end selection.

use crate::{
    network::Case,
    table::{Bound, Gap, Row},
};
use detector::{
    Detection, HeadOutput, Heads,
    decode::{EndToEnd, end_to_end},
    nms::{Labels, Nms},
};

/// What counts as the same score.
const SCORE: f32 = 2e-6;
/// Scores this near the last one's may have been cut off on the other side.
const CUT: f32 = SCORE;
/// What counts as the same place.
const PIXELS: f32 = 1e-3;

/// Rows about the decoded answers of an evaluation.
pub fn decoded(case: &Case<'_>, eval: &Heads) -> anyhow::Result<Vec<Row>> {
    let mut rows = case.table_rows(&eval.one2many)?.to_vec();
    rows.push(end_to_end_row(
        case,
        "end-to-end boxes",
        "end2end",
        &eval.one2one,
    )?);
    if case.is_main() && case.reference.has("answers.nms") {
        rows.push(suppression(case)?);
    }
    Ok(rows)
}

/// The end-to-end answer, (images, rows, 6).
pub fn end_to_end_row(
    case: &Case<'_>,
    item: &'static str,
    name: &str,
    out: &HeadOutput,
) -> anyhow::Result<Row> {
    let expected = case.expected(name)?;
    let images = out.images(&case.grid)?;
    let settings = EndToEnd {
        confidence: 0.0,
        max_det: 300,
    };
    let (mut differing, mut values) = (0, 0);
    let per_image = (expected.len() / images.len().max(1)).max(1);
    for (image, rows) in images.iter().zip(expected.chunks(per_image)) {
        let rows: Vec<&[f32]> = rows.chunks(6).collect();
        let mut found = end_to_end(image, &settings);
        found.truncate(rows.len());
        // Equal scores have no order, so neither does what is cut off among them.
        let last = rows.last().and_then(|row| row.get(4)).copied().unwrap_or(0.0);
        let is_clear = |score: f32| score > last + CUT;
        let clear: Vec<&[f32]> = rows
            .iter()
            .copied()
            .filter(|row| row.get(4).is_some_and(|score| is_clear(*score)))
            .collect();
        found.retain(|ours| is_clear(ours.score));
        differing += unmatched(&found, &clear);
        values += rows.len();
    }
    Ok(case.row(item, Gap::count(values, differing as f64), Bound::Absolute(0.0)))
}

/// On made-up answers; rows of (image, box, score, class).
fn suppression(case: &Case<'_>) -> anyhow::Result<Row> {
    let expected = case.reference.f32("answers.nms")?;
    let answers = HeadOutput {
        boxes: case.reference.tensor("answers.boxes")?,
        scores: case.reference.tensor("answers.logits")?,
    };
    // The reference answers for one class at a time only where there is more than one.
    let labels = if case.classes > 1 {
        Labels::Every
    } else {
        Labels::Best
    };
    let nms = Nms {
        confidence: 0.05,
        iou: 0.5,
        labels,
        ..Nms::validate()
    };
    let mut differing = 0;
    for (index, image) in answers.images(&case.grid)?.iter().enumerate() {
        let rows: Vec<&[f32]> = expected
            .chunks(7)
            .filter_map(|row| row.split_first())
            .filter(|(of, _)| **of == index as f32)
            .map(|(_, row)| row)
            .collect();
        differing += unmatched(&nms.detect(image), &rows);
    }
    let gap = Gap::count(expected.len() / 7, differing as f64);
    Ok(case.row("boxes after suppression", gap, Bound::Absolute(0.0)))
}

/// Rows without a detection of ours, and detections too many. Boxes of the same score have no order, so ranks are not
/// compared: every score is, by [`is_same`].
fn unmatched(found: &[Detection], rows: &[&[f32]]) -> usize {
    let mut left: Vec<&Detection> = found.iter().collect();
    let missing = rows
        .iter()
        .filter(|row| match left.iter().position(|ours| is_same(ours, row)) {
            Some(place) => {
                left.remove(place);
                false
            }
            None => true,
        })
        .count();
    missing.max(left.len())
}

fn is_same(ours: &Detection, row: &[f32]) -> bool {
    let [sides @ .., score, class] = row else {
        return false;
    };
    f32::from(ours.class) == *class
        && (ours.score - score).abs() < SCORE
        && ours.xyxy.iter().zip(sides).all(|(a, b)| (a - b).abs() < PIXELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Detection = Detection {
        xyxy: [1.0, 2.0, 3.0, 4.0],
        score: 0.5,
        class: 2,
    };

    #[test]
    fn a_missing_an_extra_and_another_class_are_counted() {
        let row: &[f32] = &[1.0, 2.0, 3.0, 4.0, 0.5, 2.0];
        let other: &[f32] = &[1.0, 2.0, 3.0, 4.0, 0.5, 1.0];
        assert_eq!(unmatched(&[ONE], &[row]), 0);
        assert_eq!(unmatched(&[], &[row]), 1);
        assert_eq!(unmatched(&[ONE, ONE], &[row]), 1);
        assert_eq!(unmatched(&[ONE], &[other]), 1);
    }
}
