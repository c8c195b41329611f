//! From raw head outputs to boxes in pixels: pure functions on the slices of one image.
//!
//! A head's raw output for one image is `boxes`, 4 x A distances in cells, and `logits`, K x A, both with all anchors of
//! one channel side by side; A is [`Grid::anchors`] of the network input. Nothing is clamped but by [`Placement`], and a
//! value that is no number never becomes a detection. [`nms`](crate::nms) does the same for the one-to-many head.

use crate::loss::Grid;
use std::cmp::Ordering;

/// One detected box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left, top, right, bottom in pixels (of the network input, or of the original image after scaling back).
    pub xyxy: [f32; 4],
    /// Class probability, 0..1.
    pub score: f32,
    /// Class index.
    pub class: u16,
}

/// Slices that do not have the lengths that the grid and the class count ask for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{anchors} anchors and {classes} classes need {} distances and {} logits, got {boxes} and {logits}", 4 * .anchors, .classes * .anchors)]
pub struct DecodeError {
    anchors: usize,
    classes: usize,
    boxes: usize,
    logits: usize,
}

/// The raw output of one head for one image, of proven lengths.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    grid: &'a Grid,
    boxes: &'a [f32],
    logits: &'a [f32],
    classes: usize,
}

impl<'a> Raw<'a> {
    /// Takes the slices of one image.
    ///
    /// # Errors
    /// A length does not fit; no class, or more than 65535.
    pub fn new(
        grid: &'a Grid,
        classes: usize,
        boxes: &'a [f32],
        logits: &'a [f32],
    ) -> Result<Self, DecodeError> {
        let anchors = grid.anchors();
        let fits = (1..=usize::from(u16::MAX)).contains(&classes)
            && boxes.len() == 4 * anchors
            && logits.len() == classes * anchors;
        if fits {
            Ok(Self {
                grid,
                boxes,
                logits,
                classes,
            })
        } else {
            Err(DecodeError {
                anchors,
                classes,
                boxes: boxes.len(),
                logits: logits.len(),
            })
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of anchors.
    pub fn anchors(&self) -> usize {
        self.grid.anchors()
    }

    /// Logits of one class, anchor by anchor.
    pub(crate) fn class(&self, class: usize) -> &'a [f32] {
        let anchors = self.anchors();
        self.logits
            .get(class * anchors..(class + 1) * anchors)
            .unwrap_or(&[])
    }

    fn corners_in_cells(&self, anchor: usize) -> [f32; 4] {
        let anchors = self.anchors();
        let distance = |side: usize| {
            self.boxes
                .get(side * anchors + anchor)
                .copied()
                .unwrap_or(f32::NAN)
        };
        let cell = self.grid.cell(anchor);
        [
            cell.x - distance(0),
            cell.y - distance(1),
            cell.x + distance(2),
            cell.y + distance(3),
        ]
    }

    /// Left, top, right, bottom of an anchor's box in pixels of the network input.
    pub fn xyxy(&self, anchor: usize) -> [f32; 4] {
        let stride = self.grid.cell(anchor).stride;
        self.corners_in_cells(anchor).map(|side| side * stride)
    }

    /// Centre and size of an anchor's box in pixels, computed as the reference does: in cells, then times the stride.
    pub fn xywh(&self, anchor: usize) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.corners_in_cells(anchor);
        let stride = self.grid.cell(anchor).stride;
        [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1].map(|value| value * stride)
    }

    /// The best logit of every anchor and its class; the first class on ties, class 0 where nothing is a number.
    pub(crate) fn best(&self) -> (Vec<f32>, Vec<u16>) {
        let mut best = vec![f32::NEG_INFINITY; self.anchors()];
        let mut class = vec![0u16; self.anchors()];
        for index in 0..self.classes {
            // One class after the other, so that both passes run over contiguous memory and vectorise.
            for ((best, class), &logit) in best.iter_mut().zip(&mut class).zip(self.class(index)) {
                if logit > *best {
                    *best = logit;
                    *class = index as u16;
                }
            }
        }
        (best, class)
    }

