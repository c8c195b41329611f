//! The assigner against a restatement that visits every pair of object and anchor, as the definition is worded.

use proptest::prelude::*;

use super::*;
use crate::loss::ciou;

const WIDTH: usize = 96;
const HEIGHT: usize = 64;
const CLASSES: usize = 2;

#[derive(Clone, Debug)]
struct Image {
    boxes: Vec<f32>,
    logits: Vec<f32>,
    truths: Vec<Truth>,
}

impl Image {
    fn grid() -> Grid {
        Grid::for_input(WIDTH, HEIGHT).unwrap()
    }

    fn view(&self) -> ImageView<'_> {
        ImageView {
            boxes: &self.boxes,
            logits: &self.logits,
            anchors: Self::grid().anchors(),
        }
    }

    fn probabilities(&self) -> Vec<f32> {
        let mut probabilities = self.logits.clone();
        elementary::sigmoid(&mut probabilities).unwrap();
        probabilities
    }

    fn candidates(&self) -> Candidates {
        let candidates =
            Candidates::of_image(&Self::grid(), self.view(), &self.probabilities(), &self.truths).unwrap();
        let mut batch = [candidates];
        align(&mut batch).unwrap();
        let [candidates] = batch;
        candidates
    }

    fn assign(&self, assigner: Assigner) -> Vec<Positive> {
        assigner.choose(&self.candidates())
    }
}

/// Indices of the k largest, of equal ones the earlier first.
fn top(k: usize, values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(k);
    order
}

/// The definition, dense: every array is (objects, anchors).
fn restated(image: &Image, assigner: Assigner) -> Vec<Positive> {
    let (grid, view, probabilities) = (Image::grid(), image.view(), image.probabilities());
    let (objects, anchors) = (image.truths.len(), grid.anchors());
    let table = || vec![vec![0f32; anchors]; objects];
    let (mut overlap, mut alignment, mut inside) = (table(), table(), vec![vec![false; anchors]; objects]);
    let mut pairs = Vec::new();
    for (g, truth) in image.truths.iter().enumerate() {
        let xyxy = truth.xyxy(&grid);
        let [x1, y1, x2, y2] = xyxy;
        if x1 + y1 + x2 + y2 <= 0.0 {
            continue;
        }
        let (cx, cy) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let (w, h) = ((x2 - x1).max(16.0), (y2 - y1).max(16.0));
        for a in 0..anchors {
            let cell = grid.cell(a);
            let (px, py) = (cell.x * cell.stride, cell.y * cell.stride);
            let margins = [
                px - (cx - w / 2.0),
                py - (cy - h / 2.0),
                cx + w / 2.0 - px,
                cy + h / 2.0 - py,
            ];
            inside[g][a] = margins.iter().all(|&m| m > 1e-9);
            if inside[g][a] {
                let predicted = view.xyxy(cell, a);
                let value = ciou(xyxy, predicted).unwrap().value;
                overlap[g][a] = if value < 0.0 { 0.0 } else { value };
                pairs.push((g, a));
            }
        }
    }
    let class = |g: usize| usize::from(image.truths[g].class);
    let powers = |exponent, base: &dyn Fn(usize, usize) -> f32| {
        let mut values: Vec<f32> = pairs.iter().map(|&(g, a)| base(g, a)).collect();
        elementary::power(&mut values, exponent).unwrap();
        values
    };
    let roots = powers(0.5, &|g, a| probabilities[class(g) * anchors + a]);
    let sixths = powers(6.0, &|g, a| overlap[g][a]);
    for (&(g, a), (root, sixth)) in pairs.iter().zip(roots.iter().zip(sixths)) {
        alignment[g][a] = root * sixth;
    }

    let mut selected = vec![vec![false; anchors]; objects];
    for g in 0..objects {
        for a in top(assigner.topk, &alignment[g]) {
            selected[g][a] = inside[g][a];
        }
    }
    for a in 0..anchors {
        if (0..objects).filter(|&g| selected[g][a]).count() > 1 {
            let column: Vec<f32> = (0..objects).map(|g| overlap[g][a]).collect();
            let winner = top(1, &column)[0];
            (0..objects).for_each(|g| selected[g][a] = g == winner);
        }
    }
    if assigner.kept != assigner.topk {
        for g in 0..objects {
            let masked: Vec<f32> = (0..anchors)
                .map(|a| if selected[g][a] { alignment[g][a] } else { 0.0 })
                .collect();
            let kept = top(assigner.kept, &masked);
            (0..anchors).for_each(|a| selected[g][a] &= kept.contains(&a));
        }
    }

    let mut positives = Vec::new();
    for a in 0..anchors {
        for g in (0..objects).filter(|&g| selected[g][a]) {
            let largest = |values: &[f32]| {
                (0..anchors)
                    .filter(|&a| selected[g][a])
                    .map(|a| values[a])
                    .fold(0.0, f32::max)
            };
            let score = alignment[g][a] * largest(&overlap[g]) / (largest(&alignment[g]) + 1e-9);
            positives.push(Positive {
                anchor: a,
                truth: g,
                score,
            });
        }
    }
    positives
}

