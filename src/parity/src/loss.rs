//! The loss on made-up predictions: assignment, the three items, gradients; both branches.

use crate::{
    reference::{Bytes, Tensors},
    table::{Bound, Gap, Row},
};
use anyhow::bail;
use detector::loss::{Assigner, Criterion, Gradients, Grid, Predictions, Targets, Truth};
use std::{collections::BTreeSet, num::NonZeroUsize, path::Path};

const BRANCHES: [(&str, Assigner); 2] = [
    ("one2many", Assigner::ONE_TO_MANY),
    ("one2one", Assigner::ONE_TO_ONE),
];

pub fn compare(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let bytes = Bytes::read(&folder.join("loss.safetensors"))?;
    let reference = bytes.tensors()?;
    let names: BTreeSet<&str> = reference
        .names("")
        .into_iter()
        .filter_map(|name| name.strip_suffix(".size"))
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let case = Case::read(&reference, name)?;
        for (branch, assigner) in BRANCHES {
            rows.extend(case.rows(&reference, &format!("{name}.{branch}"), assigner)?);
        }
    }
    Ok(rows)
}

/// Predictions and objects of one batch.
struct Case {
    grid: Grid,
    images: usize,
    classes: usize,
    targets: Targets,
    boxes: Vec<f32>,
    logits: Vec<f32>,
}

impl Case {
    fn read(reference: &Tensors<'_>, name: &str) -> anyhow::Result<Self> {
        let [height, width, classes, images] = reference.i64(&format!("{name}.size"))?[..] else {
            bail!("{name}.size holds other than height, width, classes, images");
        };
        let images = images as usize;
        Ok(Self {
            grid: Grid::for_input(width as usize, height as usize)?,
            images,
            classes: classes as usize,
            targets: Targets::new(images, &truths(&reference.f32(&format!("{name}.targets"))?))?,
            boxes: reference.f32(&format!("{name}.boxes"))?,
            logits: reference.f32(&format!("{name}.logits"))?,
        })
    }

    fn predictions(&self) -> Predictions<'_> {
        Predictions {
            boxes: &self.boxes,
            logits: &self.logits,
            images: self.images,
            classes: self.classes,
        }
    }

    fn rows(&self, reference: &Tensors<'_>, case: &str, assigner: Assigner) -> anyhow::Result<[Row; 3]> {
        let criterion = Criterion::new(assigner, NonZeroUsize::MIN);
        let mut boxes = vec![f32::NAN; self.boxes.len()];
        let mut logits = vec![f32::NAN; self.logits.len()];
        let out = Gradients {
            boxes: &mut boxes,
            logits: &mut logits,
        };
        let loss = criterion.gradients(&self.grid, self.predictions(), &self.targets, 1.0, out)?;
        let expected = reference.f32(&format!("{case}.items"))?;
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        // Below 1 absolute: the reference takes 1 - CIoU in 32 bits, which cancels for good boxes.
        let items = Gap::of_f64(&loss.items, &expected, 1.0);
        let gradients = Gap::of_tensor(&boxes, &reference.f32(&format!("{case}.grad_boxes"))?).and(
            Gap::of_tensor(&logits, &reference.f32(&format!("{case}.grad_logits"))?),
        );
        let row = |item, gap, bound| Row {
            item,
            case: case.to_owned(),
            gap,
            bound,
        };
        Ok([
            row(
                "assignment: anchors that differ",
                self.assignment(reference, case, criterion)?,
                Bound::Absolute(0.0),
            ),
            row("loss items", items, Bound::Relative(1e-6)),
            row("gradients of the loss", gradients, Bound::Relative(1e-5)),
        ])
    }

    /// Which object an anchor is for. Which anchors of alignment 0 fill a list is up to the reference's kernel; their
    /// score is 0, so they are left out unless one side gives them a score.
    fn assignment(&self, reference: &Tensors<'_>, case: &str, criterion: Criterion) -> anyhow::Result<Gap> {
        let expected = reference.i16(&format!("{case}.assigned"))?;
        let scores = reference.f32(&format!("{case}.scores"))?;
        let mut found = vec![(-1_i16, 0.0_f32); expected.len()];
        let assigned = criterion.assign(&self.grid, self.predictions(), &self.targets)?;
        for (image, positives) in assigned.into_iter().enumerate() {
            for positive in positives {
                if let Some(place) = found.get_mut(image * self.grid.anchors() + positive.anchor) {
                    *place = (positive.truth as i16, positive.score);
                }
            }
        }
        let differing = found
            .iter()
            .zip(expected.iter().zip(&scores))
            .filter(|((ours, score), (theirs, expected))| {
                (*score > 0.0 || **expected > 0.0)
                    && (ours != *theirs || (score - **expected).abs() > 2e-6 * expected.max(1e-3))
            })
            .count();
        Ok(Gap::count(expected.len(), differing as f64))
    }
}

/// Objects by image from rows of (image, class, cx, cy, w, h).
pub fn truths(rows: &[f32]) -> Vec<(usize, Truth)> {
    rows.as_chunks::<6>()
        .0
        .iter()
        .map(|&[image, class, x, y, w, h]| {
            (
                image as usize,
                Truth {
                    class: class as u16,
                    xywh: [x, y, w, h],
                },
            )
        })
        .collect()
}
