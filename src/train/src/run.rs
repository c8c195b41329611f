//! The run loop: epochs of training, validation of the averaged weights, the best model, checkpoints, the report.
//!
//! A run owns a folder: `last.safetensors` (where it stands), `epoch-0007.safetensors` (some ends of epochs), `best.pt` (the best model so far), `results.csv` (a line an
//! epoch) and `report.html` (at the end). All are replaced atomically, the checkpoint last: whatever stops the program,
//! the next start repeats at most what came after the last checkpoint, with the same outcome to the bit (on a CPU). What is
//! done where a step goes wrong is in [`crate::guard`].

use crate::{
    Error, Hyper,
    checkpoint::{Best, CheckpointError},
    cooling::{COOL, Thermometer},
    faults::Faults,
    guard::NotFinite,
    memory::Memory,
    schedule::Schedule,
    session::{Flow, Session},
    step::Execution,
    validate::Validation,
};
use detector::Scale;
use report::EpochRow;
pub use runs::{BEST, CHECKPOINT, REPORT, RESULTS};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What to train, on what, where.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run's folder; created, or resumed where it holds a checkpoint.
    pub folder: PathBuf,
    /// The dataset's `data.yaml`.
    pub data: PathBuf,
    /// Scale of the network.
    pub scale: Scale,
    /// Weights to start from; none: random ones.
    pub base: Option<PathBuf>,
    /// Hyper-parameters.
    pub hyper: Hyper,
    /// Where the network lives. A run may go on on another device than it began on.
    pub device: torch::DeviceChoice,
    /// Processor threads for the network.
    pub threads: NonZeroUsize,
    /// Threads that load images; 0 loads in the training thread.
    pub workers: usize,
    /// Memory for decoded images.
    pub cache_bytes: usize,
    /// What may be asked of the run while it is under way.
    pub control: Control,
    /// How many checkpoints of epochs' ends are kept beside the latest one; at least one is.
    pub keep: usize,
    /// The run is saved within an epoch too, after this long.
    pub save_every: Duration,
    /// Go on although dataset or hyper-parameters are others than those that the run was begun with.
    pub resume_anyway: bool,
    /// Tells how hot the GPU is.
    pub thermometer: Option<Arc<dyn Thermometer>>,
    /// What is known of the memory that training takes.
    pub memory: Memory,
    /// What a test makes go wrong.
    pub faults: Faults,
}

impl RunOptions {
    /// A run on the processor, with what is usual.
    pub fn new(folder: PathBuf, data: PathBuf, scale: Scale, hyper: Hyper) -> Self {
        Self {
            folder,
            data,
            scale,
            base: None,
            hyper,
            device: torch::DeviceChoice::Cpu,
            threads: NonZeroUsize::MIN,
            workers: 0,
            cache_bytes: 2 << 30,
            control: Control::default(),
            keep: 2,
            save_every: Duration::from_secs(300),
            resume_anyway: false,
            thermometer: None,
            memory: Memory::default(),
            faults: Faults::default(),
        }
    }
}

/// What may be asked of a run while it is under way. Clones ask the same run.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Stop after the batch in hand, with a checkpoint.
    pub stop: Arc<AtomicBool>,
    /// Stop after the epoch in hand.
    pub drain: Arc<AtomicBool>,
    /// Save the run after the batch in hand, and go on.
    pub save: Arc<AtomicBool>,
}

/// The kinds of work in a run. A piece of each takes a time of its own, and between two pieces something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Steps: a batch is a piece.
    Training,
    /// Measuring: a batch of images is a piece.
    Validation,
    /// An epoch's end: models, tables, pages and waiting for the disk are one piece.
    Export,
}

