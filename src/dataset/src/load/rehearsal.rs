//! The engine with made-up work: how fast so many threads deliver, and when a trainer would wait for them.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Batches, Crew, Recipe, Sample};
use super::{LoadError, Scratch, ahead};
use crate::batch::Pool;
use crate::letterbox::Size;

/// A loader whose threads sleep in place of making images, so that a machine can show more of them than it has cores.
/// What they would take from each other (memory bandwidth, the disk) it doesn't show.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal {
    /// How long a thread takes for an image.
    pub work: Duration,
    /// Threads.
    pub workers: usize,
    /// Images a batch.
    pub batch: usize,
    /// Complete batches that wait at most.
    pub prefetch: usize,
    /// Number of batches.
    pub batches: usize,
}

impl Rehearsal {
    /// Starts the threads. The batches hold single pixels.
    pub fn start(self) -> Result<Batches, LoadError> {
        let ahead = ahead(self.workers, self.batch, self.prefetch);
        let crew = Crew {
            workers: self.workers,
            ahead,
            nice: 0,
        };
        Batches::new(Arc::new(self), Pool::new(ahead + 1), 0, crew)
    }
}

impl Recipe for Rehearsal {
    fn batches(&self) -> usize {
        self.batches
    }

    fn layout(&self, _: usize) -> (usize, Size) {
        (self.batch, Size::square(1))
    }

    fn make(
        &self,
        batch: usize,
        place: usize,
        out: &mut [u8],
        _: &mut Scratch,
    ) -> Result<Option<Sample>, LoadError> {
        std::thread::sleep(self.work);
        out.fill(0);
        Ok(Some(Sample {
            item: batch * self.batch + place,
            targets: Vec::new(),
            placement: None,
        }))
    }
}
