//! One training iteration: batch -> forward -> loss -> backward. Gradients add up in the parameters; stepping is the
//! run loop's business.
//!
//! The loss is native code on the host whatever the device: [`Criteria::gradients`] is the border, where a GPU's outputs
//! come down and their gradients go up. Bits are promised for the CPU alone; not yet run on a GPU.

use crate::{Error, hyper::Precision, staging};
use dataset::batch::Batch;
use detector::{
    Detector,
    loss::{
        Assigner, BranchLoss, BranchWeights, Criterion, Gains, Gradients, Grid, Predictions, Targets, Truth,
    },
    net::{HeadOutput, Heads},
};
use std::{fmt, num::NonZeroUsize, ops::Range};
use tch::{Device, Tensor};
use torch::During;

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Execution {
    /// Where the network lives.
    pub device: Device,
    /// Number format of convolutions and matrix products.
    pub precision: torch::Precision,
    /// Processor threads.
    pub threads: NonZeroUsize,
}

impl Execution {
    /// On this processor.
    pub fn new(precision: Precision, threads: NonZeroUsize) -> Self {
        Self::on(Device::Cpu, precision, threads)
    }

    /// Resolves `precision` for `device`.
    pub fn on(device: Device, precision: Precision, threads: NonZeroUsize) -> Self {
        let precision = match precision {
            Precision::Auto if device.is_cuda() => torch::Precision::Float16,
            Precision::Auto if torch::is_bf16_fast() => torch::Precision::BFloat16,
            Precision::Auto | Precision::Fp32 => torch::Precision::Float32,
            Precision::Bf16 => torch::Precision::BFloat16,
            Precision::Fp16 => torch::Precision::Float16,
        };
        Self {
            device,
            precision,
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

    /// Whether gradients need a scaled loss ([`crate::GradScaler`]) to stay in the format's range.
    pub fn scales_loss(&self) -> bool {
        self.precision == torch::Precision::Float16
    }

    /// Runs `body` under this execution's autocast.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> Result<T, torch::Error> {
        torch::with_autocast(self.device, self.precision, body)
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.threads;
        match self.device {
            Device::Cuda(index) => write!(f, "CUDA {index}, {threads} processor threads"),
            _ => write!(f, "CPU, {threads} threads"),
        }
    }
}

/// Objects of a batch as the loss wants them.
pub fn targets(batch: &Batch) -> Result<Targets, Error> {
    targets_of(batch, 0..batch.len())
}

/// Objects of some of a batch's images, which are counted from the first of these.
fn targets_of(batch: &Batch, part: Range<usize>) -> Result<Targets, Error> {
    let pairs: Vec<(usize, Truth)> = batch
        .targets
        .iter()
        .filter(|t| part.contains(&(t.image as usize)))
        .map(|t| {
            (
                t.image as usize - part.start,
                Truth {
                    class: t.class.into(),
                    xywh: [t.cx, t.cy, t.w, t.h],
                },
            )
        })
        .collect();
    Ok(Targets::new(part.len(), &pairs)?)
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
    /// the heads' outputs, on their device. On the CPU outputs are read and gradients written where they are.
    pub fn gradients(
        &self,
        heads: &Heads,
        grid: &Grid,
        targets: &Targets,
        weights: BranchWeights,
    ) -> Result<(BranchLoss, Heads), Error> {
        let device = heads.one2one.scores.device();
        let host = heads.to_host()?;
        let of = |criterion: &Criterion, output: &HeadOutput, weight| {
            branch(criterion, output, grid, targets, weight, device)
        };
        let (_, one2many) = of(&self.one2many, &host.one2many, weights.one2many)?;
        let (loss, one2one) = of(&self.one2one, &host.one2one, weights.one2one)?;
        Ok((loss, Heads { one2many, one2one }))
    }

    /// The one-to-one branch's loss alone, of an output in host memory.
    pub fn evaluate(&self, head: &HeadOutput, grid: &Grid, targets: &Targets) -> Result<BranchLoss, Error> {
        Ok(self.one2one.evaluate(grid, predictions(head)?, targets)?)
    }
}

/// A branch's loss, and its gradients with respect to the head's output, sent to `device`.
fn branch(
    criterion: &Criterion,
    output: &HeadOutput,
    grid: &Grid,
    targets: &Targets,
    weight: f64,
    device: Device,
) -> Result<(BranchLoss, HeadOutput), Error> {
    let mut boxes = torch::host_buffer(&output.boxes.size(), device)?;
    let mut scores = torch::host_buffer(&output.scores.size(), device)?;
    let out = Gradients {
        boxes: torch::slice_f32_mut(&mut boxes)?,
        logits: torch::slice_f32_mut(&mut scores)?,
    };
    let loss = criterion.gradients(grid, predictions(output)?, targets, weight, out)?;
    let gradients = HeadOutput {
        boxes: torch::to_device(&boxes, device)?,
        scores: torch::to_device(&scores, device)?,
    };
    Ok((loss, gradients))
}

/// Backward from both heads' outputs, each with its gradient.
pub fn backward(heads: &Heads, gradients: &Heads) -> Result<(), torch::Error> {
    let pairs = [
        (&heads.one2many, &gradients.one2many),
        (&heads.one2one, &gradients.one2one),
    ];
    let mut laid_out = Vec::with_capacity(4);
    for (output, gradient) in pairs {
        laid_out.push((&output.boxes, by_anchor(&gradient.boxes)?));
        laid_out.push((&output.scores, by_anchor(&gradient.scores)?));
    }
    let pairs: Vec<(&Tensor, &Tensor)> = laid_out.iter().map(|(out, by)| (*out, by)).collect();
    torch::backward(&pairs)
}

/// The same tensor (images, rows, anchors) with the values of an anchor side by side in memory, as the reference's loss
/// leaves them: the order of libtorch's sums for the biases, and so their last bits, follow the memory.
fn by_anchor(gradient: &Tensor) -> Result<Tensor, torch::Error> {
    gradient
        .f_transpose(1, 2)
        .and_then(|by_anchor| by_anchor.f_contiguous()?.f_transpose(1, 2))
        .during("backward")
}

/// Forward and backward of one batch; returns the loss that is logged.
pub fn train_batch(
    detector: &Detector,
    criteria: &Criteria,
    execution: &Execution,
    batch: &Batch,
    weights: BranchWeights,
) -> Result<BranchLoss, Error> {
    let images = staging::images(batch, execution.device)?;
    train_images(detector, criteria, execution, &images, batch, weights)
}

/// [`train_batch`] of a batch whose images are on the device already.
pub fn train_images(
    detector: &Detector,
    criteria: &Criteria,
    execution: &Execution,
    images: &Tensor,
    batch: &Batch,
    weights: BranchWeights,
) -> Result<BranchLoss, Error> {
    train_part(
        detector,
        criteria,
        execution,
        images,
        batch,
        0..batch.len(),
        weights,
    )
}

/// [`train_images`] of some of a batch's images. Where the loss is not finite nothing goes backward.
pub fn train_part(
    detector: &Detector,
    criteria: &Criteria,
    execution: &Execution,
    images: &Tensor,
    batch: &Batch,
    part: Range<usize>,
    weights: BranchWeights,
) -> Result<BranchLoss, Error> {
    let images = images
        .f_narrow(0, part.start as i64, part.len() as i64)
        .during("narrow")?;
    let heads = execution.run(|| detector.forward_train(&images))??;
    let grid = Grid::for_input(batch.width, batch.height)?;
    let (loss, gradients) = criteria.gradients(&heads, &grid, &targets_of(batch, part)?, weights)?;
    if loss.total().is_finite() {
        backward(&heads, &gradients)?;
    }
    Ok(loss)
}
