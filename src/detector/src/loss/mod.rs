//! The training loss of one detection branch and its gradients, natively on `f32` slices.
//!
//! An assignment plus three small sums over a few hundred anchors are hundreds of tiny tensor operations when written
//! for a tensor library; here they are a few loops, and the caller feeds the gradients to autograd at the raw head
//! outputs. Two dense passes over the logits remain: libtorch's sigmoid and a sum that is written to vectorise.
//!
//! Guarantees: assignment and gradients are the reference's to the bit (same libtorch, its threads set alike); the
//! result is the same for every number of threads here (one job an image, sums merged in image order); a NaN in what
//! matters to the loss is never swallowed, so that the run loop's guard sees it; nothing here panics on any values.
//! Facts: the project's description of YOLO26 (docs/CLEANROOM.md), compared with the reference by
//! `tests/loss_reference.rs`.

mod assign;
mod bce;
mod ciou;
mod elementary;
mod grid;
mod parallel;
mod schedule;
mod targets;
mod terms;

use std::num::NonZeroUsize;

pub use assign::{Assigner, Positive};
pub use ciou::{Ciou, ciou};
pub use grid::{Cell, Grid, Level};
pub use schedule::{BranchWeights, branch_weights};
pub use targets::{Targets, Truth};

use assign::{Candidates, ImageView};
use terms::Scales;

/// What is wrong with the input of a loss.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// A buffer that does not have the length its shape asks for.
    #[error("{what}: expected {expected} values for the given grid, images and classes, got {found}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// The number of values that the shape asks for.
        expected: usize,
        /// The number that came.
        found: usize,
    },
    /// An input size that the three levels cannot divide.
    #[error("network input of {width} x {height} px: both sides must be positive multiples of 32")]
    InputSize {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A target of an image or a class that does not exist.
    #[error(
        "target {index}: its {what} is {value}, but there are only {count}; check the dataset's class list"
    )]
    Target {
        /// Position of the target in the given order.
        index: usize,
        /// `image` or `class`.
        what: &'static str,
        /// What it names.
        value: usize,
        /// How many there are.
        count: usize,
    },
    /// A head without classes.
    #[error("predictions of 0 classes; a detector has at least one")]
    NoClasses,
    /// The targets are of another number of images than the predictions.
    #[error("targets of {targets} images meet predictions of {predictions} images")]
    Images {
        /// Images in the targets.
        targets: usize,
        /// Images in the predictions.
        predictions: usize,
    },
    /// A tensor operation that libtorch refused.
    #[error(transparent)]
    Torch(#[from] torch::Error),
}

/// Raw outputs of one head for a batch.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// Distances left, top, right, bottom in units of the stride: (images, 4, anchors), contiguous.
    pub boxes: &'a [f32],
    /// Class logits: (images, classes, anchors), contiguous.
    pub logits: &'a [f32],
    /// Images in the batch.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
}

/// Where the gradients are written, in the layouts of [`Predictions`]; every element is overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (images, 4, anchors).
    pub boxes: &'a mut [f32],
    /// (images, classes, anchors).
    pub logits: &'a mut [f32],
}

/// Weights of the three terms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gains {
    /// Of 1 - CIoU.
    pub boxes: f64,
    /// Of the binary cross-entropy.
    pub cls: f64,
    /// Of the distances' L1 (the reference calls this gain `dfl`).
    pub l1: f64,
}

impl Default for Gains {
    fn default() -> Self {
        Self {
            boxes: 7.5,
            cls: 0.5,
            l1: 1.5,
        }
    }
}

/// The loss of one branch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchLoss {
    /// Box, class and L1 terms, with their gains, without the factor of the batch size.
    pub items: [f64; 3],
    /// Anchors that stand for an object.
    pub foreground: usize,
    /// What the terms are divided by: the sum of all target scores, at least 1.
    pub normaliser: f64,
}

impl BranchLoss {
    /// The sum of the three items.
    pub fn total(&self) -> f64 {
        self.items.iter().sum()
    }

    /// As a part of a batch: its items weighted by the part's share.
    pub fn times(self, share: f64) -> Self {
        Self {
            items: self.items.map(|item| item * share),
            ..self
        }
    }

    /// Of two parts of a batch.
    pub fn plus(self, other: Self) -> Self {
        let [a, b, c] = other.items;
        let [x, y, z] = self.items;
        Self {
            items: [x + a, y + b, z + c],
            foreground: self.foreground + other.foreground,
            normaliser: self.normaliser + other.normaliser,
        }
    }
}

