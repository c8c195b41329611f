//! Non-maximum suppression: the one-to-many head's candidates down to one box an object.
//!
//! Greedy, in descending score. Boxes of different classes are kept apart by shifting each by its class times 7680
//! pixels on both axes, and the overlap is computed on the shifted float32 coordinates: this costs precision, but it is
//! what the reference does, and thresholds are compared to the last bit. Ties in score: the candidate that comes first
//! (lower anchor, then lower class). No time limit cuts the work short. Facts: the project's description of the public
//! model (docs/CLEANROOM.md).

use crate::decode::{Detection, Raw, descending, keep_first, logit_floor, sigmoid};

/// Which classes an anchor answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Its best class: prediction.
    Best,
    /// Every class above the threshold: validation.
    Every,
}

/// Settings of the suppression.
#[derive(Clone, Debug, PartialEq)]
pub struct Nms {
    /// A detection's probability lies strictly above it.
    pub confidence: f32,
    /// A box goes when its overlap with a better one lies strictly above it.
    pub iou: f32,
    /// The most detections of an image.
    pub max_det: usize,
    /// The most candidates that are compared.
    pub max_candidates: usize,
    /// Which classes an anchor answers for.
    pub labels: Labels,
    /// Whether boxes of different classes suppress each other.
    pub agnostic: bool,
    /// The classes asked for; empty for all.
    pub classes: Vec<u16>,
}

/// Pixels between the shifted images of two neighbouring classes.
const CLASS_OFFSET: f32 = 7680.0;

impl Nms {
    /// The reference's settings for showing detections.
    pub fn predict() -> Self {
        Self {
            confidence: 0.25,
            iou: 0.7,
            max_det: 300,
            max_candidates: 30_000,
            labels: Labels::Best,
            agnostic: false,
            classes: Vec::new(),
        }
    }

    /// The reference's settings for measuring precision and recall.
    pub fn validate() -> Self {
        Self {
            confidence: 0.001,
            labels: Labels::Every,
            ..Self::predict()
        }
    }

    /// The detections of one image, best first, in pixels of the network input.
    pub fn detect(&self, raw: &Raw<'_>) -> Vec<Detection> {
        self.suppress(self.candidates(raw))
    }

    fn asked(&self, class: u16) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }

    /// Everything above the threshold, by anchor, then class.
    fn candidates(&self, raw: &Raw<'_>) -> Vec<Detection> {
        let floor = logit_floor(self.confidence);
        let (best, best_class) = raw.best();
        let mut found = Vec::new();
        let mut offer = |anchor: usize, class: u16, logit: f32| {
            let score = sigmoid(logit);
            if score > self.confidence && self.asked(class) {
                let xyxy = corners(raw.xywh(anchor));
                if xyxy.iter().all(|side| side.is_finite()) {
                    found.push(Detection { xyxy, score, class });
                }
            }
        };
        for (anchor, (&logit, &class)) in best.iter().zip(&best_class).enumerate() {
            if logit > floor {
                match self.labels {
                    Labels::Best => offer(anchor, class, logit),
                    Labels::Every => {
                        for class in 0..raw.classes() {
                            let logit = raw.class(class).get(anchor).copied().unwrap_or(f32::NAN);
                            if logit > floor {
                                offer(anchor, class as u16, logit);
                            }
                        }
                    }
                }
            }
        }
        found
    }

    /// Greedy suppression of candidates in any order.
    pub fn suppress(&self, candidates: Vec<Detection>) -> Vec<Detection> {
        let mut ranked: Vec<(usize, Detection)> = candidates.into_iter().enumerate().collect();
        keep_first(&mut ranked, self.max_candidates, |(at, a), (bt, b)| {
            descending(a.score, b.score).then(at.cmp(bt))
        });
        let mut kept = Kept::default();
        let mut out = Vec::new();
        // Only the first `max_det` are asked for, so no candidate is compared with more than that.
        for (_, candidate) in ranked {
            if out.len() == self.max_det {
                break;
            }
            let shift = if self.agnostic {
                0.0
            } else {
                f32::from(candidate.class) * CLASS_OFFSET
            };
            let shifted = candidate.xyxy.map(|side| side + shift);
            if !kept.overlaps(shifted, self.iou) {
                kept.push(shifted);
                out.push(candidate);
            }
        }
        out
    }
}

/// Corners from centre and size, as the reference turns them back.
fn corners([x, y, w, h]: [f32; 4]) -> [f32; 4] {
    let (half_w, half_h) = (w / 2.0, h / 2.0);
    [x - half_w, y - half_h, x + half_w, y + half_h]
}

fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    (x2 - x1) * (y2 - y1)
}

/// The boxes kept so far, one array a coordinate so that the comparison vectorises.
#[derive(Default)]
struct Kept {
    x1: Vec<f32>,
    y1: Vec<f32>,
    x2: Vec<f32>,
    y2: Vec<f32>,
    area: Vec<f32>,
}

impl Kept {
    fn push(&mut self, xyxy: [f32; 4]) {
        let [x1, y1, x2, y2] = xyxy;
        self.x1.push(x1);
        self.y1.push(y1);
        self.x2.push(x2);
        self.y2.push(y2);
        self.area.push(area(xyxy));
    }

