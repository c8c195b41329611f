//! Task-aligned assignment: which anchors stand for which object, and how strongly.
//!
//! Only anchors inside an object's box can be its own, so they alone are visited: their range follows from the box.
//! Overlap and alignment have the reference's bits. Its powers depend on how many candidates the batch has
//! ([`elementary`]), so there are two steps: all images' candidates, then the choice in each image.
//!
//! Ties: of anchors with equal alignment the one of the lower index comes first. This includes anchors of alignment 0,
//! also those outside the box: where fewer than topk anchors have a positive alignment, the list is filled with the
//! lowest-numbered anchors of alignment 0, of which those inside the box stay as positives of score 0. libtorch's
//! kernel also fills from the first topk anchors, in an unspecified choice among them.

use super::ciou::Pair;
use super::{Cell, Grid, Truth, elementary};

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

/// A candidate and the object that it may stand for.
#[derive(Clone, Copy, Debug)]
struct Claim {
    truth: usize,
    candidate: Candidate,
}

/// All candidates of an image: object by object, of each in ascending order of anchors.
#[derive(Debug)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    /// Object i owns `list[starts[i]..starts[i + 1]]`; one entry more than objects.
    starts: Vec<usize>,
}

impl Candidates {
    /// The candidates of one image, given the sigmoids of its logits. Their alignment is for [`align`] to make.
    pub(super) fn of_image(
        grid: &Grid,
        view: ImageView<'_>,
        probabilities: &[f32],
        truths: &[Truth],
    ) -> Result<Self, torch::Error> {
        let (mut list, mut starts) = (Vec::new(), vec![0]);
        let (mut open, mut shapes) = (Vec::new(), Vec::new());
        for truth in truths {
            let target = truth.xyxy(grid);
            visit(grid, reach(target), |cell, anchor| {
                let pair = Pair::new(target, view.xyxy(cell, anchor));
                // False for most candidates of an untrained network.
                if pair.overlap.may_exceed_zero() {
                    open.push((list.len(), pair.overlap));
                    shapes.extend(pair.shapes());
                }
                list.push(Candidate {
                    anchor,
                    alignment: probabilities[usize::from(truth.class) * view.anchors + anchor],
                    overlap: 0.0,
                });
            });
            starts.push(list.len());
        }
        elementary::atan(&mut shapes)?;
        for ((index, overlap), &angles) in open.into_iter().zip(shapes.as_chunks().0) {
            let value = overlap.value(angles);
            list[index].overlap = if value < 0.0 { 0.0 } else { value };
        }
        Ok(Self { list, starts })
    }

    fn objects(&self) -> impl Iterator<Item = &[Candidate]> {
        self.starts.windows(2).map(|ends| &self.list[ends[0]..ends[1]])
    }
}

/// Makes alignments of a batch's probabilities, which so far stand in their place.
pub(super) fn align(batch: &mut [Candidates]) -> Result<(), torch::Error> {
    let powers = |exponent: f64, base: fn(&Candidate) -> f32| {
        let mut values: Vec<f32> = batch.iter().flat_map(|c| &c.list).map(base).collect();
        elementary::power(&mut values, exponent).map(|()| values)
    };
    let (roots, sixths) = (powers(0.5, |c| c.alignment)?, powers(6.0, |c| c.overlap)?);
    let candidates = batch.iter_mut().flat_map(|c| &mut c.list);
    for (candidate, (root, sixth)) in candidates.zip(roots.into_iter().zip(sixths)) {
        candidate.alignment = root * sixth;
    }
    Ok(())
}