/// The loss of one branch, ready to be evaluated on batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criterion {
    /// How anchors are matched to objects; this is all in which the two branches differ.
    pub assigner: Assigner,
    /// Weights of the terms.
    pub gains: Gains,
    /// Threads to use at most; the result does not depend on it.
    pub threads: NonZeroUsize,
}

impl Criterion {
    /// A criterion with the default gains.
    pub fn new(assigner: Assigner, threads: NonZeroUsize) -> Self {
        Self {
            assigner,
            gains: Gains::default(),
            threads,
        }
    }

    /// The loss alone, for validation.
    pub fn evaluate(
        &self,
        grid: &Grid,
        predictions: Predictions<'_>,
        targets: &Targets,
    ) -> Result<BranchLoss, LossError> {
        let assigned = self.assign(grid, predictions, targets)?;
        let normaliser = normaliser(grid, predictions, targets, &assigned)?;
        let jobs = images(grid, predictions).zip(&assigned).enumerate().collect();
        let sums = self.each(jobs, |(image, (view, positives))| {
            terms::values(grid, view, targets.image(image), positives)
        })?;
        Ok(self.summarise(&assigned, normaliser, &sums))
    }

    /// The loss, and the gradients of `weight * images * (box + cls + l1)` with respect to both inputs.
    ///
    /// `weight` is the branch's part in the mix of the two ([`branch_weights`]).
    pub fn gradients(
        &self,
        grid: &Grid,
        predictions: Predictions<'_>,
        targets: &Targets,
        weight: f64,
        out: Gradients<'_>,
    ) -> Result<BranchLoss, LossError> {
        expect_length("box gradients", predictions.boxes.len(), out.boxes.len())?;
        expect_length("class gradients", predictions.logits.len(), out.logits.len())?;
        check(grid, predictions, targets)?;
        // The sigmoids are where the gradients will be: these are made of them.
        self.sigmoids(grid, predictions, out.logits)?;
        let assigned = self.assign_by(grid, predictions, out.logits, targets)?;
        let normaliser = normaliser(grid, predictions, targets, &assigned)?;
        let factor = weight as f32 * predictions.images as f32;
        let scale = |gain: f64| factor * gain as f32 / normaliser;
        let scales = Scales {
            boxes: scale(self.gains.boxes),
            cls: scale(self.gains.cls),
            l1: scale(self.gains.l1),
        };
        let anchors = grid.anchors();
        let outs = out
            .boxes
            .chunks_exact_mut(4 * anchors)
            .zip(out.logits.chunks_exact_mut(predictions.classes * anchors));
        let jobs = images(grid, predictions)
            .zip(&assigned)
            .zip(outs)
            .enumerate()
            .collect();
        let sums = self.each(jobs, |(image, ((view, positives), (boxes, logits)))| {
            let out = Gradients { boxes, logits };
            terms::gradients(grid, view, targets.image(image), positives, scales, out)
        })?;
        Ok(self.summarise(&assigned, normaliser, &sums))
    }

    /// The foreground anchors of each image, in ascending order of anchors.
    pub fn assign(
        &self,
        grid: &Grid,
        predictions: Predictions<'_>,
        targets: &Targets,
    ) -> Result<Vec<Vec<Positive>>, LossError> {
        check(grid, predictions, targets)?;
        let mut probabilities = vec![0.0; predictions.logits.len()];
        self.sigmoids(grid, predictions, &mut probabilities)?;
        self.assign_by(grid, predictions, &probabilities, targets)
    }

    fn assign_by(
        &self,
        grid: &Grid,
        predictions: Predictions<'_>,
        probabilities: &[f32],
        targets: &Targets,
    ) -> Result<Vec<Vec<Positive>>, LossError> {
        let jobs = images(grid, predictions)
            .zip(probabilities.chunks_exact(predictions.classes * grid.anchors()))
            .enumerate()
            .collect();
        let mut candidates = self.each(jobs, |(image, (view, probabilities))| {
            Candidates::of_image(grid, view, probabilities, targets.image(image))
        })?;
        assign::align(&mut candidates)?;
        let jobs = candidates.iter().collect();
        Ok(parallel::map(self.threads, jobs, |own| self.assigner.choose(own)))
    }

