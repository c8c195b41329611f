//! What a run begins with: the first weights, the identity of its data, and whether a folder is its own.

use crate::{
    Error, Hyper,
    checkpoint::{Checkpoint, Position},
    model_file,
    run::{Event, Observer, RunOptions},
};
use dataset::{
    Dataset, Split,
    manifest::Manifest,
    rng::{self, Purpose},
};
use detector::{
    Config, Detector, Scale,
    net::Transfer,
    weights::{Meta, WeightMap},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// What a run starts from, by the name that a person gives (`TRAINING_MODEL`, `--model`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Scale of the network.
    pub scale: Scale,
    /// Weights to start from; none: random ones.
    pub base: Option<PathBuf>,
}

impl Start {
    /// `yolo26n`, `s`, `m`, `l` or `x` (or the letter alone) for random weights, else a model file, whose path is taken
    /// from `folder` and whose scale is read from its tensors.
    ///
    /// # Errors
    /// There is no such file, or it holds no network that can be trained.
    pub fn named(name: &str, folder: &Path) -> Result<Self, Error> {
        if let Ok(scale) = name.parse() {
            return Ok(Self { scale, base: None });
        }
        let path = folder.join(name);
        if !path.exists() {
            let name = name.to_owned();
            return Err(Error::NoModel { name, path });
        }
        Ok(Self {
            scale: model_file::read_model(&path)?.meta.scale,
            base: Some(path),
        })
    }
}

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
        let text = taken_over(base, &model.meta, names, &transfer);
        observer.on(Event::Warning(&text));
    }
    Ok(detector)
}

/// The network of an interrupted run. What the run began with is not needed for it, and may be gone.
pub(crate) fn saved_network(
    folder: &Path,
    checkpoint: &Checkpoint,
    names: &[String],
) -> Result<Detector, Error> {
    let detector = Detector::from_weights(&model_file::weights(checkpoint, "model/")?)?;
    same(
        folder,
        "number of classes",
        detector.config().nc().to_string(),
        names.len().to_string(),
    )?;
    Ok(detector)
}

/// What of the base fits, and what is drawn afresh.
fn taken_over(base: &Path, meta: &Meta, names: &[String], transfer: &Transfer) -> String {
    let mut text = format!(
        "{} has {} classes, the dataset {}: {} of {} tensors are taken over; drawn afresh: {}",
        base.display(),
        meta.nc,
        names.len(),
        transfer.copied,
        transfer.copied + transfer.fresh.len(),
        transfer.fresh.join(", ")
    );
    let known: Vec<&str> = transfer
        .classes
        .iter()
        .filter_map(|&(_, to)| names.get(to).map(String::as_str))
        .collect();
    if !known.is_empty() {
        let _ = write!(text, "; but for the classes that both have: {}", known.join(", "));
    }
    text
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

/// A folder's run goes on only with the network it was started with.
pub(crate) fn refuse_other_network(folder: &Path, theirs: &Position, ours: &Position) -> Result<(), Error> {
    same(folder, "scale", theirs.scale.clone(), ours.scale.clone())
}

/// A folder's run goes on only with what else it was started with, unless that is asked for.
pub(crate) fn refuse_other_run(
    options: &RunOptions,
    theirs: &Position,
    ours: &Position,
    datasets: [&Dataset; 2],
) -> Result<(), Error> {
    if theirs.dataset != ours.dataset {
        return Err(Error::OtherDataset {
            folder: options.folder.clone(),
            data: options.data.clone(),
            change: change(&options.data, datasets),
        });
    }
    same(
        &options.folder,
        "set of hyper-parameters",
        format!("{:?}", theirs.hyper),
        format!("{:?}", ours.hyper),
    )
}

/// Images that are named where many are gone.
const NAMED: usize = 10;

/// What is missing of a dataset, by its manifest.
fn change(data: &Path, datasets: [&Dataset; 2]) -> String {
    let Ok(manifest) = Manifest::read(data.parent().unwrap_or(Path::new("."))) else {
        return "no manifest tells what has changed".to_owned();
    };
    let there: BTreeSet<&OsStr> = datasets
        .iter()
        .flat_map(|dataset| dataset.items.iter().filter_map(|item| item.image.file_stem()))
        .collect();
    let gone: Vec<&str> = manifest
        .items
        .iter()
        .filter(|item| item.split != Split::Test && !there.contains(OsStr::new(&item.name)))
        .map(|item| item.name.as_str())
        .collect();
    let more = match gone.len() {
        0 => return "images or labels are others than those of its manifest".to_owned(),
        1..=NAMED => String::new(),
        all => format!(", and {} more", all - NAMED),
    };
    let named = gone.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    format!("{} of its images vanished ({named}{more})", gone.len())
}

fn same(folder: &Path, what: &'static str, theirs: String, ours: String) -> Result<(), Error> {
    if theirs == ours {
        return Ok(());
    }
    Err(Error::OtherRun {
        folder: folder.to_owned(),
        what,
        theirs,
        ours,
    })
}
