//! The three terms of the loss for one image, given its assignment.
//!
//! Sums are without gains and not yet divided by the batch's sum of target scores, which is known only when all images
//! are assigned; the scales of the gradients hold both. Positives are few, so their terms are computed in `f64`.

use super::assign::{ImageView, Positive};
use super::bce;
use super::ciou::ciou;
use super::{Gradients, Grid, Truth};

/// Factors of the three terms' gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub(super) boxes: f64,
    pub(super) cls: f64,
    pub(super) l1: f64,
}

/// The three terms of one image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) boxes: f64,
    pub(super) cls: f64,
    pub(super) l1: f64,
}

/// The terms alone.
pub(super) fn values(grid: &Grid, view: ImageView<'_>, truths: &[Truth], positives: &[Positive]) -> Sums {
    let mut sums = Sums {
        cls: bce::softplus_sum(view.logits),
        ..Sums::default()
    };
    for positive in positives {
        let truth = &truths[positive.truth];
        let score = f64::from(positive.score);
        let boxes = BoxTerms::new(grid, &view, truth, positive.anchor);
        sums.boxes += score * boxes.ciou;
        sums.l1 += score * boxes.l1;
        sums.cls -= score * f64::from(view.logits[logit_index(&view, truth, positive)]);
    }
    sums
}

/// The terms and their gradients, which fill `out`.
pub(super) fn gradients(
    grid: &Grid,
    view: ImageView<'_>,
    truths: &[Truth],
    positives: &[Positive],
    scales: Scales,
    out: Gradients<'_>,
) -> Sums {
    let cls = bce::softplus_sum_with_gradient(view.logits, scales.cls as f32, out.logits);
    let mut sums = Sums {
        cls,
        ..Sums::default()
    };
    out.boxes.fill(0.0);
    for positive in positives {
        let truth = &truths[positive.truth];
        let score = f64::from(positive.score);
        let boxes = BoxTerms::new(grid, &view, truth, positive.anchor);
        sums.boxes += score * boxes.ciou;
        sums.l1 += score * boxes.l1;
        for side in 0..4 {
            let slope = scales.boxes * boxes.ciou_by[side] + scales.l1 * boxes.l1_by[side];
            out.boxes[side * view.anchors + positive.anchor] = (score * slope) as f32;
        }

        let index = logit_index(&view, truth, positive);
        let logit = f64::from(view.logits[index]);
        sums.cls -= score * logit;
        // Once more from the logit: taking the score from the rounded product would lose digits.
        out.logits[index] = (scales.cls * (1.0 / (1.0 + (-logit).exp()) - score)) as f32;
    }
    sums
}

fn logit_index(view: &ImageView<'_>, truth: &Truth, positive: &Positive) -> usize {
    usize::from(truth.class) * view.anchors + positive.anchor
}

/// The box terms of one positive and their derivatives by its distances left, top, right, bottom.
struct BoxTerms {
    /// 1 - CIoU, in cells.
    ciou: f64,
    ciou_by: [f64; 4],
    /// Mean difference of the distances, as parts of the input's width and height.
    l1: f64,
    l1_by: [f64; 4],
}