/// What happens in a run, as it happens.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The run begins, or goes on.
    Started {
        /// Images to train on.
        images: usize,
        /// Images to validate on.
        validation: usize,
        /// Trainable values of the network.
        parameters: usize,
        /// What follows from the hyper-parameters.
        schedule: &'a Schedule,
        /// How the network is run.
        execution: &'a Execution,
        /// Epoch (from 0) and batch it goes on with, when it was interrupted.
        resumed: Option<(u32, u64)>,
    },
    /// Another kind of work begins.
    Stage(Stage),
    /// A batch was trained on.
    Batch {
        /// Epoch, from 1.
        epoch: u32,
        /// Batch in the epoch, from 1.
        batch: u64,
        /// Running means of the losses in the epoch.
        loss: [f64; 3],
    },
    /// An epoch was finished and validated.
    Epoch {
        /// What it measured.
        row: &'a EpochRow,
        /// Whether it is the best so far.
        best: bool,
    },
    /// Something a person should know.
    Warning(&'a str),
    /// Images were validated; what came of it is told with the epoch.
    Validating {
        /// How many so far.
        done: usize,
        /// How many there are.
        all: usize,
    },
    /// The run is on disk as it was then.
    Saved {
        /// Epochs that were done.
        epochs: u32,
        /// Batches of the next one that were done.
        batches: u64,
        /// How long writing took, in the background.
        took: Duration,
    },
    /// The run waits for the disk.
    Saving,
    /// The run could not be saved (ALR-8); the checkpoint before is whole, and it is tried again.
    NotSaved {
        /// Why.
        error: &'a CheckpointError,
    },
    /// A step was skipped.
    Skipped {
        /// Epoch, from 1.
        epoch: u32,
        /// Batch in the epoch, from 1.
        batch: u64,
        /// What was not finite.
        what: NotFinite,
        /// The images that took part.
        images: &'a [&'a Path],
    },
    /// Bad steps in a row: the run went back (ALR-4).
    WentBack {
        /// Epoch and batch, from 1, that it came from.
        from: (u32, u64),
        /// Epochs done where it goes on.
        epochs: u32,
        /// What every learning rate is multiplied by from now on.
        lr_factor: f64,
        /// Batches that are not trained on.
        set_aside: usize,
    },
    /// The training loss of this epoch is not finite, or more than three times the least of the five before (ALR-4).
    Diverging {
        /// Epoch, from 1.
        epoch: u32,
    },
    /// Memory ran out (ALR-5): the same batches are taken in smaller parts from now on.
    OutOfMemory {
        /// What libtorch said.
        error: &'a Error,
        /// Images at a time.
        micro_batch: usize,
    },
    /// The GPU is too hot (ALR-1): the run waits.
    TooHot {
        /// Degrees Celsius.
        celsius: u32,
    },
    /// The run still waits for the GPU.
    Cooling {
        /// Degrees Celsius.
        celsius: u32,
    },
    /// The run goes on after it waited for the GPU.
    Cooled {
        /// Degrees Celsius; none where the GPU does not say any more.
        celsius: Option<u32>,
    },
}

impl Event<'_> {
    /// What a person should know of it, in a line: something went wrong, or is right again.
    pub fn incident(&self) -> Option<String> {
        Some(match self {
            Self::Warning(text) => (*text).to_owned(),
            Self::NotSaved { error } => format!("not saved, tried again in a minute: {error}"),
            Self::Skipped {
                epoch,
                batch,
                what,
                images,
            } => format!(
                "epoch {epoch}, batch {batch}: the {what} is not finite, step skipped; images: {}",
                names(images)
            ),
            Self::WentBack {
                from: (epoch, batch),
                epochs,
                lr_factor,
                set_aside,
            } => format!(
                "epoch {epoch}, batch {batch}: nothing is finite any more; back to where {epochs} epochs were done, learning \
                 rates times {lr_factor}, {set_aside} batches set aside"
            ),
            Self::Diverging { epoch } => format!(
                "the loss of epoch {epoch} is more than three times the least of the last five: check labels and lr0"
            ),
            Self::OutOfMemory { error, micro_batch } => {
                format!("{error}; from now on {micro_batch} images at a time, the effective batch stays")
            }
            Self::TooHot { celsius } => {
                format!("the GPU is at {celsius} °C: training waits until it is below {COOL} °C")
            }
            Self::Cooled {
                celsius: Some(celsius),
            } => format!("the GPU is at {celsius} °C: training goes on"),
            Self::Cooled { celsius: None } => {
                "the GPU does not tell its temperature any more: training goes on".to_owned()
            }
            Self::Started { .. }
            | Self::Stage(_)
            | Self::Batch { .. }
            | Self::Epoch { .. }
            | Self::Validating { .. }
            | Self::Saved { .. }
            | Self::Saving
            | Self::Cooling { .. } => return None,
        })
    }
}

/// File names, without their folders.
fn names(images: &[&Path]) -> String {
    let names = images
        .iter()
        .map(|image| image.file_name().unwrap_or_default().to_string_lossy());
    names.collect::<Vec<_>>().join(", ")
}

/// Takes note of what happens.
pub trait Observer {
    /// Called in the run's own thread; it should be quick.
    fn on(&mut self, event: Event<'_>);
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done, or no better model came for too long.
    Finished(Box<Summary>),
    /// It was asked to stop; the next start goes on here.
    Stopped {
        /// Epoch to go on with, from 1.
        epoch: u32,
        /// Batches of it already done.
        batch: u64,
    },
}

/// What a finished run has to show.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run's folder.
    pub folder: PathBuf,
    /// Epochs trained.
    pub epochs: u32,
    /// The best epoch.
    pub best: Best,
    /// The best model, folded, through the one-to-many head with suppression.
    pub one2many: Validation,
    /// The best model, folded, through the one-to-one head.
    pub one2one: Validation,
    /// Seconds of training and in-training validation.
    pub seconds: f64,
}

/// Trains, or goes on training, until done or told to stop.
pub fn run(options: &RunOptions, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    let mut session = Session::open(options, observer)?;
    while !session.is_done() {
        match session.train_epoch(observer)? {
            Flow::WentBack => continue,
            Flow::Stop => return session.stop(observer),
            Flow::Done => session.finish_epoch(observer)?,
        }
        if options.control.drain.load(Ordering::Relaxed) && !session.is_done() {
            return session.stop(observer);
        }
    }
    session.settle(observer)?;
    session
        .conclude(observer)
        .map(|summary| Outcome::Finished(Box::new(summary)))
}
