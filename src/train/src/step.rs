//! One training iteration: batch -> forward -> loss -> backward. Gradients add up in the parameters; stepping is the
//! run loop's business.

use crate::{Error, hyper::Precision, validate};
use dataset::batch::Batch;
use detector::{
    Detector,
    loss::{
        Assigner, BranchLoss, BranchWeights, Criterion, Gains, Gradients, Grid, Predictions, Targets, Truth,
    },
    net::{HeadOutput, Heads},
};
use std::num::NonZeroUsize;
use tch::{Device, Kind, Tensor};
use torch::During;

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Execution {
    /// Number format of convolutions and matrix products.
    pub precision: torch::Precision,
    /// Processor threads.
    pub threads: NonZeroUsize,
}

impl Execution {
    /// Resolves `precision` for this processor.
    pub fn new(precision: Precision, threads: NonZeroUsize) -> Self {
        let bf16 = match precision {
            Precision::Auto => torch::is_bf16_fast(),
            Precision::Fp32 => false,
            Precision::Bf16 => true,
        };
        Self {
            precision: if bf16 {
                torch::Precision::BFloat16
            } else {
                torch::Precision::Float32
            },
            threads,
        }
    }

    /// The same in 32 bit.
    pub fn exact(self) -> Self {
        Self {
            precision: torch::Precision::Float32,
            ..self
        }
    }

    /// Runs `body` under this execution's autocast.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> Result<T, torch::Error> {
        torch::with_autocast(Device::Cpu, self.precision, body)
    }
}

/// Objects of a batch as the loss wants them.
pub fn targets(batch: &Batch) -> Result<Targets, Error> {
    let pairs: Vec<(usize, Truth)> = batch
        .targets
        .iter()
        .map(|t| {
            (
                t.image as usize,
                Truth {
                    class: t.class.into(),
                    xywh: [t.cx, t.cy, t.w, t.h],
                },
            )
        })
        .collect();
    Ok(Targets::new(batch.items.len(), &pairs)?)
}

/// The loss of both heads.
pub struct Criteria {
    one2many: Criterion,
    one2one: Criterion,
}

fn predictions(output: &HeadOutput) -> Result<Predictions<'_>, torch::Error> {
    let sizes = output.scores.size();
    let size = |axis: usize| sizes.get(axis).map_or(0, |&s| s as usize);
    Ok(Predictions {
        boxes: torch::slice_f32(&output.boxes)?,
        logits: torch::slice_f32(&output.scores)?,
        images: size(0),
        classes: size(1),
    })
}

impl Criteria {
    /// Both heads' criteria with the given gains.
    pub fn new(gains: Gains, threads: NonZeroUsize) -> Self {
        let of = |assigner| Criterion {
            assigner,
            gains,
            threads,
        };
        Self {
            one2many: of(Assigner::ONE_TO_MANY),
            one2one: of(Assigner::ONE_TO_ONE),
        }
    }

    /// The one-to-one branch's loss, the one that is logged, and the gradients of both branches' losses with respect to
    /// the heads' outputs.
    pub fn gradients(
        &self,
        heads: &Heads,
        grid: &Grid,
        targets: &Targets,
        weights: BranchWeights,
    ) -> Result<(BranchLoss, Heads), Error> {
        let (_, one2many) = branch(&self.one2many, &heads.one2many, grid, targets, weights.one2many)?;
        let (loss, one2one) = branch(&self.one2one, &heads.one2one, grid, targets, weights.one2one)?;
        Ok((loss, Heads { one2many, one2one }))
    }

    /// The one-to-one branch's loss alone.
    pub fn evaluate(&self, head: &HeadOutput, grid: &Grid, targets: &Targets) -> Result<BranchLoss, Error> {
        Ok(self.one2one.evaluate(grid, predictions(head)?, targets)?)
    }
}

/// A branch's loss, and its gradients with respect to the head's output.
fn branch(
    criterion: &Criterion,
    output: &HeadOutput,
    grid: &Grid,
    targets: &Targets,
    weight: f64,
) -> Result<(BranchLoss, HeadOutput), Error> {
    let empty = |t: &Tensor| Tensor::f_empty(t.size(), (Kind::Float, Device::Cpu)).during("gradients");
    let mut gradients = HeadOutput {
        boxes: empty(&output.boxes)?,
        scores: empty(&output.scores)?,
    };
    let out = Gradients {
        boxes: torch::slice_f32_mut(&mut gradients.boxes)?,
        logits: torch::slice_f32_mut(&mut gradients.scores)?,
    };
    let loss = criterion.gradients(grid, predictions(output)?, targets, weight, out)?;
    Ok((loss, gradients))
}

/// Backward from both heads' outputs, each with its gradient.
pub fn backward(heads: &Heads, gradients: &Heads) -> Result<(), torch::Error> {
    torch::backward(&[
        (&heads.one2many.boxes, &gradients.one2many.boxes),
        (&heads.one2many.scores, &gradients.one2many.scores),
        (&heads.one2one.boxes, &gradients.one2one.boxes),
        (&heads.one2one.scores, &gradients.one2one.scores),
    ])
}

/// Forward and backward of one batch; returns the loss that is logged.
pub fn train_batch(
    detector: &Detector,
    criteria: &Criteria,
    execution: &Execution,
    batch: &Batch,
    weights: BranchWeights,
) -> Result<BranchLoss, Error> {
    let input = validate::images(batch)?;
    let heads = execution.run(|| detector.forward_train(&input))??;
    let grid = Grid::for_input(batch.width, batch.height)?;
    let (loss, gradients) = criteria.gradients(&heads, &grid, &targets(batch)?, weights)?;
    backward(&heads, &gradients)?;
    Ok(loss)
}
