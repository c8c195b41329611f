//! Measuring a network on a split: every image once, in rectangular batches, with the metrics of the specification's
//! section 8, in the coordinates of the network input. The network runs on its device; losses, boxes and metrics are
//! computed on the host.

use crate::{
    Error,
    staging::{Staged, Staging},
    step::{self, Criteria, Execution},
};
use dataset::{
    batch::{Batch, Placement},
    load::ValLoader,
};
use detector::{
    Detection, Detector, FusedDetector, Head,
    decode::{EndToEnd, Raw, end_to_end},
    loss::Grid,
    metrics::{Evaluator, Metrics, Truth},
    net::HeadOutput,
    nms::Nms,
};

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct ValidationOptions {
    /// The head whose boxes are measured.
    pub head: Head,
    /// Classes of the dataset.
    pub classes: usize,
    /// How the network is run.
    pub execution: Execution,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Precision, recall, mAP, per class, curves, confusion.
    pub metrics: Metrics,
    /// Box, class and distance loss, mean over batches; zeros for a folded network.
    pub loss: [f64; 3],
}

/// What is measured.
pub enum Network<'a> {
    /// The averaged weights during training, both heads: boxes from the head asked for, losses from the one-to-one head.
    Averaged(&'a Detector, &'a Criteria),
    /// A folded network of one head, as it is used.
    Fused(&'a FusedDetector),
}

/// One image that was measured.
pub struct Measured<'a> {
    /// Its index in the dataset.
    pub item: usize,
    /// What was found, best first, in pixels of the network input.
    pub detections: &'a [Detection],
    /// What is there, in pixels of the network input.
    pub truths: &'a [Truth],
    /// Where the image lies in the network input.
    pub placement: &'a Placement,
}

/// Measures `network` on every image that `loader` gives; `note` sees each.
pub fn validate(
    network: &Network<'_>,
    loader: &ValLoader,
    options: ValidationOptions,
    note: &mut dyn FnMut(Measured<'_>),
) -> Result<Validation, Error> {
    let mut evaluator = Evaluator::new(options.classes);
    let (mut loss, mut batches) = ([0.0; 3], 0.0_f64);
    for staged in Staging::new(loader.batches()?, options.execution.device) {
        let Staged { batch, images } = staged?;
        let grid = Grid::for_input(batch.width, batch.height)?;
        let output = match network {
            Network::Fused(fused) => options.execution.run(|| fused.forward(&images))??.to_host()?,
            Network::Averaged(detector, criteria) => {
                let heads = options
                    .execution
                    .run(|| detector.forward_eval_both(&images))??
                    .to_host()?;
                let items = criteria
                    .evaluate(&heads.one2one, &grid, &step::targets(&batch)?)?
                    .items;
                loss.iter_mut().zip(items).for_each(|(sum, item)| *sum += item);
                match options.head {
                    Head::One2Many => heads.one2many,
                    Head::One2One => heads.one2one,
                }
            }
        };
        batches += 1.0;
        for (detections, (item, placement, truths)) in detections(&output, &grid, options.head)?
            .iter()
            .zip(annotated(&batch))
        {
            evaluator.add_image(detections, &truths)?;
            note(Measured {
                item,
                detections,
                truths: &truths,
                placement,
            });
        }
    }
    Ok(Validation {
        metrics: evaluator.finish(),
        loss: loss.map(|sum| sum / batches.max(1.0)),
    })
}

/// Boxes of every image, by the settings of measuring: all above 0.001.
fn detections(output: &HeadOutput, grid: &Grid, head: Head) -> Result<Vec<Vec<Detection>>, Error> {
    let (nms, ranked) = (
        Nms::validate(),
        EndToEnd {
            confidence: 0.001,
            ..EndToEnd::default()
        },
    );
    raw(output, grid, |raw| match head {
        Head::One2Many => nms.detect(raw),
        Head::One2One => end_to_end(raw, &ranked),
    })
}

/// Applies `decode` to every image's part of a head's output.
fn raw<T>(output: &HeadOutput, grid: &Grid, decode: impl Fn(&Raw<'_>) -> T) -> Result<Vec<T>, Error> {
    let classes = output.scores.size().get(1).map_or(0, |&k| k as usize);
    let anchors = grid.anchors().max(1);
    let (boxes, scores) = (
        torch::slice_f32(&output.boxes)?,
        torch::slice_f32(&output.scores)?,
    );
    boxes
        .chunks_exact(4 * anchors)
        .zip(scores.chunks_exact((classes * anchors).max(1)))
        .map(|(boxes, scores)| Ok(decode(&Raw::new(grid, classes, boxes, scores)?)))
        .collect()
}

/// Item, placement and true boxes (in pixels of the network input) of every image of a batch.
fn annotated(batch: &Batch) -> impl Iterator<Item = (usize, &Placement, Vec<Truth>)> {
    let (width, height) = (batch.width as f32, batch.height as f32);
    batch
        .items
        .iter()
        .zip(&batch.placements)
        .enumerate()
        .map(move |(image, (&item, placement))| {
            let truths = batch
                .targets
                .iter()
                .filter(|t| t.image as usize == image)
                .map(|t| {
                    let (x, y, w, h) = (t.cx * width, t.cy * height, t.w * width, t.h * height);
                    Truth {
                        xyxy: [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0],
                        class: t.class.into(),
                    }
                });
            (item, placement, truths.collect())
        })
}