/// The box within which an object's candidates lie; empty for an object that does not count.
fn reach([x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
    // The reference's test for a padding row; a real box can fail it too.
    let valid = x1 + y1 + x2 + y2 > 0.0;
    let widened = |low: f32, high: f32| {
        let (centre, side) = ((low + high) / 2.0, high - low);
        let side = if side < SMALL_SIDE { SMALL_SIDE } else { side };
        [centre - side / 2.0, centre + side / 2.0]
    };
    let ([left, right], [top, bottom]) = (widened(x1, x2), widened(y1, y2));
    if valid {
        [left, top, right, bottom]
    } else {
        [0.0; 4]
    }
}

/// Calls `body` with every anchor whose point lies in the box, in ascending order.
fn visit(grid: &Grid, [left, top, right, bottom]: [f32; 4], mut body: impl FnMut(Cell, usize)) {
    for level in grid.levels() {
        let columns = level.span(level.width, left, right);
        for row in level.span(level.height, top, bottom) {
            for column in columns.clone() {
                let cell = Cell {
                    x: column as f32 + 0.5,
                    y: row as f32 + 0.5,
                    stride: level.stride,
                };
                body(cell, level.start + row * level.width + column);
            }
        }
    }
}

impl Assigner {
    /// The foreground anchors of one image, in ascending order of anchors.
    pub(super) fn choose(&self, candidates: &Candidates) -> Vec<Positive> {
        let mut claims = self.preferred(candidates);
        resolve_conflicts(candidates, &mut claims);
        claims.sort_unstable_by_key(|c| (c.truth, c.candidate.anchor));
        if self.kept != self.topk {
            claims = claims
                .chunk_by(|a, b| a.truth == b.truth)
                .flat_map(|own| best(self.kept, own))
                .collect();
        }
        let mut positives: Vec<Positive> = claims
            .chunk_by(|a, b| a.truth == b.truth)
            .flat_map(scored)
            .collect();
        positives.sort_unstable_by_key(|p| p.anchor);
        positives
    }

    /// The topk candidates of every object.
    fn preferred(&self, candidates: &Candidates) -> Vec<Claim> {
        let mut claims = Vec::with_capacity((candidates.starts.len() - 1) * self.topk);
        let mut top = TopK::new(self.topk);
        for (truth, own) in candidates.objects().enumerate() {
            own.iter().for_each(|&candidate| top.offer(candidate));
            top.drain(|candidate| claims.push(Claim { truth, candidate }));
        }
        claims
    }
}

/// The k best of one object's claims, which come in ascending order of anchors.
fn best(k: usize, own: &[Claim]) -> Vec<Claim> {
    let mut top = TopK::new(k);
    own.iter().for_each(|claim| top.offer(claim.candidate));
    let mut kept = Vec::with_capacity(k);
    if let Some(&Claim { truth, .. }) = own.first() {
        top.drain(|candidate| kept.push(Claim { truth, candidate }));
    }
    kept
}

/// Leaves each anchor one object: among several that chose it, the one of largest overlap of *all* objects of the
/// image, the first on ties, whether it chose the anchor or not.
fn resolve_conflicts(candidates: &Candidates, claims: &mut Vec<Claim>) {
    claims.sort_unstable_by_key(|c| (c.candidate.anchor, c.truth));
    let settled = claims
        .chunk_by(|a, b| a.candidate.anchor == b.candidate.anchor)
        .filter_map(|rivals| match rivals {
            [only] => Some(*only),
            [first, ..] => winner(candidates, first.candidate.anchor),
            [] => None,
        })
        .collect();
    *claims = settled;
}

/// The object of largest overlap. Where every overlap is 0 it is the first of the image, even one that does not reach
/// the anchor; its score is 0.
fn winner(candidates: &Candidates, anchor: usize) -> Option<Claim> {
    let mut best: Option<Claim> = None;
    for (truth, own) in candidates.objects().enumerate() {
        let candidate = match own.binary_search_by_key(&anchor, |c| c.anchor) {
            Ok(place) => own[place],
            Err(_) => Candidate {
                anchor,
                alignment: 0.0,
                overlap: 0.0,
            },
        };
        if best.is_none_or(|b| ranked(candidate.overlap) > ranked(b.candidate.overlap)) {
            best = Some(Claim { truth, candidate });
        }
    }
    best
}

/// The positives of one object with their target scores: alignment, scaled so that the best aligned anchor gets the
/// largest overlap.
fn scored(own: &[Claim]) -> impl Iterator<Item = Positive> {
    let largest = |value: fn(&Candidate) -> f32| {
        own.iter()
            .map(|p| value(&p.candidate))
            .fold(0.0, |a, b| if ranked(b) > ranked(a) { b } else { a })
    };
    let (alignment, overlap) = (largest(|c| c.alignment), largest(|c| c.overlap));
    own.iter().map(move |claim| Positive {
        anchor: claim.candidate.anchor,
        truth: claim.truth,
        score: claim.candidate.alignment * overlap / (alignment + 1e-9),
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