prop_compose! {
    /// Coarse steps, so that ties of alignment and overlap are frequent.
    fn image()(
        boxes in prop::collection::vec((-2i8..12).prop_map(|v| f32::from(v) / 4.0), 4 * 126),
        logits in prop::collection::vec((-4i8..4).prop_map(f32::from), CLASSES * 126),
        truths in prop::collection::vec((0u16..2, prop::array::uniform4(-1i8..33)), 0..9),
    ) -> Image {
        let truths = truths
            .into_iter()
            .map(|(class, [x, y, w, h])| {
                let part = |v: i8| f32::from(v) / 32.0;
                Truth { class, xywh: [part(x), part(y), part(w.abs()), part(h.abs()) / 2.0] }
            })
            .collect();
        Image { boxes, logits, truths }
    }
}

proptest! {
    #[test]
    fn the_assignment_follows_the_definition(image in image()) {
        for assigner in [Assigner::ONE_TO_MANY, Assigner::ONE_TO_ONE, Assigner { topk: 7, kept: 2 }] {
            let (found, expected) = (image.assign(assigner), restated(&image, assigner));
            let pairs = |list: &[Positive]| list.iter().map(|p| (p.anchor, p.truth)).collect::<Vec<_>>();
            prop_assert_eq!(pairs(&found), pairs(&expected));
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found.score - expected.score).abs() <= 1e-6);
            }
        }
    }

    #[test]
    fn an_anchor_has_one_object_and_the_one_to_one_branch_one_anchor(image in image()) {
        let positives = image.assign(Assigner::ONE_TO_ONE);
        prop_assert!(positives.is_sorted_by(|a, b| a.anchor < b.anchor));
        let mut truths: Vec<usize> = positives.iter().map(|p| p.truth).collect();
        truths.sort_unstable();
        prop_assert!(truths.is_sorted_by(|a, b| a < b));
    }
}

/// Predictions that all miss, for the given objects.
fn untrained(truths: Vec<Truth>) -> Image {
    Image {
        boxes: vec![-3.0; 4 * 126],
        logits: vec![0.0; CLASSES * 126],
        truths,
    }
}

#[test]
fn an_object_smaller_than_a_cell_still_finds_anchors() {
    let small = Truth {
        class: 0,
        xywh: [0.5, 0.5, 0.08, 0.08],
    };
    let mut image = untrained(vec![small]);
    // No point lies in its 7.7 x 5.1 px, but four are 4 px from its centre on each axis, within half of 16 px.
    image.boxes.iter_mut().for_each(|d| *d = 1.0);
    assert_eq!(image.assign(Assigner::ONE_TO_MANY).len(), 4);
}

#[test]
fn predictions_that_all_miss_leave_only_the_first_anchors_with_score_zero() {
    let whole = Truth {
        class: 0,
        xywh: [0.5, 0.5, 1.0, 1.0],
    };
    let image = untrained(vec![whole]);
    let found: Vec<(usize, f32)> = image
        .assign(Assigner::ONE_TO_MANY)
        .iter()
        .map(|p| (p.anchor, p.score))
        .collect();
    assert_eq!(found, (0..10).map(|a| (a, 0.0)).collect::<Vec<_>>());
    // One that does not reach the first anchors gets none.
    assert!(
        untrained(vec![Truth {
            class: 0,
            xywh: [0.8, 0.8, 0.3, 0.3]
        }])
        .assign(Assigner::ONE_TO_MANY)
        .is_empty()
    );
}

#[test]
fn a_prediction_that_is_not_a_number_reaches_the_score() {
    let whole = Truth {
        class: 0,
        xywh: [0.5, 0.5, 1.0, 1.0],
    };
    let mut image = untrained(vec![whole]);
    image.boxes[77] = f32::NAN;
    for assigner in [Assigner::ONE_TO_MANY, Assigner::ONE_TO_ONE] {
        assert!(
            image
                .assign(assigner)
                .iter()
                .any(|p| p.anchor == 77 && p.score.is_nan())
        );
    }
}

#[test]
fn of_equal_alignments_the_earlier_anchors_are_kept() {
    let mut top = TopK::new(3);
    for (anchor, alignment) in [(20, 0.5), (21, 0.25), (22, 0.5), (23, 0.25), (24, 0.5), (25, 0.5)] {
        top.offer(Candidate {
            anchor,
            alignment,
            overlap: 1.0,
        });
    }
    let mut kept = Vec::new();
    top.drain(|candidate| kept.push(candidate.anchor));
    assert_eq!(kept, [20, 22, 24]);
}