    /// Sigmoids of all logits, with the bits of one call on the reference's order: images, anchors, classes.
    fn sigmoids(&self, grid: &Grid, predictions: Predictions<'_>, out: &mut [f32]) -> Result<(), LossError> {
        let (anchors, classes) = (grid.anchors(), predictions.classes);
        let jobs = images(grid, predictions)
            .zip(out.chunks_exact_mut(classes * anchors))
            .collect();
        self.each(jobs, |(view, out)| {
            // Filled up to whole registers, so that no element is computed as one of the last.
            let mut padded = vec![0.0; out.len().next_multiple_of(elementary::VECTORS)];
            padded[..out.len()].copy_from_slice(view.logits);
            elementary::sigmoid(&mut padded)?;
            out.copy_from_slice(&padded[..out.len()]);
            Ok(())
        })?;
        let end = predictions.logits.len();
        let places: Vec<usize> = (end - end % elementary::VECTORS..end)
            .map(|index| {
                let (point, class) = (index / classes, index % classes);
                (point / anchors * classes + class) * anchors + point % anchors
            })
            .collect();
        let mut last: Vec<f32> = places.iter().map(|&place| predictions.logits[place]).collect();
        elementary::sigmoid(&mut last)?;
        places
            .iter()
            .zip(last)
            .for_each(|(&place, value)| out[place] = value);
        Ok(())
    }

    /// One job an image.
    fn each<J: Send, T: Send>(
        &self,
        jobs: Vec<J>,
        work: impl Fn(J) -> Result<T, torch::Error> + Sync,
    ) -> Result<Vec<T>, LossError> {
        let results = parallel::map(self.threads, jobs, work);
        Ok(results.into_iter().collect::<Result<_, _>>()?)
    }

    fn summarise(&self, assigned: &[Vec<Positive>], normaliser: f32, sums: &[terms::Sums]) -> BranchLoss {
        let n = f64::from(normaliser);
        let total = |term: fn(&terms::Sums) -> f64| sums.iter().map(term).sum::<f64>() / n;
        BranchLoss {
            items: [
                self.gains.boxes * total(|s| s.boxes),
                self.gains.cls * total(|s| s.cls),
                self.gains.l1 * total(|s| s.l1),
            ],
            foreground: assigned.iter().map(Vec::len).sum(),
            normaliser: n,
        }
    }
}

fn check(grid: &Grid, predictions: Predictions<'_>, targets: &Targets) -> Result<(), LossError> {
    let Predictions {
        boxes,
        logits,
        images: count,
        classes,
    } = predictions;
    expect_length("boxes", count * 4 * grid.anchors(), boxes.len())?;
    expect_length("logits", count * classes * grid.anchors(), logits.len())?;
    if classes == 0 {
        return Err(LossError::NoClasses);
    }
    if targets.images() != count {
        return Err(LossError::Images {
            targets: targets.images(),
            predictions: count,
        });
    }
    targets.check_classes(classes)
}

fn images<'a>(grid: &Grid, p: Predictions<'a>) -> impl Iterator<Item = ImageView<'a>> {
    let anchors = grid.anchors();
    (0..p.images).map(move |image| ImageView {
        boxes: &p.boxes[image * 4 * anchors..(image + 1) * 4 * anchors],
        logits: &p.logits[image * p.classes * anchors..(image + 1) * p.classes * anchors],
        anchors,
    })
}

/// The sum of all target scores, at least 1: libtorch's, of the reference's tensor (images, anchors, classes).
fn normaliser(
    grid: &Grid,
    predictions: Predictions<'_>,
    targets: &Targets,
    assigned: &[Vec<Positive>],
) -> Result<f32, torch::Error> {
    let scores = assigned.iter().enumerate().flat_map(|(image, positives)| {
        let truths = targets.image(image);
        positives.iter().map(move |positive| {
            let point = image * grid.anchors() + positive.anchor;
            let class = usize::from(truths[positive.truth].class);
            (point * predictions.classes + class, positive.score)
        })
    });
    let sum = elementary::sum(predictions.logits.len(), scores)?;
    // Written so that a NaN stays one.
    Ok(if sum < 1.0 { 1.0 } else { sum })
}

fn expect_length(what: &'static str, expected: usize, found: usize) -> Result<(), LossError> {
    if expected == found {
        Ok(())
    } else {
        Err(LossError::Length {
            what,
            expected,
            found,
        })
    }
}
