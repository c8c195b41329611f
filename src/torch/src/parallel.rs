//! Jobs of ours on libtorch's own threads.
//!
//! Threads of our own beside libtorch's would fight with them for the processor: its threads spin for a while after an
//! operation, waiting for the next. Inside a job libtorch's operations run on one thread, so what they compute does not
//! depend on how many threads there are.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use crate::{Error, ffi, threads};
use std::any::Any;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The jobs that are left, and what went wrong.
struct Work<J, F> {
    left: Mutex<std::vec::IntoIter<J>>,
    run: F,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Runs `run` on every job, as many at a time as libtorch has threads. A thread takes the next job when it is done with
/// one, so the longest jobs belong in front. Returns when all are done; a panic in a job is passed on then.
///
/// # Errors
/// libtorch could not start its threads.
pub fn parallel<J: Send>(jobs: Vec<J>, run: impl Fn(J) + Sync) -> Result<(), Error> {
    let workers = threads()?.intra_op.min(jobs.len());
    if workers <= 1 {
        jobs.into_iter().for_each(run);
        return Ok(());
    }
    let work = Work {
        left: Mutex::new(jobs.into_iter()),
        run,
        panicked: Mutex::new(None),
    };
    submit(workers, &work)?;
    match work.panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(panic) => panic::resume_unwind(panic),
        None => Ok(()),
    }
}

fn submit<J: Send, F: Fn(J) + Sync>(workers: usize, work: &Work<J, F>) -> Result<(), Error> {
    let data = std::ptr::from_ref(work).cast_mut().cast::<c_void>();
    // SAFETY: `work_off` reads `data` as what it is made from here, and only until the call returns. `Work` may be shared
    // among threads: its jobs are `Send` behind a lock, `run` is `Sync`.
    unsafe {
        ffi::check(
            "parallel",
            ffi::azt_parallel(workers as i64, work_off::<J, F>, data),
        )
    }
}

extern "C" fn work_off<J: Send, F: Fn(J) + Sync>(data: *mut c_void, _worker: i64) {
    // SAFETY: see `submit`.
    let work = unsafe { &*data.cast_const().cast::<Work<J, F>>() };
    // A panic must not cross the C++ frames between here and the caller.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        while let Some(job) = next(work) {
            (work.run)(job);
        }
    }));
    if let Err(panic) = outcome {
        *lock(&work.panicked) = Some(panic);
    }
}

/// The lock must be gone before the job starts, hence a function of its own.
fn next<J, F>(work: &Work<J, F>) -> Option<J> {
    lock(&work.left).next()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{no_grad, set_threads};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tch::{Device, Kind, Tensor};

    #[test]
    fn every_job_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            set_threads(threads).unwrap();
            let runs: Vec<AtomicUsize> = (0..40).map(|_| AtomicUsize::new(0)).collect();
            parallel(runs.iter().collect(), |run| {
                run.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn jobs_may_compute_with_libtorch() {
        set_threads(3).unwrap();
        let mut sums = vec![0.0; 7];
        parallel(sums.iter_mut().enumerate().collect(), |(size, sum)| {
            let size = size as i64 + 1;
            let ones = Tensor::ones([size, size], (Kind::Float, Device::Cpu));
            *sum = no_grad(|| ones.matmul(&ones).sum(Kind::Float).double_value(&[]));
        })
        .unwrap();
        assert_eq!(sums, [1.0, 8.0, 27.0, 64.0, 125.0, 216.0, 343.0]);
    }

    #[test]
    fn a_panic_in_a_job_reaches_the_caller() {
        set_threads(2).unwrap();
        let caught =
            panic::catch_unwind(|| parallel(vec![1, 2, 3, 4], |job| assert_ne!(job, 3, "as wanted")));
        assert!(caught.is_err());
    }
}