    /// The decoded table of the one-to-many head: (4 + K) x A with centre, size and class probabilities.
    pub fn table(&self) -> Vec<f32> {
        let anchors = self.anchors();
        let mut table = vec![0.0; 4 * anchors];
        for anchor in 0..anchors {
            for (row, value) in self.xywh(anchor).into_iter().enumerate() {
                if let Some(cell) = table.get_mut(row * anchors + anchor) {
                    *cell = value;
                }
            }
        }
        table.extend(self.logits.iter().map(|&logit| sigmoid(logit)));
        table
    }
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A logit that every probability above `confidence` lies above: the cheap test before the exact one.
pub(crate) fn logit_floor(confidence: f32) -> f32 {
    let p = f64::from(confidence).clamp(1e-30, 1.0 - 1e-9);
    ((p / (1.0 - p)).ln() - 1e-3) as f32
}

/// Settings of the end-to-end answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndToEnd {
    /// A detection's probability lies strictly above it.
    pub confidence: f32,
    /// The most detections of an image.
    pub max_det: usize,
}

impl Default for EndToEnd {
    /// What the reference predicts with; validation uses 0.001.
    fn default() -> Self {
        Self {
            confidence: 0.25,
            max_det: 300,
        }
    }
}

/// The one-to-one head's detections, best first: of the `max_det` anchors with the best single scores the `max_det` best
/// (anchor, class) pairs, so that an anchor may answer for several classes. On ties the lower anchor comes first, then
/// the lower class.
pub fn end_to_end(raw: &Raw<'_>, settings: &EndToEnd) -> Vec<Detection> {
    let floor = logit_floor(settings.confidence);
    let (best, _) = raw.best();
    // An anchor whose best is not above the threshold has no pair above it, and takes no better anchor's place.
    let mut anchors: Vec<usize> = (0..raw.anchors())
        .filter(|&a| best.get(a).is_some_and(|&z| z > floor))
        .collect();
    let by_best = |a: &usize, b: &usize| descending(value(&best, *a), value(&best, *b)).then(a.cmp(b));
    keep_first(&mut anchors, settings.max_det, by_best);

    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for (rank, &anchor) in anchors.iter().enumerate() {
        for class in 0..raw.classes() {
            let logit = value(raw.class(class), anchor);
            if logit > floor {
                pairs.push((logit, rank, class));
            }
        }
    }
    keep_first(&mut pairs, settings.max_det, |a, b| {
        descending(a.0, b.0).then((a.1, a.2).cmp(&(b.1, b.2)))
    });

    let detections = pairs.into_iter().filter_map(|(logit, rank, class)| {
        let xyxy = raw.xyxy(*anchors.get(rank)?);
        Some(Detection {
            xyxy,
            score: sigmoid(logit),
            class: class as u16,
        })
    });
    detections
        .filter(|found| found.score > settings.confidence && found.xyxy.iter().all(|side| side.is_finite()))
        .collect()
}

fn value(values: &[f32], at: usize) -> f32 {
    values.get(at).copied().unwrap_or(f32::NEG_INFINITY)
}

/// Larger first; what is no number has been filtered out before.
pub(crate) fn descending(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

/// Sorts and cuts to `count`, without sorting what is cut off.
pub(crate) fn keep_first<T>(items: &mut Vec<T>, count: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    if count == 0 {
        items.clear();
    } else if items.len() > count {
        items.select_nth_unstable_by(count - 1, &mut compare);
        items.truncate(count);
    }
    items.sort_unstable_by(compare);
}

/// How an image lies in the network's input: input = original x gain + pad. Width before height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Input pixels of an original pixel.
    pub gain: [f32; 2],
    /// Input pixels before the image.
    pub pad: [f32; 2],
    /// Width and height of the original.
    pub original: [u32; 2],
}

impl Placement {
    /// The placement that fits the whole image, centred, into an input of `[width, height]`. `None` if a side is 0.
    pub fn letterbox(input: [u32; 2], original: [u32; 2]) -> Option<Self> {
        if input.contains(&0) || original.contains(&0) {
            return None;
        }
        let [(w, w0), (h, h0)] =
            [(input[0], original[0]), (input[1], original[1])].map(|(a, b)| (f64::from(a), f64::from(b)));
        let ratio = (h / h0).min(w / w0);
        let side = |input: f64, original: f64| {
            let new = (original * ratio).round_ties_even().max(1.0);
            (new / original, ((input - new) / 2.0 - 0.1).round_ties_even())
        };
        let ((gain_x, pad_x), (gain_y, pad_y)) = (side(w, w0), side(h, h0));
        Some(Self {
            gain: [gain_x as f32, gain_y as f32],
            pad: [pad_x as f32, pad_y as f32],
            original,
        })
    }

