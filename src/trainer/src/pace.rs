//! How fast a run goes, and when it will be done: by what this process has trained since it began, validation included.

use std::time::{Duration, Instant};
use train::schedule::Schedule;

/// The pace of this process.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    epochs: u32,
    batches: u64,
    images: usize,
    since: Instant,
    /// Batches of the run that were done before.
    before: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            epochs: 0,
            batches: 0,
            images: 0,
            since: Instant::now(),
            before: 0,
        }
    }
}

impl Pace {
    /// Training begins, or goes on in `resumed`: epoch, from 0, and batches of it that are done.
    pub(crate) fn begin(schedule: &Schedule, images: usize, resumed: Option<(u32, u64)>) -> Self {
        let (epoch, batch) = resumed.unwrap_or_default();
        Self {
            epochs: schedule.epochs,
            batches: schedule.batches_per_epoch,
            images,
            since: Instant::now(),
            before: u64::from(epoch) * schedule.batches_per_epoch + batch,
        }
    }

    /// Epochs in all.
    pub(crate) fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Batches an epoch.
    pub(crate) fn batches(&self) -> u64 {
        self.batches
    }

    /// Seconds to the end of the last epoch, behind this batch of this epoch (from 1).
    pub(crate) fn left(&self, epoch: u32, batch: u64) -> f64 {
        let all = u64::from(self.epochs) * self.batches;
        all.saturating_sub(self.done(epoch, batch)) as f64 * self.seconds_a_batch(epoch, batch)
    }

    /// Images a second; none before the first batch.
    pub(crate) fn images_per_s(&self, epoch: u32, batch: u64) -> Option<f64> {
        let a_batch = self.images as f64 / self.batches.max(1) as f64;
        let is_known = self.done(epoch, batch) > self.before;
        is_known.then(|| a_batch / self.seconds_a_batch(epoch, batch).max(1e-9))
    }

    fn done(&self, epoch: u32, batch: u64) -> u64 {
        u64::from(epoch.saturating_sub(1)) * self.batches + batch
    }

    fn seconds_a_batch(&self, epoch: u32, batch: u64) -> f64 {
        let here = self.done(epoch, batch).saturating_sub(self.before).max(1);
        self.since.elapsed().as_secs_f64() / here as f64
    }

    /// One of a run from its beginning, for so long.
    #[cfg(test)]
    pub(crate) fn running(epochs: u32, batches: u64, elapsed: Duration) -> Self {
        Self {
            epochs,
            batches,
            images: 8 * batches as usize,
            since: Instant::now() - elapsed,
            before: 0,
        }
    }
}

/// What is done at most so often.
#[derive(Debug)]
pub(crate) struct Rarely {
    every: Duration,
    last: Option<Instant>,
}

impl Rarely {
    pub(crate) fn every(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Whether it is time again; then the time begins anew.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now - last >= self.every);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_run_takes_as_long_as_the_other_half_took() {
        let pace = Pace::running(10, 100, Duration::from_secs(1000));
        let left = pace.left(6, 0);
        assert!((999.0..1010.0).contains(&left), "{left}");
        let images = pace.images_per_s(6, 0).unwrap();
        assert!(
            (3.9..4.01).contains(&images),
            "500 batches of 8 in 1000 s: {images}"
        );
    }

    #[test]
    fn before_the_first_batch_no_pace_is_known_and_what_was_done_before_does_not_count() {
        let mut pace = Pace::running(10, 100, Duration::from_secs(100));
        pace.before = 500;
        assert_eq!(pace.images_per_s(6, 0), None);
        let left = pace.left(6, 100);
        assert!((399.0..405.0).contains(&left), "a batch a second: {left}");
    }

    #[test]
    fn what_is_done_rarely_is_done_at_once_and_then_not_soon() {
        let mut rarely = Rarely::every(Duration::from_secs(60));
        assert!(rarely.is_due());
        assert!(!rarely.is_due());
    }
}
