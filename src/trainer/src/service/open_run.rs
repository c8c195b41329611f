//! A run that is gone on with keeps what it was begun with; what the configuration says otherwise by then is told.

use anyhow::{Context, Result};
use dataset::manifest::Manifest;
use runs::Run;
use std::path::Path;
use train::Hyper;

/// What the run is trained with.
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
    for name in differences(&hyper(run)?, now, run.model == model) {
        tracing::warn!(run = %run.folder.display(), setting = name, "the run keeps what it was begun with; the configuration now says otherwise");
    }
    Ok(())
}

fn differences(begun: &Hyper, now: &Hyper, same_model: bool) -> Vec<&'static str> {
    [
        ("model", !same_model),
        ("epochs", begun.epochs != now.epochs),
        ("batch_size", begun.batch != now.batch),
        ("imgsz", begun.imgsz != now.imgsz),
        ("save_period", begun.save_period != now.save_period),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_says_otherwise_by_now_is_named() {
        let begun = Hyper::default();
        assert!(differences(&begun, &begun, true).is_empty());
        let now = Hyper {
            epochs: 1,
            ..Hyper::default()
        };
        assert_eq!(differences(&begun, &now, false), ["model", "epochs"]);
    }
}
