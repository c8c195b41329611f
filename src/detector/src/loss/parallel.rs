//! Jobs on a few threads, with results in the order of the jobs.
//!
//! Scoped threads, not a shared pool: the loader keeps pools busy with decoding, and a loss that queues behind it
//! would hold up the whole training step. Starting a thread costs some 20 microseconds, a job here takes more.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Runs `work` on every job and returns the results in the order of the jobs, whatever the number of threads.
pub(super) fn map<J: Send, T: Send>(
    threads: NonZeroUsize,
    jobs: Vec<J>,
    work: impl Fn(J) -> T + Sync,
) -> Vec<T> {
    let workers = threads.get().min(jobs.len());
    if workers <= 1 {
        return jobs.into_iter().map(work).collect();
    }
    let queue = Mutex::new(jobs.into_iter().enumerate());
    // The lock must be gone before the work starts, hence a function of its own.
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        let mut done = Vec::new();
        while let Some((index, job)) = take() {
            done.push((index, work(job)));
        }
        done
    };
    let mut results = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..workers).map(|_| scope.spawn(worker)).collect();
        let mut results = worker();
        for handle in handles {
            match handle.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        for threads in 1..5 {
            let threads = NonZeroUsize::new(threads).unwrap();
            let found = map(threads, (0..100).collect(), |job: u64| {
                // Early jobs take longest, so that later ones overtake them.
                std::thread::sleep(std::time::Duration::from_micros(100 - job));
                job * job
            });
            assert_eq!(found, (0..100).map(|job| job * job).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_jobs_give_no_results() {
        assert!(map(NonZeroUsize::new(4).unwrap(), Vec::<u8>::new(), |job| job).is_empty());
    }
}
