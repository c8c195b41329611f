//! Task-aligned assignment: which anchors stand for which object, and how strongly.
//!
//! Only anchors inside an object's box can be its own, so they alone are visited: their range follows from the box.
//!
//! Ties: of anchors with equal alignment the one of the lower index comes first. This includes anchors of alignment 0,
//! also those outside the box: where fewer than topk anchors have a positive alignment, the list is filled with the
//! lowest-numbered anchors of alignment 0, of which those inside the box stay as positives of score 0. libtorch's
//! kernel also fills from the first topk anchors, in an unspecified choice among them.

use super::ciou::Overlaps;
use super::{Cell, Grid, Truth};

/// Sides of objects below this many pixels are enlarged to it while candidates are sought.
const SMALL_SIDE: f32 = 16.0;

/// How many anchors an object may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigner {
    topk: usize,
    kept: usize,
}

impl Assigner {
    /// Of the dense branch: ten anchors an object.
    pub const ONE_TO_MANY: Self = Self { topk: 10, kept: 10 };
    /// Of the branch without NMS: the best of seven anchors, after conflicts.
    pub const ONE_TO_ONE: Self = Self { topk: 7, kept: 1 };
}

/// A foreground anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positive {
    /// Index of the anchor.
    pub anchor: usize,
    /// Index of its object among those of the image.
    pub truth: usize,
    /// Target score of the object's class, 0..1.
    pub score: f32,
}

/// The raw outputs for one image: (4, anchors) and (classes, anchors).
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageView<'a> {
    pub(super) boxes: &'a [f32],
    pub(super) logits: &'a [f32],
    pub(super) anchors: usize,
}

impl ImageView<'_> {
    /// Distances left, top, right, bottom of an anchor in cells.
    pub(super) fn distances(&self, anchor: usize) -> [f32; 4] {
        [0, 1, 2, 3].map(|side| self.boxes[side * self.anchors + anchor])
    }

    fn probability(&self, class: u16, anchor: usize) -> f32 {
        1.0 / (1.0 + (-self.logits[usize::from(class) * self.anchors + anchor]).exp())
    }

    /// The predicted box in pixels.
    fn xyxy(&self, cell: Cell, anchor: usize) -> [f32; 4] {
        let [l, t, r, b] = self.distances(anchor);
        [cell.x - l, cell.y - t, cell.x + r, cell.y + b].map(|v| v * cell.stride)
    }
}

/// An anchor that may stand for an object.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    anchor: usize,
    alignment: f32,
    overlap: f32,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    truth: usize,
    candidate: Candidate,
}

/// An object, prepared for many comparisons.
struct Object {
    class: u16,
    overlaps: Overlaps,
    /// The box within which candidates lie; empty for an object that does not count.
    reach: [f32; 4],
}

impl Object {
    fn new(grid: &Grid, truth: &Truth) -> Self {
        let xyxy = truth.xyxy(grid);
        let [x1, y1, x2, y2] = xyxy;
        // The reference's test for a padding row; a real box can fail it too.
        let valid = x1 + y1 + x2 + y2 > 0.0;
        let widened = |low: f32, high: f32| {
            let (centre, side) = ((low + high) / 2.0, high - low);
            let side = if side < SMALL_SIDE { SMALL_SIDE } else { side };
            [centre - side / 2.0, centre + side / 2.0]
        };
        let ([left, right], [top, bottom]) = (widened(x1, x2), widened(y1, y2));
        let reach = if valid {
            [left, top, right, bottom]
        } else {
            [0.0; 4]
        };
        Self {
            class: truth.class,
            overlaps: Overlaps::new(xyxy),
            reach,
        }
    }

    fn reaches(&self, cell: Cell) -> bool {
        let (x, y) = (cell.x * cell.stride, cell.y * cell.stride);
        let [left, top, right, bottom] = self.reach;
        x - left > 1e-9 && y - top > 1e-9 && right - x > 1e-9 && bottom - y > 1e-9
    }

    fn candidate(&self, view: &ImageView<'_>, cell: Cell, anchor: usize) -> Candidate {
        let overlap = self.overlaps.with(view.xyxy(cell, anchor));
        // Most candidates of an untrained network overlap by nothing: spare them the sigmoid.
        let alignment = if overlap == 0.0 {
            0.0
        } else {
            let (square, probability) = (overlap * overlap, view.probability(self.class, anchor));
            probability.sqrt() * (square * square * square)
        };
        Candidate {
            anchor,
            alignment,
            overlap,
        }
    }

    /// Calls `visit` with every candidate, in ascending order of anchors.
    fn candidates(&self, grid: &Grid, view: &ImageView<'_>, mut visit: impl FnMut(Candidate)) {
        let [left, top, right, bottom] = self.reach;
        for level in grid.levels() {
            let columns = level.span(level.width, left, right);
            for row in level.span(level.height, top, bottom) {
                for column in columns.clone() {
                    let cell = Cell {
                        x: column as f32 + 0.5,
                        y: row as f32 + 0.5,
                        stride: level.stride,
                    };
                    visit(self.candidate(view, cell, level.start + row * level.width + column));
                }
            }
        }
    }
}

