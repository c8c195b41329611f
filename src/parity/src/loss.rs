//! The loss on made-up predictions: assignment and target scores, the items and their total, gradients; both branches.

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

    fn rows(&self, reference: &Tensors<'_>, case: &str, assigner: Assigner) -> anyhow::Result<[Row; 5]> {
        let criterion = Criterion::new(assigner, NonZeroUsize::MIN);
        let mut boxes = vec![f32::NAN; self.boxes.len()];
        let mut logits = vec![f32::NAN; self.logits.len()];
        let out = Gradients {
            boxes: &mut boxes,
            logits: &mut logits,
        };
        let loss = criterion.gradients(&self.grid, self.predictions(), &self.targets, 1.0, out)?;
        let expected = reference.f32(&format!("{case}.items"))?;
        let mut expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        expected.push(expected.iter().sum());
        let mut items = loss.items.to_vec();
        items.push(loss.total());
        let gradient = |name: &str, found: &[f32], rows: usize| {
            let expected = reference.f32(&format!("{case}.{name}"))?;
            anyhow::Ok(Gap::of_tensor(found, &expected).shaped(&self.sizes(rows)))
        };
        let [assignment, scores] = self.assignment(reference, case, criterion)?;
        let row = |item, gap, bound| Row {
            item,
            case: case.to_owned(),
            gap,
            bound,
        };
        Ok([
            row(
                "assignment: anchors that differ",
                assignment,
                Bound::Absolute(0.0),
            ),
            row("target scores", scores, Bound::Bits),
            // Below 1 absolute: the reference takes 1 - CIoU in 32 bits, which cancels for good boxes.
            row(
                "loss items and total",
                Gap::of_f64(&items, &expected, 1.0),
                Bound::Relative(1e-6),
            ),
            row(
                "gradients by distances",
                gradient("grad_boxes", &boxes, 4)?,
                Bound::Bits,
            ),
            row(
                "gradients by logits",
                gradient("grad_logits", &logits, self.classes)?,
                Bound::Bits,
            ),
        ])
    }

    /// Of a tensor with so many values an anchor.
    fn sizes(&self, rows: usize) -> [i64; 3] {
        [self.images, rows, self.grid.anchors()].map(|size| size as i64)
    }

    /// Which object an anchor is for, and how strongly. Which anchors of alignment 0 fill a list is up to the reference's
    /// kernel; their score is 0, so their objects are left out unless one side gives them a score.
    fn assignment(
        &self,
        reference: &Tensors<'_>,
        case: &str,
        criterion: Criterion,
    ) -> anyhow::Result<[Gap; 2]> {
        let expected = reference.i16(&format!("{case}.assigned"))?;
        let expected_scores = reference.f32(&format!("{case}.scores"))?;
        let (mut found, mut scores) = (vec![-1_i16; expected.len()], vec![0.0_f32; expected.len()]);
        let assigned = criterion.assign(&self.grid, self.predictions(), &self.targets)?;
        for (image, positives) in assigned.into_iter().enumerate() {
            for positive in positives {
                let place = image * self.grid.anchors() + positive.anchor;
                if let (Some(object), Some(score)) = (found.get_mut(place), scores.get_mut(place)) {
                    (*object, *score) = (positive.truth as i16, positive.score);
                }
            }
        }
        let scored = |&place: &usize| scores[place] > 0.0 || expected_scores[place] > 0.0;
        let differing = (0..expected.len())
            .filter(scored)
            .filter(|&place| found[place] != expected[place])
            .count();
        let sizes = [self.images as i64, self.grid.anchors() as i64];
        Ok([
            Gap::count(expected.len(), differing as f64).shaped(&sizes),
            Gap::of_tensor(&scores, &expected_scores).shaped(&sizes),
        ])
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
