//! What can end a run.

use crate::{checkpoint::CheckpointError, hyper::HyperError, optim::StateError};
use std::path::PathBuf;

/// What ended a run, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Hyper(#[from] HyperError),
    /// The dataset cannot be used.
    #[error(transparent)]
    Dataset(#[from] dataset::yaml::YamlError),
    /// Images cannot be loaded.
    #[error(transparent)]
    Load(#[from] dataset::load::LoadError),
    /// The dataset holds nothing to train on.
    #[error("{0} lists no training images with boxes; label some and form the dataset again")]
    NothingToTrainOn(PathBuf),
    /// The network refused.
    #[error(transparent)]
    Detector(#[from] detector::Error),
    /// The device asked for is not there.
    #[error(transparent)]
    Device(#[from] torch::DeviceError),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] torch::Error),
    /// The loss refused.
    #[error(transparent)]
    Loss(#[from] detector::loss::LossError),
    /// Raw outputs do not fit their grid.
    #[error(transparent)]
    Decode(#[from] detector::decode::DecodeError),
    /// Predictions cannot be measured.
    #[error(transparent)]
    Metrics(#[from] detector::metrics::MetricsError),
    /// Weights cannot be taken over or written.
    #[error(transparent)]
    Weights(#[from] detector::weights::WeightsError),
    /// A model file cannot be used.
    #[error("{path}: {source}")]
    Model {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: detector::weights::WeightsError,
    },
    /// An image for the report cannot be decoded.
    #[error("{path}: {source}")]
    Image {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: dataset::decode::DecodeError,
    },
    /// The report cannot be made.
    #[error(transparent)]
    Picture(#[from] report::PictureError),
    /// The report cannot be made.
    #[error(transparent)]
    Confusion(#[from] report::ConfusionError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The optimiser's state does not fit.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file of the run cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds another run.
    #[error(
        "{folder} holds a run with another {what} ({theirs}, now {ours}); give this run a folder of its own"
    )]
    OtherRun {
        /// The run's folder.
        folder: PathBuf,
        /// What differs.
        what: &'static str,
        /// The value it was started with.
        theirs: String,
        /// The value asked for.
        ours: String,
    },
    /// Nothing to start from under this name.
    #[error(
        "there is no model '{name}': give yolo26n, s, m, l or x to start from random weights, or a .pt or .safetensors \
         file ({path} is not there)"
    )]
    NoModel {
        /// What was asked for.
        name: String,
        /// Where a file of this name would be.
        path: PathBuf,
    },
    /// The base weights are of another scale.
    #[error(
        "{path} holds weights of yolo26{got}, but yolo26{expected} is to be trained; name the scale of the file"
    )]
    OtherScale {
        /// The weights.
        path: PathBuf,
        /// Their scale.
        got: &'static str,
        /// The scale asked for.
        expected: &'static str,
    },
    /// Training diverged.
    #[error(
        "the {what} of epoch {epoch}, batch {batch} is not finite; the last checkpoint is intact. \
         Check the labels of that batch, or lower lr0"
    )]
    NotFinite {
        /// Loss or gradient.
        what: &'static str,
        /// Epoch, counted from 1.
        epoch: u32,
        /// Batch in the epoch, counted from 1.
        batch: u64,
    },
}
