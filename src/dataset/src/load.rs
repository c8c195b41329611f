//! From a dataset to batches.
//!
//! [`Loader`] makes augmented training batches, [`ValLoader`] letterboxed ones with the way back to the original
//! images. What a batch holds is a function of the dataset, the options and (seed, epoch, batch), never of the number
//! of threads or of what happened before: training resumed in mid-epoch goes on with the very batches it would have
//! had.

mod engine;
mod images;
mod rehearsal;
mod train;
mod validate;

use std::io;

use crate::augment::{self, OutOfRange};
use crate::letterbox::STRIDE;

pub use engine::Batches;
pub use rehearsal::Rehearsal;
pub use train::{Loader, LoaderOptions};
pub use validate::{ValLoader, ValOptions, ValShape};

/// Buffers of one thread.
#[derive(Debug, Default)]
struct Scratch {
    load: images::LoadScratch,
    apply: augment::Scratch,
    boxes: Vec<augment::LabelledBox>,
}

/// Why batches can't be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dataset has no image.
    #[error("the dataset holds no image to load")]
    Empty,
    /// The network's input can't have that size.
    #[error("an image size of {imgsz} is not a multiple of {STRIDE}; {} is the next", .imgsz.next_multiple_of(STRIDE))]
    ImageSize {
        /// The size asked for.
        imgsz: usize,
    },
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Augment(#[from] OutOfRange),
    /// None of the images can be read.
    #[error("none of the {items} images of the dataset can be read; the log names them")]
    NothingReadable {
        /// Number of images tried.
        items: usize,
    },
    /// A thread couldn't be started.
    #[error("a loader thread can't be started ({0}); use fewer workers")]
    Thread(#[source] io::Error),
    /// A thread ended with a panic.
    #[error("a loader thread panicked; the message is on standard error, please report it")]
    Worker,
}

fn check_imgsz(imgsz: usize) -> Result<(), LoadError> {
    if imgsz == 0 || !imgsz.is_multiple_of(STRIDE) {
        return Err(LoadError::ImageSize { imgsz });
    }
    Ok(())
}

/// Batches under way at a time: enough that no worker waits, and `prefetch` ready ones.
fn ahead(workers: usize, batch: usize, prefetch: usize) -> usize {
    workers.div_ceil(batch.max(1)) + prefetch
}
