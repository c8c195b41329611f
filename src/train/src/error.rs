//! What can end a run.

use crate::{checkpoint::CheckpointError, guard::NotFinite, hyper::HyperError, optim::StateError};
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
    /// The dataset is not any more what the run was begun on.
    #[error(
        "{folder} holds a run on another dataset than {data} is by now: {change}. Put back what is missing (azaion dataset lint \
         looks for all of it), or go on with what is there: azaion-train --resume-anyway"
    )]
    OtherDataset {
        /// The run's folder.
        folder: PathBuf,
        /// The dataset's description.
        data: PathBuf,
        /// What is known to differ.
        change: String,
    },
    /// The run's folder went away under it.
    #[error(
        "{folder} is gone, moved or removed while the run was trained. In {models} it is gone on with under any name, from its \
         last checkpoint, when it is started again", models = .folder.parent().unwrap_or(.folder).display()
    )]
    FolderGone {
        /// Where it was.
        folder: PathBuf,
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
    /// No checkpoint of the run can be used.
    #[error(
        "no checkpoint in {folder} is whole: {source}; restore one from a backup, or remove the folder to begin anew"
    )]
    NothingWhole {
        /// The run's folder.
        folder: PathBuf,
        /// What is wrong with the latest one.
        source: CheckpointError,
    },
    /// No image of a batch is left.
    #[error("a batch holds no image; check the images of the dataset")]
    EmptyBatch,
    /// The disk is too small for the run.
    #[error(
        "{folder} has {free} MB free, and the run's checkpoints and models take {needed} MB ({one} MB each): free some \
         space, or keep fewer checkpoints"
    )]
    NoRoom {
        /// The run's folder.
        folder: PathBuf,
        /// Megabytes there are.
        free: u64,
        /// Megabytes it takes.
        needed: u64,
        /// Megabytes of a checkpoint.
        one: u64,
    },
    /// The thread that writes checkpoints cannot be started.
    #[error("cannot start the thread that writes checkpoints: {0}")]
    Writer(std::io::Error),
    /// Nothing helped against losses or gradients that are not finite.
    #[error(
        "the {what} of epoch {epoch}, batch {batch} is not finite again, after {returns} returns to earlier checkpoints with \
         ever lower learning rates; the last checkpoint is intact. Look at the labels of the images named above, or begin a \
         run with a lower lr0"
    )]
    GaveUp {
        /// What was not finite.
        what: NotFinite,
        /// Epoch, counted from 1.
        epoch: u32,
        /// Batch in the epoch, counted from 1.
        batch: u64,
        /// How often the run went back.
        returns: usize,
    },
}

impl Error {
    /// Whether trying again changes nothing until somebody has seen to it.
    pub fn wants_a_person(&self) -> bool {
        matches!(
            self,
            Self::GaveUp { .. }
                | Self::NoRoom { .. }
                | Self::NothingWhole { .. }
                | Self::OtherRun { .. }
                | Self::OtherDataset { .. }
                | Self::FolderGone { .. }
        )
    }

    /// Whether memory of the device or the host ran out.
    pub fn is_out_of_memory(&self) -> bool {
        let torch = match self {
            Self::Torch(error) => Some(error),
            Self::Detector(error) => return error.class() == torch::ErrorClass::OutOfMemory,
            _ => None,
        };
        torch.is_some_and(|error| error.class() == torch::ErrorClass::OutOfMemory)
    }
}
