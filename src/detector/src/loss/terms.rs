//! The three terms of the loss for one image, given its assignment.
//!
//! Sums are without gains and not yet divided by the batch's sum of target scores, which is known only when all images
//! are assigned; the scales of the gradients hold both. Gradients are computed in `f32` in the order of operations of
//! autograd, so that they are the reference's to the bit; sums are only reported and are carried in `f64`.

use super::assign::{ImageView, Positive};
use super::ciou::Pair;
use super::{Cell, Gradients, Grid, Truth, bce, elementary};

/// Factors of the three terms' gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub(super) boxes: f32,
    pub(super) cls: f32,
    pub(super) l1: f32,
}

/// The three terms of one image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) boxes: f64,
    pub(super) cls: f64,
    pub(super) l1: f64,
}

/// The terms alone.
pub(super) fn values(
    grid: &Grid,
    view: ImageView<'_>,
    truths: &[Truth],
    positives: &[Positive],
) -> Result<Sums, torch::Error> {
    Ok(sums(
        view,
        truths,
        positives,
        &box_terms(grid, view, truths, positives)?,
    ))
}

/// The terms and their gradients, which fill `out`; its logits hold their own sigmoids before.
pub(super) fn gradients(
    grid: &Grid,
    view: ImageView<'_>,
    truths: &[Truth],
    positives: &[Positive],
    scales: Scales,
    out: Gradients<'_>,
) -> Result<Sums, torch::Error> {
    let terms = box_terms(grid, view, truths, positives)?;
    out.boxes.fill(0.0);
    for (positive, term) in positives.iter().zip(&terms) {
        let slopes = term.gradient(positive.score, scales);
        for (side, slope) in slopes.into_iter().enumerate() {
            out.boxes[side * view.anchors + positive.anchor] = slope;
        }
        out.logits[logit_index(view, truths, positive)] -= positive.score;
    }
    out.logits.iter_mut().for_each(|slope| *slope *= scales.cls);
    Ok(sums(view, truths, positives, &terms))
}

fn sums(view: ImageView<'_>, truths: &[Truth], positives: &[Positive], terms: &[BoxTerm]) -> Sums {
    let mut sums = Sums {
        cls: bce::softplus_sum(view.logits),
        ..Sums::default()
    };
    for (positive, term) in positives.iter().zip(terms) {
        let score = f64::from(positive.score);
        sums.boxes += score * f64::from(1.0 - term.pair.overlap.value(term.angles));
        sums.l1 += score * term.l1();
        sums.cls -= score * f64::from(view.logits[logit_index(view, truths, positive)]);
    }
    sums
}

fn logit_index(view: ImageView<'_>, truths: &[Truth], positive: &Positive) -> usize {
    usize::from(truths[positive.truth].class) * view.anchors + positive.anchor
}

/// A positive's predicted box beside its target.
struct BoxTerm {
    /// In cells.
    pair: Pair,
    /// The arctangents of the pair's shapes.
    angles: [f32; 2],
    /// Found less wanted distances left, top, right, bottom, as parts of the input's sides.
    differences: [f32; 4],
    stride: f32,
    /// The input's sides that the differences are parts of.
    sides: [f32; 4],
}

fn box_terms(
    grid: &Grid,
    view: ImageView<'_>,
    truths: &[Truth],
    positives: &[Positive],
) -> Result<Vec<BoxTerm>, torch::Error> {
    let mut terms: Vec<BoxTerm> = positives
        .iter()
        .map(|p| {
            let cell = grid.cell(p.anchor);
            let target = truths[p.truth].xyxy(grid).map(|v| v / cell.stride);
            BoxTerm::new(grid, cell, view.distances(p.anchor), target)
        })
        .collect();
    let mut angles: Vec<f32> = terms.iter().flat_map(|term| term.pair.shapes()).collect();
    elementary::atan(&mut angles)?;
    for (term, &angles) in terms.iter_mut().zip(angles.as_chunks().0) {
        term.angles = angles;
    }
    Ok(terms)
}

impl BoxTerm {
    fn new(grid: &Grid, cell: Cell, distances: [f32; 4], target: [f32; 4]) -> Self {
        let ([l, t, r, b], [x1, y1, x2, y2]) = (distances, target);
        let wanted = [cell.x - x1, cell.y - y1, x2 - cell.x, y2 - cell.y];
        let sides = [grid.width(), grid.height(), grid.width(), grid.height()].map(|side| side as f32);
        let part = |distance: f32, side: f32| distance * cell.stride / side;
        Self {
            pair: Pair::new([cell.x - l, cell.y - t, cell.x + r, cell.y + b], target),
            angles: [0.0; 2],
            differences: std::array::from_fn(|i| part(distances[i], sides[i]) - part(wanted[i], sides[i])),
            stride: cell.stride,
            sides,
        }
    }

    /// Mean difference of the distances.
    fn l1(&self) -> f64 {
        self.differences.iter().map(|&d| f64::from(d.abs())).sum::<f64>() / 4.0
    }

    /// Derivatives of both box terms by the four distances.
    fn gradient(&self, score: f32, scales: Scales) -> [f32; 4] {
        // 1 - CIoU falls as CIoU grows; left = x - l moves against the first two distances.
        let [left, top, right, bottom] = self.pair.gradient(self.angles, -(scales.boxes * score));
        let by_ciou = [-left, -top, right, bottom];
        std::array::from_fn(|i| {
            let by_l1 = scales.l1 * score / 4.0 * sign(self.differences[i]) / self.sides[i] * self.stride;
            // Autograd adds them up from 0, so that a negative zero (of a score of 0) does not stay.
            by_l1 + by_ciou[i] + 0.0
        })
    }
}

/// At 0 the slope of the absolute value is 0, as autograd has it; `signum` would say 1.
fn sign(difference: f32) -> f32 {
    if difference == 0.0 {
        0.0
    } else {
        difference.signum()
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
            values(&Self::grid(), self.view(), &self.truths, &self.positives).unwrap()
        }

        fn gradients(&self, scales: Scales) -> (Vec<f32>, Vec<f32>) {
            let (mut boxes, mut logits) = (vec![f32::NAN; 4 * ANCHORS], self.logits.clone());
            elementary::sigmoid(&mut logits).unwrap();
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
            )
            .unwrap();
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
            prop_assume!((up + down - 2.0 * middle).abs() < 1e-6);
            let slope = (up - down) / f64::from(2.0 * step);
            prop_assert!((f64::from(boxes[index]) - slope).abs() < 1e-3, "{} {slope}", boxes[index]);
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
        let after = stepped.values().boxes;
        assert!(after < before, "{before} to {after}");
    }
}