impl Assigner {
    /// The foreground anchors of one image, in ascending order of anchors.
    pub(super) fn assign(&self, grid: &Grid, view: ImageView<'_>, truths: &[Truth]) -> Vec<Positive> {
        let objects: Vec<Object> = truths.iter().map(|t| Object::new(grid, t)).collect();
        let mut pairs = self.preferred(grid, &view, &objects);
        resolve_conflicts(grid, &view, &objects, &mut pairs);
        pairs.sort_unstable_by_key(|p| (p.truth, p.candidate.anchor));
        if self.kept != self.topk {
            pairs = pairs
                .chunk_by(|a, b| a.truth == b.truth)
                .flat_map(|own| best(self.kept, own))
                .collect();
        }
        let mut positives: Vec<Positive> = pairs
            .chunk_by(|a, b| a.truth == b.truth)
            .flat_map(scored)
            .collect();
        positives.sort_unstable_by_key(|p| p.anchor);
        positives
    }

    /// The topk candidates of every object.
    fn preferred(&self, grid: &Grid, view: &ImageView<'_>, objects: &[Object]) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(objects.len() * self.topk);
        let mut top = TopK::new(self.topk);
        for (truth, object) in objects.iter().enumerate() {
            object.candidates(grid, view, |candidate| top.offer(candidate));
            top.drain(|candidate| pairs.push(Pair { truth, candidate }));
        }
        pairs
    }
}

/// The k best of one object's pairs, which come in ascending order of anchors.
fn best(k: usize, own: &[Pair]) -> Vec<Pair> {
    let mut top = TopK::new(k);
    own.iter().for_each(|pair| top.offer(pair.candidate));
    let mut kept = Vec::with_capacity(k);
    if let Some(&Pair { truth, .. }) = own.first() {
        top.drain(|candidate| kept.push(Pair { truth, candidate }));
    }
    kept
}

/// Leaves each anchor one object: among several that chose it, the one of largest overlap of *all* objects of the
/// image, the first on ties, whether it chose the anchor or not.
fn resolve_conflicts(grid: &Grid, view: &ImageView<'_>, objects: &[Object], pairs: &mut Vec<Pair>) {
    pairs.sort_unstable_by_key(|p| (p.candidate.anchor, p.truth));
    let settled = pairs
        .chunk_by(|a, b| a.candidate.anchor == b.candidate.anchor)
        .filter_map(|claims| match claims {
            [only] => Some(*only),
            [first, ..] => winner(grid, view, objects, first.candidate.anchor),
            [] => None,
        })
        .collect();
    *pairs = settled;
}

/// The object of largest overlap. Where every overlap is 0 it is the first of the image, even one that does not reach
/// the anchor; its score is 0.
fn winner(grid: &Grid, view: &ImageView<'_>, objects: &[Object], anchor: usize) -> Option<Pair> {
    let cell = grid.cell(anchor);
    let mut best: Option<Pair> = None;
    for (truth, object) in objects.iter().enumerate() {
        let candidate = if object.reaches(cell) {
            object.candidate(view, cell, anchor)
        } else {
            Candidate {
                anchor,
                alignment: 0.0,
                overlap: 0.0,
            }
        };
        if best.is_none_or(|b| ranked(candidate.overlap) > ranked(b.candidate.overlap)) {
            best = Some(Pair { truth, candidate });
        }
    }
    best
}

/// The positives of one object with their target scores: alignment, scaled so that the best aligned anchor gets the
/// largest overlap.
fn scored(own: &[Pair]) -> impl Iterator<Item = Positive> {
    let largest = |value: fn(&Candidate) -> f32| {
        own.iter()
            .map(|p| value(&p.candidate))
            .fold(0.0, |a, b| if ranked(b) > ranked(a) { b } else { a })
    };
    let (alignment, overlap) = (largest(|c| c.alignment), largest(|c| c.overlap));
    own.iter().map(move |pair| Positive {
        anchor: pair.candidate.anchor,
        truth: pair.truth,
        score: pair.candidate.alignment * overlap / (alignment + 1e-9),
    })
}

/// A NaN ranks above all numbers, as in libtorch's topk and argmax: it reaches the loss instead of vanishing.
fn ranked(value: f32) -> f32 {
    if value.is_nan() { f32::INFINITY } else { value }
}

/// The k best aligned of candidates that are offered in ascending order of anchors.
struct TopK {
    k: usize,
    /// Alignment above 0, best first, at equal alignment the earlier anchor first.
    best: Vec<Candidate>,
    /// Alignment 0, of the first k anchors only: no others can fill the list, see the head of the file.
    zeros: Vec<Candidate>,
}

impl TopK {
    fn new(k: usize) -> Self {
        Self {
            k,
            best: Vec::with_capacity(k + 1),
            zeros: Vec::new(),
        }
    }

    fn offer(&mut self, candidate: Candidate) {
        if candidate.alignment == 0.0 {
            if candidate.anchor < self.k {
                self.zeros.push(candidate);
            }
            return;
        }
        let rank = ranked(candidate.alignment);
        let place = self.best.partition_point(|b| ranked(b.alignment) >= rank);
        if place < self.k {
            self.best.insert(place, candidate);
            self.best.truncate(self.k);
        }
    }

    /// Hands out the selection and leaves the list empty for the next object.
    fn drain(&mut self, mut take: impl FnMut(Candidate)) {
        let vacant = self.k - self.best.len();
        for zero in self.zeros.drain(..) {
            // All anchors before this one that are not among the best have alignment 0 and fill the list first.
            let before = zero.anchor - self.best.iter().filter(|b| b.anchor < zero.anchor).count();
            if before < vacant {
                take(zero);
            }
        }
        self.best.drain(..).for_each(take);
    }
}

#[cfg(test)]
mod tests;
