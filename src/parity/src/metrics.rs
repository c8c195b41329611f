//! Precision, recall and average precision on random tables of hits.

use crate::{
    reference::{Bytes, Tensors},
    table::{Bound, Gap, Row},
};
use detector::metrics::{Evaluator, Metrics, Outcome};
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
        rows.extend(case(&reference, name)?);
    }
    Ok(rows)
}

fn case(reference: &Tensors<'_>, name: &str) -> anyhow::Result<[Row; 3]> {
    let Metrics {
        per_class, curves, ..
    } = measured(reference, name)?;
    let row = |item, gap| Row {
        item,
        case: name.to_owned(),
        gap,
        bound: BOUND,
    };
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
    Ok([
        row(
            "average precision, by class and threshold",
            precision.and(Gap::of_f64(&classes, &expected, 1.0)),
        ),
        row("precision, recall at the best F1", at_best),
        row("mean curves", means),
    ])
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
