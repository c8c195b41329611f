//! What a run begins with: the first weights, the identity of its data, and whether a folder is its own.

use crate::{
    Error, Hyper,
    checkpoint::Position,
    model_file,
    run::{Event, Observer, RunOptions},
};
use dataset::{
    Dataset,
    rng::{self, Purpose},
};
use detector::{Config, Detector, weights::WeightMap};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, path::Path};

/// The network to begin with: random weights, or those of another model as far as they fit.
pub(crate) fn initial_network(
    options: &RunOptions,
    hyper: &Hyper,
    names: &[String],
    observer: &mut dyn Observer,
) -> Result<Detector, Error> {
    let mut rng = rng::stream(hyper.seed, Purpose::Init, 0, 0);
    let Some(base) = &options.base else {
        return Ok(Detector::new(Config::new(options.scale, names.len())?, &mut rng)?);
    };
    let model = model_file::read_model(base)?;
    if model.meta.scale != options.scale {
        return Err(Error::OtherScale {
            path: base.clone(),
            got: model.meta.scale.letter(),
            expected: options.scale.letter(),
        });
    }
    let weights = WeightMap::of(model.detector.state())?;
    let (detector, transfer) = Detector::fine_tune(&weights, &model.meta.names, names, &mut rng)?;
    if !transfer.fresh.is_empty() {
        let mut text = format!(
            "{} tensors of {} start fresh: ",
            transfer.fresh.len(),
            base.display()
        );
        let _ = write!(text, "{}", transfer.fresh.join(", "));
        observer.on(Event::Warning(&text));
    }
    Ok(detector)
}

/// The parameters by name, as [`crate::optim::Optimizer::new`] takes them.
pub fn parameters(detector: &Detector) -> Vec<(String, tch::Tensor)> {
    detector
        .state()
        .parameters()
        .map(|e| (e.name().to_owned(), e.tensor().shallow_clone()))
        .collect()
}

/// Identity of what is trained and validated on: names, sizes and labels of the images, in order.
pub(crate) fn fingerprint(train: &Dataset, valid: &Dataset) -> String {
    let mut hash = Sha256::new();
    for (split, dataset) in [("train", train), ("valid", valid)] {
        for item in &dataset.items {
            let name = item.image.file_name().unwrap_or_default().to_string_lossy();
            hash.update(format!("{split}\0{name}\0{:?}\0{}\0", item.size, item.label));
        }
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A folder's run goes on only with what it was started with.
pub(crate) fn refuse_other_run(folder: &Path, theirs: &Position, ours: &Position) -> Result<(), Error> {
    let other = |what, theirs: String, ours: String| {
        if theirs == ours {
            Ok(())
        } else {
            Err(Error::OtherRun {
                folder: folder.to_owned(),
                what,
                theirs,
                ours,
            })
        }
    };
    other("scale", theirs.scale.clone(), ours.scale.clone())?;
    other("dataset", theirs.dataset.clone(), ours.dataset.clone())?;
    other(
        "set of hyper-parameters",
        format!("{:?}", theirs.hyper),
        format!("{:?}", ours.hyper),
    )
}