    /// A box of the network input in pixels of the original image, clipped to it.
    pub fn to_original(&self, xyxy: [f32; 4]) -> [f32; 4] {
        let [x1, y1, x2, y2] = xyxy;
        let back = |value: f32, axis: usize| {
            let (gain, pad) = (self.gain[axis], self.pad[axis]);
            ((value - pad) / gain).clamp(0.0, self.original[axis] as f32)
        };
        [back(x1, 0), back(y1, 1), back(x2, 0), back(y2, 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Raw outputs of a 32 x 32 input: 16 + 4 + 1 anchors, boxes of two cells, logits by function.
    fn raw_of(classes: usize, logit: impl Fn(usize, usize) -> f32) -> (Grid, Vec<f32>, Vec<f32>) {
        let grid = Grid::for_input(32, 32).unwrap();
        let logits = (0..classes)
            .flat_map(|k| (0..21).map(move |a| (k, a)))
            .map(|(k, a)| logit(k, a))
            .collect();
        (grid, vec![1.0; 4 * 21], logits)
    }

    #[test]
    fn boxes_grow_from_their_point_by_distances_in_cells() {
        let (grid, mut boxes, logits) = raw_of(1, |_, _| 0.0);
        // Anchor 16 + 3 is the last of stride 16: point (1.5, 1.5).
        for (side, distance) in [0.5, 1.5, -0.25, 2.0].into_iter().enumerate() {
            boxes[side * 21 + 19] = distance;
        }
        let raw = Raw::new(&grid, 1, &boxes, &logits).unwrap();
        assert_eq!(raw.xyxy(19), [16.0, 0.0, 20.0, 56.0]);
        assert_eq!(raw.xywh(19), [18.0, 28.0, 4.0, 56.0]);
        assert_eq!(raw.xyxy(0), [-4.0, -4.0, 12.0, 12.0], "nothing is clamped");
    }

    #[test]
    fn the_table_has_boxes_then_probabilities() {
        let (grid, boxes, logits) = raw_of(2, |k, a| if (k, a) == (1, 20) { 2.0 } else { -1.0 });
        let table = Raw::new(&grid, 2, &boxes, &logits).unwrap().table();
        assert_eq!(table.len(), 6 * 21);
        assert_eq!(
            [table[20], table[21 + 20], table[42 + 20], table[63 + 20]],
            [16.0, 16.0, 64.0, 64.0]
        );
        assert_eq!(
            (table[5 * 21 + 20], table[4 * 21 + 20]),
            (sigmoid(2.0), sigmoid(-1.0))
        );
    }

    #[test]
    fn an_anchor_may_answer_for_two_classes() {
        let (grid, boxes, logits) = raw_of(3, |k, a| match (k, a) {
            (0, 7) => 3.0,
            (2, 7) => 1.0,
            (1, 2) => 2.0,
            _ => -9.0,
        });
        let raw = Raw::new(&grid, 3, &boxes, &logits).unwrap();
        let found = end_to_end(
            &raw,
            &EndToEnd {
                confidence: 0.25,
                max_det: 300,
            },
        );
        let classes: Vec<u16> = found.iter().map(|d| d.class).collect();
        assert_eq!(classes, [0, 1, 2]);
        assert_eq!((found[0].xyxy, found[2].xyxy), (raw.xyxy(7), raw.xyxy(7)));
    }

    #[test]
    fn only_the_best_anchors_offer_their_second_classes() {
        // With one detection allowed, only the best anchor's pairs compete.
        let (grid, boxes, logits) = raw_of(2, |k, a| match (k, a) {
            (0, 4) => 3.0,
            (1, 9) => 2.5,
            _ => 1.0,
        });
        let raw = Raw::new(&grid, 2, &boxes, &logits).unwrap();
        let found = end_to_end(
            &raw,
            &EndToEnd {
                confidence: 0.25,
                max_det: 2,
            },
        );
        assert_eq!(
            found.iter().map(|d| (d.class, d.xyxy)).collect::<Vec<_>>(),
            [(0, raw.xyxy(4)), (1, raw.xyxy(9))]
        );
    }

    #[test]
    fn ties_go_to_the_lower_anchor_and_the_threshold_is_strict() {
        let (grid, boxes, logits) = raw_of(1, |_, a| if a % 2 == 1 { 0.0 } else { -8.0 });
        let raw = Raw::new(&grid, 1, &boxes, &logits).unwrap();
        let found = end_to_end(
            &raw,
            &EndToEnd {
                confidence: 0.25,
                max_det: 3,
            },
        );
        assert_eq!(
            found.iter().map(|d| d.xyxy).collect::<Vec<_>>(),
            [raw.xyxy(1), raw.xyxy(3), raw.xyxy(5)]
        );
        assert!(
            end_to_end(
                &raw,
                &EndToEnd {
                    confidence: 0.5,
                    max_det: 3
                }
            )
            .is_empty()
        );
        assert!(
            end_to_end(
                &raw,
                &EndToEnd {
                    confidence: 0.25,
                    max_det: 0
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn what_is_no_number_is_no_detection() {
        let (grid, mut boxes, logits) = raw_of(2, |_, a| if a < 10 { f32::NAN } else { 5.0 });
        boxes[15] = f32::INFINITY;
        let raw = Raw::new(&grid, 2, &boxes, &logits).unwrap();
        let found = end_to_end(&raw, &EndToEnd::default());
        assert_eq!(found.len(), 2 * 10);
        assert!(
            found
                .iter()
                .all(|d| d.score.is_finite() && d.xyxy.iter().all(|v| v.is_finite()))
        );
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let (grid, boxes, logits) = raw_of(2, |_, _| 0.0);
        for (classes, boxes, logits) in [
            (3, &boxes[..], &logits[..]),
            (2, &boxes[1..], &logits),
            (2, &boxes, &logits[1..]),
            (0, &boxes, &[]),
        ] {
            assert!(Raw::new(&grid, classes, boxes, logits).is_err());
        }
    }

    #[test]
    fn letterbox_centres_with_the_odd_pixel_after() {
        let placed = Placement::letterbox([640, 640], [640, 639]).unwrap();
        assert_eq!((placed.gain, placed.pad), ([1.0, 1.0], [0.0, 0.0]));
        let placed = Placement::letterbox([640, 640], [1280, 720]).unwrap();
        assert_eq!((placed.gain, placed.pad), ([0.5, 0.5], [0.0, 140.0]));
        assert_eq!(
            placed.to_original([0.0, 140.0, 640.0, 500.0]),
            [0.0, 0.0, 1280.0, 720.0]
        );
        assert_eq!(
            placed.to_original([-50.0, 0.0, 900.0, 900.0]),
            [0.0, 0.0, 1280.0, 720.0]
        );
        // 1 x 3000: the short side is not rounded to nothing.
        assert_eq!(Placement::letterbox([64, 64], [1, 3000]).unwrap().gain[0], 1.0);
        assert!(Placement::letterbox([64, 64], [0, 3]).is_none());
    }

    proptest! {
        #[test]
        fn detections_come_best_first_above_the_threshold_and_no_more_than_asked(
            logits in prop::collection::vec(-6f32..6.0, 3 * 21), confidence in 0.01f32..0.9, max_det in 0usize..70,
        ) {
            let (grid, boxes, _) = raw_of(3, |_, _| 0.0);
            let raw = Raw::new(&grid, 3, &boxes, &logits).unwrap();
            let found = end_to_end(&raw, &EndToEnd { confidence, max_det });
            prop_assert!(found.len() <= max_det);
            prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
            prop_assert!(found.iter().all(|d| d.score > confidence));
            let above = logits.iter().filter(|&&z| sigmoid(z) > confidence).count();
            if max_det >= 63 {
                prop_assert_eq!(found.len(), above);
            }
        }

        #[test]
        fn a_box_placed_in_the_input_comes_back(
            w in 1u32..3000, h in 1u32..3000, x in 0f32..1.0, y in 0f32..1.0, iw in 1u32..40, ih in 1u32..40,
        ) {
            let placed = Placement::letterbox([iw * 32, ih * 32], [w, h]).unwrap();
            let (px, py) = (x * w as f32, y * h as f32);
            let input = [px * placed.gain[0] + placed.pad[0], py * placed.gain[1] + placed.pad[1]];
            let [bx, by, ..] = placed.to_original([input[0], input[1], 0.0, 0.0]);
            prop_assert!((bx - px).abs() <= 1e-3 * w.max(64) as f32, "{} {}", bx, px);
            prop_assert!((by - py).abs() <= 1e-3 * h.max(64) as f32, "{} {}", by, py);
        }
    }
}
