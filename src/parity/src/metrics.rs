//! Precision, recall and average precision: on random tables of hits, and from boxes and objects through the matching.

use crate::{
    loss::truths,
    reference::{Bytes, Tensors},
    table::{Bound, Gap, Row},
};
use anyhow::bail;
use detector::{
    Detection,
    loss::Grid,
    metrics::{Evaluator, Metrics, Outcome, Truth},
};
use std::{collections::BTreeSet, path::Path};

const CLASSES: usize = 8;
const BOUND: Bound = Bound::Absolute(1e-6);

pub fn compare(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let bytes = Bytes::read(&folder.join("metrics.safetensors"))?;
    let reference = bytes.tensors()?;
    let names: BTreeSet<&str> = reference
        .names("")
        .into_iter()
        .filter_map(|name| name.strip_suffix(".hits"))
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let metrics = measured(&reference, name)?;
        rows.extend(by_class(&reference, name, &metrics)?);
        rows.push(curves(&reference, name, &metrics)?);
    }
    rows.extend(pictured(&reference)?);
    Ok(rows)
}

fn row(item: &'static str, case: &str, gap: Gap) -> Row {
    Row {
        item,
        case: case.to_owned(),
        gap,
        bound: BOUND,
    }
}

fn by_class(reference: &Tensors<'_>, name: &str, metrics: &Metrics) -> anyhow::Result<[Row; 2]> {
    let per_class = &metrics.per_class;
    let of = |key: &str, found: Vec<f64>| {
        anyhow::Ok(Gap::of_f64(
            &found,
            &reference.f64(&format!("{name}.{key}"))?,
            1.0,
        ))
    };
    let classes: Vec<f64> = per_class.iter().map(|c| c.class.into()).collect();
    let expected = reference.i32(&format!("{name}.classes"))?;
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    let precision = of("ap", per_class.iter().flat_map(|c| c.ap).collect())?;
    let at_best = of("precision", per_class.iter().map(|c| c.precision).collect())?
        .and(of("recall", per_class.iter().map(|c| c.recall).collect())?);
    let sizes = [per_class.len() as i64, 10];
    Ok([
        row(
            "average precision, by class and threshold",
            name,
            precision
                .and(Gap::of_f64(&classes, &expected, 1.0))
                .shaped(&sizes),
        ),
        row(
            "precision, recall by class at the best F1",
            name,
            at_best.shaped(&[2, sizes[0]]),
        ),
    ])
}

fn curves(reference: &Tensors<'_>, name: &str, metrics: &Metrics) -> anyhow::Result<Row> {
    let curves = &metrics.curves;
    let mut means = Gap::NONE;
    for (key, found) in [
        ("precision", &curves.precision),
        ("recall", &curves.recall),
        ("f1", &curves.f1),
        ("pr", &curves.pr),
    ] {
        let expected = reference.f32(&format!("{name}.{key}_curve"))?;
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        means = means.and(Gap::of_f64(found, &expected, 1.0));
    }
    Ok(row("mean curves", name, means))
}

/// Boxes as a network answers and the objects of the images, matched and measured.
fn pictured(reference: &Tensors<'_>) -> anyhow::Result<Vec<Row>> {
    let name = "pictured";
    let [side, classes, images] = reference.i32(&format!("{name}.size"))?[..] else {
        bail!("{name}.size holds other than side, classes, images");
    };
    let grid = Grid::for_input(side as usize, side as usize)?;
    let objects = truths(&reference.f32(&format!("{name}.objects"))?);
    let boxes = reference.f32(&format!("{name}.boxes"))?;
    let mut evaluator = Evaluator::new(classes as usize);
    for image in 0..images as usize {
        let found: Vec<Detection> = boxes
            .as_chunks::<7>()
            .0
            .iter()
            .filter(|row| row[0] as usize == image)
            .map(|&[_, left, top, right, bottom, score, class]| Detection {
                xyxy: [left, top, right, bottom],
                score,
                class: class as u16,
            })
            .collect();
        let shown: Vec<Truth> = objects
            .iter()
            .filter(|(of, _)| *of == image)
            .map(|(_, object)| Truth {
                xyxy: object.xyxy(&grid),
                class: object.class,
            })
            .collect();
        evaluator.add_image(&found, &shown)?;
    }
    let metrics = evaluator.finish();
    let means = [metrics.precision, metrics.recall, metrics.map50, metrics.map50_95];
    let gap = Gap::of_f64(&means, &reference.f64(&format!("{name}.means"))?, 1.0);
    let mut rows = vec![row("precision, recall, mAP50, mAP50-95", name, gap)];
    rows.extend(by_class(reference, name, &metrics)?);
    Ok(rows)
}

fn measured(reference: &Tensors<'_>, name: &str) -> anyhow::Result<Metrics> {
    let outcomes: Vec<Outcome> = reference
        .f32(&format!("{name}.confidence"))?
        .into_iter()
        .zip(reference.i32(&format!("{name}.predicted"))?)
        .zip(reference.i32(&format!("{name}.hits"))?)
        .map(|((score, class), hits)| Outcome {
            score,
            class: class as u16,
            hits: hits as u16,
        })
        .collect();
    let truths = reference.i32(&format!("{name}.true"))?;
    let truths: Vec<u16> = truths.into_iter().map(|c| c as u16).collect();
    let mut evaluator = Evaluator::new(CLASSES);
    evaluator.add_matched(&outcomes, &truths)?;
    Ok(evaluator.finish())
}
