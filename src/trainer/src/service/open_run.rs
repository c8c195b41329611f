//! What a run is trained with: by the configuration when it begins, and as it was begun with ever after.

use anyhow::{Context, Result};
use dataset::{augment::Augment, manifest::Manifest};
use detector::loss::Gains;
use runs::Run;
use serde_json::Value;
use service::config::Training;
use std::path::Path;
use train::{Hyper, OptimizerChoice, Precision};

/// By the configuration, which was checked.
pub(super) fn configured(training: &Training) -> Result<Hyper> {
    let named = |key: &str, value: &str| format!("training.{key} is {value}");
    let hyper = Hyper {
        epochs: training.epochs,
        batch: training.batch_size as usize,
        imgsz: training.imgsz as usize,
        optimizer: serde_json::from_value::<OptimizerChoice>(training.optimizer.as_str().into())
            .with_context(|| named("optimizer", &training.optimizer))?,
        lr0: training.lr0,
        lrf: training.lrf,
        momentum: training.momentum,
        weight_decay: training.weight_decay,
        nbs: training.nbs as usize,
        warmup_epochs: training.warmup_epochs,
        warmup_momentum: training.warmup_momentum,
        warmup_bias_lr: training.warmup_bias_lr,
        cos_lr: training.cos_lr,
        close_mosaic: training.close_mosaic,
        patience: training.patience,
        save_period: training.save_period,
        gains: Gains {
            boxes: training.r#box,
            cls: training.cls,
            l1: training.dfl,
        },
        augment: Augment {
            mosaic: training.mosaic,
            degrees: training.degrees,
            translate: training.translate,
            scale: training.scale,
            shear: training.shear,
            perspective: training.perspective,
            mixup: training.mixup,
            hsv_h: training.hsv_h,
            hsv_s: training.hsv_s,
            hsv_v: training.hsv_v,
            flipud: training.flipud,
            fliplr: training.fliplr,
        },
        seed: training.seed,
        precision: serde_json::from_value::<Precision>(training.precision.as_str().into())
            .with_context(|| named("precision", &training.precision))?,
    };
    Ok(hyper.validated()?)
}

/// As the run was begun with.
pub(super) fn hyper(run: &Run) -> Result<Hyper> {
    serde_json::from_value(run.hyper.clone())
        .with_context(|| format!("the hyper-parameters of {} cannot be used", run.folder.display()))
}

/// Hash of a dataset's manifest; none where it has no manifest that can be read.
pub(crate) fn dataset_hash(dataset: &Path) -> Option<String> {
    Manifest::read(dataset).ok().map(|manifest| manifest.hash)
}

/// Says where the configuration has changed since the run began.
pub(super) fn warn_of_other_settings(run: &Run, now: &Hyper, model: &str) -> Result<()> {
    let mut different = differences("", &run.hyper, &serde_json::to_value(now)?);
    if run.model != model {
        different.push("model".to_owned());
    }
    for name in different {
        tracing::warn!(run = %run.folder.display(), setting = name, "the run keeps what it was begun with; the configuration now says otherwise");
    }
    Ok(())
}

/// The names of the values in which two sets of hyper-parameters differ.
fn differences(prefix: &str, begun: &Value, now: &Value) -> Vec<String> {
    match (begun, now) {
        (Value::Object(begun), Value::Object(now)) => now
            .iter()
            .flat_map(|(name, now)| differences(name, begun.get(name).unwrap_or(&Value::Null), now))
            .collect(),
        (begun, now) if begun != now => vec![prefix.to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_configuration_is_the_default_run() {
        assert_eq!(configured(&Training::default()).unwrap(), Hyper::default());
    }

    #[test]
    fn what_the_configuration_says_otherwise_by_now_is_named() {
        let begun = serde_json::to_value(Hyper::default()).unwrap();
        assert!(differences("", &begun, &begun).is_empty());
        let now = configured(&Training {
            epochs: 1,
            optimizer: "SGD".to_owned(),
            mixup: 0.5,
            dfl: 1.0,
            ..Training::default()
        });
        let now = serde_json::to_value(now.unwrap()).unwrap();
        let mut different = differences("", &begun, &now);
        different.sort();
        assert_eq!(different, ["epochs", "l1", "mixup", "optimizer"]);
    }
}