    /// Whether the overlap with any kept box lies above the threshold.
    fn overlaps(&self, candidate: [f32; 4], threshold: f32) -> bool {
        let [x1, y1, x2, y2] = candidate;
        let own = area(candidate);
        let corners = self
            .x1
            .iter()
            .zip(&self.y1)
            .zip(self.x2.iter().zip(&self.y2))
            .zip(&self.area);
        let mut any = false;
        for (((&kx1, &ky1), (&kx2, &ky2)), &kept) in corners {
            let width = (x2.min(kx2) - x1.max(kx1)).max(0.0);
            let height = (y2.min(ky2) - y1.max(ky1)).max(0.0);
            let intersection = width * height;
            // 0 / 0 of two empty boxes is no number, and no overlap.
            any |= intersection / (own + kept - intersection) > threshold;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Grid;
    use proptest::prelude::*;

    fn boxed(x: f32, y: f32, size: f32, score: f32, class: u16) -> Detection {
        Detection {
            xyxy: [x, y, x + size, y + size],
            score,
            class,
        }
    }

    #[test]
    fn the_better_of_two_overlapping_boxes_stays() {
        let (weak, strong, apart) = (
            boxed(1.0, 0.0, 20.0, 0.6, 0),
            boxed(0.0, 0.0, 20.0, 0.9, 0),
            boxed(90.0, 0.0, 20.0, 0.3, 0),
        );
        assert_eq!(
            Nms::predict().suppress(vec![weak, strong, apart]),
            [strong, apart]
        );
    }

    #[test]
    fn classes_do_not_suppress_each_other_unless_told() {
        let (a, b) = (boxed(0.0, 0.0, 20.0, 0.9, 0), boxed(0.0, 0.0, 20.0, 0.8, 1));
        assert_eq!(Nms::predict().suppress(vec![a, b]), [a, b]);
        assert_eq!(
            Nms {
                agnostic: true,
                ..Nms::predict()
            }
            .suppress(vec![a, b]),
            [a]
        );
    }

    #[test]
    fn an_overlap_equal_to_the_threshold_is_allowed() {
        // Two boxes of 3 x 1 that share 2 x 1: overlap 2 / 4.
        let wide = |x: f32, score| Detection {
            xyxy: [x, 0.0, x + 3.0, 1.0],
            score,
            class: 0,
        };
        let pair = vec![wide(0.0, 0.9), wide(1.0, 0.8)];
        assert_eq!(
            Nms {
                iou: 0.5,
                ..Nms::predict()
            }
            .suppress(pair.clone())
            .len(),
            2
        );
        assert_eq!(
            Nms {
                iou: 0.49,
                ..Nms::predict()
            }
            .suppress(pair)
            .len(),
            1
        );
    }

    #[test]
    fn limits_cut_the_weakest() {
        let many: Vec<Detection> = (0..50u8)
            .map(|i| boxed(f32::from(i) * 100.0, 0.0, 20.0, f32::from(i) / 50.0, 0))
            .collect();
        let top = Nms {
            max_det: 3,
            ..Nms::predict()
        }
        .suppress(many.clone());
        assert_eq!(
            top.iter().map(|d| d.score).collect::<Vec<_>>(),
            [0.98, 0.96, 0.94]
        );
        assert_eq!(
            Nms {
                max_candidates: 5,
                ..Nms::predict()
            }
            .suppress(many)
            .len(),
            5
        );
    }

    #[test]
    fn validation_takes_every_class_and_prediction_the_best() {
        let grid = Grid::for_input(32, 32).unwrap();
        let mut logits = vec![-9.0; 3 * 21];
        (logits[4], logits[2 * 21 + 4]) = (2.0, 3.0);
        let boxes = vec![1.0; 4 * 21];
        let raw = Raw::new(&grid, 3, &boxes, &logits).unwrap();
        let classes = |nms: Nms| nms.detect(&raw).iter().map(|d| d.class).collect::<Vec<_>>();
        assert_eq!(classes(Nms::predict()), [2]);
        assert_eq!(classes(Nms::validate()), [2, 0]);
        assert_eq!(
            classes(Nms {
                classes: vec![0],
                ..Nms::validate()
            }),
            [0]
        );
        assert!(
            classes(Nms {
                classes: vec![0],
                ..Nms::predict()
            })
            .is_empty()
        );
    }

    #[test]
    fn a_box_without_numbers_is_no_candidate() {
        let grid = Grid::for_input(32, 32).unwrap();
        let raw = Raw::new(&grid, 1, &[f32::NAN; 84], &[4.0; 21]).unwrap();
        assert!(Nms::validate().detect(&raw).is_empty());
    }

    fn overlap(a: &Detection, b: &Detection) -> f64 {
        let [a, b] = [a, b].map(|d| d.xyxy.map(f64::from));
        let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
        let both = side(0) * side(1);
        let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
        both / (area(a) + area(b) - both)
    }

    proptest! {
        #[test]
        fn what_stays_does_not_overlap_and_what_goes_overlaps_something_better(
            boxes in prop::collection::vec((0f32..60.0, 0f32..60.0, 5f32..40.0, 0.01f32..1.0, 0u16..2), 0..60),
        ) {
            let all: Vec<_> = boxes.into_iter().map(|(x, y, s, p, k)| boxed(x, y, s, p, k)).collect();
            let kept = Nms { iou: 0.5, ..Nms::predict() }.suppress(all.clone());
            // The shift by class rounds coordinates, hence the margins.
            for (i, a) in kept.iter().enumerate() {
                prop_assert!(kept[..i].iter().all(|b| a.class != b.class || overlap(a, b) <= 0.501));
            }
            for gone in all.iter().filter(|d| !kept.contains(d)) {
                prop_assert!(kept.iter().any(|k| k.class == gone.class && k.score >= gone.score && overlap(k, gone) >= 0.499));
            }
        }
    }
}
