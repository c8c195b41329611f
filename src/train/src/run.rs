//! The run loop: epochs of training, validation of the averaged weights, the best model, checkpoints, the report.
//!
//! A run owns a folder: `last.safetensors` (where it stands), `best.pt` (the best model so far), `results.csv` (a line an
//! epoch) and `report.html` (at the end). All are replaced atomically, the checkpoint last: whatever stops the program,
//! the next start repeats at most what came after the last checkpoint, with the same outcome to the bit (on a CPU).

use crate::{
    Error, Hyper,
    checkpoint::{Best, Position},
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
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
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
    /// Set to stop after the batch in hand, with a checkpoint.
    pub stop: Arc<AtomicBool>,
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
        if session.train_epoch(observer)? == Flow::Stop {
            session.save()?;
            let Position { epoch, batch, .. } = session.position;
            return Ok(Outcome::Stopped {
                epoch: epoch + 1,
                batch,
            });
        }
        session.finish_epoch(observer)?;
    }
    session
        .conclude()
        .map(|summary| Outcome::Finished(Box::new(summary)))
}