impl BoxTerms {
    fn new(grid: &Grid, view: &ImageView<'_>, truth: &Truth, anchor: usize) -> Self {
        let cell = grid.cell(anchor);
        let [l, t, r, b] = view.distances(anchor);
        let target = truth.xyxy(grid).map(|v| v / cell.stride);
        let predicted = [cell.x - l, cell.y - t, cell.x + r, cell.y + b];
        let overlap = ciou(predicted.map(f64::from), target.map(f64::from));
        // left = x - l: the box moves against the first two distances, so that 1 - CIoU moves with them.
        let [left, top, right, bottom] = overlap.gradient;

        let [x1, y1, x2, y2] = target;
        let wanted = [cell.x - x1, cell.y - y1, x2 - cell.x, y2 - cell.y];
        let stride = f64::from(cell.stride);
        let across =
            [grid.width(), grid.height(), grid.width(), grid.height()].map(|side| stride / side as f64);
        let (mut l1, mut l1_by) = (0.0, [0.0; 4]);
        for (side, (found, wanted)) in [l, t, r, b].into_iter().zip(wanted).enumerate() {
            let difference = f64::from(found) - f64::from(wanted);
            l1 += difference.abs() * across[side] / 4.0;
            // At 0 the slope is 0, as autograd has it; `signum` would say 1.
            let sign = if difference == 0.0 {
                0.0
            } else {
                difference.signum()
            };
            l1_by[side] = sign * across[side] / 4.0;
        }
        Self {
            ciou: 1.0 - overlap.value,
            ciou_by: [left, top, -right, -bottom],
            l1,
            l1_by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANCHORS: usize = 21;
    const CLASSES: usize = 2;

    #[derive(Clone, Debug)]
    struct Sample {
        boxes: Vec<f32>,
        logits: Vec<f32>,
        truths: Vec<Truth>,
        positives: Vec<Positive>,
    }

    impl Sample {
        fn grid() -> Grid {
            Grid::for_input(32, 32).unwrap()
        }

        fn view(&self) -> ImageView<'_> {
            ImageView {
                boxes: &self.boxes,
                logits: &self.logits,
                anchors: ANCHORS,
            }
        }

        fn values(&self) -> Sums {
            values(&Self::grid(), self.view(), &self.truths, &self.positives)
        }

        fn gradients(&self, scales: Scales) -> (Vec<f32>, Vec<f32>) {
            let (mut boxes, mut logits) = (vec![f32::NAN; 4 * ANCHORS], vec![f32::NAN; CLASSES * ANCHORS]);
            let out = Gradients {
                boxes: &mut boxes,
                logits: &mut logits,
            };
            gradients(
                &Self::grid(),
                self.view(),
                &self.truths,
                &self.positives,
                scales,
                out,
            );
            (boxes, logits)
        }
    }

    prop_compose! {
        fn sample()(
            boxes in prop::collection::vec(-1f32..4.0, 4 * ANCHORS),
            logits in prop::collection::vec(-4f32..4.0, CLASSES * ANCHORS),
            xywh in prop::collection::vec(prop::array::uniform4(0.2f32..0.8), 3),
            marks in prop::collection::vec(prop::option::of((0usize..3, 0f32..1.0)), ANCHORS),
        ) -> Sample {
            let truths = xywh.into_iter().enumerate().map(|(i, xywh)| Truth { class: i as u16 % 2, xywh }).collect();
            let positives = marks.into_iter().enumerate()
                .filter_map(|(anchor, mark)| mark.map(|(truth, score)| Positive { anchor, truth, score }))
                .collect();
            Sample { boxes, logits, truths, positives }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn class_gradients_are_the_limit_of_differences(sample in sample(), index in 0..CLASSES * ANCHORS) {
            let (_, logits) = sample.gradients(Scales { boxes: 0.0, cls: 1.0, l1: 0.0 });
            let step = 1.0 / 64.0;
            let (mut up, mut down) = (sample.clone(), sample);
            up.logits[index] += step;
            down.logits[index] -= step;
            let slope = (up.values().cls - down.values().cls) / f64::from(2.0 * step);
            prop_assert!((f64::from(logits[index]) - slope).abs() < 1e-3, "{} {slope}", logits[index]);
        }

        #[test]
        fn distance_gradients_are_the_limit_of_differences(sample in sample(), index in 0..4 * ANCHORS) {
            let (boxes, _) = sample.gradients(Scales { boxes: 0.0, cls: 0.0, l1: 1.0 });
            let step = 1.0 / 1024.0;
            let (mut up, mut down) = (sample.clone(), sample.clone());
            up.boxes[index] += step;
            down.boxes[index] -= step;
            let (up, down, middle) = (up.values().l1, down.values().l1, sample.values().l1);
            // Not across the kink, where the slopes of both sides differ.
            prop_assume!((up + down - 2.0 * middle).abs() < 1e-9);
            let slope = (up - down) / f64::from(2.0 * step);
            prop_assert!((f64::from(boxes[index]) - slope).abs() < 1e-4, "{} {slope}", boxes[index]);
        }
    }

    #[test]
    fn distances_that_are_met_exactly_are_left_alone() {
        // Anchor 5 of the finest level has its point at (12, 12) px, the object reaches 12 px to each side of it.
        let mut sample = Sample {
            boxes: vec![1.5; 4 * ANCHORS],
            logits: vec![0.0; CLASSES * ANCHORS],
            truths: vec![Truth {
                class: 0,
                xywh: [0.375, 0.375, 0.75, 0.75],
            }],
            positives: vec![Positive {
                anchor: 5,
                truth: 0,
                score: 1.0,
            }],
        };
        let scales = Scales {
            boxes: 0.0,
            cls: 0.0,
            l1: 32.0,
        };
        assert_eq!(sample.values().l1, 0.0);
        assert_eq!(sample.gradients(scales).0, [0.0; 4 * ANCHORS]);
        // One distance too long by a cell of 8 px: a quarter of 8 / 32 each.
        sample.boxes[2 * ANCHORS + 5] = 2.5;
        assert_eq!(sample.values().l1, 0.0625);
        assert_eq!(sample.gradients(scales).0[2 * ANCHORS + 5], 2.0);
    }

    #[test]
    fn a_step_against_the_box_gradient_lowers_the_box_term() {
        let grid = Sample::grid();
        let sample = Sample {
            boxes: (0..4 * ANCHORS).map(|i| 0.5 + (i % 7) as f32 / 4.0).collect(),
            logits: vec![0.0; CLASSES * ANCHORS],
            truths: vec![Truth {
                class: 0,
                xywh: [0.45, 0.55, 0.7, 0.4],
            }],
            positives: (0..ANCHORS)
                .map(|anchor| Positive {
                    anchor,
                    truth: 0,
                    score: 1.0,
                })
                .collect(),
        };
        let before = sample.values().boxes;
        let (boxes, _) = sample.gradients(Scales {
            boxes: 1.0,
            cls: 0.0,
            l1: 0.0,
        });
        let mut stepped = sample.clone();
        stepped
            .boxes
            .iter_mut()
            .zip(&boxes)
            .for_each(|(d, slope)| *d -= 0.02 * slope);
        let after = values(&grid, stepped.view(), &stepped.truths, &stepped.positives).boxes;
        assert!(after < before, "{before} to {after}");
    }
}
